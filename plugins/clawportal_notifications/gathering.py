"""Follows the feed and writes a line for each person who asked to be told of what happened, and may see it now.

All lines of a pass and the place in the feed are one transaction: whatever dies in between, each event counts once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select, update

from clawportal.sdk.data import changed_rows, db, now, transaction
from clawportal.sdk.events import EventRow, settled
from clawportal.sdk.features import Interest
from clawportal.sdk.jobs import Portal
from clawportal.sdk.people import User, actor_by_id
from clawportal.sdk.permissions import SELF, Actor
from clawportal_notifications import choices
from clawportal_notifications.models import EMAIL, PORTAL, WAYS, WEBHOOK, Line, Place, Ways
from clawportal_notifications.settings import NotificationSettings

AT_A_TIME = 50
TOGETHER = timedelta(days=1)
"""What goes on for longer begins a new line."""
FOLLOWS = timedelta(days=7)


@dataclass(frozen=True)
class Told:
    """Somebody who is told of an event, and by which ways."""

    user_id: str
    row: EventRow
    interest: Interest
    ways: frozenset[str]


def follow_once(portal: Portal) -> None:
    before = db.session.scalar(select(Place.seq))
    if before is None:
        return _begin()
    last, kinds = settled(), choices.by_kind(portal)
    here = EventRow.seq > before, EventRow.seq <= last, EventRow.kind.in_(kinds)
    rows = db.session.scalars(select(EventRow).where(*here).order_by(EventRow.seq).limit(AT_A_TIME)).all()
    upto = rows[-1].seq if len(rows) == AT_A_TIME else last
    if upto > before:
        fitting = [(row, one) for row in rows for one in kinds[row.kind] if one.fits(row.level, row.data)]
        _write(before, upto, list(_recipients(portal, fitting)) if fitting else [])
    return None


def _begin() -> None:
    with transaction():
        db.session.add(Place(id=1, seq=settled()))


def _write(before: int, upto: int, told: Sequence[Told]) -> None:
    with transaction():
        mine = update(Place).where(Place.id == 1, Place.seq == before).values(seq=upto)
        if changed_rows(mine) == 0:
            return  # another process was faster
        for one in told:
            _tell(one)


# ---- who is told


def _recipients(portal: Portal, fitting: Sequence[tuple[EventRow, Interest]]) -> Iterator[Told]:
    chosen, reach = choices.chosen(), _reachable(portal)
    people = select(User).where(User.active, User.service_tenant_id.is_(None)).order_by(User.id)
    for user in db.session.scalars(people).all():
        wanted = list(_wanted(user, fitting, chosen, reach.get(user.id, frozenset({PORTAL}))))
        actor = actor_by_id(portal, user.id) if wanted else None
        if actor is not None:
            yield from (one for one in wanted if may_see(actor, one.row))


def _reachable(portal: Portal) -> Mapping[str, frozenset[str]]:
    """By which ways those can be told who gave some."""
    mails = portal.section(NotificationSettings).mails
    return {
        row.user_id: frozenset(way for way, has in ((PORTAL, True), (EMAIL, mails and row.email), (WEBHOOK, row.webhook)) if has)
        for row in db.session.scalars(select(Ways))
    }


def _wanted(
    user: User, fitting: Sequence[tuple[EventRow, Interest]], chosen: choices.Chosen, reach: frozenset[str]
) -> Iterator[Told]:
    for row, interest in fitting:
        if interest.whose and row.data.get(interest.whose) != user.name:
            continue
        if chosen.is_muted(user.id, row.instance_id):
            continue
        ways = frozenset(way for way in WAYS if way in reach and chosen.wants(user.id, interest, way))
        if ways:
            yield Told(user.id, row, interest, ways)


def may_see(actor: Actor, row: EventRow) -> bool:
    """What concerns one's own account only is one's own; the rest is as the timeline shows it."""
    if row.read_permission == SELF:
        return row.person_id == actor.id
    read = EventRow.resource.read
    return read is not None and row.reached_by(actor, read)


# ---- what they are told


def _tell(told: Told) -> None:
    row, about = told.row, _about(told.row)
    if told.interest.follows and not _follows(told, about):
        return
    found = _open_line(told, about)
    if found is None:
        found = Line(user_id=told.user_id, interest=told.interest.name, about=about, count=0, first_at=row.at, shown=False)
        db.session.add(found)
    found.seq, found.at, found.level, found.message = row.seq, row.at, row.level, row.message
    found.instance_id, found.path, found.followed = row.instance_id, _path(row), False
    found.count += 1
    found.shown = found.shown or PORTAL in told.ways
    found.email_due = found.email_due or EMAIL in told.ways
    found.webhook_due = found.webhook_due or WEBHOOK in told.ways
    db.session.flush()


def _open_line(told: Told, about: str) -> Line | None:
    """The line that this adds to: a claw that ends a thousand times is one, until it is read."""
    same = Line.user_id == told.user_id, Line.interest == told.interest.name, Line.about == about
    query = select(Line).where(*same, Line.read_at.is_(None), Line.first_at > told.row.at - TOGETHER)
    return db.session.scalars(query.order_by(Line.at.desc()).limit(1)).first()


def _follows(told: Told, about: str) -> bool:
    """Whether they were told of what this follows, and not yet of this."""
    same = Line.user_id == told.user_id, Line.interest == told.interest.follows, Line.about == about
    query = select(Line).where(*same, Line.seq < told.row.seq, ~Line.followed, Line.at > now() - FOLLOWS)
    found = db.session.scalars(query.order_by(Line.at.desc()).limit(1)).first()
    if found is None:
        return False
    found.followed = True
    return True


def _about(row: EventRow) -> str:
    return row.instance_id or row.subject_id or row.kind


def _path(row: EventRow) -> str:
    operation = row.data.get("operation_id")
    if operation:
        return f"/operations/{operation}"
    if row.instance_id:
        return f"/instances/{row.instance_id}"
    if row.subject_type == "quota" and row.tenant_id:
        return f"/tenants/{row.tenant_id}"
    if row.subject_type == "cluster" and row.subject_id:
        return f"/clusters/{row.subject_id}"
    return "/profile" if row.read_permission == SELF else ""
