"""Keeps up with one kind of objects: lists them, then watches from there on; lists again where history has expired."""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable, Iterator

import urllib3

from clawportal.sdk import _m
from clawportal.sdk.bounded import parse_json
from clawportal.sdk.errors import Unavailable
from clawportal_kubernetes.client import Api, ApiError, Json

log = logging.getLogger(__name__)

WATCH_SECONDS = 240
SILENCE = 100.0
"""Seconds without a word, not even a bookmark, after which a connection is taken for dead."""
_SLOWEST = 30.0
_LONGEST = 16 * 1024**2
"""Of one change, bytes."""


class ListWatch(threading.Thread):
    """A thread that tells what it hears by the functions that it was given."""

    def __init__(
        self, api: Api, path: str, query: Json, *, fresh: Callable[[list[Json]], None], started: Callable[[], None],
        done: Callable[[], None], change: Callable[[str, Json], None], read: Callable[[bytes], Json] = json.loads,
    ) -> None:  # fmt: skip
        super().__init__(name=f"watch {path}", daemon=True)
        self.api, self.path, self.query = api, path, query
        self._fresh, self._begin, self._done, self._change, self._read = fresh, started, done, change, read
        self.version = ""
        self.synced = threading.Event()
        """Set as long as what is kept is as fresh as the connection."""
        self.attempted = threading.Event()
        self.failure: Exception | None = None
        self.terminator = threading.Event()
        self.lists = 0
        self._answer: urllib3.BaseHTTPResponse | None = None

    def run(self) -> None:
        pause = 0.5
        while not self.terminator.is_set():
            try:
                if not self.version:
                    self._list()
                self.failure = None
                self.synced.set()
                self.attempted.set()
                if self._watch():
                    pause = 0.5
                elif not self.terminator.wait(pause / 2):
                    pause = min(pause * 2, _SLOWEST)
            except Exception as error:
                if self.terminator.is_set():
                    return
                self._failed(error)
                self.terminator.wait(pause * (0.7 + 0.6 * random.random()))
                pause = min(pause * 2, _SLOWEST)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, ApiError) and error.status == 410:
            self.version = ""  # what is kept may still be told: it is as of a moment ago
            return
        if isinstance(error, ApiError):
            self.version = "" if error.status in (400, 403, 404) else self.version
        elif not isinstance(error, Unavailable):
            log.error("watch of %s: %r", self.path, error, exc_info=error)
            self.version = ""
        self.failure = error
        self.synced.clear()
        self.attempted.set()

    def _list(self) -> None:
        self._begin()
        version = ""
        for page in self.api.pages(self.path, read=self._read, **self.query):
            self._fresh(page["items"])
            version = version or page["metadata"]["resourceVersion"]
        self._done()
        self.version = version
        self.lists += 1

    def _watch(self) -> bool:
        """Until the server ends it in order. Whether anything was heard."""
        seconds = WATCH_SECONDS + random.randrange(60)
        heard = False
        answer = self.api.open_watch(self.path, seconds=seconds, read_timeout=SILENCE, resourceVersion=self.version, **self.query)
        self._answer = answer
        lines = _lines(answer)
        try:
            while (told := _next(lines)) is not None:
                heard = True
                self._take(told)  # a failure here is no cut: it is told, and all is listed again
        except _CutError:
            return heard  # whether the server is away is found out by the next connection
        finally:
            self._answer = None
            answer.close()
        return True

    def _take(self, told: Json) -> None:
        kind, found = told["type"], told["object"]
        if kind == "ERROR":
            raise ApiError(found.get("code", 500), found.get("reason", ""), found.get("message", ""), found)
        if kind != "BOOKMARK":
            self._change(kind, found)
        self.version = found["metadata"]["resourceVersion"]

    def end(self) -> None:
        self.terminator.set()
        answer = self._answer
        if answer is not None:
            try:
                answer.shutdown()
            except Exception as error:  # it may just have ended by itself, in many ways
                log.debug("a watch had ended already: %r", error)


class _CutError(Exception):
    """The connection broke, or nothing was heard for long: the next one goes on from the same version."""


def _next(lines: Iterator[bytes]) -> Json | None:
    """None where the server has ended it in order."""
    try:
        line = next(lines, None)
        found: Json | None = parse_json(line) if line is not None else None
        return found
    except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
        raise _CutError from error


def _lines(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    rest = bytearray()
    for piece in answer.stream(65536):
        rest += piece
        if len(rest) > _LONGEST:
            raise ValueError(_m("one change is larger than any object of a cluster"))
        if b"\n" in piece:
            *whole, last = bytes(rest).split(b"\n")
            rest = bytearray(last)
            yield from (line for line in whole if line)
