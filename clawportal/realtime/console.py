"""The namespace /console: a terminal in a running claw.

    browser -> server   open {instance_id, columns, rows, console_id?}    input {data, number?}    resize {columns, rows}    close
    server -> browser   opened {console_id, replay, typed}    output {data}    ended {code, reason}    problem {detail}

`replay` and what is put out are bytes. With the `console_id` of before, a page that lost its connection gets its console back.
Pieces of input that are numbered 1, 2, 3 ... arrive once: each is acknowledged, and after a break a page sends again what is
newer than `typed`.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import Any

from clawportal.contracts.core_permissions import INSTANCE_CONSOLE
from clawportal.contracts.permissions import Actor
from clawportal.db import db
from clawportal.engine.console_hub import Console
from clawportal.errors import Invalid, NotFound, Problem
from clawportal.messages import _m
from clawportal.realtime.people import People, Viewer, words
from clawportal.services.live import consoles

log = logging.getLogger(__name__)

NAMESPACE = "/console"
MAX_BACKLOG = 64
"""Messages that may wait for one browser; then the shell waits, too, as in any terminal."""
WIDEST, HIGHEST = 500, 300


@dataclass
class _Seat:
    """One browser in front of one console."""

    viewer: Viewer
    console: Console
    people: People
    gone: threading.Event = field(default_factory=threading.Event)

    def output(self, data: bytes) -> None:
        while self.people.backlog(self.viewer) > MAX_BACKLOG and not self.gone.wait(0.02):
            pass
        self._emit("output", {"data": data})

    def ended(self, code: int | None, reason: str) -> None:
        self._emit("ended", {"code": code, "reason": reason})

    def _emit(self, event: str, message: dict[str, Any]) -> None:
        if not self.gone.is_set():
            self.people.socketio.server.emit(event, message, to=self.viewer.sid, namespace=NAMESPACE)


class Terminals:
    """Who sits in front of which console."""

    def __init__(self, people: People) -> None:
        self.people = people
        self._seats: dict[str, _Seat] = {}
        self._lock = threading.Lock()
        need = INSTANCE_CONSOLE
        people.namespace(NAMESPACE, self, need)
        for event, handler in (("open", self.open), ("input", self.input), ("resize", self.resize), ("close", self.close)):
            people.on(NAMESPACE, event, need, handler)

    def open(self, viewer: Viewer, actor: Actor, data: Any) -> None:
        instance_id = _text(data, "instance_id")
        columns, rows = size(data)
        portal = self.people.portal
        try:
            console = consoles.again(portal, actor, instance_id, _text(data, "console_id")) if data.get("console_id") else None
        except NotFound:
            console = None  # it was closed meanwhile: a new one takes its place
        console = console or consoles.open_console(portal, actor, instance_id, columns, rows)
        db.session.rollback()
        seat = _Seat(viewer, console, self.people)
        with self._lock:
            here = self.people.here(viewer)
            before = self._seats.pop(viewer.sid, None)
            if here:
                self._seats[viewer.sid] = seat
        if before is not None:
            self._leave(before)
        if not here:
            console.left = console.left or console.opened
            return
        replay = console.attach(seat.output, seat.ended)
        console.resize(columns, rows)
        server = self.people.socketio.server
        told = {"console_id": console.id, "replay": replay, "typed": console.typed}
        server.emit("opened", told, to=viewer.sid, namespace=NAMESPACE)

    def input(self, viewer: Viewer, actor: Actor, data: Any) -> None:
        raw = data.get("data") if isinstance(data, dict) else None
        if not isinstance(raw, (str, bytes)):
            raise Invalid.field("data", _m("Say what was typed: {data: ...}."), "missing")
        number = data.get("number", 0)
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**53:
            raise Invalid.field("number", _m("Number the pieces 1, 2, 3 ..., or leave it out."))
        self._seat(viewer, actor).console.type(raw.encode() if isinstance(raw, str) else raw, number)

    def resize(self, viewer: Viewer, actor: Actor, data: Any) -> None:
        self._seat(viewer, actor).console.resize(*size(data))

    def close(self, viewer: Viewer, actor: Actor, data: Any) -> None:
        self.people.portal.consoles.close(self._seat(viewer, actor).console)

    def _seat(self, viewer: Viewer, actor: Actor) -> _Seat:
        seat = self._seats.get(viewer.sid)
        if seat is None or seat.console.actor.id != actor.id:
            raise NotFound(_m("No console is open here. Open one first."))
        return seat

    def _leave(self, seat: _Seat) -> None:
        seat.gone.set()
        seat.console.detach(seat.output)

    def gone(self, viewer: Viewer) -> None:
        with self._lock:
            seat = self._seats.pop(viewer.sid, None)
        if seat is not None:
            self._leave(seat)

    def seen(self, viewer: Viewer, actor: Actor) -> None:
        """Asked at intervals: whoever lost the right loses the console with it."""
        seat = self._seats.get(viewer.sid)
        if seat is None:
            return
        try:
            consoles.still_allowed(actor, seat.console)
        except Problem as problem:
            self.people.portal.consoles.close(seat.console, words(problem))
        finally:
            db.session.rollback()


def _text(data: Any, name: str) -> str:
    found = data.get(name) if isinstance(data, dict) else None
    if not isinstance(found, str) or not 1 <= len(found) <= 64:
        raise Invalid.field(name, _m("Say which: {%(name)s: ...}.", name=name), "missing")
    return found


def size(data: Any) -> tuple[int, int]:
    """Columns and rows within what a terminal can have."""
    found = []
    for name, usual, most in (("columns", 80, WIDEST), ("rows", 24, HIGHEST)):
        number = data.get(name, usual) if isinstance(data, dict) else usual
        if not isinstance(number, int) or isinstance(number, bool):
            raise Invalid.field(name, _m("%(name)s must be a whole number.", name=name))
        found.append(min(max(number, 2), most))
    return found[0], found[1]


def init_sockets(people: People) -> None:
    Terminals(people)
