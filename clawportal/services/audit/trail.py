"""The audit: who did what, when, from where, and what it changed. Written in the transaction of the change, read by auditors.

`event_log.record` calls `told` for each fact that somebody brought about, and `row_changes` adds what changed. Whatever rows a
request changes without a fact become entries too, so there is no way to change something unseen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select

from clawportal import clock, origin, redact
from clawportal.contracts.core_permissions import AUDIT_READ, PORTAL_ADMIN
from clawportal.contracts.permissions import SYSTEM, Actor, Scope
from clawportal.db import BEFORE_COMMIT, db, says, scratch, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, Invalid
from clawportal.messages import Message, _m, as_json
from clawportal.models import AuditEntry, Instance, Membership, User, UserSession
from clawportal.services.audit import chain, row_changes
from clawportal.services.audit.row_changes import Changed
from clawportal.services.rights import access

OK, REFUSED = "ok", "refused"
NOBODY = Actor(id="", name="", kind="nobody")
BIGGEST = 2**53

_BACKGROUND = ("instance.", "operation.")
"""What the portal itself tells of these follows from an entry that is there already."""

_ACTIONS = {"session.started": "sign_in", "session.ended": "sign_out"}
_ENDINGS = {
    "created": "create", "revoked": "revoke", "changed": "change", "added": "add", "removed": "remove", "deleted": "delete",
    "renamed": "rename", "moved": "move", "updated": "update", "enabled": "enable", "disabled": "disable", "used": "use",
    "cleared": "clear", "accepted": "accept", "unlocked": "unlock", "opened": "open", "closed": "close", "shared": "share",
    "imported": "import", "adopted": "adopt", "forgotten": "forget",
    "paused": "pause", "resumed": "resume", "cordoned": "cordon", "uncordoned": "uncordon",
    "taken": "take", "given": "give", "invited": "invite", "joined": "join", "left": "leave",
    "downloaded": "download", "uploaded": "upload",
}  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_BATCH = 500


@dataclass(frozen=True)
class Place:
    """Where something happened, whom it concerns, and which right its readers need beside the one to read the audit."""

    tenant_id: str | None = None
    project_id: str | None = None
    person_id: str | None = None
    read_permission: str = ""


@dataclass
class Pending:
    """An entry that waits for the end of the transaction."""

    action: str
    actor: Actor
    object_type: str = ""
    object_id: str = ""
    object_name: str = ""
    tenant_id: str | None = None
    instance_id: str | None = None
    summary: str = ""
    result: str = OK
    status: int = 0
    reason: str = ""
    times: int = 1
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    project_id: str | None = None
    person_id: str | None = None
    read_permission: str = ""
    origin: origin.Origin | None = None
    """Where it came from, when that is not the present one."""
    rows: list[Changed] = field(default_factory=list)
    """What changed with it."""


# ---- writing


def note(entry: Pending) -> None:
    """Write an entry with the running transaction, or in one of its own. It takes what changed since the entry before it."""
    with transaction():
        db.session.flush()
        held: list[Pending] = scratch().setdefault("audit", [])
        held.append(entry)
        entry.rows += _unclaimed_rows(held)


def _unclaimed_rows(entries: Sequence[Pending]) -> list[Changed]:
    claimed = {id(row) for entry in entries for row in entry.rows}
    return [row for row in row_changes.changes() if id(row) not in claimed]


def told(actor: Actor, kind: str, *, message: str, instance: Instance | None, place: Place, data: Mapping[str, Any]) -> None:
    """A fact was recorded; an entry, unless it is one that the portal brought about by itself."""
    if actor.kind == SYSTEM.kind and (origin.current() is None or kind.startswith(_BACKGROUND)):
        return
    noun = kind.partition(".")[0]
    entry = Pending(action_of(kind), actor, noun, summary=message, tenant_id=place.tenant_id)
    entry.project_id, entry.person_id, entry.read_permission = place.project_id, place.person_id, place.read_permission
    entry.object_id, entry.object_name = str(data.get(f"{noun}_id", "")), str(data.get(f"{noun}_name", ""))
    if instance is not None:
        entry.tenant_id, entry.instance_id = instance.tenant_id, instance.id
        if noun == "instance":
            entry.object_id, entry.object_name = instance.id, instance.name
    note(entry)


_KINDS = {"browser": _m("browser"), "client": _m("client")}


def signed_out(session_id: str) -> None:
    """A session was ended by signing out."""
    query = select(User.id, User.name, UserSession.kind).join(UserSession, UserSession.user_id == User.id)
    user_id, name, kind = db.session.execute(query.where(UserSession.id == session_id)).one()
    note(
        Pending(
            "sign_out",
            Actor(user_id, name),
            "session",
            session_id,
            summary=_m("%(name)s signed out (%(kind)s).", name=name, kind=_KINDS.get(kind, kind)),
        )
    )


def action_of(kind: str) -> str:
    """What somebody did: `instance.update_requested` -> `instance.update`, `user.created` -> `user.create`."""
    if kind in _ACTIONS:
        return _ACTIONS[kind]
    start, _, last = kind.removesuffix("_requested").rpartition(".")
    rest, _, verb = last.rpartition("_")
    verb = _ENDINGS.get(verb, verb)
    return ".".join(part for part in (start, f"{rest}_{verb}" if rest else verb) if part)


def _write(held: dict[str, Any]) -> None:
    """The last thing of each transaction: what was noted and what was changed becomes entries at the end of the chain."""
    if "audit" not in held and origin.current() is None:
        return
    db.session.flush()
    entries: list[Pending] = held.get("audit", [])
    rest = _unclaimed_rows(entries)
    if len(entries) == 1:
        entries[0].rows += rest
    elif rest:
        entries = [*entries, *filter(None, map(_unclaimed, rest))]
    if entries:
        chain.append([_row(_filled(entry)) for entry in entries])


BEFORE_COMMIT.append(_write)


def _filled(entry: Pending) -> Pending:
    """With what its rows say: what changed, and what it is about where nobody named that."""
    main = _main(entry)
    for row in entry.rows:
        inner = row is main or row.secret
        before, after = row.paths("" if inner else f"{row.noun}[{row.name or row.id}].")
        entry.before, entry.after = {**before, **entry.before}, {**after, **entry.after}
    if main is not None:
        entry.object_id, entry.object_name = entry.object_id or main.id, entry.object_name or main.name
    for row in [main, *entry.rows] if main is not None else entry.rows:
        entry.tenant_id, entry.instance_id = entry.tenant_id or row.tenant_id, entry.instance_id or row.instance_id
    return entry


def _main(entry: Pending) -> Changed | None:
    fitting = [row for row in entry.rows if row.noun == entry.object_type and entry.object_id in ("", row.id)]
    return fitting[-1] if fitting else None


def _unclaimed(row: Changed) -> Pending | None:
    """Something changed and nobody told a fact about it."""
    before, after = row.paths()
    if not before and not after:
        return None
    verb = "create" if not row.before else "delete" if not row.after else "change"
    found = origin.current()
    actor = (found.who() if found is not None else None) or SYSTEM
    return Pending(f"{row.noun}.{verb}", actor, row.noun, row.id, row.name, rows=[row])


def _row(entry: Pending) -> dict[str, Any]:
    """The columns, each within its length and without control characters."""
    where = entry.origin or origin.current() or origin.Origin("")
    actor = entry.actor
    return {
        "at": clock.now(),
        "actor_id": _text(actor.id, 80),
        "actor_name": _text(actor.name, 200),
        "actor_kind": _text(actor.kind, 20),
        "token_id": _text(actor.token_id or "", 80),
        "tenant_id": entry.tenant_id or tenant_of(actor),
        "instance_id": entry.instance_id,
        "action": _text(entry.action, 80),
        "object_type": _text(entry.object_type, 40),
        "object_id": _text(entry.object_id, 100),
        "object_name": _text(entry.object_name, 200),
        "summary": _text(redact.text(entry.summary), 1000),
        "via": _text(where.via, 10),
        "address": _text(where.address, 64),
        "agent": _text(where.agent, 200),
        "request_id": _text(where.request_id, 64),
        "result": entry.result,
        "status": entry.status,
        "reason": _text(redact.text(entry.reason), 500),
        "times": entry.times,
        "project_id": entry.project_id,
        "person_id": entry.person_id,
        "read_permission": _text(entry.read_permission, 80),
        "before": _document(entry.before),
        "after": _document(entry.after),
        "messages": _messages(entry),
    }


def _messages(entry: Pending) -> dict[str, Any] | None:
    """Those of its sentences that are messages and stand in the entry word for word."""
    said = {"summary": (entry.summary, 1000), "reason": (entry.reason, 500)}
    safe = {name: (redact.text(text), most) for name, (text, most) in said.items()}
    kept = {name: as_json(text) for name, (text, most) in safe.items() if isinstance(text, Message) and _text(text, most) == text}
    return _document(kept) if kept else None


def _text(text: str, longest: int) -> str:
    return _CONTROL.sub(" ", str(text))[:longest]


def _document(values: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from the database, and without characters that PostgreSQL does not keep."""
    found: dict[str, Any] = _storable(json.loads(json.dumps(values, default=str)))
    return found


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("?", value)
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list) else value


