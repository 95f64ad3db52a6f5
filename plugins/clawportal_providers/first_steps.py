"""First steps of a portal: a key with which claws reach a model."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from clawportal.sdk import _m
from clawportal.sdk.data import db
from clawportal.sdk.features import FirstStep
from clawportal.sdk.fleet import Portal
from clawportal.sdk.permissions import PORTAL_ADMIN, Actor
from clawportal_providers.models import Credential


def steps(_portal: Portal, actor: Actor) -> Iterable[FirstStep]:
    if not actor.has(PORTAL_ADMIN):
        return
    yield FirstStep(
        "credentials.first",
        _m("A key for a model"),
        _m("Store it once in your organisation, under Model keys, and all its claws may use it."),
        db.session.scalar(select(Credential.id).limit(1)) is not None,
        "web.tenants",
        order=70,
    )
