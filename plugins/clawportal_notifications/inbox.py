"""What somebody was told and may still see: listed, counted and marked as read."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update

from clawportal.sdk import _m
from clawportal.sdk.data import FIRST_PAGE, Order, Slice, Which, changed_rows, db, get_or_404, listing, now, transaction, visible
from clawportal.sdk.errors import NotFound
from clawportal.sdk.events import EventRow
from clawportal.sdk.permissions import SELF, Actor
from clawportal_notifications.models import Line

MOST_COUNTED = 100
_ORDER = Order((Line.at.expression, Line.id.expression), (datetime, str), lambda line: (line.at, line.id), descending=True)


def seen_by(actor: Actor) -> ColumnElement[bool]:
    """SQL condition: lines whose event they may see just now. A role that is taken away takes them away, too."""
    own = and_(EventRow.read_permission == str(SELF), EventRow.person_id == actor.id)
    return exists(select(EventRow.seq).where(EventRow.seq == Line.seq, or_(own, visible(EventRow, actor))))


def _shown(actor: Actor, unread: bool) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = [Line.shown.expression, seen_by(actor)]
    return [*where, Line.read_at.is_(None)] if unread else where


def page(actor: Actor, *, unread: bool = False, which: Which = FIRST_PAGE) -> Slice[Line]:
    """Newest first."""
    return listing(Line, actor, _ORDER, which, where=_shown(actor, unread), about=unread)


def unread(actor: Actor) -> int:
    """Up to `MOST_COUNTED`: every page of everybody asks, and nobody tells more apart."""
    some = select(Line.id).where(Line.user_id == actor.id, *_shown(actor, True)).limit(MOST_COUNTED).subquery()
    return db.session.scalar(select(func.count()).select_from(some)) or 0


def mark(actor: Actor, line_id: str, *, read: bool = True) -> Line:
    with transaction():
        row = get_or_404(Line, line_id, actor, SELF, lock=True)
        if db.session.scalar(select(Line.id).where(Line.id == line_id, seen_by(actor))) is None:
            raise NotFound(_m("There is no %(noun)s with this id, or it is not yours.", noun=Line.resource.noun))
        row.read_at = (row.read_at or now()) if read else None
    return row


def mark_all(actor: Actor, upto: datetime | None = None) -> int:
    """Those until a moment, or all; what came after somebody looked stays unread."""
    mine = [Line.user_id == actor.id, Line.read_at.is_(None), Line.shown]
    if upto is not None:
        mine.append(Line.at <= upto)
    with transaction():
        ids = db.session.scalars(select(Line.id).where(*mine).order_by(Line.id).with_for_update()).all()
        parts = [ids[start : start + 500] for start in range(0, len(ids), 500)]
        return sum(changed_rows(update(Line).where(Line.id.in_(part)).values(read_at=now())) for part in parts)
