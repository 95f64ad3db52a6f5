"""What runs on the engine, now and as it changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import docker.errors

from clawportal.sdk.errors import Retry, Unavailable
from clawportal.sdk.runtimes import Observed, Ref, RunState
from clawportal_docker import naming, unmanaged
from clawportal_docker.containers import Containers, is_previous
from clawportal_docker.ends import Ends
from clawportal_docker.engine import TIMEOUT, Engine
from clawportal_docker.errors import BROKEN, map_errors
from clawportal_docker.notes import Notes
from clawportal_docker.streams import Pump

_CHANGES = ("start", "die", "oom", "destroy", "restart", "pause", "unpause", "health_status")


class Observer:
    def __init__(self, engine: Engine, containers: Containers, notes: Notes, ends: Ends) -> None:
        self.engine, self.containers, self.notes, self.ends = engine, containers, notes, ends
        self.streams: set[Pump] = set()
        """The engine's events as `watch` reads them now."""

    def inspect(self, ref: Ref) -> Observed:
        with map_errors(ref):
            if ref.unmanaged_id:
                return unmanaged.observed(ref, self.engine.client)
            return self.seen(ref, self.containers.of(ref), notes=True)

    def observe(self) -> list[Observed]:
        with map_errors():
            mine = self._group(self.containers.mine())
        others = self.engine.pool.map(self.inspect, list(self.containers.recognised.values()))
        return [*mine, *(seen for seen in others if seen.state is not RunState.ABSENT)]

    def _group(self, entries: Iterable[dict[str, Any]]) -> list[Observed]:
        found: dict[str, list[dict[str, Any]]] = {}
        for entry in entries:
            if not is_previous(entry):
                found.setdefault(entry["Labels"][naming.INSTANCE], []).append(entry)
        seen = (self.seen(naming.ref(group[0]["Labels"]), group) for group in found.values())
        return [one for one in seen if one.state is not RunState.ABSENT]

    def seen(self, ref: Ref, entries: list[dict[str, Any]], *, notes: bool = False) -> Observed:
        """One instance out of the list's entries: it runs when all its processes do."""
        entries = sorted(entries, key=lambda entry: (entry["Created"], entry["Names"][0]))
        main = next((entry for entry in entries if entry["Names"][0] == "/" + self.containers.name(ref)), None)
        if main is None or main["State"] == "created":
            return Observed(ref, RunState.ABSENT)
        digest = main["Labels"].get(naming.DIGEST, "")
        if notes and main["State"] == "running":
            note = self.notes.read(main["Id"], "applied.json")
            digest = note["digest"] if note.get("container") == main["Id"] else digest
        seen = Observed(
            ref, RunState.RUNNING, digest=digest, incarnation=main["Id"][:12], started_at=naming.moment(main["Created"])
        )
        ended = [entry for entry in entries if entry["State"] in ("exited", "dead", "removing")]
        if not ended:
            return seen
        if len(ended) < len(entries):  # one process without the others is no claw
            for entry in entries:
                if entry not in ended:
                    with suppress(docker.errors.APIError):
                        self.engine.client.kill(entry["Id"])
        return self._exited(seen, ended[0])

    def _exited(self, seen: Observed, entry: Mapping[str, Any]) -> Observed:
        state = self.ends.of(entry["Id"])
        code = int(state.get("ExitCode", 0))
        signal = code - 128 if 128 < code <= 128 + 64 else None
        reason, message = state.get("Why", ("", ""))
        return replace(
            seen, state=RunState.EXITED, exit_code=None if signal else code, exit_signal=signal,
            started_at=naming.when(state.get("StartedAt")) or seen.started_at, exited_at=naming.when(state.get("FinishedAt")),
            reason=reason, message=message,
        )  # fmt: skip

    def watch(self, stop: Callable[[], bool]) -> Iterator[Observed | None]:
        """The engine's own stream of events. After each new connection everything is told: something may have been missed."""
        first = True
        while not stop():
            client = self.engine.connect(TIMEOUT)
            try:
                with map_errors():  # of all containers: an instance may be one that somebody else made
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
            if event and str(event.get("Action", "")).partition(":")[0] in _CHANGES:
                seen = self._after(event)
                if seen is not None:
                    yield seen

    def _after(self, event: Mapping[str, Any]) -> Observed | None:
        """What is there now; None of what is no instance. The engine tells of an end a moment before its list does."""
        labels = event["Actor"]["Attributes"]
        if labels.get(naming.PLACE) != self.engine.place or labels.get(naming.ROLE) != "claw":
            known = self.containers.recognised.get(event["Actor"]["ID"])
            return self.inspect(known) if known is not None else None
        ref = naming.ref(labels)
        seen = self.inspect(ref)
        for _ in range(40):
            if event["Action"] != "die" or seen.state is not RunState.RUNNING or not event["id"].startswith(seen.incarnation):
                break
            time.sleep(0.05)
            seen = self.inspect(ref)
        return seen