def tenant_of(actor: Actor) -> str | None:
    """The tenant that what somebody does for themselves is shown in: the one they are in, or their only one."""
    if actor.inside is not None:
        return actor.inside
    found = {grant.tenant_id for grant in (*actor.grants, *actor.withheld) if grant.beyond_own_account}
    if not actor.grants and actor.kind in ("user", "token", "service") and actor.id:
        found = set(db.session.scalars(select(Membership.tenant_id).where(Membership.user_id == actor.id)))
    return found.pop() if len(found) == 1 else None


# ---- reading


@dataclass(frozen=True)
class Filters:
    """What to show; empty: everything that the actor may see."""

    actor: str = ""
    """Id or name."""
    action: str = ""
    """Such as `instance.update`; `instance` stands for all actions on instances."""
    object: str = ""
    """Id, or part of the name."""
    instance: str = ""
    """Id of the instance that it is about."""
    result: str = ""
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""
    """Found in names, in the summary, in the reason or in the address."""

    def given(self) -> dict[str, Any]:
        return {item.name: str(getattr(self, item.name)) for item in fields(self) if getattr(self, item.name)}


@dataclass(frozen=True)
class Page:
    items: Sequence[AuditEntry]
    total: int
    """How many fit the filters in all."""
    next: int | None
    """Ask `before` this to go on; None at the end."""


