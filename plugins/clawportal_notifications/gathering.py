"""Follows the feed and writes a line for each person who asked to be told of what happened, and may see it now.

All lines of a pass and the place in the feed are one transaction: whatever dies in between, each event counts once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
NEWS = timedelta(days=1)
"""What is older, as after a restore or a pause of the plugin, is told to nobody."""


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
        news = (row for row in rows if row.at > now() - NEWS)
        fitting = [(row, one) for row in news for one in kinds[row.kind] if one.fits(row.level, row.data)]
        told = list(_recipients(portal, fitting)) if fitting else []
        db.session.expunge_all()  # a transaction would read each event anew
        _write(before, upto, told)
    return None


def _begin() -> None:
    with transaction():
        db.session.add(Place(id=1, seq=settled()))


def _write(before: int, upto: int, told: Sequence[Told]) -> None:
    with transaction():
        mine = update(Place).where(Place.id == 1, Place.seq == before).values(seq=upto)
        if changed_rows(mine) == 0:
            return  # another process was faster
        lines = _recent({about_of(one.row) for one in told})
        for same in _together(told):
            _tell(same, lines)


# ---- who is told


def _recipients(portal: Portal, fitting: Sequence[tuple[EventRow, Interest]]) -> Iterator[Told]:
    chosen, reach = choices.chosen(), _reachable(portal)
    people = select(User).where(User.active, User.service_tenant_id.is_(None)).order_by(User.id)
    for user in db.session.scalars(people).all():
        wanted = list(_wanted(user, fitting, chosen, reach.get(user.id, frozenset({PORTAL}))))
        actor = actor_by_id(portal, user.id) if wanted else None
        if actor is not None:
            yield from _seen(actor, wanted)


def _seen(actor: Actor, wanted: Sequence[Told]) -> Iterator[Told]:
    """Events of one place are decided together."""
    known: dict[tuple[str | None, ...], bool] = {}
    for one in wanted:
        row = one.row
        place = (row.tenant_id, row.project_id, row.instance_id, row.person_id, row.read_permission)
        if place not in known:
            known[place] = may_see(actor, row)
        if known[place]:
            yield one


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


Key = tuple[str, str, str]
"""A person, what they asked to be told of, and about what."""


def _together(told: Sequence[Told]) -> Iterable[Sequence[Told]]:
    """What adds to one line, oldest first: a claw that ends fifty times is written once for each person."""
    found: dict[Key, list[Told]] = {}
    for one in told:
        found.setdefault((one.user_id, one.interest.name, about_of(one.row)), []).append(one)
    return found.values()


def _recent(about: Collection[str]) -> dict[Key, Line]:
    """The newest line of each kind for each person, in one statement."""
    query = select(Line).where(Line.about.in_(about), Line.at > now() - FOLLOWS)
    # locked in the order of all others: who marks them as read meanwhile would be overwritten, or overwrite
    locked = sorted(db.session.scalars(query.order_by(Line.id).with_for_update()), key=lambda line: line.at)
    return {(line.user_id, line.interest, line.about): line for line in locked}


def _tell(same: Sequence[Told], lines: dict[Key, Line]) -> None:
    """One line for each thing; a claw that ends a thousand times is one until it is read."""
    first = same[0]
    key = (first.user_id, first.interest.name, about_of(first.row))
    followed = lines.get((first.user_id, first.interest.follows, key[2]))
    if first.interest.follows:
        same = [one for one in same if followed and not followed.followed and followed.seq < one.row.seq][-1:]
        if not same or followed is None:
            return
        followed.followed = True
    found = lines.get(key)
    if found is None or found.read_at is not None or found.first_at <= same[-1].row.at - TOGETHER:
        found = lines[key] = Line(
            user_id=key[0], interest=key[1], about=key[2], count=0, first_at=same[0].row.at, shown=False,
            email_due=False, webhook_due=False,
        )  # fmt: skip
        db.session.add(found)
    _add(found, same)


def _add(line: Line, same: Sequence[Told]) -> None:
    row, ways = same[-1].row, same[-1].ways
    line.seq, line.at, line.level, line.message = row.seq, row.at, row.level, row.message
    line.instance_id, line.path, line.followed = row.instance_id, _path(row), False
    line.count += len(same)
    line.shown = line.shown or PORTAL in ways
    line.email_due = line.email_due or EMAIL in ways
    line.webhook_due = line.webhook_due or WEBHOOK in ways


def about_of(row: EventRow) -> str:
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
