"""How large a body may be: any where it is read as a stream, small where nobody is signed in, else as the app says."""

from __future__ import annotations

from typing import cast

from flask import Flask, current_app, request
from flask.sansio.app import App

from clawportal.engine.portal import Portal

_ANY = 1 << 62
SMALL = 64 * 1024
"""Bytes that somebody may send whom the portal does not know: names, passwords and codes are shorter."""


def streamed(app: App) -> set[str]:
    """Endpoints that never hold a body in memory, and have a limit of their own."""
    return cast("set[str]", app.config.setdefault("STREAMED", set()))


def init_app(app: Flask) -> None:
    """Before anything else looks at a body."""
    app.before_request(_let_in)
    app.before_request(_make_way)


def _let_in() -> None:
    if request.endpoint in streamed(current_app):
        request.max_content_length = _ANY  # None would mean that of the app


def hold_strangers_short() -> None:
    """Before the body is read for the first time, which looking for a CSRF token does."""
    from clawportal.http import security

    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    known = request.content_length
    if (known is None or known > SMALL) and security.current_actor() is None:
        request.max_content_length = SMALL


def _make_way() -> None:
    """What changes something writes: on a full disk the portal's own reserve is for that."""
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        cast(Portal, current_app.extensions["clawportal"]).room.make_way()
