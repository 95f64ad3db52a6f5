"""Lets large bodies in where they are read as a stream; everywhere else the limit of the app holds."""

from __future__ import annotations

from flask import Flask, request

_ANY = 1 << 62
STREAMED = frozenset({"api.put_instance_file"})
"""Endpoints that never hold a body in memory, and have a limit of their own."""


def init_app(app: Flask) -> None:
    """Before anything else looks at a body."""
    app.before_request(_let_in)


def _let_in() -> None:
    if request.endpoint in STREAMED:
        request.max_content_length = _ANY  # None would mean that of the app
