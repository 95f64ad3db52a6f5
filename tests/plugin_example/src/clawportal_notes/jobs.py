"""Closes notes that nobody needs any more."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from clawportal.sdk.data import db, now
from clawportal.sdk.jobs import Portal
from clawportal_notes import services as notes
from clawportal_notes.models import Note
from clawportal_notes.settings import NoteSettings

AT_A_TIME = 100


def close_once(portal: Portal) -> None:
    """One pass; each note has its own transaction. What is urgent stays open until somebody closes it."""
    limit = now() - timedelta(seconds=portal.section(NoteSettings).close_after_seconds)
    old = select(Note.id).where(Note.closed_at.is_(None), Note.urgent.is_(False), Note.created_at < limit).limit(AT_A_TIME)
    for note_id in db.session.scalars(old).all():
        notes.close_by_itself(portal, note_id)
