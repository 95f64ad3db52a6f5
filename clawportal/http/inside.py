"""In which tenant a browser is. The choice stands in the session and narrows every grant; it never widens any.

Programs send no such thing: what an id in an address means is decided by grants alone.
"""

from __future__ import annotations

from flask import g, session

from clawportal.permissions import Actor, Permission, narrowed

KEY = "inside"


def narrow(actor: Actor | None) -> Actor | None:
    """The actor inside the chosen tenant. A choice that gives no rights any more is forgotten."""
    wanted = session.get(KEY)
    if actor is None or not isinstance(wanted, str):
        return actor
    found = narrowed(actor, wanted)
    if any(grant.permissions - {Permission.SELF} for grant in (*found.grants, *found.withheld)):
        return found
    session.pop(KEY)
    return actor


def choose(tenant_id: str | None) -> None:
    """Go into a tenant, or out of it with None."""
    if tenant_id is None:
        session.pop(KEY, None)
    else:
        session[KEY] = tenant_id
    g.pop("actor", None)
