"""The runtime of one Docker Engine or Podman: see `clawportal.types.Runtime`.

The state is the engine's: labels say what belongs to which instance, and a note in the volume what was written last. So
any portal that opens the same engine sees the same. A name can be taken once only: that is the lock between portals.
"""

from __future__ import annotations

import json
import re
import secrets as random_bytes
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import docker
import docker.errors
from docker.tls import TLSConfig

from clawportal.errors import Conflict, GiveUp, Retry, Unavailable
from clawportal.runtimes import Without
from clawportal.types import (
    Artifact,
    Capacity,
    DoctorResult,
    ExecSession,
    FileEntry,
    Foreign,
    Image,
    Layout,
    LogLine,
    Observed,
    Progress,
    Ref,
    RunState,
    RuntimeEvent,
    Sample,
    Workload,
)
from clawportal_docker import archives, diagnosis, images, logs, naming
from clawportal_docker.errors import BROKEN, told
from clawportal_docker.streams import Exec, Pump

if TYPE_CHECKING:
    from clawportal.types import Place
    from clawportal_docker.driver import DockerSettings

API = "1.41"
"""Docker Engine 20.10 and Podman 4 speak it; nothing newer is needed."""
_TIMEOUT = 30
_LONG = 600
_FRESH = 60.0
"""Seconds in which a container that was created and not yet started belongs to somebody who is just starting it."""
_DISK_EVERY = 600.0
_WORDS = re.compile(r"Exited \((\d+)\)")
_NOT_STARTED = re.compile(r"^\[FATAL \S+ \(\d+\)\] exec (.+) failed: (.+)$")
_ZERO = "0001-01-01T00:00:00Z"
_LIST = r"""cd -P -- "$1" && cd -P -- "$2" || exit 44
case "$(pwd -P)" in "$3"|"$3"/*) ;; *) exit 77;; esac
for f in * .[!.]* ..?*; do if [ -e "$f" ] || [ -L "$f" ]; then stat -c '%f %s %Y' -- "$f" && printf '%s\0' "$f"; fi; done"""
_END = r"""p=$(cat "$1") || exit 0
kill -HUP -- -"$p" 2>/dev/null || kill -HUP "$p"
sleep 0.2
kill -KILL -- -"$p" 2>/dev/null; kill -KILL "$p"; rm -f -- "$1"; exit 0"""
_WHERE = r"""cd -P -- "$1" && cd -P -- "$2" || exit 44
case "$(pwd -P)" in "$3"|"$3"/*) ;; *) exit 77;; esac
if [ -L "$4" ]; then exit 78; fi
if [ -n "$4" ] && [ ! -e "$4" ]; then exit 44; fi"""


