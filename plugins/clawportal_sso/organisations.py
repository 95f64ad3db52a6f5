"""Organisations by the names that people write."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import or_, select

from clawportal.sdk import _m
from clawportal.sdk.data import db, visible
from clawportal.sdk.errors import Invalid
from clawportal.sdk.fleet import Tenant
from clawportal.sdk.permissions import Actor
from clawportal_sso.rights import require
from clawportal_sso.wanted import Wanted


def tenant_named(actor: Actor, text: str) -> str:
    """Id of a tenant by its name or id."""
    require(actor)
    found = db.session.scalar(select(Tenant.id).where(or_(Tenant.id == text.strip(), Tenant.name == text.strip())))
    if found is None:
        raise Invalid.field("tenant", _m("There is no organisation named %(strip)s.", strip=repr(text.strip())), "unknown")
    return found


def tenant_name(tenant_id: str | None) -> str:
    """The name; what was written where there is no such id."""
    return (db.session.scalar(select(Tenant.name).where(Tenant.id == tenant_id)) or tenant_id or "") if tenant_id else ""


def tenant_names(actor: Actor, most: int = 200) -> list[str]:
    """To choose from while typing."""
    return list(db.session.scalars(select(Tenant.name).where(visible(Tenant, actor)).order_by(Tenant.name).limit(most)))


def with_tenant(actor: Actor, wanted: Wanted) -> Wanted:
    """With the id of the tenant that was written as name."""
    return replace(wanted, tenant_id=tenant_named(actor, wanted.tenant_id) if wanted.tenant_id else None)
