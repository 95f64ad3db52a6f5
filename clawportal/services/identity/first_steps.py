"""First steps of a portal: nobody is locked out, and no password alone opens everything."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import func, select

from clawportal.contracts.core_permissions import PORTAL_ADMIN
from clawportal.contracts.extensions import FirstStep
from clawportal.contracts.permissions import EVERYWHERE, Actor
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.messages import _m
from clawportal.models import Membership, User
from clawportal.models.sign_in import Otp


def steps(_portal: Portal, actor: Actor) -> Iterable[FirstStep]:
    if not actor.has(PORTAL_ADMIN):
        return
    admins, protected = _admins()
    yield FirstStep(
        "identity.second_admin",
        _m("A second administrator"),
        _m("Who lets you in again when you are ill, or have lost your telephone?"),
        admins > 1,
        "web.accounts",
        order=20,
    )
    yield FirstStep(
        "identity.second_factor",
        _m("A second factor for each administrator"),
        _m("A code of an authenticator app beside the password, with backup codes to print. Each switches on their own."),
        0 < admins == protected,
        "web.otp_setup",
        order=30,
    )


def _admins() -> tuple[int, int]:
    """How many administrators there are, and how many of them have a second factor."""
    query = (
        select(func.count(User.id), func.count(Otp.enabled_at))
        .select_from(Membership)
        .join(User, User.id == Membership.user_id)
        .outerjoin(Otp, Otp.user_id == User.id)
        .where(Membership.tenant_id.is_(None), Membership.role == EVERYWHERE, User.active)
    )
    admins, protected = db.session.execute(query).one()
    return admins, protected
