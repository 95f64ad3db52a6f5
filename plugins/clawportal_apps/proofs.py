"""By what a browser shows at the host of a claw's page that it may come in: a ticket, once, and after that a cookie of that host.

Both are sealed. Neither is good for anything but one port of one claw, and each ends with the sign-in, token or link behind it.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete

from clawportal.sdk import _m
from clawportal.sdk.data import changed_rows, db, now, transaction
from clawportal.sdk.errors import Unauthenticated
from clawportal.sdk.fleet import Instance, Portal
from clawportal.sdk.hosts import Bearer, KeyringError
from clawportal_apps.models import AppTicket
from clawportal_apps.names import App

TICKET_LIFE = timedelta(seconds=60)
COOKIE_LIFE = timedelta(hours=24)
_TICKET, _COOKIE = "app-ticket", "app-cookie"
_REFUSED = _m("This way in was used, is too old, or is for another page. Open the page from the portal again.")


@dataclass(frozen=True)
class Pass:
    """Who may come in, and where."""

    app: App
    home: str
    """Where this browser finds the portal."""
    bearer: Bearer = field(default_factory=Bearer)
    share_id: str = ""
    """The shared link that it came by; then nobody is signed in."""
    until: datetime = field(default_factory=now)


def ticket_for(portal: Portal, instance: Instance, given: Pass) -> str:
    """Good for a minute and one use, on whichever replica that is."""
    with transaction():
        row = AppTicket(tenant_id=instance.tenant_id, instance_id=instance.id, ends_at=now() + TICKET_LIFE)
        db.session.add(row)
        db.session.flush()
        number = row.id
    return _sealed(portal, {"number": number, **_plain(given, now() + TICKET_LIFE)}, _TICKET)


def used(portal: Portal, app: App, text: str) -> Pass:
    """What a ticket is good for; only the first time, and only at its own host."""
    content = _opened(portal, text, _TICKET)
    found = _pass(content)
    if found is None or found.app != app or found.until < now():
        raise Unauthenticated(_REFUSED)
    with transaction():
        first = changed_rows(delete(AppTicket).where(AppTicket.id == content["number"])) == 1
    if not first:
        raise Unauthenticated(_REFUSED)
    return found


def cookie_for(portal: Portal, given: Pass) -> str:
    return _sealed(portal, _plain(given, now() + COOKIE_LIFE), _COOKIE)


def read_cookie(portal: Portal, text: str) -> Pass | None:
    """Also one that is too old, which still says where the portal is."""
    return _pass(_opened(portal, text, _COOKIE))


def forget_old(portal: Portal) -> None:
    with transaction():
        db.session.execute(delete(AppTicket).where(AppTicket.ends_at < now()))


def _plain(given: Pass, until: datetime) -> dict[str, Any]:
    """As JSON has it."""
    return {**asdict(given), "until": until.isoformat()}


def _sealed(portal: Portal, content: dict[str, Any], place: str) -> str:
    return urlsafe_b64encode(portal.keyring.seal(json.dumps(content), place)).rstrip(b"=").decode()


def _opened(portal: Portal, text: str, place: str) -> dict[str, Any]:
    """Empty for what this portal did not seal."""
    try:
        sealed = urlsafe_b64decode(text[:4000] + "=" * (-len(text) % 4))
        content = json.loads(portal.keyring.open(sealed, place))
    except (ValueError, KeyringError):
        return {}
    return content if isinstance(content, dict) else {}


def _pass(content: dict[str, Any]) -> Pass | None:
    if not content:
        return None
    bearer, until = Bearer(**content["bearer"]), datetime.fromisoformat(content["until"])
    return Pass(App(**content["app"]), content["home"], bearer, content["share_id"], until)
