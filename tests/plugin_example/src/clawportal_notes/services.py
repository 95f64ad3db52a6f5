"""Writing, reading, closing and deleting notes: one function for each, one transaction, one event."""

from __future__ import annotations

from sqlalchemy import func, select

from clawportal.sdk import _m
from clawportal.sdk.data import FIRST_PAGE, Order, Slice, Which, db, get_or_404, listing, now, transaction
from clawportal.sdk.errors import Conflict, Invalid
from clawportal.sdk.events import record
from clawportal.sdk.fleet import Instance, Portal
from clawportal.sdk.permissions import INSTANCE_READ, SYSTEM, Actor, Scope
from clawportal_notes.models import Note
from clawportal_notes.permissions import NOTES_READ, NOTES_WRITE
from clawportal_notes.settings import NoteSettings

LONGEST = 2000
ORDER = Order((Note.id.expression,), (str,), lambda row: (row.id,), descending=True)


def find(actor: Actor, instance_id: str = "", which: Which = FIRST_PAGE) -> Slice[Note]:
    """Newest first; of one instance, or of all that somebody may read notes of."""
    where = [Note.instance_id == get_or_404(Instance, instance_id, actor, INSTANCE_READ).id] if instance_id else []
    return listing(Note, actor, ORDER, which, where=where, about=instance_id)


def get(actor: Actor, note_id: str) -> Note:
    return get_or_404(Note, note_id, actor, NOTES_READ)


def write(portal: Portal, actor: Actor, instance_id: str, text: str, *, urgent: bool = False) -> Note:
    text = text.strip()
    if not 1 <= len(text) <= LONGEST:
        raise Invalid.field("text", _m("must have 1 to %(most)s characters", most=LONGEST))
    with transaction():
        instance = get_or_404(Instance, instance_id, actor, NOTES_WRITE, lock=True)
        _keep_in_bounds(portal, instance)
        row = Note(
            tenant_id=instance.tenant_id, instance_id=instance.id, text=text, urgent=urgent, written_by=actor.name,
        )  # fmt: skip
        db.session.add(row)
        db.session.flush()
        said = _m("%(actor)s wrote a note about %(name)s.", actor=actor.name, name=instance.name)
        level = "warning" if urgent else "info"
        record(portal, "note.created", actor=actor, instance=instance, message=said, level=level, data={"note_id": row.id})
    return row


def _keep_in_bounds(portal: Portal, instance: Instance) -> None:
    held = select(func.count()).select_from(Note).where(Note.instance_id == instance.id, Note.closed_at.is_(None))
    most = portal.section(NoteSettings).most
    if (db.session.scalar(held) or 0) >= most:
        raise Conflict(_m("%(name)s has %(most)s open notes already. Close some first.", name=instance.name, most=most))


def close(portal: Portal, actor: Actor, note_id: str) -> Note:
    """Closing what is closed changes nothing."""
    with transaction():
        row = get_or_404(Note, note_id, actor, NOTES_WRITE, lock=True)
        if row.closed_at is None:
            row.closed_at = now()
            said = _m("A note about %(name)s was closed.", name=row.instance().name)
            record(portal, "note.closed", actor=actor, instance=row.instance(), message=said, data={"note_id": row.id})
    return row


def delete(portal: Portal, actor: Actor, note_id: str) -> None:
    with transaction():
        row = get_or_404(Note, note_id, actor, NOTES_WRITE, lock=True)
        instance = row.instance()
        db.session.delete(row)
        db.session.flush()
        said = _m("A note about %(name)s was deleted.", name=instance.name)
        record(portal, "note.deleted", actor=actor, instance=instance, message=said, data={"note_id": note_id})


def may_write(actor: Actor, instance: Instance) -> bool:
    return actor.allows(NOTES_WRITE, Scope(instance.tenant_id, instance.project_id, instance.id))


def close_by_itself(portal: Portal, note_id: str) -> None:
    close(portal, SYSTEM, note_id)
