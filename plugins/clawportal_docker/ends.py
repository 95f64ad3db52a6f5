"""How a container ended, and why: what the engine tells of it, and what it keeps to itself."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import docker.errors

from clawportal.sdk import _m, _n
from clawportal_docker import naming
from clawportal_docker.diagnosis import past_events
from clawportal_docker.engine import Engine
from clawportal_docker.errors import BROKEN
from clawportal_docker.notes import Notes

_NOT_STARTED = re.compile(r"^\[FATAL \S+ \(\d+\)\] exec (?P<program>.+) failed: (?P<why>.+)$", re.MULTILINE)
"""What Docker's init says of a program that it cannot start. Podman's says it without the name:"""
_NOT_STARTED_BY_PODMAN = re.compile(r"^ERROR \(catatonit:\d+\): failed to exec pid1: (?P<why>.+)$", re.MULTILINE)
_REMEMBERED = 20_000


class Ends:
    """The engine is asked once for each container that has exited: that never changes again."""

    def __init__(self, engine: Engine, notes: Notes) -> None:
        self.engine, self.notes = engine, notes
        self._known: dict[str, Mapping[str, Any]] = {}
        self._guard = threading.Lock()

    def of(self, container: str) -> Mapping[str, Any]:
        """`State` as the engine tells it, with `Why` (reason and message) when it has ended. Empty when it is gone."""
        known = self._known.get(container)
        if known is None:
            try:
                seen = self.engine.client.inspect_container(container)
            except docker.errors.NotFound:
                return {}
            known = seen["State"]
            if known["Status"] in ("exited", "dead"):
                known = {**known, "Why": self._why(seen)}
                with self._guard:
                    if len(self._known) > _REMEMBERED:
                        self._known.clear()
                    self._known[container] = known
        return known

    def forget(self, container: str) -> None:
        self._known.pop(container, None)

    def _why(self, seen: Mapping[str, Any]) -> tuple[str, str]:
        """Reason and words of an end, out of what the engine tells of the container."""
        state = seen["State"]
        code = int(state.get("ExitCode", 0))
        if state.get("OOMKilled"):
            return "OutOfMemory", _m("It used more memory than its limit.")
        if state.get("Error"):
            return _n("StartFailed"), str(state["Error"])
        if code in (126, 127) or (code == 1 and self.engine.podman):
            return self._missing(seen)
        if code == 137 and self.engine.podman and self._likely_out_of_memory(seen):
            return _n("OutOfMemory"), _m("It was killed, most likely because it used more memory than its limit.")
        return "", ""

    def _missing(self, seen: Mapping[str, Any]) -> tuple[str, str]:
        """The engine only knows the code: the init process of the container says what it could not start."""
        ended = naming.when(seen["State"].get("FinishedAt"))
        # not by a number of lines: Podman loses the first piece of a line that was written in two when it counts from the end
        since = int(ended.timestamp()) - 1 if ended else None
        with suppress(*BROKEN):
            said = self.engine.client.logs(seen["Id"], stdout=False, stderr=True, since=since).decode("utf-8", "replace")
            if found := _NOT_STARTED.search(said):
                return _n("CommandMissing"), _m(
                    "%(found)s cannot be started: %(found2)s.", found=found["program"], found2=found["why"]
                )
            if found := _NOT_STARTED_BY_PODMAN.search(said):
                program = [*(seen["Config"].get("Entrypoint") or []), "The program"][0]
                return _n("CommandMissing"), _m("%(program)s cannot be started: %(found)s.", program=program, found=found["why"])
        return "", ""

    def _likely_out_of_memory(self, seen: Mapping[str, Any]) -> bool:
        """Podman may miss why the kernel killed something: it had a limit, and nobody has asked the engine to end it."""
        if not seen["HostConfig"].get("Memory"):
            return False
        with suppress(*BROKEN):
            if self.notes.read(seen["Id"], "stopping.json").get("container") == seen["Id"]:
                return False
            asked = past_events(self.engine.client, {"container": [seen["Id"]]}, podman=True)
            return not any(event.get("Action") in ("kill", "stop") for event in asked)
        return False
