"""Socket.IO: changes (ids only) and logs."""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Attach Socket.IO to the app."""