def listing(actor: Actor, filters: Filters, *, before: int | None = None, limit: int = 50) -> Page:
    """Newest first. Two statements, whatever the number."""
    where = _conditions(actor, filters)
    total = db.session.scalar(select(func.count()).select_from(AuditEntry).where(*where)) or 0
    query = select(AuditEntry).where(*where, *([AuditEntry.seq < before] if before is not None else []))
    rows = list(db.session.scalars(query.order_by(AuditEntry.seq.desc()).limit(limit + 1)))
    return Page(rows[:limit], total, rows[limit - 1].seq if len(rows) > limit else None)


def get(actor: Actor, seq: int) -> AuditEntry:
    return access.get_or_404(AuditEntry, seq, actor, AUDIT_READ)


def _conditions(actor: Actor, filters: Filters) -> list[ColumnElement[bool]]:
    """Entries are hashed as they are, so nothing folded stands beside their texts."""
    where = [access.visible(AuditEntry, actor)]
    if filters.actor:
        where.append(or_(AuditEntry.actor_id == filters.actor, AuditEntry.actor_name == filters.actor))
    if filters.action:
        below = AuditEntry.action.startswith(f"{filters.action}.", autoescape=True)
        where.append(or_(AuditEntry.action == filters.action, below))
    if filters.object:
        named = says(AuditEntry.object_name, filters.object)
        where.append(or_(AuditEntry.object_id == filters.object, named))
    if filters.instance:
        where.append(AuditEntry.instance_id == filters.instance)
    if filters.result:
        where.append(AuditEntry.result == filters.result)
    if filters.since:
        where.append(AuditEntry.at >= filters.since)
    if filters.until:
        where.append(AuditEntry.at < filters.until)
    if filters.text:
        columns = (AuditEntry.object_name, AuditEntry.actor_name, AuditEntry.summary, AuditEntry.reason, AuditEntry.address)
        where.append(or_(*(says(column, filters.text) for column in columns)))
    return where


