"""The accounts at providers that are linked to one's own here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from clawportal.sdk import _m
from clawportal.sdk.data import db, transaction
from clawportal.sdk.errors import Conflict, NotFound
from clawportal.sdk.events import record
from clawportal.sdk.fleet import Portal
from clawportal.sdk.people import NO_PASSWORD, User, guarded, require_person, verify_own
from clawportal.sdk.permissions import Actor
from clawportal_sso import following
from clawportal_sso.models import OidcIdentity, OidcProvider
from clawportal_sso.providers import Button


@dataclass(frozen=True)
class Identity:
    """An account at a provider, as its owner sees it."""

    id: str
    provider: str
    slug: str
    email: str
    created_at: datetime
    last_login_at: datetime | None


def mine(user_id: str) -> list[Identity]:
    query = (
        select(OidcIdentity, OidcProvider.title, OidcProvider.slug)
        .join(OidcProvider, OidcProvider.id == OidcIdentity.provider_id)
        .where(OidcIdentity.user_id == user_id)
        .order_by(OidcProvider.title)
    )
    return [
        Identity(row.id, title, slug, row.email, row.created_at, row.last_login_at)
        for row, title, slug in db.session.execute(query)
    ]


def linkable(user_id: str, every: Collection[Button]) -> list[Button]:
    """Providers that an account of is not linked yet."""
    linked = {found.slug for found in mine(user_id)}
    return [button for button in every if button.slug not in linked]


def has_password(user_id: str) -> bool:
    return db.session.get_one(User, user_id).password_hash != NO_PASSWORD


def check_may_link(portal: Portal, actor: Actor, password: str, address: str) -> None:
    """Ask for the password, where there is one: an open browser alone must not gain a second way in."""
    require_person(actor)
    user = db.session.get_one(User, actor.id)
    if user.password_hash != NO_PASSWORD:
        with guarded(portal, "password", actor.name, address):
            verify_own(user, password, "link_password")


def unlink(portal: Portal, actor: Actor, identity_id: str) -> None:
    """Sign in through it no more. The last way in stays."""
    require_person(actor)
    with transaction():
        user = db.session.get_one(User, actor.id, with_for_update=True)
        row = db.session.get(OidcIdentity, identity_id)
        if row is None or row.user_id != user.id:
            raise NotFound(_m("There is no such linked account."))
        if user.password_hash == NO_PASSWORD and len(mine(user.id)) == 1:
            raise Conflict(
                _m("You have no password here, so this is your only way in. Ask an administrator for a password first.")
            )
        provider = db.session.get_one(OidcProvider, row.provider_id)
        message = _m("%(name)s cannot sign in through %(title)s any more.", name=user.name, title=provider.title)
        data = {"identity_id": row.id, "provider": provider.slug}
        record(portal, "identity.unlinked", actor=actor, message=message, level="warning", data=data)
        following.follow(portal, provider, user, ())
        db.session.delete(row)
