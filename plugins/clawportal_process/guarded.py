"""Runs a tool to its end and hears what it says; when the portal gives up or dies, the tool's whole tree is killed."""

from __future__ import annotations

import marshal
import os
import re
import select
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clawportal_process import launch

LAST_LINES = 50
_OPEN_FILES = 65536
_TICK = 0.3
_LINE_END = re.compile(rb"[\r\n]+")
_LONGEST = 4096


@dataclass(frozen=True)
class Outcome:
    """How a tool ended; `code` is None when the time was over."""

    code: int | None
    lines: tuple[str, ...]
    """Its last words, oldest first."""


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    wall: Mapping[str, Any],
    umask: int = 0o077,
    timeout: float | None = None,
    on_line: Callable[[str], None] = lambda line: None,
    on_tick: Callable[[], None] = lambda: None,
    lock: int | None = None,
    lines: int = LAST_LINES,
) -> Outcome:
    """`on_line` and `on_tick` (a few times a second) may raise to end the tool. `lock` is held until the tool is really gone.
    `wall` is what it runs behind; `lines` is how many of its last words are kept."""
    told = {"wall": dict(wall), "cwd": str(cwd), "umask": umask, "open_files": _OPEN_FILES}
    memory = os.memfd_create("spec")
    try:
        os.write(memory, marshal.dumps(told, 2))
        os.lseek(memory, 0, os.SEEK_SET)
        handles = (memory,) if lock is None else (memory, lock)
        locks = {} if lock is None else {"CLAWPORTAL_LOCK_FD": str(lock)}
        process = subprocess.Popen(
            launch.command("guard", argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**env, "CLAWPORTAL_SPEC_FD": str(memory), **locks}, cwd="/", start_new_session=True, pass_fds=handles,
        )  # fmt: skip
    finally:
        os.close(memory)
    assert process.stdin and process.stdout
    words: deque[str] = deque(maxlen=lines)
    try:
        over = _listen(process.stdout.fileno(), words, timeout, on_line, on_tick)
    finally:
        process.stdin.close()  # the guard kills what is left
        process.stdout.close()
        process.wait()
    return Outcome(None if over else process.returncode, tuple(words))


def _listen(
    handle: int, words: deque[str], timeout: float | None, on_line: Callable[[str], None], on_tick: Callable[[], None]
) -> bool:
    """Until the end of the output; True when the time was over before."""
    until = None if timeout is None else time.monotonic() + timeout
    rest, ticked = b"", 0.0
    while True:
        ready = select.select([handle], [], [], _TICK)[0]
        if time.monotonic() - ticked >= _TICK:
            on_tick()
            ticked = time.monotonic()
        if until is not None and time.monotonic() > until:
            return True
        if not ready:
            continue
        data = os.read(handle, 65536)
        *lines, rest = _LINE_END.split(rest + data)
        for line in lines if data else [rest]:
            _hear(line, words, on_line)
        rest = rest[-_LONGEST:]
        if not data:
            return False


def _hear(line: bytes, words: deque[str], on_line: Callable[[str], None]) -> None:
    text = line[:_LONGEST].decode("utf-8", "replace").rstrip()
    if text:
        words.append(text)
        on_line(text)
