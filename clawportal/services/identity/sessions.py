"""Where somebody is signed in: sessions of browsers and of programs, as rows that can be seen and ended."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, bindparam, delete, select, update

from clawportal import clock
from clawportal.contracts.permissions import Actor
from clawportal.db import changed_rows, db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Forbidden, NotFound, Unauthenticated
from clawportal.messages import Message, _m, _n
from clawportal.models import ApiToken, User, UserSession
from clawportal.services.audit import trail
from clawportal.services.events import event_log
from clawportal.services.identity import identity, throttle

BROWSER = "browser"
CLIENT = "client"
_TOUCH_EVERY = timedelta(minutes=1)
MOST = 50
"""Open sessions of one person."""
_KEPT = timedelta(days=1)


@dataclass(frozen=True)
class Place:
    """From where somebody comes: the address, and what the program calls itself."""

    address: str = ""
    agent: str = ""


@dataclass(frozen=True)
class SessionInfo:
    """A session as its owner sees it."""

    id: str
    kind: str
    device: str
    address: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    current: bool
    through: str = ""
    """Title of whoever let them in; empty: a password."""


@dataclass(frozen=True)
class Source:
    """Who let somebody in, where it was not their password here."""

    name: str = ""
    """As the feature calls it that signed them in; begins with a word of its own."""
    title: str = ""
    vouches: bool = False
    """It asked for a second factor already."""


BY_PASSWORD = Source()


def begin(portal: Portal, user: User, kind: str, place: Place, *, source: Source = BY_PASSWORD) -> UserSession:
    """Sign somebody in. The caller has checked the password and the code, or that somebody else vouches for them."""
    if user.service_tenant_id is not None:
        raise Unauthenticated(_m("A service account cannot sign in. It comes with an API token only."))
    with transaction():
        row = UserSession(
            user_id=user.id,
            kind=kind,
            epoch=user.session_epoch,
            address=place.address[:64],
            agent=place.agent[:300],
            expires_at=clock.now() + lifetime(portal, kind),
            source=source.name,
            source_title=source.title,
            vouched=source.vouches,
        )
        db.session.add(row)
        db.session.flush()
        _end_beyond(user.id)
        is_new = throttle.remember(user.id, row.address)
        came = row.address or _m("an unknown address")
        values = {"name": user.name, "came": came, "device": device(row.agent), "title": source.title}
        words = Message(_CAME_THROUGH if source.title else _CAME, values)
        who, data = Actor(user.id, user.name), {"session_id": row.id}
        event_log.record(portal, "session.started", actor=who, message=words, data=data)
        if is_new:
            event_log.record(portal, "session.new_place", actor=who, message=words, data=data, person_id=user.id, level="warning")
    return row


_CAME = _n("%(name)s signed in from %(came)s with %(device)s.")
_CAME_THROUGH = _n("%(name)s signed in through %(title)s from %(came)s with %(device)s.")


def _end_beyond(user_id: str) -> None:
    """A script that signs in each minute and never out must not fill the list; those used longest ago go."""
    query = select(UserSession.id).join(User, User.id == UserSession.user_id).where(_open_of(user_id))
    old = db.session.scalars(query.order_by(UserSession.last_seen_at.desc(), UserSession.id.desc()).offset(MOST)).all()
    if old:
        db.session.execute(update(UserSession).where(UserSession.id.in_(old)).values(ended_at=clock.now()))


def lifetime(portal: Portal, kind: str) -> timedelta:
    settings = portal.settings
    return timedelta(hours=settings.session_hours) if kind == BROWSER else timedelta(days=settings.refresh_days)


_BY_ID = (
    select(UserSession, User).join(User, User.id == UserSession.user_id).where(UserSession.id == bindparam("session_id"))
)  # made once: every request of a browser begins with it


def actor_from(portal: Portal, session_id: str, kind: str, *, touch: Place | None = None) -> Actor | None:
    """Who is signed in there; None when it ended, for whatever reason. `touch` notes that it was used from there."""
    found = db.session.execute(_BY_ID, {"session_id": session_id}).one_or_none()
    if found is None or found[0].kind != kind or not _alive(found[0], found[1]):
        return None
    row, user = found
    if touch is not None and clock.now() - row.last_seen_at > _TOUCH_EVERY:
        _touch(portal, row, touch)
    actor = identity.actor_of(portal, user)
    # the second factor of whoever vouched stands for the portal's own, where an administrator said so
    return replace(actor.with_second_factor(), asking=()) if row.vouched and actor.withheld else actor


def _alive(row: UserSession, user: User) -> bool:
    return user.active and row.ended_at is None and row.epoch == user.session_epoch and row.expires_at > clock.now()


def _touch(portal: Portal, row: UserSession, place: Place) -> None:
    """To the minute: a write per request would be too dear. A session that ended meanwhile stays ended."""
    moved: dict[str, object] = {"last_seen_at": clock.now(), "address": place.address[:64]}
    if row.kind == BROWSER:
        moved["expires_at"] = clock.now() + lifetime(portal, BROWSER)
    with transaction():
        db.session.execute(update(UserSession).where(UserSession.id == row.id).values(**moved))


def listing(user_id: str, current: str | None) -> list[SessionInfo]:
    """The sessions that are open, this one first, then the one used last."""
    query = select(UserSession).join(User, User.id == UserSession.user_id).where(_open_of(user_id))
    rows = db.session.scalars(query.order_by(UserSession.last_seen_at.desc())).all()
    return sorted((_info(row, row.id == current) for row in rows), key=lambda info: not info.current)


def _open_of(user_id: str) -> ColumnElement[bool]:
    return and_(
        UserSession.user_id == user_id,
        UserSession.ended_at.is_(None),
        UserSession.expires_at > clock.now(),
        UserSession.epoch == User.session_epoch,
    )


def _info(row: UserSession, current: bool) -> SessionInfo:
    return SessionInfo(
        row.id, row.kind, device(row.agent), row.address, row.created_at, row.last_seen_at, row.expires_at, current,
        row.source_title,
    )  # fmt: skip


def end(portal: Portal, actor: Actor, session_id: str) -> None:
    """End one of one's own sessions; it is refused from its next request on."""
    require_person(actor)
    with transaction():
        row = db.session.scalar(select(UserSession).join(User).where(_open_of(actor.id), UserSession.id == session_id))
        if row is None:
            raise NotFound(_m("There is no such session, or it has ended."))
        row.ended_at = clock.now()
        words = _m("A session of %(name)s with %(device)s was ended.", name=actor.name, device=device(row.agent))
        event_log.record(portal, "session.ended", actor=actor, message=words, data={"session_id": row.id})


