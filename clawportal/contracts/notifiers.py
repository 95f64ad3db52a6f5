"""The contract of a notifier: a way to tell somebody of a fact outside of the portal's pages, such as a webhook or a chat room.

The portal's routes (`[notices]` in the settings) decide who is told what; a notifier only carries one notice to one address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from clawportal.contracts.events import Event


@dataclass(frozen=True)
class Notice:
    """One fact, in words of the language that the route asks for. Secrets are masked in it as they are in the feed."""

    event: Event
    """The fact itself. `event.seq` is the same when a notice is carried again: at least once is promised, not only once."""
    title: str
    """What kind of fact it is: the sentence that its kind declares; the kind itself where nobody declares it."""
    text: str
    """What happened."""
    tenant: str = ""
    """Name of the organisation; empty for what concerns the portal."""
    link: str = ""
    """The page of the instance that it is about. Empty where there is none, or where nobody said how the portal is reached."""


@runtime_checkable
class Notifier(Protocol):
    """Any thread may call it, and never two at a time for one route."""

    kind: str
    """What a route names in `via`."""
    title: str

    def check(self, to: str) -> str:
        """Why `to` is no address that this notifier can reach, as a sentence; empty if it is one. Asks nobody."""

    def send(self, notice: Notice, to: str) -> None:
        """Carry it within 15 seconds. Raises Retry where it may go well later: what follows on the route waits until then, so
        that all arrive in order; GiveUp where this one will never arrive."""
