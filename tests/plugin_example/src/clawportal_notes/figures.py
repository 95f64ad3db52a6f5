"""What the portal's figures and rules are told about notes."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import func, select

from clawportal.sdk.data import db
from clawportal.sdk.jobs import Portal
from clawportal_notes.models import Note


def open_notes(portal: Portal) -> list[tuple[dict[str, str], float]]:
    """A metric: pairs of labels and value."""
    query = select(Note.urgent, func.count()).where(Note.closed_at.is_(None)).group_by(Note.urgent)
    found = {False: 0, True: 0} | {row[0]: row[1] for row in db.session.execute(query)}
    return [({"urgent": str(urgent).lower()}, number) for urgent, number in found.items()]


def urgent_notes(portal: Portal, ids: Collection[str]) -> dict[str, int]:
    """A fact for rules: one statement for all instances."""
    where = (Note.instance_id.in_(ids), Note.urgent, Note.closed_at.is_(None))
    query = select(Note.instance_id, func.count()).where(*where).group_by(Note.instance_id)
    return {row[0]: row[1] for row in db.session.execute(query)}
