"""Begins and ends an instance: its containers, with the volume and the network that they need."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import docker.errors

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import Conflict, GiveUp, Retry
from clawportal.sdk.runtimes import Observed, Ref, Workload, secret_env
from clawportal_docker import naming, unmanaged
from clawportal_docker.containers import FRESH, RUNS, Containers, dependents_first
from clawportal_docker.engine import Engine
from clawportal_docker.errors import BROKEN, map_errors, not_running
from clawportal_docker.files import Files
from clawportal_docker.networks import Networks
from clawportal_docker.notes import Notes
from clawportal_docker.observer import Observer
from clawportal_docker.volumes import Volumes


class Lifecycle:
    def __init__(
        self, engine: Engine, containers: Containers, *, notes: Notes, volumes: Volumes, networks: Networks, files: Files,
        observer: Observer,
    ) -> None:  # fmt: skip
        self.engine, self.containers, self.notes = engine, containers, notes
        self.volumes, self.networks, self.files, self.observer = volumes, networks, files, observer

    def apply(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> Observed:
        if ref.unmanaged_id:
            raise GiveUp(
                _n("Adopted"),
                _m("%(ref)s is a container that somebody else made.", ref=ref),
                _m("It is only started and stopped as it is."),
            )
        if workload.image is None or not workload.processes:
            raise GiveUp(_n("NothingToRun"), _m("The workload of %(ref)s names no image or no process.", ref=ref))
        values = [secret_env(process.secret_env, secrets, ref) for process in workload.processes]
        with self.containers.locked(ref), map_errors(ref, absent=workload.image.reference):
            there = self._already(ref, workload)
            if there is not None:
                return there
            network = self.networks.join(ref)
            self._clear(ref)
            self.volumes.ensure(ref)
            self._launch(ref, workload, values, network)
        return self.observer.inspect(ref)

    def _launch(self, ref: Ref, workload: Workload, values: Sequence[Mapping[str, str]], network: str) -> None:
        """All containers or none: the first has the network, the others use it."""
        made: list[str] = []
        try:
            for number, (process, secret) in enumerate(zip(workload.processes, values, strict=True)):
                config = naming.container(
                    self.engine.settings, ref, workload, process, naming.environment(ref, process.env, secret),
                    place=self.engine.place, volume=self.containers.volume(ref),
                    network=f"container:{made[0]}" if made else network, first=not made,
                )  # fmt: skip
                made.append(self._create(ref, config, "" if not number else f"-{process.name}"))
            self.files.write(ref, made[0], workload)
            for container in made:
                self.engine.client.start(container)
        except BaseException:
            for container in reversed(made):
                self.containers.discard(container)
            raise

    def _already(self, ref: Ref, workload: Workload) -> Observed | None:
        """What runs already, when it is exactly this."""
        main = self.containers.main(ref)
        if main is None or main["State"] not in (*RUNS, "created"):
            return None
        if main["State"] == "created":
            if time.time() - main["Created"] < FRESH:
                raise Retry(_n("Busy"), _m("Somebody else is just starting %(ref)s.", ref=ref), timedelta(seconds=1))
            return None
        if self.notes.read(main["Id"], "stopping.json").get("container") == main["Id"]:
            raise Retry(_n("Stopping"), _m("%(ref)s is still being stopped.", ref=ref), timedelta(seconds=1))
        seen = self.observer.seen(ref, self.containers.of(ref), notes=True)
        if seen.digest != workload.digest():
            raise Conflict(_m("%(ref)s runs an earlier description of itself. Stop it first, then apply the new one.", ref=ref))
        return seen

    def _create(self, ref: Ref, config: Mapping[str, Any], suffix: str) -> str:
        try:
            made = self.engine.client.create_container_from_config(config, name=self.containers.name(ref, suffix))
        except docker.errors.APIError as error:
            if error.status_code == 409 and "already in use" in str(error.explanation):
                raise self._taken(ref, self.containers.name(ref, suffix)) from error
            raise
        return str(made["Id"])

    def _taken(self, ref: Ref, name: str) -> Exception:
        """The name is in use: by another portal that is just starting the same, or by something unmanaged."""
        with suppress(docker.errors.NotFound):
            labels = self.engine.client.inspect_container(name)["Config"].get("Labels") or {}
            if labels.get(naming.PLACE) != self.engine.place or labels.get(naming.INSTANCE) != ref.instance_id:
                return GiveUp(
                    _n("NameTaken"), _m("A container named %(name)s exists that is not this portal's.", name=name),
                    _m("Rename or remove that container, or give this cluster another prefix of names."),
                )  # fmt: skip
        return Retry(_n("Busy"), _m("Somebody else is just starting %(ref)s.", ref=ref), timedelta(seconds=1))

    def _clear(self, ref: Ref) -> None:
        """Make room for a new run: the one before stays for its log, older ones go."""
        for entry in dependents_first(self.containers.of(ref, previous=True)):
            self.containers.discard(entry["Id"])
        for entry in dependents_first(self.containers.of(ref)):
            if entry["State"] == "created":
                if time.time() - entry["Created"] < FRESH:  # made since we looked
                    raise Retry(_n("Busy"), _m("Somebody else is just starting %(ref)s.", ref=ref), timedelta(seconds=1))
                self.containers.discard(entry["Id"])
            else:
                with suppress(docker.errors.NotFound):
                    self.engine.client.rename(entry["Id"], entry["Names"][0].lstrip("/") + naming.PREVIOUS)

    def resume(self, ref: Ref) -> Observed:
        self.containers.may_change(ref)
        with self.containers.locked(ref), map_errors(ref):
            main = self.containers.main(ref) if ref.unmanaged_id else None
            if main is None:
                raise unmanaged.gone(ref)
            if main["State"] == "paused":
                self.engine.client.unpause(main["Id"])
            elif main["State"] not in RUNS:
                self.engine.client.start(main["Id"])
        return self.observer.inspect(ref)

    def stop(self, ref: Ref, grace: float) -> None:
        self.containers.may_change(ref)
        with map_errors(ref):
            running = [entry["Id"] for entry in self.containers.of(ref) if entry["State"] in RUNS]
            main = None if ref.unmanaged_id else self.containers.main(ref)
            if main is not None and running:
                with suppress(docker.errors.APIError):  # it may end this very moment
                    self.notes.write(main["Id"], "stopping.json", {"container": main["Id"]})
        for container in running:
            # the engine itself counts the grace and kills, also when the portal is gone by then
            self.engine.pool.submit(self._stop, container, grace)

    def _stop(self, container: str, grace: float) -> None:
        client = self.engine.connect(grace + 30)
        with suppress(*BROKEN):
            client.stop(container, timeout=max(0, round(grace)))
        client.close()

    def kill(self, ref: Ref) -> None:
        self.containers.may_change(ref)
        with map_errors(ref):
            for entry in self.containers.of(ref):
                try:
                    self.engine.client.kill(entry["Id"])
                except docker.errors.APIError as error:
                    if not not_running(error):
                        raise

    def remove(self, ref: Ref, *, keep_data: bool) -> None:
        """Of what somebody else made only the container goes, with its nameless volumes unless the data is kept."""
        self.containers.may_change(ref)
        with self.containers.locked(ref), map_errors(ref):
            for entry in self.containers.of(ref):
                if entry["State"] in RUNS:
                    raise Conflict(_m("%(ref)s still runs. Stop it first.", ref=ref))
            for entry in dependents_first([*self.containers.of(ref), *self.containers.of(ref, previous=True)]):
                self.containers.discard(entry["Id"], volumes=not (ref.unmanaged_id and keep_data))
                self.observer.ends.forget(entry["Id"])
            if ref.unmanaged_id:
                return
            if not keep_data:
                self.volumes.remove(ref)
            self.networks.leave(ref)
