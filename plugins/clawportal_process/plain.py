"""What a supervisor writes down, and when a process began. C modules only, as in `supervisor`."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False  # as in `supervisor`
if TYPE_CHECKING:
    from typing import Any

EVENTS_LIMIT = 64 * 1024
"""Size at which the list of starts and ends is put aside; one older file is kept."""


def dumps(value: Any) -> str:
    """JSON of plain values; the json module would bring `re` and `enum` along."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{dumps(str(key))}: {dumps(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(dumps, value)) + "]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if " " <= char <= "~" else _escaped(ord(char)) for char in text) + '"'


def _escaped(code: int) -> str:
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def start_time(pid: int) -> int:
    """Ticks after boot at which a process started; with the pid it names a process for good. 0: there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return int(file.read(1024).rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def write_file(name: str, text: str) -> None:
    """Readers see the old file or the new one."""
    handle = os.open(name + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)
    os.rename(name + ".new", name)


def append_line(name: str, text: str) -> None:
    """To a file of bounded size. Nothing that anybody waits for: a full disk is no reason to fail."""
    try:
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, text.encode() + b"\n")
            large = os.fstat(handle).st_size > EVENTS_LIMIT
        finally:
            os.close(handle)
        if large:
            os.rename(name, name + ".1")
    except OSError:
        pass


def stamp(now: float) -> bytes:
    part = time.gmtime(now)
    return b"%04d-%02d-%02dT%02d:%02d:%02d.%06dZ" % (*part[:6], int(now % 1 * 1_000_000))