class DockerRuntime(Without):
    title = "This container engine"

    def __init__(self, place: Place, settings: DockerSettings) -> None:
        self.settings = settings
        self.place = place.cluster_id
        self.data = Path(place.data_dir)
        shared = {"allocated-ports"} if settings.network == "host" else set()
        self.capabilities = frozenset({
            "images", "images.pull", "processes", "logs", "logs.streams", "logs.previous", "metrics", "metrics.disk",
            "limits.memory", "limits.cpu",
            "limits.processes", "exec", "files", "events", "import", *shared,
        })  # fmt: skip
        self._tls = self._certificates()
        self._client = self._connect(_TIMEOUT)
        self._slow = self._connect(_LONG)
        """For calls that the engine only answers when they are done."""
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._ended: dict[str, Mapping[str, Any]] = {}
        """What is known of containers that have exited: that never changes again."""
        self._disk: tuple[float, dict[str, int]] = (0.0, {})
        self.streams: set[Pump] = set()
        """The engine's events as `watch` reads them now."""
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="docker")

    def _certificates(self) -> TLSConfig | bool:
        """The client wants files: they lie in the cluster's own folder, readable by nobody else."""
        if not (self.settings.tls_ca or self.settings.tls_cert):
            return False
        folder = self.data / "tls"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths = {}
        for name in ("tls_ca", "tls_cert", "tls_key"):
            text = getattr(self.settings, name)
            if text:
                paths[name] = folder / f"{name}.pem"
                paths[name].touch(mode=0o600)
                paths[name].write_text(text.strip() + "\n", encoding="ascii")
        pair = (str(paths["tls_cert"]), str(paths["tls_key"])) if "tls_cert" in paths else None
        return TLSConfig(client_cert=pair, ca_cert=str(paths["tls_ca"]) if "tls_ca" in paths else None, verify=True)

    def _connect(self, timeout: float) -> docker.APIClient:
        ssh = self.settings.url.startswith("ssh://")
        try:
            return docker.APIClient(
                self.settings.url, version=API, timeout=int(timeout), tls=self._tls, use_ssh_client=ssh, num_pools=16,
                max_pool_size=64,
            )  # fmt: skip
        except BROKEN as error:
            raise Unavailable(f"The container engine cannot be reached at {self.settings.url}: {error}") from error

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for client in (self._client, self._slow):
            with suppress(*BROKEN):
                client.close()

    # ---- what belongs to an instance

    def _name(self, ref: Ref, suffix: str = "") -> str:
        if not naming.valid_id(ref.instance_id):
            raise GiveUp(
                "InvalidId", f"{ref.instance_id!r} cannot be the id of an instance.",
                "Use letters, digits, dot, dash and underscore.",
            )  # fmt: skip
        return naming.base_name(self.settings.prefix, ref) + suffix

    def _volume(self, ref: Ref) -> str:
        return self._name(ref, "-data")

    @contextmanager
    def _locked(self, ref: Ref) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(ref.instance_id, threading.Lock())
        if not lock.acquire(timeout=60):
            raise Retry("Busy", "Another change of this instance is still under way.", timedelta(seconds=2))
        try:
            yield
        finally:
            lock.release()

    def _mine(self, *more: str, everywhere: bool = True) -> list[dict[str, Any]]:
        filters = {"label": [f"{naming.PLACE}={self.place}", f"{naming.ROLE}=claw", *more]}
        return self._client.containers(all=everywhere, filters=filters)  # type: ignore[no-any-return]  # untyped client

    def _containers(self, ref: Ref, *, previous: bool = False) -> list[dict[str, Any]]:
        """Of one instance, the first process first."""
        self._name(ref)
        found = self._mine(f"{naming.INSTANCE}={ref.instance_id}")
        chosen = [entry for entry in found if _is_previous(entry) == previous]
        return sorted(chosen, key=lambda entry: (entry["Created"], entry["Names"][0]))

    def _main(self, ref: Ref) -> dict[str, Any] | None:
        """The container of the first process; None where there is none."""
        name = "/" + self._name(ref)
        return next((entry for entry in self._containers(ref) if name in entry["Names"]), None)

    def layout(self, ref: Ref, artifacts: Iterable[Artifact], image: Image | None = None) -> Layout:
        self._name(ref)
        return naming.layout(image.artifacts if image else {})

    # ---- images

    def prepared(self, artifact: Artifact) -> bool:
        with told():
            try:
                self._client.inspect_image(artifact.packages[0])
            except docker.errors.ImageNotFound:
                return False
            return True

    def prepare(self, artifact: Artifact, progress: Progress) -> None:
        images.pull(self._connect(_LONG), artifact.packages[0], progress)

    # ---- files

    def write_files(self, ref: Ref, workload: Workload) -> None:
        with self._locked(ref), told(ref):
            main = self._main(ref)
            if main is None:
                raise Retry("Gone", f"{ref} is not there.")
            self._write(ref, main["Id"], workload)
            if main["State"] == "running":
                self._note(main["Id"], "applied.json", {"container": main["Id"], "digest": workload.digest()})

    def _write(self, ref: Ref, container: str, workload: Workload) -> None:
        image = workload.image or Image("")
        seeds = {(file.root, file.path) for file in workload.files if file.policy == "seed_once"}
        there = {key for key in seeds if self._exists(container, f"{naming.BASE}/{key[0]}/{archives.inside(key[1])}")}
        files = [file for file in workload.files if (file.root, file.path) not in there]
        self._client.put_archive(container, naming.BASE, archives.of_files(files, image.uid, image.gid))
        owned = sorted([file.root, file.path] for file in workload.files if file.policy == "always")
        former = self._read_note(container, "owned.json").get("files", [])
        lost = [item for item in former if item not in owned]
        if lost:
            paths = [f"{naming.BASE}/{root}/{archives.inside(path)}" for root, path in lost]
            self._hand(ref, workload.image, ("rm", "-f", "--", *paths))
        if former != owned:
            self._note(container, "owned.json", {"files": owned})

    def _exists(self, container: str, path: str) -> bool:
        try:
            stream, _ = self._client.get_archive(container, path)
        except docker.errors.NotFound:
            return False
        stream.close()
        return True

    def _note(self, container: str, name: str, document: object) -> None:
        self._client.put_archive(container, naming.BASE, archives.of_note(name, document))

    def _read_note(self, container: str, name: str) -> dict[str, Any]:
        try:
            stream, _ = self._client.get_archive(container, f"{naming.BASE}/.clawportal/{name}")
        except docker.errors.NotFound:
            return {}
        found = json.loads(archives.first_file(stream, 1_000_000) or b"{}")
        return found if isinstance(found, dict) else {}

    def _hand(
        self, ref: Ref, image: Image | None, argv: Sequence[str], *, reference: str = "", user: str = "0:0"
    ) -> tuple[int, bytes]:
        """A helper that lives for a moment: the same image and volume, no network, nothing else. Exit code and output."""
        config = {
            "Image": image.reference if image else reference, "Entrypoint": list(argv), "Cmd": [], "User": user, "Env": [],
            "Labels": naming.labels(self.place, ref, "hand"), "NetworkDisabled": True, "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": {
                "CapDrop": ["ALL"], "CapAdd": ["DAC_OVERRIDE"] if user == "0:0" else [], "SecurityOpt": ["no-new-privileges"],
                "PidsLimit": 64, "Memory": 256 << 20, "NetworkMode": "none", "ReadonlyRootfs": True,
                "Mounts": [{"Type": "volume", "Source": self._volume(ref), "Target": naming.BASE}],
            },
        }  # fmt: skip
        made = self._client.create_container_from_config(config)
        try:
            self._client.start(made["Id"])
            code = self._slow.wait(made["Id"])["StatusCode"]
            return code, self._client.logs(made["Id"], stdout=True, stderr=False)
        finally:
            self._discard(made["Id"], volumes=True)

    def _discard(self, container: str, *, volumes: bool = False) -> None:
        with suppress(docker.errors.NotFound):
            self._slow.remove_container(container, force=True, v=volumes)

    def read_file(self, ref: Ref, root: str, path: str, limit: int) -> bytes:
        if root not in naming.ROOTS:
            raise FileNotFoundError(2, "there is no such root", root)
        pure = PurePosixPath(archives.inside(path))
        with told(ref):
            self._find(ref, root, str(pure.parent), pure.name)
            main = self._any(ref)
            try:
                stream, _ = self._client.get_archive(main["Id"], f"{naming.BASE}/{root}/{pure}")
            except docker.errors.NotFound as error:
                raise FileNotFoundError(2, "there is no such file", path) from error
            return archives.first_file(stream, limit)

    # ---- starting

    def apply(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> Observed:
        if workload.image is None or not workload.processes:
            raise GiveUp("NothingToRun", f"The workload of {ref} names no image or no process.")
        values = [_values(process.secret_env, secrets, ref) for process in workload.processes]
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
                for container in made:
                    self._discard(container)
                raise
        return self.inspect(ref)

    def _already(self, ref: Ref, workload: Workload) -> Observed | None:
        """What runs already, when it is exactly this."""
        main = self._main(ref)
        if main is None or main["State"] not in ("running", "paused", "restarting", "created"):
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
        for entry in self._containers(ref, previous=True):
            self._discard(entry["Id"])
        for entry in self._containers(ref):
            if entry["State"] == "created":
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
        """Name of the network that the instance joins; the tenant's own is made when it is missed."""
        if self.settings.network != "tenant":
            return self.settings.network
        tenant = ref.tenant or "none"
        label = f"{naming.TENANT}={tenant}"
        found = self._client.networks(filters={"label": [f"{naming.PLACE}={self.place}", label]})
        if found:
            return str(found[0]["Name"])
        name = f"{self.settings.prefix}-{tenant.lower()}"
        with suppress(docker.errors.APIError):  # made by another portal a moment ago: then it is there
            self._client.create_network(
                name, driver="bridge", check_duplicate=True, labels={naming.PLACE: self.place, naming.TENANT: tenant}
            )
            return name
        if not self._client.networks(names=[name]):
            raise Retry("NetworkMissing", f"The network {name} cannot be made.")
        return name

    # ---- judging a candidate

    def check(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> None:
        check = workload.check
        if check is None or workload.image is None:
            return
        values = _values(check.secret_env, secrets, ref)
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

    def stop(self, ref: Ref, grace: float) -> None:
        with told(ref):
            running = [entry["Id"] for entry in self._containers(ref) if entry["State"] in ("running", "paused", "restarting")]
            main = self._main(ref)
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
        with told(ref):
            for entry in self._containers(ref):
                try:
                    self._client.kill(entry["Id"])
                except docker.errors.APIError as error:
                    if error.status_code not in (404, 409):  # 409: it does not run
                        raise

    def remove(self, ref: Ref, *, keep_data: bool) -> None:
        with self._locked(ref), told(ref):
            for entry in self._containers(ref):
                if entry["State"] in ("running", "paused", "restarting"):
                    raise Conflict(f"{ref} still runs. Stop it first.")
            for entry in [*self._containers(ref), *self._containers(ref, previous=True)]:
                self._discard(entry["Id"], volumes=True)
                self._ended.pop(entry["Id"], None)
            if not keep_data:
                self._remove_volume(ref)

    def _remove_volume(self, ref: Ref) -> None:
        try:
            found = self._client.inspect_volume(self._volume(ref))
            if (found.get("Labels") or {}).get(naming.PLACE) == self.place:
                self._slow.remove_volume(self._volume(ref))
        except docker.errors.NotFound:
            return

    # ---- looking

    def inspect(self, ref: Ref) -> Observed:
        with told(ref):
            return self._observed(ref, self._containers(ref), notes=True)

    def observe(self) -> list[Observed]:
        with told():
            return self._group(self._mine())

    def _group(self, entries: Iterable[dict[str, Any]]) -> list[Observed]:
        found: dict[str, list[dict[str, Any]]] = {}
        for entry in entries:
            if not _is_previous(entry):
                found.setdefault(entry["Labels"][naming.INSTANCE], []).append(entry)
        seen = (self._observed(_ref(group[0]["Labels"]), group) for group in found.values())
        return [one for one in seen if one.state is not RunState.ABSENT]

    def _observed(self, ref: Ref, entries: list[dict[str, Any]], *, notes: bool = False) -> Observed:
        """One instance out of the list's entries: it runs when all its processes do."""
        entries = sorted(entries, key=lambda entry: (entry["Created"], entry["Names"][0]))
        main = next((entry for entry in entries if entry["Names"][0] == "/" + self._name(ref)), None)
        if main is None or main["State"] == "created":
            return Observed(ref, RunState.ABSENT)
        digest = main["Labels"].get(naming.DIGEST, "")
        if notes and main["State"] == "running":
            note = self._read_note(main["Id"], "applied.json")
            digest = note["digest"] if note.get("container") == main["Id"] else digest
        seen = Observed(ref, RunState.RUNNING, digest=digest, incarnation=main["Id"][:12], started_at=_at(main["Created"]))
        ended = [entry for entry in entries if entry["State"] in ("exited", "dead", "removing")]
        if not ended:
            return seen
        if len(ended) < len(entries):  # one process without the others is no claw
            for entry in entries:
                if entry not in ended:
                    with suppress(docker.errors.APIError):
                        self._client.kill(entry["Id"])
        return self._exited(seen, ended[0])

    def _exited(self, seen: Observed, entry: Mapping[str, Any]) -> Observed:
        state = self._end_of(entry["Id"])
        code = int(state.get("ExitCode", 0))
        signal = code - 128 if 128 < code <= 128 + 64 else None
        reason, message = ("OutOfMemory", "It used more memory than its limit.") if state.get("OOMKilled") else ("", "")
        if state.get("Error"):
            reason, message = "StartFailed", str(state["Error"])
        elif code in (126, 127):
            reason, message = self._missing(entry["Id"])
        return replace(
            seen, state=RunState.EXITED, exit_code=None if signal else code, exit_signal=signal,
            started_at=_when(state.get("StartedAt")) or seen.started_at, exited_at=_when(state.get("FinishedAt")), reason=reason,
            message=message,
        )  # fmt: skip

    def _missing(self, container: str) -> tuple[str, str]:
        """The engine only knows the code: the init process of the container says what it could not start."""
        with suppress(*BROKEN):
            said = self._client.logs(container, stdout=False, stderr=True, tail=1).decode("utf-8", "replace").strip()
            found = _NOT_STARTED.search(said)
            if found:
                return "CommandMissing", f"{found[1]} cannot be started: {found[2]}."
        return "", ""

    def _end_of(self, container: str) -> Mapping[str, Any]:
        """The engine is asked once for each container that has exited."""
        known = self._ended.get(container)
        if known is None:
            try:
                known = self._client.inspect_container(container)["State"]
            except docker.errors.NotFound:
                return {}
            if known["Status"] in ("exited", "dead"):
                with self._guard:
                    if len(self._ended) > 20_000:
                        self._ended.clear()
                    self._ended[container] = known
        return known

    def watch(self, stop: Callable[[], bool]) -> Iterator[Observed]:
        """The engine's own stream of events. After each new connection everything is told: something may have been missed."""
        first = True
        while not stop():
            client = self._connect(_TIMEOUT)
            filters = {"type": "container", "label": [f"{naming.PLACE}={self.place}", f"{naming.ROLE}=claw"]}
            try:
                with told():
                    stream = client.events(decode=True, filters=filters)
                pump = Pump(iter(stream), stream.close)
                self.streams.add(pump)
                try:
                    if not first:
                        yield from self.observe()
                    first = False
                    yield from self._changes(pump, stop)
                finally:
                    self.streams.discard(pump)
                    pump.close()
            except (Unavailable, Retry):
                pass
            finally:
                with suppress(*BROKEN):
                    client.close()
            for _ in range(20):
                if not stop():
                    time.sleep(0.1)

    def _changes(self, pump: Pump, stop: Callable[[], bool]) -> Iterator[Observed]:
        while not stop():
            event = pump.get(0.5)
            if event is Pump.END:
                return
            if event and event.get("Action") in ("start", "die", "oom", "destroy", "restart", "pause", "unpause"):
                yield self._after(event)

    def _after(self, event: Mapping[str, Any]) -> Observed:
        """What is there now. The engine tells of an end a moment before its list does."""
        ref = _ref(event["Actor"]["Attributes"])
        seen = self.inspect(ref)
        for _ in range(40):
            if event["Action"] != "die" or seen.state is not RunState.RUNNING or not event["id"].startswith(seen.incarnation):
                break
            time.sleep(0.05)
            seen = self.inspect(ref)
        return seen

    # ---- measuring

    def sample(self) -> list[Sample]:
        """The engine has no call for all: one for each that runs, several at a time, none of which waits for a second reading."""
        with told():
            running = [entry for entry in self._mine(everywhere=False) if not _is_previous(entry)]
        disk = self._disk_used()
        found: dict[str, Sample] = {}
        for entry, stats in zip(running, self._pool.map(self._stats, running), strict=True):
            if not stats.get("memory_stats"):
                continue
            ref = _ref(entry["Labels"])
            memory = stats["memory_stats"]
            cache = memory.get("stats", {}).get("total_inactive_file", memory.get("stats", {}).get("inactive_file", 0))
            one = Sample(
                ref, stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9, max(0, int(memory.get("usage", 0)) - int(cache)),
                int(stats.get("pids_stats", {}).get("current") or 0), datetime.now(UTC), disk.get(ref.instance_id),
            )  # fmt: skip
            found[ref.instance_id] = _sum(found.get(ref.instance_id), one)
        return list(found.values())

    def _stats(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self._client.stats(entry["Id"], stream=False, one_shot=True)  # type: ignore[no-any-return]  # untyped client
        except BROKEN:
            return {}

    def _disk_used(self) -> dict[str, int]:
        """Measuring volumes is dear for the engine: what was found is good for ten minutes."""
        at, found = self._disk
        if time.monotonic() - at > _DISK_EVERY or not at:
            self._disk = (time.monotonic(), found)
            with suppress(*BROKEN):
                volumes = self._slow.df().get("Volumes") or []
                found = {
                    volume["Labels"][naming.INSTANCE]: int(volume["UsageData"]["Size"])
                    for volume in volumes
                    if (volume.get("Labels") or {}).get(naming.PLACE) == self.place and volume.get("UsageData")
                }
                self._disk = (time.monotonic(), found)
        return found

    def capacity(self) -> Capacity:
        with told():
            info = self._client.info()
        total = int(info.get("MemTotal", 0))
        disk = (0, 0)
        with suppress(OSError, ValueError):  # of another machine: nobody tells
            if self.settings.url.startswith("unix:"):
                usage = shutil.disk_usage(info.get("DockerRootDir") or "/")
                disk = (usage.total, usage.free)
        used = sum(sample.memory_bytes for sample in self.sample())
        return Capacity(float(info.get("NCPU", 0)), total, max(0, total - used), *disk)

    # ---- logs

    def logs(
        self, ref: Ref, *, tail: int | None = None, since: datetime | None = None, follow: bool = False,
        previous: bool = False, stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[LogLine | None]:  # fmt: skip
        with told(ref):
            found = self._containers(ref, previous=previous)
        chosen = [(entry["Id"], entry["Labels"].get(naming.PROCESS, "")) for entry in found]
        return logs.read(self._connect, chosen, tail=tail, since=since, follow=follow and not previous, stop=stop)

    # ---- commands

    def exec(self, ref: Ref, argv: Sequence[str], *, tty: bool = False, columns: int = 80, rows: int = 24) -> ExecSession:
        with told(ref):
            main = self._main(ref)
            if main is None or main["State"] != "running":
                raise Conflict(f"{ref} does not run, so nothing can be run in it.")
            user = main["Labels"].get(naming.USER, "")
            if self._run(main["Id"], ("/bin/sh", "-c", 'command -v -- "$1" >/dev/null', "sh", argv[0]), user)[0] != 0:
                raise GiveUp("CommandNotFound", f"There is no program {argv[0]!r} in {ref}.", "Check its name.")
            mark = f"{naming.TMP}/.clawportal-{random_bytes.token_hex(6)}"
            script = 'echo $$ > "$0"; exec "$@"'
            made = self._client.exec_create(
                main["Id"], ["/bin/sh", "-c", script, mark, *argv], stdin=True, tty=tty, user=user,
                environment={"TERM": "xterm-256color"} if tty else None,
            )  # fmt: skip
            sock = self._slow.exec_start(made["Id"], tty=tty, socket=True)
        argv_of_end = ("/bin/sh", "-c", _END, "sh", mark)
        session = Exec(
            self._client, made["Id"], sock, tty=tty,
            end=lambda: self._run(main["Id"], argv_of_end, user) and None,
        )  # fmt: skip
        session.resize(columns, rows)
        return session

    def _run(self, container: str, argv: Sequence[str], user: str) -> tuple[int, bytes]:
        made = self._client.exec_create(container, list(argv), user=user)
        output = self._slow.exec_start(made["Id"])
        return int(self._client.exec_inspect(made["Id"])["ExitCode"] or 0), output

    # ---- files for people

    def _any(self, ref: Ref) -> dict[str, Any]:
        """A container with the instance's volume, running or not."""
        found = self._main(ref) or next(iter(self._containers(ref, previous=True)), None)
        if found is None:
            raise Conflict(f"{ref} was never started, so it has no files yet.")
        return found

    def _ask(self, ref: Ref, script: str, *arguments: str) -> tuple[int, bytes]:
        """Run a script beside the instance's files: in the claw where it runs, otherwise in a helper with the same volume."""
        main = self._any(ref)
        argv = ("/bin/sh", "-c", script, "sh", *arguments)
        user = main["Labels"].get(naming.USER, "")
        if main["State"] == "running":
            return self._run(main["Id"], argv, user)
        return self._hand(ref, None, argv, reference=main["ImageID"], user=user)

    def _find(self, ref: Ref, root: str, folder: str, name: str = "") -> None:
        """FileNotFoundError, or GiveUp where links lead out of the root."""
        base = f"{naming.BASE}/{root}"
        code, _ = self._ask(ref, _WHERE, base, folder or ".", base, name)
        if code in (77, 78):
            raise archives.unsafe(f"{folder}/{name}")
        if code:
            raise FileNotFoundError(2, "there is no such file", f"{folder}/{name}")

    def list_files(self, ref: Ref, root: str, path: str = "") -> list[FileEntry]:
        if root not in naming.ROOTS:
            raise FileNotFoundError(2, "there is no such root", root)
        folder, base = archives.inside(path) or ".", f"{naming.BASE}/{root}"
        with told(ref):
            code, output = self._ask(ref, _LIST, base, folder, base)
        if code == 77:
            raise archives.unsafe(path)
        if code:
            raise FileNotFoundError(2, "there is no such folder", path)
        found = [_entry(item) for item in output.split(b"\0") if item.strip()]
        return sorted(found, key=lambda entry: entry.name)

    def pull(self, ref: Ref, root: str, path: str = "") -> Iterator[bytes]:
        if root not in naming.ROOTS:
            raise FileNotFoundError(2, "there is no such root", root)
        inner = archives.inside(path)
        pure = PurePosixPath(inner)
        client = self._connect(_LONG)
        with told(ref):
            self._find(ref, root, str(pure.parent) if inner else "", pure.name)
            whole = f"{naming.BASE}/{root}/{inner}" if inner else f"{naming.BASE}/{root}/."
            stream, _ = client.get_archive(self._any(ref)["Id"], whole, chunk_size=256 * 1024)
        return archives.pieces(stream, client.close)

    def push(self, ref: Ref, root: str, path: str, chunks: Iterable[bytes]) -> None:
        if root not in naming.ROOTS:
            raise FileNotFoundError(2, "there is no such root", root)
        folder = archives.inside(path)
        with told(ref):
            main = self._any(ref)
            links = self._links(ref, root)
            pure = PurePosixPath(folder)
            if links.intersection(map(str, (pure, *pure.parents))):
                raise archives.unsafe(folder)
            uid, _, gid = main["Labels"].get(naming.USER, "1000:1000").partition(":")
            how = archives.Cleaned(folder, int(uid), int(gid or uid), links)
            stream = archives.cleaned(chunks, how)
            try:
                self._connect(_LONG).put_archive(main["Id"], f"{naming.BASE}/{root}", stream)
            except BaseException:
                if how.current:  # a part of it may have arrived
                    self._ask(ref, 'rm -f -- "$1"', f"{naming.BASE}/{root}/{how.current}")
                raise

    def _links(self, ref: Ref, root: str) -> frozenset[str]:
        """The symbolic links in a root: the engine would follow them."""
        code, output = self._ask(ref, 'cd -P -- "$1" && find . -type l -print0', f"{naming.BASE}/{root}")
        if code:
            raise FileNotFoundError(2, "there is no such root", root)
        return frozenset(item.decode("utf-8", "surrogateescape").removeprefix("./") for item in output.split(b"\0") if item)

    # ---- the rest

    def open_port(self, ref: Ref, port: int) -> tuple[str, int]:
        if self.settings.network == "host":
            return self._engine_host(), port
        with told(ref):
            main = self._main(ref)
            if main is None or main["State"] != "running":
                raise Unavailable(f"{ref} does not run.")
            if self.settings.by_address:
                for network in (main.get("NetworkSettings") or {}).get("Networks", {}).values():
                    if network.get("IPAddress"):
                        return str(network["IPAddress"]), port
            for opened in main.get("Ports") or []:
                if opened.get("PrivatePort") == port and opened.get("PublicPort"):
                    return self._engine_host(), int(opened["PublicPort"])
        raise Unavailable(f"{ref} has no address yet.")

    def _engine_host(self) -> str:
        if "://" not in self.settings.url or self.settings.url.startswith("unix:"):
            return "127.0.0.1"
        return self.settings.url.split("://", 1)[1].rsplit("@", 1)[-1].split(":")[0].split("/")[0]

    def port_free(self, port: int) -> bool:
        return diagnosis.port_free(port)

    def events(self, ref: Ref) -> list[RuntimeEvent]:
        with told(ref):
            return diagnosis.events(self._connect(10), ref)

    def diagnose(self) -> list[DoctorResult]:
        return diagnosis.findings(self._connect, self.settings)

    def version(self) -> str:
        with told():
            return diagnosis.version(self._client)

    def foreign(self) -> list[Foreign]:
        with told():
            return diagnosis.foreign(self._client)


# --------------------------------------------------------------------------------------------------------------------
# Small steps


def _is_previous(entry: Mapping[str, Any]) -> bool:
    return any(name.endswith(naming.PREVIOUS) for name in entry["Names"])


def _ref(labels: Mapping[str, str]) -> Ref:
    return Ref(labels[naming.INSTANCE], labels.get(naming.NAME, ""), labels.get(naming.TENANT, ""))


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _when(text: str | None) -> datetime | None:
    """The engine writes nanoseconds, which Python does not read."""
    if not text or text == _ZERO:
        return None
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).replace("Z", "+00:00"))


def _values(names: Mapping[str, str], secrets: Mapping[str, str], ref: Ref) -> dict[str, str]:
    missing = sorted({secret for secret in names.values() if secret not in secrets})
    if missing:
        raise GiveUp(
            "SecretMissing", f"{ref} needs the secret {', '.join(missing)}.", "Enter it in the configuration of the instance."
        )
    return {variable: secrets[secret] for variable, secret in names.items()}


def _sum(before: Sample | None, one: Sample) -> Sample:
    if before is None:
        return one
    return replace(
        one, cpu_seconds=before.cpu_seconds + one.cpu_seconds, memory_bytes=before.memory_bytes + one.memory_bytes,
        processes=before.processes + one.processes,
    )  # fmt: skip


_KINDS = {0o100000: "file", 0o040000: "folder", 0o120000: "link"}


def _entry(item: bytes) -> FileEntry:
    told, _, name = item.lstrip(b"\n").partition(b"\n")
    mode, size, modified = told.split()
    raw = int(mode, 16)
    kind: Any = _KINDS.get(raw & 0o170000, "other")
    return FileEntry(name.decode("utf-8", "surrogateescape"), kind, int(size), _at(float(modified)), raw & 0o7777)
