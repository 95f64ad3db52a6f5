"""Stored keys of model providers: kept sealed, named by claws, and given out for the address only that they were entered for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update

from clawportal.sdk import _m
from clawportal.sdk.data import Order, Slice, Which, db, get_or_404, listing, now, require, transaction
from clawportal.sdk.errors import Conflict, Invalid
from clawportal.sdk.events import record
from clawportal.sdk.features import InstanceChange, ModelKey
from clawportal.sdk.fleet import Portal, Project, Tenant, plan_anew
from clawportal.sdk.permissions import TENANT_READ, Actor, Scope
from clawportal.sdk.secrets import KeyringError, asked_again
from clawportal_providers.checking import MOST, Change, Wanted, checked, goes_to, name_flaws, needed_key
from clawportal_providers.models import Credential
from clawportal_providers.permissions import PROVIDERS_MANAGE, PROVIDERS_READ
from clawportal_providers.using import Users, affected, is_shared, users

_FLUSH = timedelta(minutes=1)
_BY_NAME = Order((Credential.name.expression, Credential.id.expression), (str, str), lambda row: (row.name, row.id))


# ---- reading


def all_of(actor: Actor, tenant_id: str | None = None, *, which: Which | None = None) -> Slice[Credential]:
    if tenant_id:
        get_or_404(Tenant, tenant_id, actor, TENANT_READ)
    where = (Credential.tenant_id == tenant_id,) if tenant_id else ()
    return listing(Credential, actor, _BY_NAME, which or Which(MOST), where=where, about=tenant_id)


def get(actor: Actor, credential_id: str) -> Credential:
    return get_or_404(Credential, credential_id, actor, PROVIDERS_READ)


def get_managed(actor: Actor, credential_id: str) -> Credential:
    return get_or_404(Credential, credential_id, actor, PROVIDERS_MANAGE)


def require_managing(actor: Actor, tenant_id: str) -> None:
    require(actor, PROVIDERS_MANAGE, Scope(tenant_id))


def may_manage(actor: Actor, tenant_id: str, project_id: str | None = None) -> bool:
    return actor.allows(PROVIDERS_MANAGE, Scope(tenant_id, project_id))


# ---- writing


def create(portal: Portal, actor: Actor, tenant_id: str, wanted: Wanted) -> Credential:
    with transaction():
        tenant = get_or_404(Tenant, tenant_id, actor, TENANT_READ)
        project = _project(actor, tenant, wanted.project)
        require(actor, PROVIDERS_MANAGE, Scope(tenant.id, project))
        key, base_url = checked(portal, wanted, name_flaws(tenant.id, wanted.name))
        if not key:
            raise Invalid.field("key", _m("Paste the API key."), "missing")
        row = Credential(tenant_id=tenant.id, project_id=project, name=wanted.name, title=wanted.title.strip(),
                         provider=wanted.provider, base_url=base_url, created_by=actor.name, sealed=b"",
                         goes_to=goes_to(portal, wanted.provider, base_url))  # fmt: skip
        db.session.add(row)
        db.session.flush()
        row.sealed = portal.keyring.seal(key, _place(row.id))
        record(
            portal, "credential.created", actor=actor, message=_m("The key %(name)s was stored.", name=row.called), **_about(row)
        )
    return row


def change(portal: Portal, actor: Actor, credential_id: str, given: Change) -> Credential:
    """Another title, provider, address or key. Another provider or address needs the key again."""
    with transaction() as after_commit:
        row = get_or_404(Credential, credential_id, actor, PROVIDERS_MANAGE, lock=True)
        wanted = given.of(row)
        key, base_url = checked(portal, wanted)
        there = goes_to(portal, wanted.provider, base_url)
        if key is None and row.goes_to != there:
            raise Invalid(_m("The key has to be entered again."), errors=(asked_again("key", row.goes_to, there),))
        if goes_to(portal, row.provider, row.base_url) != there:
            _refuse_while_used(portal, actor, row)
        anew = key is not None or (row.provider, row.base_url) != (wanted.provider, base_url)
        row.title, row.provider, row.base_url, row.updated_at = wanted.title.strip(), wanted.provider, base_url, now()
        if key is not None:
            row.sealed, row.rotated_at, row.tested = portal.keyring.seal(key, _place(row.id)), now(), None
            row.goes_to = there
        if anew:
            row.version += 1
            plan_anew(portal, after_commit, row.tenant_id, affected(portal, row))
        record(
            portal,
            "credential.changed",
            actor=actor,
            message=_m("The stored key %(name)s was changed.", name=row.called),
            **_about(row),
        )
    return row


def rotate(portal: Portal, actor: Actor, credential_id: str, key: str) -> Users:
    """Another key for the same address. Claws that use it are planned anew, and start with it one after the other."""
    with transaction() as after_commit:
        row = get_or_404(Credential, credential_id, actor, PROVIDERS_MANAGE, lock=True)
        row.sealed, row.version, row.rotated_at = portal.keyring.seal(needed_key(key), _place(row.id)), row.version + 1, now()
        row.updated_at, row.tested, row.goes_to = now(), None, goes_to(portal, row.provider, row.base_url)
        plan_anew(portal, after_commit, row.tenant_id, affected(portal, row))
        using = users(portal, actor, row)
        message = _m("The stored key %(name)s was replaced; %(count)s claws take it up.", name=row.called, count=using.count)
        record(portal, "credential.rotated", actor=actor, message=message, **_about(row))
    return using


def remove(portal: Portal, actor: Actor, credential_id: str) -> None:
    """Conflict while something uses it."""
    with transaction():
        row = get_or_404(Credential, credential_id, actor, PROVIDERS_MANAGE, lock=True)
        if is_shared(row):
            raise Conflict(_m("The shared configuration names the key %(name)s. Take it out there first.", name=row.called))
        if count := users(portal, actor, row).count:
            raise Conflict(
                _m("%(count)s claws use the key %(name)s. Choose another one for them first.", count=count, name=row.called)
            )
        record(
            portal,
            "credential.deleted",
            actor=actor,
            message=_m("The stored key %(name)s was deleted.", name=row.called),
            **_about(row),
        )
        db.session.delete(row)


def _refuse_while_used(portal: Portal, actor: Actor, row: Credential) -> None:
    """Claws keep the address that they were given with the key, and would be left with neither."""
    if is_shared(row):
        raise Conflict(
            _m(
                "The shared configuration uses the key %(name)s at its address. Store another key for the new one.",
                name=row.called,
            )
        )
    if (using := users(portal, actor, row)).count:
        claws = ", ".join(claw.name for claw in using.visible) or "-"
        raise Conflict(_m("%(count)s claws use the key %(name)s at its address: %(claws)s. Store another key for the new one, "
                          "and choose it for them.", count=using.count, name=row.called, claws=claws))  # fmt: skip


def _about(row: Credential) -> dict[str, Any]:
    """Where an event about a key belongs."""
    return {"tenant_id": row.tenant_id, "project_id": row.project_id, "data": {"credential": row.id}}


def _project(actor: Actor, tenant: Tenant, project: str | None) -> str | None:
    if not project:
        return None
    found = db.session.scalar(select(Project).where(
        Project.tenant_id == tenant.id, or_(Project.id == project, Project.name == project)
    ))  # fmt: skip
    if found is None:
        raise Invalid.field("project", _m("There is no project %(name)s in this organisation.", name=repr(project)), "unknown")
    return found.id


# ---- the value


def _place(credential_id: str) -> str:
    return f"credential:{credential_id}"


def open_key(portal: Portal, row: Credential) -> str:
    """The value. Only for a claw that starts, for a test of the model, and to hide it."""
    return portal.keyring.open(row.sealed, _place(row.id))


def reseal(portal: Portal) -> int:
    """Move every stored key to the newest key of the ring; returns how many were moved. What does not open stays as it is."""
    with transaction():
        rows = db.session.scalars(select(Credential)).all()
        return sum(_moved(portal, row) for row in rows if not portal.keyring.is_current(row.sealed))


def _moved(portal: Portal, row: Credential) -> bool:
    try:
        row.sealed = portal.keyring.seal(open_key(portal, row), _place(row.id))
    except KeyringError:
        return False
    return True


# ---- what the core asks


class Used(dict[str, datetime]):
    """When keys were given out since the last time that was written down."""


class Keys:
    """The stored keys, as specs name them (`ModelKeys`)."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def offered(self, tenant_id: str, project_id: str | None) -> list[ModelKey]:
        mine = or_(Credential.project_id.is_(None), Credential.project_id == project_id)
        rows = db.session.scalars(select(Credential).where(Credential.tenant_id == tenant_id, mine).order_by(Credential.name))
        return [_as_key(self._portal, row) for row in rows]

    def find(self, tenant_id: str, project_id: str | None, key_id: str) -> ModelKey | None:
        row = db.session.get(Credential, key_id)
        if row is None or row.tenant_id != tenant_id or row.project_id not in (None, project_id):
            return None
        return _as_key(self._portal, row)

    def open(self, key: ModelKey, *, giving: bool) -> str:
        if giving:
            self._portal.part(Used)[key.id] = now()
        return open_key(self._portal, db.session.get_one(Credential, key.id))


