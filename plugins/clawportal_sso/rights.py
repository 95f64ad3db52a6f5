"""Who may set sign-in providers up."""

from __future__ import annotations

from clawportal.sdk.data import require as require_right
from clawportal.sdk.permissions import PORTAL_ADMIN, USER_MANAGE, Actor, Scope


def require(actor: Actor) -> None:
    """Whoever chooses a provider decides who gets in, and its groups can give any role."""
    require_right(actor, PORTAL_ADMIN, Scope())
    require_right(actor, USER_MANAGE, Scope())
