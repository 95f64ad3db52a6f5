"""Begins and ends an instance: its volume, its network, its containers, and a container that judges a candidate."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import docker.errors

from clawportal.sdk.errors import Conflict, GiveUp, Retry
from clawportal.sdk.runtimes import Observed, Ref, Workload, secret_env
from clawportal_docker import archives, diagnosis, naming, unmanaged
from clawportal_docker.errors import BROKEN, not_running, told
from clawportal_docker.files import Files
from clawportal_docker.observer import Looking

_FRESH = 60.0
"""Seconds in which a container that was created and not yet started belongs to somebody who is just starting it."""

_RUNS = ("running", "paused", "restarting")


class Starting(Files, Looking):
    def apply(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> Observed:
        if ref.unmanaged_id:
            raise GiveUp("Adopted", f"{ref} is a container that somebody else made.", "It is only started and stopped as it is.")
        if workload.image is None or not workload.processes:
            raise GiveUp("NothingToRun", f"The workload of {ref} names no image or no process.")
        values = [secret_env(process.secret_env, secrets, ref) for process in workload.processes]
        with self._locked(ref), told(ref, absent=workload.image.reference):
            there = self._already(ref, workload)
            if there is not None:
                return there
            network = self._network(ref)
            self._clear(ref)
            self._ensure_volume(ref)
            made: list[str] = []
            try:
                for number, process in enumerate(workload.processes):
                    config = naming.container(
                        self.settings, ref, workload, process, naming.environment(ref, process.env, values[number]),
                        place=self.place, volume=self._volume(ref), network=f"container:{made[0]}" if made else network,
                        first=not made,
                    )  # fmt: skip
                    made.append(self._create(ref, config, "" if not number else f"-{process.name}"))
                self._write(ref, made[0], workload)
                for container in made:
                    self._client.start(container)
            except BaseException:
                for container in reversed(made):
                    self._discard(container)
                raise
        return self.inspect(ref)

    def _already(self, ref: Ref, workload: Workload) -> Observed | None:
        """What runs already, when it is exactly this."""
        main = self._main(ref)
        if main is None or main["State"] not in (*_RUNS, "created"):
            return None
        if main["State"] == "created":
            if time.time() - main["Created"] < _FRESH:
                raise Retry("Busy", f"Somebody else is just starting {ref}.", timedelta(seconds=1))
            return None
        if self._read_note(main["Id"], "stopping.json").get("container") == main["Id"]:
            raise Retry("Stopping", f"{ref} is still being stopped.", timedelta(seconds=1))
        seen = self._observed(ref, self._containers(ref), notes=True)
        if seen.digest != workload.digest():
            raise Conflict(f"{ref} runs an earlier description of itself. Stop it first, then apply the new one.")
        return seen

    def _create(self, ref: Ref, config: Mapping[str, Any], suffix: str) -> str:
        try:
            made = self._client.create_container_from_config(config, name=self._name(ref, suffix))
        except docker.errors.APIError as error:
            if error.status_code == 409 and "already in use" in str(error.explanation):
                raise self._taken(ref, self._name(ref, suffix)) from error
            raise
        return str(made["Id"])

    def _taken(self, ref: Ref, name: str) -> Exception:
        """The name is in use: by another portal that is just starting the same, or by a stranger."""
        with suppress(docker.errors.NotFound):
            labels = self._client.inspect_container(name)["Config"].get("Labels") or {}
            if labels.get(naming.PLACE) != self.place or labels.get(naming.INSTANCE) != ref.instance_id:
                return GiveUp(
                    "NameTaken", f"A container named {name} exists that is not this portal's.",
                    "Rename or remove that container, or give this cluster another prefix of names.",
                )  # fmt: skip
        return Retry("Busy", f"Somebody else is just starting {ref}.", timedelta(seconds=1))

    def _clear(self, ref: Ref) -> None:
        """Make room for a new run: the one before stays for its log, older ones go."""
        for entry in _guests_first(self._containers(ref, previous=True)):
            self._discard(entry["Id"])
        for entry in _guests_first(self._containers(ref)):
            if entry["State"] == "created":
                if time.time() - entry["Created"] < _FRESH:  # made since we looked
                    raise Retry("Busy", f"Somebody else is just starting {ref}.", timedelta(seconds=1))
                self._discard(entry["Id"])
            else:
                with suppress(docker.errors.NotFound):
                    self._client.rename(entry["Id"], entry["Names"][0].lstrip("/") + naming.PREVIOUS)

    def _ensure_volume(self, ref: Ref) -> None:
        try:
            found = self._client.inspect_volume(self._volume(ref))
        except docker.errors.NotFound:
            self._client.create_volume(self._volume(ref), labels=naming.labels(self.place, ref, "data"))
            return
        if (found.get("Labels") or {}).get(naming.PLACE) != self.place:
            raise GiveUp(
                "NameTaken", f"A volume named {self._volume(ref)} exists that is not this portal's.",
                "Rename or remove that volume, or give this cluster another prefix of names.",
            )  # fmt: skip

    def _network(self, ref: Ref) -> str:
        """The network that the instance joins: the tenant's own is made when it is missed, and meant by its id.

        An engine does not keep two portals from making networks of one name at the same time, and then starts nothing that
        joins one of them. The older one counts; each portal takes away what is left of others.
        """
        if self.settings.network != "tenant":
            return self.settings.network
        with self._joining:  # many may start at once, and one network is enough
            found = self._tenant_networks(ref)
            if not found:
                self._make_network(ref)
                found = self._tenant_networks(ref)
            if not found:  # the last claw of the tenant has just left, in another portal
                raise Retry("NetworkMissing", f"The network of {ref} was removed while it was starting.", timedelta(seconds=1))
            self._remove_networks(found[1:])
            return str(found[0]["Id"])

    def _tenant_networks(self, ref: Ref) -> list[dict[str, Any]]:
        labels = [f"{naming.PLACE}={self.place}", f"{naming.TENANT}={ref.tenant}"]
        found = self._client.networks(filters={"label": labels})
        return sorted(found, key=lambda network: (str(network.get("Created", "")), network["Id"]))

    def _make_network(self, ref: Ref) -> None:
        name = naming.network_name(self.settings.prefix, self.place, ref)
        labels = {naming.PLACE: self.place, naming.TENANT: ref.tenant}
        # Docker keeps bridges apart by itself; Podman those that ask for it, and not in every version
        options = {"isolate": "true"} if self.podman else {}
        try:
            self._client.create_network(name, driver="bridge", check_duplicate=True, labels=labels, options=options)
        except docker.errors.APIError as error:
            if self._tenant_networks(ref):  # made by another portal a moment ago
                return
            if "already exists" in str(error.explanation):
                raise GiveUp(
                    "NameTaken", f"A network named {name} exists that is not this portal's.",
                    "Remove that network, or give this cluster another prefix of names.",
                ) from error  # fmt: skip
            raise Retry(
                "NetworkMissing",
                f"The network {name} cannot be made: {error.explanation}. If the engine has no free addresses left, widen "
                "`default-address-pools` in its daemon.json.",
            ) from error

    def _leave_network(self, ref: Ref) -> None:
        """The last one out takes the tenant's network along: an engine has addresses for some thirty only."""
        if self.settings.network == "tenant" and not self._mine(f"{naming.TENANT}={ref.tenant}"):
            self._remove_networks(self._tenant_networks(ref))

    def _remove_networks(self, networks: Iterable[Mapping[str, Any]]) -> None:
        for network in networks:
            with suppress(docker.errors.APIError):  # somebody joins it this very moment, or has removed it
                self._client.remove_network(network["Id"])

    # ---- judging a candidate

    def check(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> None:
        check = workload.check
        if check is None or workload.image is None:
            return
        values = secret_env(check.secret_env, secrets, ref)
        folder = "/candidate"
        argv = [part.replace("{candidate}", folder) for part in check.argv]
        env = {name: value.replace("{candidate}", folder) for name, value in check.env.items()}
        config = {
            "Image": workload.image.reference, "Entrypoint": argv, "Cmd": [], "WorkingDir": folder,
            "User": f"{workload.image.uid}:{workload.image.gid}", "Healthcheck": {"Test": ["NONE"]}, "NetworkDisabled": True,
            "Env": [f"{name}={value}" for name, value in naming.environment(ref, env, values).items()] + [f"HOME={folder}"],
            "Labels": naming.labels(self.place, ref, "check"), "Volumes": {folder: {}},
            "HostConfig": naming.host_config(self.settings, workload, volume="", network="none", ports={}) | {"Mounts": []},
        }  # fmt: skip
        with told(ref, absent=workload.image.reference):
            made = self._client.create_container_from_config(config)["Id"]
            try:
                files = [file for file in workload.files if file.root == "state"]
                image = workload.image
                self._client.put_archive(made, folder, archives.of_files(files, image.uid, image.gid, prefix=False, own=True))
                self._client.start(made)
                code = self._wait(made, check.timeout)
                lines = self._client.logs(made, stdout=True, stderr=True, tail=200).decode("utf-8", "replace").splitlines()
            finally:
                self._discard(made, volumes=True)
        diagnosis.judge(check, code, lines, secrets.values())

    def _wait(self, container: str, seconds: float) -> int | None:
        """Exit code; None when the time is over."""
        end = time.monotonic() + seconds
        pause = 0.05
        while time.monotonic() < end:
            state = self._client.inspect_container(container)["State"]
            if state["Status"] in ("exited", "dead"):
                return int(state["ExitCode"])
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        return None

    # ---- ending

    def resume(self, ref: Ref) -> Observed:
        self._may_change(ref)
        with self._locked(ref), told(ref):
            main = self._main(ref) if ref.unmanaged_id else None
            if main is None:
                raise unmanaged.gone(ref)
            if main["State"] == "paused":
                self._client.unpause(main["Id"])
            elif main["State"] not in _RUNS:
                self._client.start(main["Id"])
        return self.inspect(ref)

    def stop(self, ref: Ref, grace: float) -> None:
        self._may_change(ref)
        with told(ref):
            running = [entry["Id"] for entry in self._containers(ref) if entry["State"] in _RUNS]
            main = None if ref.unmanaged_id else self._main(ref)
            if main is not None and running:
                with suppress(docker.errors.APIError):  # it may end this very moment
                    self._note(main["Id"], "stopping.json", {"container": main["Id"]})
        for container in running:
            # the engine itself counts the grace and kills, also when the portal is gone by then
            self._pool.submit(self._stop, container, grace)

    def _stop(self, container: str, grace: float) -> None:
        client = self._connect(grace + 30)
        with suppress(*BROKEN):
            client.stop(container, timeout=max(0, round(grace)))
        client.close()

    def kill(self, ref: Ref) -> None:
        self._may_change(ref)
        with told(ref):
            for entry in self._containers(ref):
                try:
                    self._client.kill(entry["Id"])
                except docker.errors.APIError as error:
                    if not not_running(error):
                        raise

    def remove(self, ref: Ref, *, keep_data: bool) -> None:
        """Of what somebody else made only the container goes, with its nameless volumes unless the data is kept."""
        self._may_change(ref)
        with self._locked(ref), told(ref):
            for entry in self._containers(ref):
                if entry["State"] in _RUNS:
                    raise Conflict(f"{ref} still runs. Stop it first.")
            for entry in _guests_first([*self._containers(ref), *self._containers(ref, previous=True)]):
                self._discard(entry["Id"], volumes=not (ref.unmanaged_id and keep_data))
                self._ended.pop(entry["Id"], None)
            if ref.unmanaged_id:
                return
            if not keep_data:
                self._remove_volume(ref)
            self._leave_network(ref)

    def _remove_volume(self, ref: Ref) -> None:
        try:
            found = self._client.inspect_volume(self._volume(ref))
            if (found.get("Labels") or {}).get(naming.PLACE) == self.place:
                self._slow.remove_volume(self._volume(ref))
        except docker.errors.NotFound:
            return


def _guests_first(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Podman removes a container only after those that use its network. The first process has the shortest name."""
    return sorted(entries, key=lambda entry: -len(entry["Names"][0]))