def model_keys(portal: Portal) -> Keys:
    return Keys(portal)


def _as_key(portal: Portal, row: Credential) -> ModelKey:
    provider = portal.registry.providers.get(row.provider)
    title = f"{row.called} · {provider.title if provider else row.provider}"
    return ModelKey(row.id, title, row.provider, row.base_url, row.goes_to, f"{row.id}-{row.version}")


def note_use(portal: Portal) -> None:
    """Writes down when keys were given out last; what a crash loses is a minute."""
    used = portal.part(Used)
    with transaction():
        for credential_id in list(used):
            at = used.pop(credential_id)
            late = or_(Credential.last_used_at.is_(None), Credential.last_used_at < at - _FLUSH)
            db.session.execute(update(Credential).where(Credential.id == credential_id, late).values(last_used_at=at))


def admit(_portal: Portal, _actor: Actor, change: InstanceChange) -> tuple[()]:
    """A claw takes no key of a project along into another one."""
    named = ((change.instance.spec or {}).get("model") or {}).get("credential") if change.action == "move" else None
    row = db.session.get(Credential, named) if named else None
    if row is not None and row.tenant_id == change.instance.tenant_id and row.project_id not in (None, change.project_id):
        raise Conflict(_m("%(name)s uses the key %(key)s, which is of another project. Choose another key first.",
                          name=change.instance.name, key=row.called))  # fmt: skip
    return ()


def as_document(row: Credential, count: int) -> dict[str, Any]:
    shown: Mapping[str, Any] = {name: getattr(row, name) for name in (
        "id", "tenant_id", "project_id", "name", "provider", "base_url", "created_by", "created_at", "updated_at", "rotated_at",
        "last_used_at", "tested",
    )}  # fmt: skip
    return {**shown, "title": row.called, "used_by": count, "goes_to": row.goes_to.split(" ")[-1]}
