"""Requests for host names that are not the portal's: to whom they go, and what such an application may ask of the portal.

Behind them nothing is the portal's: no session, no page, no cookie. They stand inside of `Front`, so that who asks is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from flask import Flask

from clawportal import origin
from clawportal.contracts.extensions import OTHER_HOSTS, OtherHost
from clawportal.contracts.permissions import Actor
from clawportal.engine.portal import Portal
from clawportal.http import streams

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Hosts:
    """WSGI middleware: the first that takes a request answers it."""

    def __init__(self, inner: WSGIApplication, others: list[OtherHost]) -> None:
        self._inner, self._others = inner, others

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        for other in self._others:
            if other.takes(environ):
                return other(environ, start_response)
        return self._inner(environ, start_response)


def init_app(app: Flask) -> None:
    """Nothing stands in the way where no feature has hosts of its own."""
    portal = cast(Portal, app.extensions["clawportal"])
    others = [make(app) for make in portal.registry.targets(OTHER_HOSTS)]
    if others:
        app.wsgi_app = Hosts(app.wsgi_app, others)  # type: ignore[method-assign]  # Flask's documented way


def place_for(app: Flask, environ: WSGIEnvironment, who: Actor | None) -> Callable[[], None]:
    """One of the places for what lasts, so that the ordinary ones stay for pages; call what is returned at the end.

    TooManyRequests or Unavailable where there is none for this person, or for anybody.
    """
    viewers = cast(streams.Viewers, app.extensions["clawportal_viewers"])
    place = viewers.enter(environ.get("REMOTE_ADDR", ""), who)
    streams.tell_it_lasts(environ)
    return lambda: viewers.leave(place)


@contextmanager
def asked_from(app: Flask, environ: WSGIEnvironment, who: Actor | None = None) -> Iterator[Portal]:
    """An app context in which the audit knows from where something is done."""
    address, agent = environ.get("REMOTE_ADDR", ""), environ.get("HTTP_USER_AGENT", "")
    with app.app_context(), origin.during(origin.Origin("web", address, agent, who=lambda: who)):
        yield cast(Portal, app.extensions["clawportal"])
