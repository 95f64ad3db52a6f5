"""Waits for the end of many processes at once, without looking at them again and again."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Iterator

_RESCAN = 2.0
_PATIENCE = 0.4
"""Seconds between two questions whether to stop."""


class Watch:
    """One watcher. `running` tells pid and start time of every supervisor by instance."""

    def __init__(self, running: Callable[[], dict[str, tuple[int, int]]]) -> None:
        self.running = running
        self.selector = selectors.DefaultSelector()
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.selector.register(self.wake, selectors.EVENT_READ)
        self.known: dict[str, tuple[int, int]] = {}

    def changes(self, stop: Callable[[], bool]) -> Iterator[str]:
        """Ids of instances that started or ended after the first look; an empty one as soon as that was taken."""
        first = self._look()
        yield ""
        for name in first:
            if name not in self.known:  # it ended between the two
                yield name
        next_look = time.monotonic() + _RESCAN
        while not stop():
            ready = [key for key, _ in self.selector.select(_PATIENCE)]
            ended = [key for key in ready if key.fd != self.wake]
            for key in ended:
                self._forget(key)
                yield key.data
            if len(ended) < len(ready) or time.monotonic() >= next_look:
                self._awake()
                yield from self._look()
                next_look = time.monotonic() + _RESCAN

    def _look(self) -> list[str]:
        """Take up what is new; answers its ids."""
        fresh = [(name, identity) for name, identity in self.running().items() if self.known.get(name) != identity]
        for name, identity in fresh:
            try:
                handle = os.pidfd_open(identity[0])
            except OSError:
                continue
            self.known[name] = identity
            self.selector.register(handle, selectors.EVENT_READ, name)
        return [name for name, _ in fresh]

    def _forget(self, key: selectors.SelectorKey) -> None:
        self.selector.unregister(key.fd)
        os.close(key.fd)
        self.known.pop(key.data, None)

    def _awake(self) -> None:
        try:
            os.eventfd_read(self.wake)
        except BlockingIOError:
            pass

    def close(self) -> None:
        for key in list(self.selector.get_map().values()):
            os.close(key.fd)
        self.selector.close()
