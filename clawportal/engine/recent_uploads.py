"""What each instance holds at least, by what was uploaded lately: files are measured now and then, and uploads come in rows."""

from __future__ import annotations

import threading
import time

KEPT = 180.0
"""Seconds until a measurement surely knows of an upload. What is deleted meanwhile counts for so long, too."""


class Taken:
    """Of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._least: dict[str, tuple[int, float]] = {}

    def take(self, instance_id: str, measured: int, size: int, limit: int) -> int | None:
        """Count `size` bytes in before they come. Where they do not fit: how many are in use, and nothing is counted."""
        now = time.monotonic()
        with self._lock:
            self._least = {key: entry for key, entry in self._least.items() if now - entry[1] < KEPT}
            used = max(measured, self._least.get(instance_id, (0, now))[0])
            if used + size > limit:
                return used
            self._least[instance_id] = (used + size, now)
        return None

    def give_back(self, instance_id: str, size: int) -> None:
        """They did not come after all."""
        with self._lock:
            used, at = self._least.get(instance_id, (0, 0.0))
            self._least[instance_id] = (max(0, used - size), at)
