"""What runs on the engine, how it ended, and what it uses."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import docker.errors

from clawportal.sdk.errors import Retry, Unavailable
from clawportal.sdk.runtimes import Capacity, Observed, Ref, RunState, Sample
from clawportal_docker import naming, unmanaged
from clawportal_docker.diagnosis import past_events
from clawportal_docker.engine import TIMEOUT, Engine, is_previous
from clawportal_docker.errors import BROKEN, told
from clawportal_docker.streams import Pump

if TYPE_CHECKING:
    from clawportal.sdk.runtimes import Place
    from clawportal_docker.settings import DockerSettings

_DISK_EVERY = 600.0
_NOT_STARTED = re.compile(r"^\[FATAL \S+ \(\d+\)\] exec (?P<program>.+) failed: (?P<why>.+)$", re.MULTILINE)
"""What Docker's init says of a program that it cannot start. Podman's says it without the name:"""
_NOT_STARTED_BY_PODMAN = re.compile(r"^ERROR \(catatonit:\d+\): failed to exec pid1: (?P<why>.+)$", re.MULTILINE)
_TOLD = ("start", "die", "oom", "destroy", "restart", "pause", "unpause", "health_status")


class Looking(Engine):
    def __init__(self, place: Place, settings: DockerSettings) -> None:
        super().__init__(place, settings)
        self._disk: tuple[float, dict[str, int]] = (0.0, {})
        self.streams: set[Pump] = set()
        """The engine's events as `watch` reads them now."""

    def inspect(self, ref: Ref) -> Observed:
        with told(ref):
            if ref.unmanaged_id:
                return unmanaged.observed(ref, self._client)
            return self._observed(ref, self._containers(ref), notes=True)

    def observe(self) -> list[Observed]:
        with told():
            mine = self._group(self._mine())
        guests = self._pool.map(self.inspect, list(self._guests.values()))
        return [*mine, *(seen for seen in guests if seen.state is not RunState.ABSENT)]

    def _group(self, entries: Iterable[dict[str, Any]]) -> list[Observed]:
        found: dict[str, list[dict[str, Any]]] = {}
        for entry in entries:
            if not is_previous(entry):
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
        seen = Observed(ref, RunState.RUNNING, digest=digest, incarnation=main["Id"][:12], started_at=moment(main["Created"]))
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
        reason, message = state.get("Why", ("", ""))
        return replace(
            seen, state=RunState.EXITED, exit_code=None if signal else code, exit_signal=signal,
            started_at=naming.when(state.get("StartedAt")) or seen.started_at, exited_at=naming.when(state.get("FinishedAt")),
            reason=reason, message=message,
        )  # fmt: skip

    def _why(self, seen: Mapping[str, Any]) -> tuple[str, str]:
        """Reason and words of an end, out of what the engine tells of the container."""
        state = seen["State"]
        code = int(state.get("ExitCode", 0))
        if state.get("OOMKilled"):
            return "OutOfMemory", "It used more memory than its limit."
        if state.get("Error"):
            return "StartFailed", str(state["Error"])
        if code in (126, 127) or (code == 1 and self.podman):
            return self._missing(seen)
        if code == 137 and self.podman and self._likely_out_of_memory(seen):
            return "OutOfMemory", "It was killed, most likely because it used more memory than its limit."
        return "", ""

    def _missing(self, seen: Mapping[str, Any]) -> tuple[str, str]:
        """The engine only knows the code: the init process of the container says what it could not start."""
        ended = naming.when(seen["State"].get("FinishedAt"))
        # not by a number of lines: Podman loses the first piece of a line that was written in two when it counts from the end
        since = int(ended.timestamp()) - 1 if ended else None
        with suppress(*BROKEN):
            said = self._client.logs(seen["Id"], stdout=False, stderr=True, since=since).decode("utf-8", "replace")
            if found := _NOT_STARTED.search(said):
                return "CommandMissing", f"{found['program']} cannot be started: {found['why']}."
            if found := _NOT_STARTED_BY_PODMAN.search(said):
                program = [*(seen["Config"].get("Entrypoint") or []), "The program"][0]
                return "CommandMissing", f"{program} cannot be started: {found['why']}."
        return "", ""

    def _likely_out_of_memory(self, seen: Mapping[str, Any]) -> bool:
        """Podman may miss why the kernel killed something: it had a limit, and nobody has asked the engine to end it."""
        if not seen["HostConfig"].get("Memory"):
            return False
        with suppress(*BROKEN):
            if self._read_note(seen["Id"], "stopping.json").get("container") == seen["Id"]:
                return False
            asked = past_events(self._client, {"container": [seen["Id"]]}, podman=True)
            return not any(event.get("Action") in ("kill", "stop") for event in asked)
        return False

    def _end_of(self, container: str) -> Mapping[str, Any]:
        """The engine is asked once for each container that has exited."""
        known = self._ended.get(container)
        if known is None:
            try:
                seen = self._client.inspect_container(container)
            except docker.errors.NotFound:
                return {}
            known = seen["State"]
            if known["Status"] in ("exited", "dead"):
                known = {**known, "Why": self._why(seen)}
                with self._guard:
                    if len(self._ended) > 20_000:
                        self._ended.clear()
                    self._ended[container] = known
        return known

    def watch(self, stop: Callable[[], bool]) -> Iterator[Observed | None]:
        """The engine's own stream of events. After each new connection everything is told: something may have been missed."""
        first = True
        while not stop():
            client = self._connect(TIMEOUT)
            try:
                with told():  # of all containers: an instance may be one that somebody else made
                    stream = client.events(decode=True, filters={"type": "container"})
                pump = Pump(iter(stream), stream.close)
                self.streams.add(pump)
                try:
                    yield None
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
            if event and str(event.get("Action", "")).partition(":")[0] in _TOLD:
                seen = self._after(event)
                if seen is not None:
                    yield seen

    def _after(self, event: Mapping[str, Any]) -> Observed | None:
        """What is there now; None of what is no instance. The engine tells of an end a moment before its list does."""
        labels = event["Actor"]["Attributes"]
        if labels.get(naming.PLACE) != self.place or labels.get(naming.ROLE) != "claw":
            guest = self._guests.get(event["Actor"]["ID"])
            return self.inspect(guest) if guest is not None else None
        ref = _ref(labels)
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
            running = [entry for entry in self._mine(everywhere=False) if not is_previous(entry)]
            guests = self._guests
            running += self._strangers(guests, everywhere=False)
        disk = self._disk_used()
        found: dict[str, Sample] = {}
        for entry, stats in zip(running, self._pool.map(self._stats, running), strict=True):
            if not stats.get("memory_stats"):
                continue
            ref = guests.get(entry["Id"]) or _ref(entry["Labels"])
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
                mine = self._client.volumes(filters={"label": f"{naming.PLACE}={self.place}"}).get("Volumes") or []
                of = {volume["Name"]: volume["Labels"][naming.INSTANCE] for volume in mine}  # Podman's sizes have no labels
                volumes = self._slow.df().get("Volumes") or []
                found = {
                    of[volume["Name"]]: int(volume["UsageData"]["Size"])
                    for volume in volumes
                    if volume["Name"] in of and volume.get("UsageData")
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


def _ref(labels: Mapping[str, str]) -> Ref:
    return Ref(labels[naming.INSTANCE], labels.get(naming.NAME, ""), labels.get(naming.TENANT, ""))


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _sum(before: Sample | None, one: Sample) -> Sample:
    if before is None:
        return one
    return replace(
        one, cpu_seconds=before.cpu_seconds + one.cpu_seconds, memory_bytes=before.memory_bytes + one.memory_bytes,
        processes=before.processes + one.processes,
    )  # fmt: skip
