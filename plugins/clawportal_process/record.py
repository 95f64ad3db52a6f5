"""What the files of an instance say about its last start, and its end where that was written down."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clawportal.sdk import as_json
from clawportal.sdk.runtimes import Observed, Ref, RunState
from clawportal_process import history, proc, safefiles


@dataclass(frozen=True)
class Record:
    """`digest` and `memory_bytes` follow files that were written since the start."""

    pid: int
    start: int
    boot: str
    digest: str
    memory_bytes: int | None
    at: float
    processes: tuple[tuple[str, int, int], ...]
    end: Mapping[str, Any] | None
    stopping: bool
    walled: bool
    """Not by versions that had no walls."""

    @property
    def incarnation(self) -> str:
        return f"{self.pid}-{self.start}"

    def running(self) -> bool:
        return self.end is None and self.boot == proc.boot_id() and proc.alive(self.pid, self.start)


def load(path: Path) -> dict[str, Any]:
    """Empty for what is missing or no JSON object."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read(run: Path) -> Record | None:
    """None where it was never started."""
    state = load(run / "state.json")
    if not {"pid", "start", "boot", "digest", "at"} <= state.keys():
        return None
    name = f"{state['pid']}-{state['start']}"
    end, applied = load(run / "exit.json"), load(run / "applied.json")
    changed = applied if applied.get("incarnation") == name else state
    try:
        stopping = (run / "stopping").read_text() == name
    except OSError:
        stopping = False
    return Record(
        pid=state["pid"], start=state["start"], boot=state["boot"], digest=changed["digest"], at=state["at"],
        memory_bytes=changed.get("memory_bytes"),
        processes=tuple((item["name"], item["pid"], item["start"]) for item in state.get("processes", ())),
        end=end if end.get("incarnation") == name else None, stopping=stopping, walled="separation" in state,
    )  # fmt: skip


def _when(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None


def seen(ref: Ref, record: Record, *, running: bool) -> Observed:
    seen = Observed(
        ref, RunState.RUNNING, digest=record.digest, incarnation=record.incarnation, started_at=_when(record.at),
        pid=record.processes[0][1] if record.processes else None,
    )  # fmt: skip
    if running or record.end is None:
        return seen
    end = record.end
    return replace(
        seen, state=RunState.EXITED, pid=None, exited_at=_when(end.get("at")), exit_code=end.get("code"),
        exit_signal=end.get("signal"), reason=end.get("reason") or "", message=history.message_of(end),
    )  # fmt: skip


def write_end(run: Path, record: Record, reason: str, message: str) -> Record:
    """Write the end that a supervisor could not write, so that its time stays the same whoever looks."""
    end = {
        "incarnation": record.incarnation, "at": time.time(), "code": None, "signal": None, "process": None,
        "reason": reason, "message": as_json(message),
    }  # fmt: skip
    try:
        safefiles.write(run, "exit.json", json.dumps(end).encode())
        history.note(run, {"what": "ended", **end})
    except OSError:
        pass  # a full disk; the next look tries again
    return replace(record, end=end)
