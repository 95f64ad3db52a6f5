"""Logs: the last lines as JSON, the whole as text, and live as server-sent events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Literal

from flask import Response, g, request
from pydantic import Field

from clawportal.api._layer import JSON, SSE, Answer, Query, ServerEvent, op, sse
from clawportal.contracts.core_permissions import INSTANCE_LOGS
from clawportal.contracts.permissions import Actor
from clawportal.db import db
from clawportal.engine.log_hub import Line, Subscription, stamp
from clawportal.engine.portal import Portal
from clawportal.errors import Problem
from clawportal.http import security, streams
from clawportal.services.fleet import instances
from clawportal.services.live import logs

TEXT = "text/plain"
TAGS = ("Instances",)
HEARTBEAT_SECONDS = 10.0
RECHECK_SECONDS = 20.0
GATHER_SECONDS = 0.15


class LogLine(Answer):
    """One line of a log."""

    at: datetime
    stream: str = Field(description="`stdout`, `stderr`, or `portal` for what the portal itself has to say about this log.")
    source: str = Field(description="Name of the process that wrote it.")
    level: str = Field(description="`debug`, `info`, `warning`, `error`, or empty where the line does not say.")
    text: str = Field(description="What the line says; time and level are taken out where the kind of claw is understood.")


class Log(Answer):
    """The newest lines, oldest first."""

    lines: list[LogLine]


class LogQuery(Query):
    tail: int = Field(logs.DEFAULT_TAIL, ge=0, le=logs.MAX_TAIL, description="Look at so many of the last lines.")
    since: str = Field(
        "", max_length=60, description="Only newer lines: a time such as 2026-11-23T08:30:00Z, or how long ago, such as 10m."
    )
    level: Literal["", "debug", "info", "warning", "error"] = Field("", description="Only lines at least so grave.")
    follow: bool = Field(False, description="Go on with what is written from now on, as server-sent events.")
    download: bool = Field(False, description="All that is kept, as a text file. `tail` and `level` do not count.")


@op("GET", "/instances/{instance_id}/logs", permission=INSTANCE_LOGS, tags=TAGS, summary="Log of an instance",
    returns=Log, produces=(JSON, TEXT, SSE), problems=(404, 409, 503))  # fmt: skip
def get_instance_logs(actor: Actor, portal: Portal, instance_id: str, query: LogQuery) -> dict[str, Any] | Response:
    """JSON with the last lines; a text file with `download=true` or `Accept: text/plain`.

    With `follow=true` a stream of events: `lines` has `{"lines": [[time, stream, source, level, text], ...]}`, `dropped` has
    `{"count": n}` for lines that this reader was too slow for, `problem` says why the stream ends. A comment comes every ten
    seconds. Each `lines` has an id; sent back as Last-Event-ID, the stream goes on from there.
    """
    since = logs.parse_since(query.since)
    if query.follow:
        return _follow(portal, actor, instance_id, query, since)
    if query.download or _wants_text():
        return _download(portal, actor, instance_id, since)
    lines = logs.read(portal, actor, instance_id, tail=query.tail, since=since, level=query.level)
    return {
        "lines": [
            {"at": line.time, "stream": line.stream, "source": line.source, "level": line.level, "text": line.text}
            for line in lines
        ]
    }


def _wants_text() -> bool:
    return request.accept_mimetypes.best_match([JSON, TEXT], JSON) == TEXT


def _download(portal: Portal, actor: Actor, instance_id: str, since: datetime | None) -> Response:
    name = instances.get(actor, instance_id).name

    def begin() -> tuple[Response, Callable[[], None]]:
        pieces = logs.download(portal, actor, instance_id, since=since)
        answer = Response(pieces, mimetype=TEXT)
        answer.headers["Content-Disposition"] = f'attachment; filename="{name}.log"'
        return answer, lambda: None

    return streams.lasting(begin)


# ---- live


class _Place:
    """Where a reader is: the time of its newest line, and how many lines of that very time it has."""

    def __init__(self, event_id: str) -> None:
        time_text, _, count = event_id.partition("/")
        self.at = logs.parse_since(time_text, "Last-Event-ID")
        self.count = int(count) if count.isascii() and count.isdigit() and len(count) < 9 else 0
        self._resuming = self.at is not None
        self._met = 0

    def fresh(self, lines: Iterable[Line]) -> list[Line]:
        """The lines that the reader does not have yet; it moves on to the last of them."""
        told = []
        for line in lines:
            if self._resuming and self._has(line):
                continue
            self._resuming = False
            self.count = self.count + 1 if line.at == self.at else 1
            self.at = line.at
            told.append(line)
        return told

    def _has(self, line: Line) -> bool:
        assert self.at is not None
        self._met += line.at == self.at
        return line.at < self.at or (line.at == self.at and self._met <= self.count)

    @property
    def event_id(self) -> str:
        return f"{stamp(self.at)}/{self.count}" if self.at else ""


def _follow(portal: Portal, actor: Actor, instance_id: str, query: LogQuery, since: datetime | None) -> Response:
    place = _Place(request.headers.get("Last-Event-ID", ""))
    tail = logs.MAX_TAIL if place.at else query.tail

    def begin() -> tuple[Response, Callable[[], None]]:
        subscription = logs.watch(portal, actor, instance_id, tail=tail, since=place.at or since)
        try:
            return sse(_events(portal, subscription, instance_id, query.level, place)), subscription.close
        except BaseException:
            subscription.close()
            raise

    return streams.lasting(begin)


def _events(
    portal: Portal, subscription: Subscription, instance_id: str, level: str, place: _Place
) -> Iterator[ServerEvent | None]:
    alive = checked = time.monotonic()
    yield None  # the caller sees at once that it is connected
    while not portal.stopping.is_set():
        if subscription.wait(HEARTBEAT_SECONDS):
            portal.stopping.wait(GATHER_SECONDS)
        batch = subscription.take()
        if batch.dropped:
            yield ServerEvent({"count": batch.dropped}, "dropped")
        shown = [line.row() for line in place.fresh(batch.lines) if logs.grave(line, level)]
        now = time.monotonic()
        if shown:
            alive = now
            yield ServerEvent({"lines": shown}, "lines", place.event_id)
        if now - checked >= RECHECK_SECONDS:
            checked = now
            problem = _refused(instance_id)
            if problem is not None:
                yield ServerEvent({"detail": problem.detail}, "problem")
                return
        if now - alive >= HEARTBEAT_SECONDS:
            alive = now
            yield None


def _refused(instance_id: str) -> Problem | None:
    """Why this stream must end; None while its reader still may read. Rights are asked for anew: they may be gone."""
    g.pop("actor", None)
    g.pop("_login_user", None)
    try:
        logs.still_allowed(security.actor(), instance_id)
    except Problem as problem:
        return problem
    finally:
        db.session.rollback()
    return None
