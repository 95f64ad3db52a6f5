"""Small pure helpers that most adapters need; a plugin may use them or write its own.

Nothing here talks to anything: the functions turn words, workloads and exits into the plain data of `clawportal.contracts`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from signal import Signals
from typing import Any, Literal

from clawportal.contracts.adapters import Change, ExitVerdict
from clawportal.contracts.workloads import File, Workload
from clawportal.messages import _m, _n

Level = Literal["debug", "info", "warning", "error", ""]

_TAKEN = re.compile(r"EADDRINUSE|address already in use|ports? .{0,20}is already in use", re.IGNORECASE)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_LEVELS: dict[str, Level] = {
    "trace": "debug", "debug": "debug", "info": "info", "success": "info", "notice": "info", "warn": "warning",
    "warning": "warning", "error": "error", "fatal": "error", "critical": "error",
}  # fmt: skip


def level_of(word: object) -> Level:
    """A claw's own word for a level (`WARN`, `fatal`) as one of ours; empty for any other."""
    return _LEVELS.get(word.strip().lower(), "") if isinstance(word, str) else ""


def plain(line: str) -> str:
    """A line without terminal colours."""
    return _ANSI.sub("", line)


def json_file(
    path: str, document: Mapping[str, Any], *, root: Literal["home", "state", "work"] = "state", mode: int = 0o600
) -> File:
    """A configuration file that the portal owns. Keys keep their order, so equal documents are equal files."""
    return File(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n", root=root, mode=mode)


def last_words(lines: Iterable[str], limit: int = 5) -> str:
    """The last few lines that say anything, as one text."""
    said = [line for line in (plain(raw).strip() for raw in lines) if line]
    return "\n".join(said[-limit:])


def exit_verdict(code: int | None, signal: int | None, lines: Iterable[str]) -> ExitVerdict:
    """What an exit means where the claw's own codes say nothing more."""
    lines = tuple(lines)
    said = last_words(lines)
    if signal == Signals.SIGKILL:
        remedy = _m("If nobody killed it, it ran out of memory: raise its memory limit.")
        return ExitVerdict(_n("Killed"), _m("It was killed from outside, by a person or for want of memory."), remedy=remedy)
    if signal is not None:
        return ExitVerdict(_n("Killed"), _m("It was ended by signal %(_signal_name)s.", _signal_name=_signal_name(signal)))
    taken = next((line.strip() for line in map(plain, lines) if _TAKEN.search(line)), "")
    if code != 0 and taken:
        remedy = _m("End the other program, or give the instance another port.")
        return ExitVerdict(_n("PortTaken"), _m("Another program listens on its port: %(taken)s", taken=taken), remedy=remedy)
    if code == 0:
        return ExitVerdict(_n("Exited"), _m("It ended by itself without an error."))
    how = _m("It ended with an unknown code.") if code is None else _m("It ended with code %(code)s.", code=code)
    if said:
        how = _m("%(how)s Its last words:\n%(lines)s", how=how, lines=said)
    return ExitVerdict(_n("Crashed"), how)


def _signal_name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return str(number)


def change_by_paths(old: Workload, new: Workload, hot: Callable[[str], bool]) -> Change:
    """What follows from two plans of one instance.

    `hot` is asked for each thing that differs and says whether the running claw notices it by itself. A file is named by
    its path (`SOUL.md`); inside a JSON file each differing value is named by file and dotted key (`config.json:gateway.port`).
    """
    if _running_part(old) != _running_part(new):
        return Change("restart", _m("What is started has changed."))
    changed = sorted(_changed(_files(old), _files(new)))
    if not changed:
        return Change("none")
    cold = [name for name in changed if not hot(name)]
    if cold:
        return Change("restart", _m("It reads %(_listed)s only when it starts.", _listed=_listed(cold)))
    return Change("hot", _m("It notices %(_listed)s while it runs.", _listed=_listed(changed)))


def _running_part(workload: Workload) -> Workload:
    """What only a start can bring about: everything but files, the check, and how long a stop may take."""
    return replace(workload, files=(), check=None, stop_grace=0.0)


def _files(workload: Workload) -> dict[tuple[str, str], File]:
    return {(file.root, file.path): file for file in workload.files if file.policy == "always"}


def _changed(old: Mapping[tuple[str, str], File], new: Mapping[tuple[str, str], File]) -> set[str]:
    names: set[str] = set()
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if before is None or after is None:
            names.add(key[1])
        else:
            names |= _differences(key[1], before.content, after.content) or {key[1]}
    return names


def _differences(path: str, before: str, after: str) -> set[str]:
    """Dotted keys in which two JSON documents differ; empty where they are not both JSON objects."""
    try:
        one, two = json.loads(before), json.loads(after)
    except ValueError:
        return set()
    if not isinstance(one, dict) or not isinstance(two, dict):
        return set()
    return {f"{path}:{key}" for key in _keys(one, two)}


def _keys(one: Mapping[str, Any], two: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    for key in one.keys() | two.keys():
        left, right = one.get(key), two.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            found |= {f"{key}.{rest}" for rest in _keys(left, right)}
        elif left != right or (key in one) != (key in two):
            found.add(key)
    return found


def _listed(names: list[str]) -> object:
    shown = [name.rpartition(":")[2] for name in names]
    if len(shown) <= 4:
        return shown
    return _m("%(names)s and %(number)s more", names=shown[:4], number=len(shown) - 4)
