"""Lines of a claw's containers, in the order of their times."""

from __future__ import annotations

import heapq
import queue
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import urllib3

from clawportal.sdk import _m, bounded
from clawportal.sdk.errors import Problem
from clawportal.sdk.runtimes import LogLine
from clawportal_kubernetes import records
from clawportal_kubernetes.client import Api, ApiError, parse_time, verdict

_QUIET = 0.9
_LONGEST = 262_144
_READ_TIMEOUT = 300.0
_MOST = 8 * bounded.MIB
"""Of lines that are held together to find the last ones, characters."""
_WAITING = (
    "waiting to start",
    "not found",
    "ContainerCreating",
    "PodInitializing",
    "previous terminated",
    "have a host",
    "is not available",
    "could not find the requested resource",
    "not yet",
)

Find = Callable[[], "records.Pod | None"]


def read(
    api: Api, found: records.Pod, *, tail: int | None, since: datetime | None, previous: bool, stop: Callable[[], bool]
) -> Iterator[LogLine]:
    """What was said until now."""
    if tail == 0:
        return
    streams = [
        _container(api, found, name, tail=tail, since=since, previous=previous, follow=False)
        for name in _containers(found, previous)
    ]
    lines: Iterator[LogLine] = heapq.merge(*streams, key=lambda line: line.at)
    if tail is not None and len(streams) > 1:
        lines = iter(bounded.last(lines, tail, _MOST, _size))
    for line in lines:
        if stop():
            return
        yield line


def _containers(found: records.Pod, previous: bool) -> tuple[str, ...]:
    """The container that places the files counts only where it has failed: what it said is all there is then."""
    failed = tuple(one.name for one in found.init if one.end is not None and one.end.code)
    return failed or found.names


def _container(
    api: Api, found: records.Pod, name: str, *, tail: int | None, since: datetime | None, previous: bool, follow: bool,
    hold: Callable[[urllib3.BaseHTTPResponse], None] | None = None,
) -> Iterator[LogLine]:  # fmt: skip
    query: dict[str, str] = {"container": name, "timestamps": "true"}
    if tail is not None and since is None:
        query["tailLines"] = str(tail)
    if since is not None:
        query["sinceTime"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if previous:
        query["previous"] = "true"
    if follow:
        query["follow"] = "true"
    path = f"/api/v1/namespaces/{found.space}/pods/{found.name}/log"
    try:
        answer = api.request(
            "GET",
            path,
            query=query,
            stream=True,
            timeout=urllib3.Timeout(connect=10, read=_READ_TIMEOUT if follow else api.timeout),
        )
    except ApiError as error:
        if error.status in (400, 404, 500) and any(word in error.message for word in _WAITING):
            return
        raise verdict(error, found.name) from error
    if hold is not None:
        hold(answer)
    try:
        lines = (_line(raw, name) for raw in _split(answer))
        wanted = (line for line in lines if since is None or line.at > since)
        yield from bounded.last(wanted, tail, _MOST, _size) if tail is not None and since is not None and not follow else wanted
    except (urllib3.exceptions.HTTPError, OSError, AttributeError):
        return  # cut off; whoever follows opens it again
    finally:
        answer.close()


def _split(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    rest = b""
    for piece in answer.stream(65536):
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if len(rest) > 1_000_000:  # a line without end must not fill the memory
            yield rest
            rest = b""
    if rest:
        yield rest


def _line(raw: bytes, source: str) -> LogLine:
    stamp, _, text = raw.partition(b" ")
    try:
        at = parse_time(stamp.decode("ascii")) or datetime.now(UTC)
    except ValueError:  # the kubelet itself speaks without a time
        return LogLine(datetime.now(UTC), "portal", source, raw.decode(errors="replace"))
    return LogLine(at, "stdout", source, text.decode(errors="replace").rstrip("\r")[:_LONGEST])


def _size(line: LogLine) -> int:
    return len(line.text) + 200


class Follow:
    """One thread for each container; goes on with the next run and the next pod."""

    def __init__(self, api: Api, find: Find, *, tail: int | None, since: datetime | None, stop: Callable[[], bool]) -> None:
        self.api, self.find, self.stop = api, find, stop
        self.tail, self.since = tail, since
        self.lines = bounded.SizedQueue[LogLine](10_000, 4 * bounded.MIB, _size)
        self.over = threading.Event()
        self.known: set[str] = set()
        self.answers: dict[str, urllib3.BaseHTTPResponse] = {}

    def __iter__(self) -> Iterator[LogLine | None]:
        try:
            while not self.stop():
                self._begin()
                try:
                    yield self.lines.get(timeout=_QUIET)
                except queue.Empty:
                    yield None
        finally:
            self.over.set()
            for answer in list(self.answers.values()):
                _wake(answer)

    def _begin(self) -> None:
        found = self.find()
        for name in found.names if found is not None else ("",):
            if name and name not in self.known:
                self.known.add(name)
                threading.Thread(target=self._follow, args=(name,), name=f"log {name}", daemon=True).start()

    def _follow(self, name: str) -> None:
        last, tail, pod, texts = self.since, self.tail, "", set[str]()
        while not self.over.is_set():
            found = self.find()
            if found is None:
                self.over.wait(0.3)
                continue
            if pod and found.uid != pod:
                tail = None
            pod = found.uid
            if tail == 0:
                last, tail = datetime.now(UTC), None
            try:
                # from the second of the last line on: times of one second are asked for whole, and told once
                since = last.replace(microsecond=0) if last and texts else last
                for line in _container(
                    self.api, found, name, tail=tail, since=_before(since) if texts else since, previous=False, follow=True,
                    hold=lambda answer: self.answers.__setitem__(name, answer),
                ):  # fmt: skip
                    mark = f"{line.at.isoformat()} {line.text}"
                    if last is not None and texts and (line.at < last or mark in texts):
                        continue
                    if line.at != last:
                        texts = set()
                    texts.add(mark)
                    last, tail = line.at, None
                    if not self._put(line):
                        return
            except Problem:
                pass  # the cluster does not answer; it is asked again
            except Exception as error:
                self._put(LogLine(datetime.now(UTC), "portal", name, _m("The log cannot be read: %(error)s", error=error)))
                self.over.wait(5)
            self.over.wait(0.3)

    def _put(self, line: LogLine) -> bool:
        while not self.over.is_set():
            try:
                self.lines.put(line, timeout=0.5)
                return True
            except queue.Full:
                continue
        return False


def _before(at: datetime | None) -> datetime | None:
    return datetime.fromtimestamp(at.timestamp() - 0.000_001, UTC) if at else None


def _wake(answer: urllib3.BaseHTTPResponse) -> None:
    try:
        answer.shutdown()
    except Exception:  # noqa: S110  # it may have ended by itself just now
        pass
