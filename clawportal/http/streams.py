"""Answers that last: each open websocket or event stream holds a thread, so there is a cap, and dead callers are noticed.

Nobody can have them all: there are caps for a person and for a tenant, and few places for whoever has not said who he is.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from flask import Flask, Response, current_app, request
from sqlalchemy import func, select

from clawportal import client_addresses
from clawportal.contracts.permissions import Actor
from clawportal.db import db
from clawportal.errors import TooManyRequests, Unavailable
from clawportal.http import security
from clawportal.messages import _m
from clawportal.models import Tenant

RETRY_AFTER = 15
STALLED_AFTER_MS = 30_000
"""A caller that takes nothing for so long is gone: its thread is needed by others."""
SILENT_SECONDS = 5.0
"""Whoever opens a websocket has so long to say who he is."""
FEW = 8
"""A person, and all who have not said who they are, always may have so many, however low the cap is."""
ASK_TENANTS_SECONDS = 60.0

_AGAIN = {"Retry-After": str(RETRY_AFTER)}


@dataclass(eq=False)
class Place:
    """One of the places for what lasts, from its begin to its end."""

    address: str
    person: str = ""
    tenant: str = ""
    connection: socket.socket | None = None
    since: float = field(default_factory=time.monotonic)


class Viewers:
    """Counts what lasts, up to a limit, and fairly."""

    def __init__(self, limit: int, alone: Callable[[], bool] = lambda: False) -> None:
        """`alone` says whether there is one tenant only, which then may take all places."""
        self.limit, self._alone = limit, alone
        self._places: set[Place] = set()
        self._persons: Counter[str] = Counter()
        self._tenants: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        return len(self._places)

    @property
    def each(self) -> int:
        return max(self.limit // 10, FEW)

    def enter(self, address: str, who: Actor | None, connection: socket.socket | None = None) -> Place:
        """A place for one more; TooManyRequests or Unavailable when it cannot be."""
        place = Place(client_addresses.network_of(address), connection=connection)
        alone = who is not None and self._alone()
        with self._lock:
            if len(self._places) >= self.limit:
                raise Unavailable(
                    _m("Too many live pages are open at the moment. Try again in a moment, or close some."), headers=_AGAIN
                )
            if who is None:
                self._check_unknown(place)
            else:
                self._name(place, who, alone)
            self._places.add(place)
        return place

    def identify(self, place: Place, who: Actor) -> None:
        """Who holds this place has said so by now."""
        alone = self._alone()
        with self._lock:
            if not place.person and place in self._places:
                self._name(place, who, alone)

    def leave(self, place: Place) -> None:
        with self._lock:
            if place in self._places:
                self._places.remove(place)
                for counts, key in ((self._persons, place.person), (self._tenants, place.tenant)):
                    counts[key] -= 1
                    if counts[key] <= 0:
                        del counts[key]

    def silent(self) -> list[Place]:
        """Those that should have said by now who they are."""
        late = time.monotonic() - SILENT_SECONDS
        with self._lock:
            return [place for place in self._places if not place.person and place.since < late]

    def _check_unknown(self, place: Place) -> None:
        unknown = [one.address for one in self._places if not one.person]
        together = max(self.limit // 10, FEW)
        if len(unknown) >= together or unknown.count(place.address) >= max(together // 2, FEW):
            raise TooManyRequests(_m("Too many connections wait to say who they are. Try again in a moment."), headers=_AGAIN)

    def _name(self, place: Place, who: Actor, alone: bool) -> None:
        tenant = _tenant_of(who)
        if self._persons[who.id] >= self.each:
            raise TooManyRequests(_m("You have too many live pages open. Close some, then try again."), headers=_AGAIN)
        if tenant and self._tenants[tenant] >= max(self.limit * 2 // 3, FEW) and not alone:
            raise TooManyRequests(
                _m("Your organisation has too many live pages open at the moment. Try again later, or close some."),
                headers=_AGAIN,
            )
        place.person, place.tenant = who.id, tenant
        self._persons[who.id] += 1
        self._tenants[tenant] += 1


def _tenant_of(who: Actor) -> str:
    """The one they are in; else the first that they belong to. Nobody's: whoever looks after the whole portal."""
    return who.inside or next((grant.tenant_id for grant in who.grants if grant.tenant_id), "")


class _Alone:
    """Whether there is one tenant only; asked once a minute."""

    def __init__(self, app: Flask) -> None:
        self._app, self._known, self._until = app, False, 0.0

    def __call__(self) -> bool:
        if time.monotonic() > self._until:
            with self._app.app_context():
                self._known = (db.session.scalar(select(func.count()).select_from(Tenant)) or 0) < 2
            self._until = time.monotonic() + ASK_TENANTS_SECONDS
        return self._known


def init_app(app: Flask, limit: int) -> Viewers:
    found = app.extensions["clawportal_viewers"] = Viewers(limit, _Alone(app))
    return found


def viewers() -> Viewers:
    return cast(Viewers, current_app.extensions["clawportal_viewers"])


def lasting(begin: Callable[[], tuple[Response, Callable[[], None]]]) -> Response:
    """An answer that takes a place until it ends. `begin` makes it and says what to call when the caller has gone.

    Refused when there is no place. Servers close an answer whether or not they began to send it, so nothing leaks.
    """
    leave = counted()
    try:
        answer, end = begin()
    except BaseException:
        leave()
        raise
    answer.call_on_close(end)
    answer.call_on_close(leave)
    drop_when_stalled(request.environ)
    return answer


def counted() -> Callable[[], None]:
    """A place for a request that lasts, such as an upload; call what is returned at its end. Refused when there is none."""
    found = viewers()
    place = found.enter(request.remote_addr or "", security.current_actor())
    tell_it_lasts(request.environ)
    return lambda: found.leave(place)


def tell_it_lasts(environ: Mapping[str, Any], *, forever: bool = False) -> None:
    """To our own server: this request is counted here, and its place among the ordinary ones is free for others."""
    lasts = getattr(connection_of(environ), "lasts", None)
    if lasts is not None:
        lasts(forever=forever)


def connection_of(environ: Mapping[str, Any]) -> socket.socket | None:
    found = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    return found if isinstance(found, socket.socket) else None


def take_over(environ: Mapping[str, Any]) -> socket.socket | None:
    """The connection itself, for whoever goes on with it without a thread; the server knows nothing of it from then on.

    The application then raises what `over` gives, instead of an answer. None where the server does not give connections away.
    """
    connection = connection_of(environ)
    if connection is None:
        return None
    taken = socket.socket(connection.family, connection.type, connection.proto, fileno=connection.detach())
    taken.settimeout(None)
    return taken


def over(environ: Mapping[str, Any]) -> Exception:
    """What tells the server, in the way that it understands, that a connection is spent and nothing is to be sent on it."""
    return StopIteration() if "gunicorn.socket" in environ else ConnectionError()


def drop_when_stalled(environ: Mapping[str, Any]) -> None:
    """Let the kernel end a connection whose other side takes nothing: a blocked send would hold its thread for many minutes."""
    connection = connection_of(environ)
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
    if connection is not None and option is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, option, STALLED_AFTER_MS)
