"""In which tenant a browser is. The choice stands in the session and narrows every grant; it never widens any.

Programs send no such thing: what an id in an address means is decided by grants alone.
"""

from __future__ import annotations

from flask import g, session

from clawportal.contracts.permissions import Actor, narrowed

KEY = "inside"


def narrow(actor: Actor | None) -> Actor | None:
    """The actor inside the chosen tenant. A choice that gives no rights any more is forgotten."""
    wanted = chosen()
    if actor is None or wanted is None:
        return actor
    found = applied(actor, wanted)
    if found is None:
        session.pop(KEY)
    return found or actor


def chosen() -> str | None:
    """Id of the tenant that this browser is in, as far as it says so; whether that means anything is decided by grants."""
    wanted = session.get(KEY)
    return wanted if isinstance(wanted, str) else None


def applied(actor: Actor, tenant_id: str) -> Actor | None:
    """The actor inside a tenant; None where nobody gave them any right there."""
    found = narrowed(actor, tenant_id)
    rights = any(grant.beyond_own_account for grant in (*found.grants, *found.withheld))
    return found if rights else None


def choose(tenant_id: str | None) -> None:
    """Go into a tenant, or out of it with None."""
    if tenant_id is None:
        session.pop(KEY, None)
    else:
        session[KEY] = tenant_id
    g.pop("actor", None)
