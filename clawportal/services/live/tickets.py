"""Tickets that open one console once, for programs that can send no header with a WebSocket.

A ticket is bound to an instance, to who asked for it, and to the sign-in or token by which they did: when that ends, so does the
console. It is sealed, is good for a minute, and is taken back by its first use, on whichever replica that is.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete

from clawportal import clock
from clawportal.contracts.core_permissions import INSTANCE_CONSOLE
from clawportal.contracts.permissions import Actor
from clawportal.db import changed_rows, db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, Unauthenticated
from clawportal.ids import new_id
from clawportal.keyring import KeyringError
from clawportal.lifecycle import Phase
from clawportal.messages import _m
from clawportal.models import IdempotencyKey, Instance
from clawportal.services.rights import access

LIFE = timedelta(seconds=60)
_PLACE = "console-ticket"
_REFUSED = _m("This ticket was used, is too old, or is for another console. Ask for a new one.")


@dataclass(frozen=True)
class Bearer:
    """By what somebody was recognised when they asked: a session, or the text of a token."""

    session_id: str = ""
    token: str = ""
    tenant_id: str = ""
    """In which tenant the browser was."""
    program: bool = False
    """The session is one of a program, not of a browser."""


@dataclass(frozen=True)
class Ticket:
    text: str
    expires_at: datetime


def issue(portal: Portal, actor: Actor, instance_id: str, bearer: Bearer) -> Ticket:
    """For a console on a running claw that the actor may open."""
    with transaction():
        instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_CONSOLE)
        if instance.phase != Phase.RUNNING:
            raise Conflict(_m("%(name)s is not running. Start it to open a console.", name=instance.name))
        number, until = new_id(), clock.now() + LIFE
        db.session.add(IdempotencyKey(actor_id=_PLACE, key=number, request_hash="", object_id=instance.id))
    content = {"number": number, "instance": instance.id, "until": until.isoformat(), "bearer": asdict(bearer)}
    sealed = portal.keyring.seal(json.dumps(content), _PLACE)
    return Ticket(urlsafe_b64encode(sealed).rstrip(b"=").decode(), until)


def redeem(portal: Portal, instance_id: str, text: str) -> Bearer:
    """Who it was given to; only the first time, and only for its instance."""
    try:
        sealed = urlsafe_b64decode(text[:20_000] + "=" * (-len(text) % 4))
        content = json.loads(portal.keyring.open(sealed, _PLACE))
    except (ValueError, KeyringError) as error:
        raise Unauthenticated(_REFUSED) from error
    if content["instance"] != instance_id or datetime.fromisoformat(content["until"]) < clock.now():
        raise Unauthenticated(_REFUSED)
    with transaction():
        kept = (IdempotencyKey.actor_id == _PLACE, IdempotencyKey.key == content["number"])
        first = changed_rows(delete(IdempotencyKey).where(*kept)) == 1
    if not first:
        raise Unauthenticated(_REFUSED)
    return Bearer(**content["bearer"])
