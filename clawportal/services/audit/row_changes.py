"""What a transaction changed, read off the rows themselves: before and after, field by field, without any secret.

So no service has to collect what it changes, and none can forget to. Only rows that somebody asked to change are looked at:
requests and commands have an origin, background work has none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, LargeBinary, event, inspect
from sqlalchemy.orm import Session
from sqlalchemy.orm.util import identity_key

from clawportal import origin, redact
from clawportal.contracts.features import Resource
from clawportal.db import db, in_transaction, scratch
from clawportal.models import Instance, Tenant, User

HIDDEN, REPLACED = redact.MASK, redact.CHANGED
_LONGEST = 1000
_MOST = 200


_NOISE = frozenset({
    "id", "tenant_id", "created_at", "created_by", "created_by_id", "updated_at", "last_login_at", "last_used_at",
    "session_epoch", "scope_id", "prefix", "folded", "skeleton", "searched",
})  # fmt: skip


@dataclass
class Changed:
    """One row: the values of its changed columns before and after the transaction."""

    resource: Resource
    id: str
    name: str
    tenant_id: str | None
    instance_id: str | None
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)

    @property
    def noun(self) -> str:
        return self.resource.subject

    @property
    def secret(self) -> bool:
        """Whether only is told that it changed, as a secret of what it belongs to."""
        return bool(self.resource.secret)

    def paths(self, prefix: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
        """Only what differs, as dotted paths, bounded and without secrets."""
        if self.secret:
            return _secret_paths(self)
        return difference(self.before, self.after, prefix)


def changes() -> list[Changed]:
    """Those of the running transaction so far, in order."""
    return list(scratch().get("audit_rows", {}).values())


def _look(session: Session, _context: object) -> None:
    """After the flush, when new rows have their ids and old values are still known."""
    if origin.current() is None or not in_transaction():
        return
    for row in (*session.new, *session.dirty, *session.deleted):
        resource = resource_of(row)
        if not resource.unaudited:
            _note(session, row, resource, new=row in session.new, deleted=row in session.deleted)


event.listen(db.session, "after_flush", _look)


def resource_of(row: Any) -> Resource:
    """What the table of a row holds; where its model does not say, all of it is told."""
    return getattr(row, "resource", None) or Resource(row.__tablename__)


def _note(session: Session, row: Any, resource: Resource, *, new: bool, deleted: bool) -> None:
    before, after = _values(row, resource, new=new, deleted=deleted)
    if not before and not after:
        return
    found = scratch().setdefault("audit_rows", {})
    key = (row.__tablename__, inspect(row).mapper.primary_key_from_instance(row)[0], getattr(row, "name", ""))
    known = found.get(key)
    if known is None:
        found[key] = known = _described(session, row)
    known.before = {**before, **known.before}
    known.after.update(after)


def _values(row: Any, resource: Resource, *, new: bool, deleted: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    state = inspect(row)
    columns = {column.key: column for column in state.mapper.column_attrs}
    for name in resource.audited or [name for name in columns if name not in _NOISE]:
        column = columns[name]
        history = state.attrs[name].history
        if not (new or deleted or history.has_changes()):
            continue
        kind = column.columns[0].type
        hidden = isinstance(kind, LargeBinary) or (redact.names_secret(name) and not isinstance(kind, Boolean))
        if not new:
            before[name] = _shown(history.deleted[0] if history.deleted else getattr(row, name) if deleted else None, hidden)
        if not deleted and not (new and getattr(row, name) in (None, "")):
            after[name] = _shown(getattr(row, name), hidden, again=not new)
    return before, after


def _shown(value: Any, hidden: bool, *, again: bool = False) -> Any:
    if not hidden or value in (None, "", b""):
        return _plain(value)
    return REPLACED if again else HIDDEN


def _described(session: Session, row: Any) -> Changed:
    instance_id = row.id if isinstance(row, Instance) else getattr(row, "instance_id", None)
    tenant_id = row.id if isinstance(row, Tenant) else getattr(row, "tenant_id", None)
    if tenant_id is None and instance_id is not None:
        tenant_id = getattr(session.identity_map.get(identity_key(Instance, instance_id)), "tenant_id", None)
    name = getattr(row, "name", "") or getattr(session.identity_map.get(_user_key(row)), "name", "")
    identity = inspect(row).mapper.primary_key_from_instance(row)
    return Changed(resource_of(row), str(identity[0]), str(name), tenant_id, instance_id)


def _user_key(row: Any) -> Any:
    return identity_key(User, getattr(row, "user_id", None) or "")


# ---- differences


def difference(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Dotted path -> value, of what differs; lists count as one value. Secrets are hidden, long values cut."""
    old, new = dict(_flat(before, prefix)), dict(_flat(after, prefix))
    paths = [path for path in {**old, **new} if _differ(old.get(path), new.get(path))]
    told_old = {path: _safe(path, old[path]) for path in paths[:_MOST] if path in old}
    told_new = {path: _safe(path, new[path]) for path in paths[:_MOST] if path in new}
    for path in told_old.keys() & told_new.keys():
        if told_old[path] == told_new[path]:
            told_new[path] = REPLACED if told_new[path] == HIDDEN else f"{told_new[path]} (changed)"
    if len(paths) > _MOST:
        told_new["…"] = f"and {len(paths) - _MOST} more"
    return told_old, told_new


def _differ(old: Any, new: Any) -> bool:
    """Nothing, an empty list and an empty map are the same: people set none of them."""
    nothing: tuple[Any, ...] = (None, [], {})
    return old != new and not (old in nothing and new in nothing)


def _flat(document: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _safe(path: str, value: Any) -> Any:
    if value in (None, "", [], {}) or isinstance(value, bool):
        return value
    if isinstance(value, str) and value in (HIDDEN, REPLACED):
        return value
    if not isinstance(value, int | float) and redact.names_secret(path):
        return HIDDEN
    return _bounded(value)


def _bounded(value: Any) -> Any:
    if isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    safe = redact.text(text)
    if len(safe) > _LONGEST:
        return f"{safe[:_LONGEST]}… ({len(text):,} characters)"
    return value if safe == text else safe


def _plain(value: Any) -> Any:
    """As JSON keeps it, so that what is hashed is what is read back."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return HIDDEN
    return json.loads(json.dumps(value, default=str))


def _secret_paths(row: Changed) -> tuple[dict[str, Any], dict[str, Any]]:
    path = f"secrets.{row.name}"
    before = {path: HIDDEN} if row.before.get("sealed") else {}
    after = {path: REPLACED if before else HIDDEN} if row.after.get("sealed") else {}
    return before, after
