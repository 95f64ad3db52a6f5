"""What happened to an instance: starts and ends that its supervisors wrote down, as events and as borders of its log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from clawportal.sdk import Message, _m, _n, joined
from clawportal.sdk.runtimes import LogLine, RuntimeEvent
from clawportal_process import logs, plain

_ASKED = ("Stopped", "Killed")
_MOST = 200


def note(run: Path, told: Mapping[str, Any]) -> None:
    """For the end that a supervisor could not write."""
    plain.append_line(str(run / "events"), json.dumps(told))


def _notes(run: Path) -> list[dict[str, Any]]:
    """Oldest first; a torn line is left out."""
    found = []
    for name in ("events.1", "events"):
        try:
            lines = (run / name).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if isinstance(told, dict) and isinstance(told.get("at"), (int, float)):
                found.append(told)
    return found


def events(run: Path) -> list[RuntimeEvent]:
    return sorted(map(_event, _notes(run)[-_MOST:]), key=lambda event: event.at)


def _event(told: Mapping[str, Any]) -> RuntimeEvent:
    at = datetime.fromtimestamp(told["at"], UTC)
    if told.get("what") == "started":
        return RuntimeEvent(at, "info", _n("Started"), _m("It was started."))
    reason = told.get("reason") or _n("Exited")
    level: Literal["info", "warning"] = (
        "info" if reason in _ASKED or (reason == "Exited" and told.get("code") == 0) else "warning"
    )
    return RuntimeEvent(at, level, reason, _words(told, reason))


def _words(told: Mapping[str, Any], reason: str) -> str:
    end = _m("It ended.")
    if told.get("code") is not None:
        end = _m("It ended with code %(code)s.", code=told["code"])
    elif told.get("signal") is not None:
        end = _m("It was ended by signal %(_signal_name)s.", _signal_name=told["signal"])
    asked = {"Stopped": _m("It was asked to stop."), "Killed": _m("It was killed.")}.get(reason, "")
    more = message_of(told)
    return joined(part for part in (asked, end if not more or asked else "", more) if part)


def message_of(end: Mapping[str, Any]) -> str:
    """What was said at the end of a claw, by its supervisor or by the portal; older ones wrote plain text."""
    text: Any = end.get("said") or end.get("message") or ""
    if isinstance(text, str) and text.startswith('{"id"'):
        with suppress(ValueError):
            text = json.loads(text)
    if isinstance(text, dict):
        return Message(str(text.get("id", "")), dict(text.get("parameters") or {}))
    return str(text)


def lines_before(run: Path, *, tail: int | None, since: datetime | None) -> Iterator[LogLine | None]:
    """The lines of the run before the last one that was started."""
    starts = [datetime.fromtimestamp(told["at"], UTC) for told in _notes(run) if told.get("what") == "started"]
    if len(starts) < 2:
        return iter(())
    return logs.read_run(run, begin=starts[-2], end=starts[-1], tail=tail, since=since)
