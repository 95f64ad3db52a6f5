"""Wakes those who follow a conversation in this process; what there is to tell stands in the database alone."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Bell:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ears: defaultdict[str, set[threading.Event]] = defaultdict(set)

    def ring(self, conversation_id: str) -> None:
        with self._lock:
            for ear in self._ears.get(conversation_id, ()):
                ear.set()

    @contextmanager
    def heard(self, conversation_id: str) -> Iterator[threading.Event]:
        """Set whenever something is new; whoever waits clears it before looking."""
        ear = threading.Event()
        with self._lock:
            self._ears[conversation_id].add(ear)
        try:
            yield ear
        finally:
            with self._lock:
                self._ears[conversation_id].discard(ear)
                if not self._ears[conversation_id]:
                    del self._ears[conversation_id]
