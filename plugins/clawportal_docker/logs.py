"""Reads the logs of an instance's containers as one: of several processes, in order."""

from __future__ import annotations

import heapq
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from clawportal.sdk import bounded
from clawportal.sdk.runtimes import LogLine
from clawportal_docker.errors import BROKEN, map_errors
from clawportal_docker.streams import Pump, Stream, frames

if TYPE_CHECKING:
    import docker

Connect = Callable[[float], "docker.APIClient"]
_NANO = re.compile(r"(\.\d{1,6})\d*")
_LONGEST = 256 * 1024
_PIECE = 16 * 1024
_MOST = 8 * bounded.MIB
"""Of lines that are held together to find the last ones, characters."""


def _size(line: LogLine) -> int:
    return len(line.text) + 200


def read(
    connect: Connect, chosen: Sequence[tuple[str, str]], *, tail: int | None, since: datetime | None, follow: bool,
    stop: Callable[[], bool], plain: bool = False,
) -> Iterator[LogLine | None]:  # fmt: skip
    """`chosen`: containers with the names of their processes, those that have ended first. Only what runs is followed.

    `plain`: they have a terminal, so that the engine sends lines without frames.
    """
    if not follow:
        yield from _past(connect, chosen, tail, since, stop, plain)
        return
    # Podman tells the time of a line in whole seconds: what is read anew begins with a whole second, and is counted
    before = list(_past(connect, chosen, None if tail is None else max(tail, 1), since, stop, plain))
    start = max(line.at for line in before).replace(microsecond=0) if before else since
    newest = [list(_lines(connect, container, source, since=start, stop=stop, plain=plain)) for container, source in chosen]
    old = [line for line in before if start is not None and line.at < start]
    lines = [*old, *heapq.merge(*newest, key=lambda line: line.at)]
    yield from lines[max(0, len(lines) - tail) :] if tail is not None else lines
    yield from _follow(connect, chosen, start, [len(found) for found in newest], stop, plain)


def _past(
    connect: Connect, chosen: Sequence[tuple[str, str]], tail: int | None, since: datetime | None, stop: Callable[[], bool],
    plain: bool,
) -> Iterator[LogLine]:  # fmt: skip
    lines = heapq.merge(
        *(_lines(connect, container, source, tail=tail, since=since, stop=stop, plain=plain) for container, source in chosen),
        key=lambda line: line.at,
    )
    yield from bounded.last(lines, tail, _MOST, _size) if tail is not None else lines


def _lines(
    connect: Connect, container: str, source: str, *, tail: int | None = None, since: datetime | None = None,
    follow: bool = False, stop: Callable[[], bool] = lambda: False, plain: bool = False,
) -> Iterator[LogLine]:  # fmt: skip
    """Of one container, to its end."""
    client = connect(60)
    pump = Pump(_raw(client, container, source, tail, since, follow, plain), client.close)
    try:
        while not stop():
            line = pump.get(0.3)
            if line is Pump.END:
                return
            if line is not None and _is_since(line, since):
                yield line
    finally:
        pump.close()


def _raw(
    client: docker.APIClient, container: str, source: str, tail: int | None, since: datetime | None, follow: bool, plain: bool
) -> Iterator[LogLine]:
    params: dict[str, Any] = {
        "stdout": 1, "stderr": 1, "timestamps": 1, "follow": int(follow), "tail": "all" if tail is None else str(tail),
    }  # fmt: skip
    if since is not None:
        params["since"] = f"{since.timestamp():.6f}"
    with map_errors():
        url = client._url("/containers/{0}/logs", container)
        answer = client._get(url, params=params, stream=True, timeout=None if follow else 60)
        client._raise_for_status(answer)
    # a frame is one message with a time before it; a long line comes in several, of which only the last has a line end
    rest: dict[Stream, tuple[bytes, bytes]] = {}
    with suppress(*BROKEN):
        for stream, frame in unframed(answer.raw.stream(_PIECE, decode_content=False)) if plain else frames(answer.raw.read):
            stamp, _, text = frame.partition(b" ")
            first, before = rest.pop(stream, (stamp, b""))
            whole = before + text
            if not whole.endswith(b"\n") and len(whole) < _LONGEST:
                rest[stream] = (first, whole)
            elif line := _line(first, whole, stream, source):
                yield line
    for stream, (stamp, text) in rest.items():
        if line := _line(stamp, text, stream, source):
            yield line


def unframed(pieces: Iterable[bytes]) -> Iterator[tuple[Stream, bytes]]:
    """The output of a terminal, line by line: both streams are one there, and nothing marks where a message begins."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from (("stdout", line + b"\n") for line in whole)
        if len(rest) > _LONGEST:
            yield "stdout", rest + b"\n"
            rest = b""
    if rest:
        yield "stdout", rest + b"\n"


def _line(stamp: bytes, text: bytes, stream: Stream, source: str) -> LogLine | None:
    try:
        at = datetime.fromisoformat(_NANO.sub(r"\1", stamp.decode()).replace("Z", "+00:00"))
    except ValueError:
        return None
    return LogLine(at, stream, source, text.removesuffix(b"\n").rstrip(b"\r").decode("utf-8", "replace"))


def _is_since(line: LogLine, since: datetime | None) -> bool:
    """A time in whole seconds may be that of any moment in the second."""
    return since is None or line.at >= (since if line.at.microsecond else since.replace(microsecond=0))


def _follow(
    connect: Connect, chosen: Sequence[tuple[str, str]], since: datetime | None, known: Sequence[int], stop: Callable[[], bool],
    plain: bool,
) -> Iterator[LogLine | None]:  # fmt: skip
    """What comes since then from all containers, without so many first lines of each; ends when all have ended."""
    clients = [connect(60) for _ in chosen]
    pumps = [
        Pump(_raw(client, container, source, None, since, True, plain), client.close)
        for client, (container, source) in zip(clients, chosen, strict=True)
    ]
    left = dict(zip(pumps, known, strict=True))
    told_at = time.monotonic()
    try:
        while not stop() and pumps:
            found = False
            for pump in list(pumps):
                line = pump.get(0.0)
                if line is Pump.END:
                    pumps.remove(pump)
                elif line is not None and _is_since(line, since):
                    found = True
                    left[pump] -= 1
                    if left[pump] < 0:
                        yield line
            if found:
                told_at = time.monotonic()
                continue
            if time.monotonic() - told_at > 0.6:
                told_at = time.monotonic()
                yield None
            time.sleep(0.05)
    finally:
        for pump in pumps:
            pump.close()
