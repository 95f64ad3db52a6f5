"""Sends what is due by mail and to addresses of people. What somebody may see is asked again at that moment.

A delivery is a row before anything leaves: a portal that dies tries again, with the same id in the mail's Message-ID and in the
header of the call, so that whoever got it already can tell.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select, update

from clawportal.sdk import _m
from clawportal.sdk.data import changed_rows, db, now, transaction
from clawportal.sdk.jobs import GiveUp, Portal, Retry
from clawportal.sdk.people import User, actor_by_id
from clawportal.sdk.permissions import Actor
from clawportal_notifications import callbacks, choices, smtp, ways, words
from clawportal_notifications.inbox import seen_by
from clawportal_notifications.models import (
    ABOUT_THE_ACCOUNT,
    EMAIL,
    GIVEN_UP,
    NEW_PLACE,
    NOTHING,
    SENT,
    WAITING,
    WEBHOOK,
    Delivery,
    Line,
    Ways,
)
from clawportal_notifications.settings import NotificationSettings

log = logging.getLogger(__name__)

LONGEST = 10.0
"""Seconds of one pass by one way; the rest waits for the next."""
AT_A_TIME, LINES = 50, 50
CALL_PAUSE = timedelta(seconds=30)
"""One call at most in this time."""
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(minutes=30)
TRIED_FOR = timedelta(days=1)
LONGEST_PAUSE = timedelta(days=1)
"""Between two mails, as people may choose it."""


def send_once(portal: Portal) -> None:
    """One pass by each way: those that are called slowly hold up no mail."""
    for way in (EMAIL, WEBHOOK):
        until = time.monotonic() + LONGEST
        _pack(portal, way, until)
        _send_due(portal, way, until)


def _send_due(portal: Portal, way: str, until: float) -> None:
    """A delivery that fails holds up no other."""
    due = select(Delivery.id).where(Delivery.state == WAITING, Delivery.way == way, Delivery.due_at <= now())
    for delivery_id in db.session.scalars(due.order_by(Delivery.due_at).limit(AT_A_TIME)).all():
        if _is_over(portal, until):
            return
        try:
            _deliver(portal, delivery_id)
        except Exception:  # each delivery for itself
            db.session.rollback()
            log.exception("delivery %s failed", delivery_id)


def _is_over(portal: Portal, until: float) -> bool:
    return portal.stopping.is_set() or time.monotonic() >= until


# ---- what goes together


def _pack(portal: Portal, way: str, until: float) -> None:
    """Make a delivery of all that is due for a person, unless the last one is too fresh."""
    settings = portal.section(NotificationSettings)
    if way == EMAIL and not settings.mails:
        return
    for user_id in _ready(way, settings.mail_every_minutes):
        if _is_over(portal, until):
            return
        _pack_for(user_id, way, settings.mail_every_minutes)


def _ready(way: str, least: int) -> list[str]:
    """Who may be told now, in one statement: most of those who wait do so for minutes."""
    urgent = func.max(case((Line.interest == NEW_PLACE, 1), else_=0))
    query = select(Ways, urgent).join(Line, Line.user_id == Ways.user_id).where(_due(way), ~_busy(way)).group_by(Ways.user_id)
    return [row.user_id for row, soon in db.session.execute(query) if soon or _may_begin(row, way, least)]


def _busy(way: str) -> ColumnElement[bool]:
    """One delivery after the other, but what goes to an address of before holds up nothing."""
    here = or_(Delivery.address == "", Delivery.address == Ways.email)
    mine = Delivery.user_id == Ways.user_id, Delivery.way == way, Delivery.state == WAITING
    return exists(select(Delivery.id).where(*mine, here).correlate(Ways))


def _due(way: str) -> ColumnElement[bool]:
    """What waits for longer than a delivery is tried, and the longest pause, is no news any more."""
    return and_(Line.email_due if way == EMAIL else Line.webhook_due, Line.at > now() - TRIED_FOR - LONGEST_PAUSE)


def _pack_for(user_id: str, way: str, least: int) -> None:
    with transaction():
        row = db.session.get(Ways, user_id, with_for_update=True)
        query = select(Line).where(Line.user_id == user_id, _due(way)).order_by(Line.id).limit(LINES)
        found = db.session.scalars(query.with_for_update()).all()
        if row is None or not found:
            return  # another process was faster
        if not _may_begin(row, way, least) and not any(line.interest == NEW_PLACE for line in found):
            return
        address = row.email if way == EMAIL else ""
        db.session.add(Delivery(user_id=user_id, way=way, address=address, lines=[line.id for line in found]))
        for line in found:
            setattr(line, f"{way}_due", False)
        if way == EMAIL:
            row.mailed_at = now()
        else:
            row.called_at = now()


def _may_begin(row: Ways, way: str, least: int) -> bool:
    last, pause = row.mailed_at, timedelta(minutes=max(row.every_minutes, least))
    if way == WEBHOOK:
        last, pause = row.called_at, CALL_PAUSE
    return last is None or last + pause <= now()


# ---- one delivery


def _deliver(portal: Portal, delivery_id: str) -> None:
    row = _claim(delivery_id)
    if row is None:
        return
    actor = actor_by_id(portal, row.user_id)
    lines = _still(row, actor) if actor else []
    if not lines:
        return _end(row, NOTHING)
    try:
        _send(portal, row, lines)
        return _end(row, SENT)
    except GiveUp as verdict:
        return _end(row, GIVEN_UP, str(verdict))
    except Retry as later:
        if row.created_at < now() - TRIED_FOR:
            return _end(row, GIVEN_UP, str(later))
        log.info("delivery %s waits: %s", row.id, later)
        return _end(row, WAITING, str(later))


def _claim(delivery_id: str) -> Delivery | None:
    """Take it for this try by putting off the next: who dies meanwhile has tried, and another process takes another one."""
    with transaction():
        row = db.session.get(Delivery, delivery_id)
        if row is None or row.state != WAITING or row.due_at > now():
            return None
        wait = min(FIRST_WAIT * 2**row.tries, LONGEST_WAIT) if row.tries < 16 else LONGEST_WAIT
        mine = update(Delivery).where(Delivery.id == row.id, Delivery.tries == row.tries, Delivery.state == WAITING)
        if changed_rows(mine.values(tries=row.tries + 1, due_at=now() + wait)) == 0:
            return None
    db.session.refresh(row)
    return row


def _still(row: Delivery, actor: Actor) -> list[Line]:
    """What of it they may see now, and did not mute meanwhile."""
    chosen = choices.chosen(actor.id)
    query = select(Line).where(Line.id.in_(row.lines), Line.user_id == actor.id, seen_by(actor))
    if _is_left(row):
        query = query.where(Line.interest.in_(ABOUT_THE_ACCOUNT))
    return [line for line in db.session.scalars(query.order_by(Line.at)) if not chosen.is_muted(actor.id, line.instance_id)]


def _is_left(row: Delivery) -> bool:
    """Whether it goes to an address that was taken away or replaced meanwhile."""
    return bool(row.address) and row.address != ways.of(row.user_id).email


def _send(portal: Portal, row: Delivery, lines: Sequence[Line]) -> None:
    user = db.session.get_one(User, row.user_id)
    reached, language, settings = ways.of(row.user_id), user.language or "en", portal.section(NotificationSettings)
    said, delivery_id = [words.said(portal, line, language) for line in lines], row.id
    if row.way == EMAIL:
        to = row.address or reached.email
        if not to:
            raise GiveUp("MailGone", _m("The address was taken away."))
        text = words.of_lines(portal, said, language)
        db.session.rollback()  # whoever is told may take seconds: hold no snapshot of the database meanwhile
        return smtp.send(settings, smtp.Mail(to, text.subject, text.text, text.html, delivery_id))
    url, secret = ways.webhook(portal, reached)
    body = {"delivery": delivery_id, "notifications": [document(line, one) for line, one in zip(lines, said, strict=True)]}
    db.session.rollback()
    return callbacks.post(url, secret, body, delivery_id, settings.webhook_networks)


def document(line: Line, said: words.Said) -> dict[str, Any]:
    """What is called with. Members are only added to it."""
    return {
        "id": line.id, "interest": line.interest, "title": said.title, "text": said.text, "level": line.level,
        "count": line.count, "at": line.at.isoformat(), "first_at": line.first_at.isoformat(),
        "instance_id": line.instance_id, "link": said.link,
    }  # fmt: skip


def _end(row: Delivery, state: str, error: str = "") -> None:
    with transaction():
        found = db.session.get(Delivery, row.id)
        if found is None:
            return
        found.state, found.error = state, error
        found.ended_at = None if state == WAITING else now()
