"""Links to a claw's page for people without an account: made, listed, taken back, and what they are good for.

A link opens what whoever made it may open, as long as they may, and ends at its time. Its secret is shown once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from clawportal.sdk import _m
from clawportal.sdk.data import LENGTH, Order, Slice, Which, db, get_or_404, listing, now, transaction
from clawportal.sdk.errors import Forbidden, Invalid, Unauthenticated
from clawportal.sdk.events import record
from clawportal.sdk.fleet import Instance, Portal
from clawportal.sdk.permissions import Actor
from clawportal_apps import services
from clawportal_apps.models import AppShare
from clawportal_apps.names import App
from clawportal_apps.owners import LINK_IS_OVER, link_owner
from clawportal_apps.permissions import APP_OPEN, APP_SHARE
from clawportal_apps.proofs import Pass
from clawportal_apps.settings import AppSettings

SHARED = "/.clawportal/shared"
_ORDER = Order(
    (AppShare.created_at.expression, AppShare.id.expression), (datetime, str), lambda row: (row.created_at, row.id), True
)


@dataclass(frozen=True)
class NewShare:
    row: AppShare
    url: str
    """With the secret, which is not told again."""


def create(portal: Portal, actor: Actor, instance_id: str, port: str, hours: int, note: str, home: str) -> NewShare:
    longest = portal.section(AppSettings).share_hours
    if not longest:
        raise Forbidden(_m("Pages of claws are not shared by links here."))
    if not 1 <= hours <= longest:
        raise Invalid.field("hours", _m("must be a whole number from 1 to %(longest)s", longest=longest))
    secret = secrets.token_urlsafe(24)
    with transaction():
        instance = get_or_404(Instance, instance_id, actor, APP_SHARE)
        get_or_404(Instance, instance_id, actor, APP_OPEN)
        app = App(instance.id, services.port_of(portal, instance, port).name)
        origin = services.origin_of(portal, instance, app, home)
        row = AppShare(
            tenant_id=instance.tenant_id, instance_id=instance.id, port=app.port, note=note.strip()[:200], digest=_digest(secret),
            user_id=actor.id, ends_at=now() + timedelta(hours=hours),
        )  # fmt: skip
        db.session.add(row)
        db.session.flush()
        words = _m(
            "%(actor)s shared the page %(port)s of %(name)s by a link for %(hours)s hours.",
            actor=actor.name, port=app.port, name=instance.name, hours=hours,
        )  # fmt: skip
        data = {"app_share_id": row.id, "port": app.port}
        record(portal, "app_share.created", actor=actor, instance=instance, message=words, data=data)
    return NewShare(row, f"{origin}{SHARED}?link={row.id}.{secret}")


def of_instance(actor: Actor, instance_id: str, which: Which) -> Slice[AppShare]:
    """Those that may still be used or were, newest first."""
    get_or_404(Instance, instance_id, actor, APP_OPEN)
    return listing(AppShare, actor, _ORDER, which, where=[AppShare.instance_id == instance_id], about=instance_id)


def revoke(portal: Portal, actor: Actor, share_id: str) -> None:
    """From the next request on, and within seconds for what is open."""
    with transaction():
        row = get_or_404(AppShare, share_id, actor, APP_SHARE)
        if row.revoked_at is None:
            row.revoked_at = now()
            instance = db.session.get_one(Instance, row.instance_id)
            words = _m("%(actor)s took back a link to the page %(port)s of %(name)s.", actor=actor.name, port=row.port,
                       name=instance.name)  # fmt: skip
            data = {"app_share_id": row.id, "port": row.port}
            record(portal, "app_share.revoked", actor=actor, instance=instance, message=words, data=data)


def used(portal: Portal, app: App, text: str, home: str) -> Pass:
    """What a link is good for; its first use and each later one of another browser is told in the audit."""
    share_id, _, secret = text.partition(".")
    row = db.session.get(AppShare, share_id[:LENGTH])
    if row is None or not hmac.compare_digest(row.digest, _digest(secret)) or App(row.instance_id, row.port) != app:
        raise Unauthenticated(LINK_IS_OVER)
    actor = link_owner(portal, row.id)
    with transaction():
        instance = get_or_404(Instance, row.instance_id, actor, APP_OPEN)
        row.used_at = now()
        words = _m("Somebody opened the page %(port)s of %(name)s by a link of %(actor)s.", port=row.port, name=instance.name,
                   actor=actor.name)  # fmt: skip
        data = {"app_share_id": row.id, "port": row.port}
        record(portal, "app_share.used", actor=actor, instance=instance, message=words, data=data)
    return Pass(app, home, share_id=row.id)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
