"""First steps of a portal: how people reach it, and who collects its figures."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from clawportal.contracts.core_permissions import PORTAL_ADMIN, PORTAL_READ
from clawportal.contracts.extensions import FirstStep
from clawportal.contracts.permissions import Actor
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.messages import _m
from clawportal.models import ApiToken

_LOOKED_AT = 100


def steps(portal: Portal, actor: Actor) -> Iterable[FirstStep]:
    if not actor.has(PORTAL_ADMIN):
        return
    yield FirstStep(
        "system.address",
        _m("An address with TLS"),
        _m("Passwords and keys pass through it. Put a proxy with a certificate in front, and tell the portal its address."),
        portal.settings.public_url.startswith("https://"),
        command="CLAWPORTAL_PUBLIC_URL=https://claws.example.com",
        order=10,
    )
    yield FirstStep(
        "system.metrics",
        _m("Figures for Prometheus"),
        _m("An API token that is narrowed to portal.read is enough for whatever collects /metrics."),
        _collected(),
        "web.profile",
        order=90,
    )


def _collected() -> bool:
    """Whether a token that opens nothing else was used of late."""
    narrowed = select(ApiToken.scopes).where(ApiToken.scopes.is_not(None), ApiToken.last_used_at.is_not(None))
    newest = narrowed.where(ApiToken.revoked_at.is_(None)).order_by(ApiToken.last_used_at.desc()).limit(_LOOKED_AT)
    return any(scopes == [PORTAL_READ] for scopes in db.session.scalars(newest))
