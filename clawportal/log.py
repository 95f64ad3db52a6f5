"""Logging: one line per fact, for people or as JSON, and never a secret."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from clawportal import redact


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact.text(super().format(record))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact.text(record.getMessage()),
        }
        if record.exc_info:
            fields["exception"] = redact.text(self.formatException(record.exc_info))
        return json.dumps(fields)


def configure(level: str, form: str) -> None:
    """Send everything to stderr in the chosen form. May be called twice."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("apscheduler", "engineio", "socketio", "werkzeug", "alembic", "httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(max(root.level, logging.WARNING))
