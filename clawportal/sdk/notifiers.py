"""Ways to tell somebody outside of the portal's pages: a plugin gives its notifiers to the hook `register_notifiers`.

class ToRoom:
    kind, title = "room", _m("The team's room")

    def check(self, to: str) -> str: ...
    def send(self, notice: Notice, to: str) -> None: ...
"""

from __future__ import annotations

from clawportal.contracts.notifiers import Notice, Notifier
from clawportal.errors import GiveUp, Retry

__all__ = [
    "GiveUp",
    "Notice",
    "Notifier",
    "Retry",
]
