"""The note on an instance: what its team wrote down for one another, in Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from clawportal import clock
from clawportal.contracts.core_permissions import INSTANCE_READ, INSTANCE_UPDATE
from clawportal.contracts.permissions import Actor
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Invalid, PreconditionFailed, PreconditionRequired
from clawportal.messages import _m
from clawportal.models import Instance, InstanceNote
from clawportal.services.events import event_log
from clawportal.services.rights import access

LONGEST = 4000
"""Letters of one note."""


@dataclass(frozen=True)
class Note:
    """As it is read. Before the first one its text is empty and its revision 0."""

    text: str = ""
    revision: int = 0
    written_by: str = ""
    written_at: datetime | None = None


def get(actor: Actor, instance_id: str) -> Note:
    return _read(access.get_or_404(Instance, instance_id, actor, INSTANCE_READ).id)


def may_write(actor: Actor, instance: Instance) -> bool:
    """Whoever may change it, also of what the portal only observes: nothing of the claw is touched."""
    return actor.allows(INSTANCE_UPDATE, access.scope_of(instance))


def write(portal: Portal, actor: Actor, instance_id: str, text: str, *, revision: int | None) -> Note:
    """Replace the note, if nobody else did so since the caller read `revision`. An empty text takes it away."""
    text = _checked(text)
    if revision is None:
        raise PreconditionRequired(_m("Send If-Match with the ETag of the note that you read, so that no change gets lost."))
    with transaction():
        instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_READ, lock=True)
        access.require(actor, INSTANCE_UPDATE, access.scope_of(instance))
        before = _read(instance.id)
        if before.revision != revision:
            raise PreconditionFailed(
                _m("The note on %(name)s was changed meanwhile. Read it again and repeat.", name=instance.name)
            )
        if text == before.text:
            return before
        _store(actor, instance, text)
        said = _m("%(actor)s took the note on %(name)s away.", actor=actor.name, name=instance.name)
        if text:
            said = _m("%(actor)s changed the note on %(name)s.", actor=actor.name, name=instance.name)
        event_log.record(portal, "instance.note_changed", actor=actor, instance=instance, message=said)
        return _read(instance.id)


def _read(instance_id: str) -> Note:
    row = db.session.get(InstanceNote, instance_id, populate_existing=True)  # what others wrote since counts
    return Note(row.text, row.revision, row.written_by, row.written_at) if row is not None else Note()


def _checked(text: str) -> str:
    text = text.replace("\r\n", "\n").strip()
    if len(text) > LONGEST:
        raise Invalid.field("text", _m("may have %(most)s letters at most; it has %(n)s", most=LONGEST, n=len(text)), "too_long")
    if any((ord(letter) < 32 and letter not in "\n\t") or 0xD800 <= ord(letter) < 0xE000 for letter in text):
        raise Invalid.field("text", _m("has letters that cannot be shown; take them out"))
    return text


def _store(actor: Actor, instance: Instance, text: str) -> None:
    row = db.session.get(InstanceNote, instance.id)
    if row is None:
        row = InstanceNote(instance_id=instance.id, tenant_id=instance.tenant_id, revision=0)
        db.session.add(row)
    row.text, row.revision, row.written_by, row.written_at = text, row.revision + 1, actor.name, clock.now()
    db.session.flush()