def end_others(portal: Portal, actor: Actor, current: str | None) -> int:
    """End all of one's own sessions but this one; returns how many there were."""
    require_person(actor)
    with transaction():
        others = [info.id for info in listing(actor.id, current) if not info.current]
        if others:
            db.session.execute(update(UserSession).where(UserSession.id.in_(others)).values(ended_at=clock.now()))
            words = _m("%(len)s other sessions of %(name)s were ended.", len=len(others), name=actor.name)
            event_log.record(portal, "session.ended", actor=actor, message=words, data={"sessions": len(others)})
    return len(others)


def source_of(session_id: str) -> str:
    """Who let somebody in there; empty: their password here."""
    return db.session.scalar(select(UserSession.source).where(UserSession.id == session_id)) or ""


def close(session_id: str) -> None:
    """Sign out; nothing happens when it has ended already."""
    with transaction():
        ended = update(UserSession).where(UserSession.id == session_id, UserSession.ended_at.is_(None))
        if changed_rows(ended.values(ended_at=clock.now())):
            trail.signed_out(session_id)


def end_everything(portal: Portal) -> tuple[int, int]:
    """Every session and every API token of everybody, as after a theft of the keys. How many there were of each."""
    now = clock.now()
    with transaction():
        db.session.execute(update(User).values(session_epoch=User.session_epoch + 1))
        sessions = changed_rows(update(UserSession).where(UserSession.ended_at.is_(None)).values(ended_at=now))
        tokens = changed_rows(update(ApiToken).where(ApiToken.revoked_at.is_(None)).values(revoked_at=now))
    return sessions, tokens


def require_person(actor: Actor) -> None:
    """Some things are for people alone: a stolen token must not shut its owner out."""
    if actor.kind != "user":
        raise Forbidden(_m("An API token cannot do this. Sign in with your password instead."))


def forget_old(portal: object = None) -> None:
    """How long they are kept is the same for all portals."""
    with transaction():
        limit = clock.now() - _KEPT
        db.session.execute(delete(UserSession).where((UserSession.expires_at < limit) | (UserSession.ended_at < limit)))


_PROGRAMS = (
    ("Edg/", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser/", "Samsung Internet"), ("Firefox/", "Firefox"), ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"), ("Chromium/", "Chromium"), ("Chrome/", "Chrome"), ("Safari/", "Safari"),
)  # fmt: skip
_SYSTEMS = (
    ("Windows", "Windows"), ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"), ("Linux", "Linux"),
)  # fmt: skip


def device(agent: str) -> str:
    """What a User-Agent says in the words of a person: `Firefox on Linux`; for programs their own name."""
    program = next((name for mark, name in _PROGRAMS if mark in agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    if program:
        return _m("%(program)s on %(system)s", program=program, system=system) if system else program
    found = re.match(r"[\w.+ -]{1,40}", agent)
    return found[0].strip() if found and found[0].strip() else _m("an unknown program")