def check(filters: Filters) -> Filters:
    if filters.result not in ("", OK, REFUSED):
        raise Invalid.field("result", _m("must be %(OK)s or %(REFUSED)s", OK=OK, REFUSED=REFUSED))
    if filters.since and filters.until and filters.since >= filters.until:
        raise Invalid.field("until", _m("must be later than since"))
    return filters


def export(actor: Actor, filters: Filters) -> Iterator[Mapping[str, Any]]:
    """Everything that fits, oldest first, as plain documents. What is written after the export began is not in it.

    In pieces, each read by itself, so that nobody waits for a slow reader.
    """
    where, columns = _conditions(actor, filters), AuditEntry.__table__.columns
    last, newest = 0, db.session.scalar(select(func.max(AuditEntry.seq))) or 0
    while True:
        query = select(*columns).where(*where, AuditEntry.seq > last, AuditEntry.seq <= newest)
        found = db.session.execute(query.order_by(AuditEntry.seq).limit(_BATCH)).mappings().all()
        db.session.rollback()
        yield from (dict(row) for row in found)
        if len(found) < _BATCH:
            return
        last = found[-1]["seq"]


def exported(actor: Actor, filters: Filters, form: str) -> None:
    """That somebody takes the audit along is itself an entry."""
    note(
        Pending(
            "audit.export", actor, "audit", summary=_m("The audit was exported as %(form)s.", form=form), after=filters.given()
        )
    )


# ---- what is broken


def acknowledge(actor: Actor, why: str) -> chain.Verdict:
    """Go on after a break that somebody looked into. It stays told, and this is an entry; what follows verifies again."""
    access.require(actor, PORTAL_ADMIN, Scope())
    why = _text(why.strip(), 500)
    if not why:
        raise Invalid.field("why", _m("Say what was found out about it."), "missing")
    verdict = chain.verify()
    if verdict.broken is None:
        raise Conflict(_m("The audit is whole. There is nothing to acknowledge."))
    with transaction():
        chain.acknowledge(verdict, why)
        summary = _m(
            "The audit is broken at entry %(broken)s: %(reason)s. It goes on in spite of that: %(why)s",
            broken=verdict.broken,
            reason=verdict.reason,
            why=why,
        )
        note(Pending("audit.acknowledge", actor, "audit", str(verdict.broken), summary=summary))
    return verdict


# ---- segments and retention


def turn_once(portal: Portal) -> None:
    """A segment of the chain may end, also while the clock is not believed: nothing is lost by it, and a key lives too long
    without."""
    chain.turn()


def forget_old_of(portal: Portal) -> None:
    """What is older than the portal's setting goes."""
    forget_old(portal.settings.audit_days)


def forget_old(days: int) -> int:
    """Drop what is older than so many days; the rest still verifies."""
    return chain.prune(clock.now() - timedelta(days=days))
