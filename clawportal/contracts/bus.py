"""How the parts of all replicas tell each other that something happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

News = Mapping[str, Any]
"""Plain JSON: ids and words of programs, never a secret and nothing that somebody must not see."""

FACTS = "facts"
"""A fact was stored (`Event.news`): live pages look at what it is about."""
DUE = "due"
"""Somebody asked something of an instance (`instance`, `cluster`, `tenant`): whoever has a worker free takes it at once."""
CLUSTERS = "clusters"
"""The table of clusters was changed."""


class EventBus(Protocol):
    """Hints, never the truth: that is in the database, and whoever missed a hint finds it there a period later.

    - Each subscriber of a subject gets the news of one publisher in the order in which they were published.
    - While subscriber and publisher live, the last news of a subject arrives. Earlier ones may be left out where a subscriber is
      too slow: what waits for it is bounded.
    - A subscriber that fails or hangs keeps no other from anything.
    - News come back to the replica that published them, once, like those of others.
    """

    def publish(self, subject: str, news: News) -> None:
        """From any thread, after the commit. Neither raises nor waits for another machine."""

    def subscribe(self, subject: str, handler: Callable[[News], None]) -> Callable[[], None]:
        """Call `handler` with all news from now on, from any thread, never twice at a time. It is to be quick: to take a note and
        wake somebody. The answer ends it, and may be called twice."""

    def close(self) -> None:
        """Nothing is delivered any more; may be called twice."""
