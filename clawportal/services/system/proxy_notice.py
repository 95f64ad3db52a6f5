"""Notices that a proxy of one's own stands in front and that no setting tells of it: everybody then seems to come from there."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from pathlib import Path

from clawportal.messages import _m

log = logging.getLogger(__name__)

FILE = "proxy-not-believed"
AGAIN_SECONDS = 3600.0
FRESH_DAYS = 7.0
REMEDY = _m("Set CLAWPORTAL_TRUSTED_PROXIES to the number of proxies in front, then start the portal again.")


class Noticed:
    """What was seen, in a file: `doctor` is another process. Forgotten when the setting is there."""

    def __init__(self, data_dir: Path, hops: int) -> None:
        self._file = data_dir / FILE
        self._next = 0.0
        self._lock = threading.Lock()
        if hops:
            with suppress(OSError):
                self._file.unlink(missing_ok=True)

    def note(self, peer: str) -> None:
        """A request with a proxy's headers came from this address of our own network, and they were not believed."""
        with self._lock:
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + AGAIN_SECONDS
        log.warning(
            "requests come through a proxy at %s whose word is not believed: all seem to come from there. %s", peer, REMEDY
        )
        with suppress(OSError):  # a full disk is no reason to refuse a page
            self._file.write_text(peer, encoding="utf-8")


def seen(data_dir: Path) -> str:
    """The address of such a proxy, when one was seen of late. Empty: none."""
    file = data_dir / FILE
    try:
        fresh = time.time() - file.stat().st_mtime < FRESH_DAYS * 86400
        return file.read_text(encoding="utf-8")[:64] if fresh else ""
    except OSError:
        return ""
