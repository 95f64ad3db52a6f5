"""`claw files put` in parts, so that what was cut goes on: in the same command by itself, and in the next one where it ended.

The protocol is that of the page (`api_uploads`). Which upload belongs to which file is kept on the machine of whoever sends it,
by the portal, the claw, the place, and the file with its size and time: a file that was changed begins anew.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from clawportal.sdk.commands import NOT_FOUND, UNREACHABLE, Failure, Sent, at_once

PART = 8 << 20
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further try of the same part."""
Stamp = tuple[int, int]
"""Size and time of the file."""
_TUS = {"Tus-Resumable": "1.0.0"}
_KEPT = 30 * 86_400.0
"""Seconds; no portal keeps what has arrived for longer."""
_ADDRESS = re.compile(r"/instances/[\w-]+/files/upload/\w+")


def send(sent: Sent) -> str:
    """Where the file is then."""
    before = _stamp(sent)
    memory, key = Memory(), _key(sent, before)
    address = _gone_on_with(sent, memory.get(key)) or _begun(sent)
    if address is None:  # this portal takes files at once only
        return at_once(sent)
    if key:
        memory.put(key, address)
    try:
        place = _sent(sent, address, before)
    except Failure as failure:
        if failure.exit_code == UNREACHABLE and key:
            raise Failure(f"{failure.message} The same command goes on where it ended.", UNREACHABLE) from failure
        raise
    memory.forget(key)
    return place


def _key(sent: Sent, stamp: Stamp) -> str:
    """Empty for what comes out of a pipe."""
    if sent.local is None:
        return ""
    told = [sent.portal.url, sent.address, sent.place, str(sent.local), *stamp]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _stamp(sent: Sent) -> Stamp:
    """What comes out of a pipe was taken in whole before."""
    if sent.local is None:
        return sent.size, 0
    found = os.fstat(sent.stream.fileno())
    return found.st_size, found.st_mtime_ns


def _begun(sent: Sent) -> str | None:
    """Address of a new upload; None where the portal knows no such thing."""
    told = {"path": sent.place, "taken": "replace" if sent.overwrite else "refuse"}
    pairs = ",".join(f"{name} {base64.b64encode(text.encode()).decode()}" for name, text in told.items())
    headers = {**_TUS, "Upload-Length": str(sent.size), "Upload-Metadata": pairs}
    try:
        made = sent.portal.send("POST", f"{sent.address}/upload", headers=headers)
    except Failure as failure:
        if failure.status in (404, 405):
            return None
        raise
    return f"{sent.address}/upload/{made['Location'].rpartition('/')[2]}"


def _gone_on_with(sent: Sent, address: str) -> str | None:
    """The upload that was kept, if the portal has it still."""
    if not address:
        return None
    try:
        found = sent.portal.call("GET", address)
    except Failure as failure:
        if failure.exit_code == NOT_FOUND:
            return None
        raise
    if found["size"] != sent.size:
        return None
    click.echo(f"Going on at {found['offset']} of {sent.size} bytes.", err=True)
    return address


def _sent(sent: Sent, address: str, before: Stamp) -> str:
    """Part after part; where the portal is, is asked after whatever went wrong."""
    wrong = 0
    with _progress(sent) as show:
        while True:
            try:
                found = sent.portal.call("GET", address)
                show(found["offset"])
                if found["placed"]:
                    return str(found["path"])
                _one_part(sent, address, found["offset"], before)
                wrong = 0
            except Failure as failure:
                if not _may_heal(failure) or wrong == len(WAITS):
                    raise
                time.sleep(max(WAITS[wrong], failure.retry_after))
                wrong += 1


def _one_part(sent: Sent, address: str, offset: int, before: Stamp) -> None:
    sent.stream.seek(offset)
    part = sent.stream.read(PART)
    if _stamp(sent) != before or not part:
        with suppress(Failure):
            sent.portal.call("DELETE", address, headers=_TUS)
        raise Failure(f"{sent.local or 'The file'} was changed while it was sent. Nothing of it is in the claw; send it again.")
    headers = {**_TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    sent.portal.send("PATCH", address, part, headers=headers)


def _may_heal(failure: Failure) -> bool:
    """What was refused will be refused again; a part of another request ends, and a portal comes back."""
    unsure = failure.status == 409 and failure.code not in ("exists", "over_quota")
    return failure.exit_code == UNREACHABLE or unsure or failure.status in (423, 429) or 500 <= failure.status != 507


@contextmanager
def _progress(sent: Sent) -> Iterator[Callable[[int], None]]:
    """For people who watch."""
    if not sys.stderr.isatty():
        yield lambda at: None
        return
    with click.progressbar(length=sent.size, label=sent.place[-40:], file=sys.stderr) as bar:

        def show(at: int) -> None:
            bar.update(at - bar.pos)

        yield show


class Memory:
    """Addresses of unfinished uploads, a small file for each, on the machine of whoever sends them."""

    def __init__(self) -> None:
        base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        self._folder = Path(base) / "claw" / "uploads"

    def get(self, key: str) -> str:
        """Empty for none."""
        with suppress(OSError, UnicodeDecodeError):
            if key and _ADDRESS.fullmatch(text := (self._folder / key).read_text(encoding="utf-8").strip()):
                return text
        return ""

    def put(self, key: str, address: str) -> None:
        """Where nothing can be kept, the file is sent all the same, and from its beginning the next time."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self._folder / key).write_text(address, encoding="utf-8")
            self._sweep()

    def forget(self, key: str) -> None:
        with suppress(OSError):
            if key:
                (self._folder / key).unlink()

    def _sweep(self) -> None:
        late = time.time() - _KEPT
        for one in self._folder.iterdir():
            if one.stat().st_mtime < late:
                one.unlink()
