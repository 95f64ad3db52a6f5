"""The event bus of a portal that is one process: what is published is delivered in the thread that publishes."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from clawportal.contracts.bus import EventBus, News
from clawportal.contracts.extensions import EVENT_BUS
from clawportal.pluginmanager import Registry

log = logging.getLogger(__name__)

MOST = 1_000
"""News that wait for one subscriber; older ones go first."""


class _Subscriber:
    """Whoever publishes while nobody delivers does so; whoever comes meanwhile leaves the news, and goes on."""

    def __init__(self, subject: str, handler: Callable[[News], None]) -> None:
        self.subject, self._handler = subject, handler
        self.closed = False
        self._waiting: deque[News] = deque(maxlen=MOST)
        self._lock = threading.Lock()
        self._delivering = False

    def tell(self, news: News) -> None:
        with self._lock:
            self._waiting.append(news)
            if self._delivering:
                return
            self._delivering = True
        while (following := self._next()) is not None:
            try:
                self._handler(following)
            except Exception:
                log.exception("a subscriber of %s failed", self.subject)

    def _next(self) -> News | None:
        with self._lock:
            if self._waiting and not self.closed:
                return self._waiting.popleft()
            self._delivering = False
            return None


class InProcessBus:
    """An `EventBus` without any other process."""

    def __init__(self) -> None:
        self._subscribers: tuple[_Subscriber, ...] = ()
        self._lock = threading.Lock()

    def publish(self, subject: str, news: News) -> None:
        for one in self._subscribers:
            if one.subject == subject:
                one.tell(news)

    def subscribe(self, subject: str, handler: Callable[[News], None]) -> Callable[[], None]:
        one = _Subscriber(subject, handler)
        with self._lock:
            self._subscribers += (one,)
        return lambda: self._leave(one)

    def _leave(self, one: _Subscriber) -> None:
        one.closed = True
        with self._lock:
            self._subscribers = tuple(other for other in self._subscribers if other is not one)

    def close(self) -> None:
        for one in self._subscribers:
            self._leave(one)


def in_process(_portal: Any) -> EventBus:
    """The core's own target of `EVENT_BUS`."""
    return InProcessBus()


def chosen(registry: Registry, portal: Any) -> EventBus:
    """The bus of the last feature that brings one: a plugin takes the place of the core's."""
    make = registry.targets(EVENT_BUS)[-1]
    bus: EventBus = make(portal)
    return bus
