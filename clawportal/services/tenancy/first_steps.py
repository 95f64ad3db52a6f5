"""First steps of a portal: an organisation that has a name."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import or_, select

from clawportal.contracts.core_permissions import PORTAL_ADMIN
from clawportal.contracts.extensions import FirstStep
from clawportal.contracts.permissions import Actor
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.messages import _m
from clawportal.models import Tenant
from clawportal.models.tenancy import OWN_TENANT
from clawportal.services.tenancy.tenancy import OWN_TITLE


def steps(_portal: Portal, actor: Actor) -> Iterable[FirstStep]:
    if not actor.has(PORTAL_ADMIN):
        return
    named = select(Tenant.id).where(or_(Tenant.name != OWN_TENANT, Tenant.title != str(OWN_TITLE))).limit(1)
    yield FirstStep(
        "tenancy.organisation",
        _m("Your organisation"),
        _m("Give it its name, and invite those who work with you."),
        db.session.scalar(named) is not None,
        "web.tenants",
        order=50,
    )
