"""In whose name a page is used: of whoever is signed in, or of whoever shared it by a link."""

from __future__ import annotations

from clawportal.sdk import _m
from clawportal.sdk.data import db, get_or_404, now
from clawportal.sdk.errors import Unauthenticated
from clawportal.sdk.fleet import Instance, Portal
from clawportal.sdk.hosts import Place, actor_by_id, behind
from clawportal.sdk.permissions import Actor
from clawportal_apps.models import AppShare
from clawportal_apps.permissions import APP_SHARE
from clawportal_apps.proofs import Pass
from clawportal_apps.settings import AppSettings

LINK_IS_OVER = _m("This link was taken back, is over, or was never one. Ask whoever gave it to you for another.")


def owner(portal: Portal, given: Pass, came: Place) -> Actor:
    """Unauthenticated once the sign-in, the token or the link has ended."""
    if given.share_id:
        return link_owner(portal, given.share_id)
    found = behind(given.bearer, came)
    if found is None:
        raise Unauthenticated(_m("You are no longer signed in. Open the page from the portal again."))
    return found


def link_owner(portal: Portal, share_id: str) -> Actor:
    """Who made a link, while it is good, while they still may share, and while anybody may."""
    row = db.session.get(AppShare, share_id) if portal.section(AppSettings).share_hours else None
    if row is None or row.revoked_at is not None or row.ends_at <= now():
        raise Unauthenticated(LINK_IS_OVER)
    found = actor_by_id(portal, row.user_id)
    if found is None:
        raise Unauthenticated(LINK_IS_OVER)
    get_or_404(Instance, row.instance_id, found, APP_SHARE)
    return found
