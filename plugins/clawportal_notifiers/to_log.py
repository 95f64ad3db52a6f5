"""Writes each notice as one line into the portal's log, where a log collector finds it."""

from __future__ import annotations

import logging
import re

from clawportal.sdk import _m
from clawportal.sdk.notifiers import Notice

_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,60}")
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class ToLog:
    kind = "log"
    title = _m("The portal's log")

    def check(self, to: str) -> str:
        if not to or _NAME.fullmatch(to):
            return ""
        return "For a log, write a name of small letters, digits, dots and dashes, which begins the line, or nothing."

    def send(self, notice: Notice, to: str) -> None:
        where = f" in {notice.tenant}" if notice.tenant else ""
        log = logging.getLogger(to or "clawportal.notices")
        log.log(_LEVELS[notice.event.level], "%s%s: %s", notice.event.kind, where, " ".join(notice.text.split()))
