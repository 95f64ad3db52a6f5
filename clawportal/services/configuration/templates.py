"""Templates and their versions: list, read, write, restore, copy. Saving makes a version, unless nothing is different."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import load_only

from clawportal import clock, paging
from clawportal.contracts.core_permissions import CONFIGS_READ, CONFIGS_WRITE, TENANT_READ
from clawportal.contracts.permissions import Actor, Permission, Scope
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, FieldError, Invalid, NotFound, PreconditionFailed, PreconditionRequired
from clawportal.labels import check_labels
from clawportal.messages import Message, _m, _n
from clawportal.models import ConfigTemplate, ConfigVersion, Project, Tenant
from clawportal.paging import FIRST_PAGE, Slice, Which
from clawportal.services.configuration import catalog, comparing, template_checks
from clawportal.services.configuration.comparing import Diff
from clawportal.services.configuration.rendering import Content
from clawportal.services.configuration.variables import Variable
from clawportal.services.events import event_log
from clawportal.services.rights import access
from clawportal.services.system import disk_guard

MOST, MOST_VERSIONS = 1_000, 10_000
"""Templates of a tenant, and versions of a template."""
_LONGEST = {"description": 2_000, "message": 500, "adapter_versions": 200}


@dataclass(frozen=True)
class NewTemplate:
    """A template as it is asked for. Of a project, or of a tenant."""

    name: str
    adapter: str
    tenant: str | None = None
    project: str | None = None
    description: str = ""
    adapter_versions: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    body: Any = field(default_factory=dict)
    variables: Any = ()
    message: str = ""


@dataclass(frozen=True)
class TemplateChange:
    """What is different. None keeps what is there."""

    name: str | None = None
    description: str | None = None
    adapter_versions: str | None = None
    labels: Mapping[str, str] | None = None
    body: Any = None
    variables: Any = None
    message: str = ""


@dataclass(frozen=True)
class Filters:
    tenant: str = ""
    project: str = ""
    adapter: str = ""
    text: str = ""
    name: str = ""
    """Exactly this name, or this id."""


# ---- reading

_ORDER = paging.Order((ConfigTemplate.name.expression, ConfigTemplate.id.expression), (str, str), lambda row: (row.name, row.id))
_VERSIONS = paging.Order((ConfigVersion.number.expression,), (int,), lambda row: (row.number,), True)


_OUTSIDE = load_only(
    ConfigVersion.template_id, ConfigVersion.number, ConfigVersion.content_hash, ConfigVersion.author, ConfigVersion.message,
    ConfigVersion.created_at,
)  # fmt: skip
"""Of a version in a list: without its body, which may have a megabyte."""


def listing(actor: Actor, filters: Filters, which: Which = FIRST_PAGE) -> Slice[ConfigTemplate]:
    """Those that somebody may read, by name."""
    where = [access.visible(ConfigTemplate, actor)]
    if filters.tenant:
        where.append(ConfigTemplate.tenant_id == filters.tenant)
    if filters.project:
        where.append(or_(ConfigTemplate.project_id == filters.project, ConfigTemplate.project_id.is_(None)))
    if filters.adapter:
        where.append(ConfigTemplate.adapter == filters.adapter)
    if filters.text:
        where.append(ConfigTemplate.name.icontains(filters.text, autoescape=True))
    if filters.name:
        where.append(or_(ConfigTemplate.name == filters.name, ConfigTemplate.id == filters.name))
    total = db.session.scalar(select(func.count()).select_from(ConfigTemplate).where(*where)) or 0
    return paging.page(
        select(ConfigTemplate).where(*where), _ORDER, which, about=("configs", filters), total=total,
        fetch=lambda query: list(db.session.scalars(query)),
    )  # fmt: skip


def get(actor: Actor, template_id: str, permission: Permission = CONFIGS_READ, *, lock: bool = False) -> ConfigTemplate:
    return access.get_or_404(ConfigTemplate, template_id, actor, permission, lock=lock)


def find(actor: Actor, tenant_id: str, name_or_id: str) -> ConfigTemplate:
    """By name or by id, in one tenant."""
    named = or_(ConfigTemplate.id == name_or_id, ConfigTemplate.name == name_or_id)
    query = select(ConfigTemplate).where(ConfigTemplate.tenant_id == tenant_id, named, access.visible(ConfigTemplate, actor))
    row = db.session.scalars(query.order_by((ConfigTemplate.id == name_or_id).desc()).limit(1)).first()
    if row is None:
        raise Invalid.field("template", none_named(name_or_id), "unknown")
    return row


def none_named(name_or_id: str) -> str:
    return _m("There is no configuration template %(name)s here, or it is not yours.", name=repr(name_or_id))


def versions(actor: Actor, template_id: str, which: Which = FIRST_PAGE) -> Slice[ConfigVersion]:
    """The newest first."""
    template = get(actor, template_id)
    where = ConfigVersion.template_id == template.id
    total = db.session.scalar(select(func.count()).select_from(ConfigVersion).where(where)) or 0
    return paging.page(
        select(ConfigVersion).options(_OUTSIDE).where(where), _VERSIONS, which, about=("config-versions", template.id),
        total=total, fetch=lambda query: list(db.session.scalars(query)),
    )  # fmt: skip


def version(template: ConfigTemplate, number: int | None = None) -> ConfigVersion:
    """One version of a template, the newest where none is named."""
    wanted = template.latest if number is None else number
    query = select(ConfigVersion).where(ConfigVersion.template_id == template.id, ConfigVersion.number == wanted)
    row = db.session.scalars(query).first()
    if row is None:
        words = _n("%(name)s has no version %(number)s. The newest is %(latest)s.")
        raise NotFound(Message(words, {"name": template.name, "number": wanted, "latest": template.latest}))
    return row


def number_of(text: str) -> int:
    """Of a version, as it stands in an address; what is no number names none."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise NotFound(_m("There is no version %(text)s; versions have numbers.", text=repr(text)))
    return int(text)


def content(row: ConfigVersion) -> Content:
    return Content(row.body, tuple(Variable.model_validate(item) for item in row.variables))


def diff(actor: Actor, template_id: str, before: int, after: int) -> Diff:
    """What is different between two versions; 0 is the newest, and the one before. Nothing in a version is secret."""
    template = get(actor, template_id)
    after = after or template.latest
    before = before or max(after - 1, 1)
    old, new = version(template, before), version(template, after)
    names = (f"{template.name} {before}", f"{template.name} {after}")
    return comparing.compare(_compared(old), _compared(new), names)


def _compared(row: ConfigVersion) -> dict[str, Any]:
    """Variables by name, so that a new one in front changes nothing about the others."""
    return {"variables": {item["name"]: item for item in row.variables}, "body": row.body}


# ---- writing


def create(portal: Portal, actor: Actor, wanted: NewTemplate) -> ConfigTemplate:
    disk_guard.ensure(portal)
    checked = template_checks.accepted(portal, wanted.adapter, wanted.adapter_versions, wanted.body, wanted.variables)
    template_checks.refuse([*catalog.check_name(wanted.name), *_flaws(wanted.labels, _texts(wanted))])
    with transaction():
        tenant, project_id = _place(actor, wanted)
        _refuse_taken(tenant.id, wanted.name)
        row = ConfigTemplate(
            tenant_id=tenant.id, project_id=project_id, name=wanted.name, adapter=wanted.adapter, labels=dict(wanted.labels),
            adapter_versions=wanted.adapter_versions.strip(), description=wanted.description.strip(), created_by=actor.name,
        )  # fmt: skip
        db.session.add(row)
        db.session.flush()
        _add_version(actor, row, 1, checked, wanted.message)
        _tell(portal, actor, row, "created", _n("The configuration template %(name)s was created."))
    return row


def _texts(wanted: NewTemplate | TemplateChange) -> dict[str, str]:
    return {name: getattr(wanted, name) or "" for name in _LONGEST}


def _flaws(labels: Mapping[str, str], texts: Mapping[str, str]) -> list[FieldError]:
    return check_labels(labels) + [
        FieldError(name, _m("may have %(most)s characters at most", most=f"{_LONGEST[name]:,}"))
        for name, text in texts.items()
        if len(text) > _LONGEST[name]
    ]


def _place(actor: Actor, wanted: NewTemplate) -> tuple[Tenant, str | None]:
    """Where it comes to; 404 for what somebody may not see, 403 for where they may not write."""
    if wanted.project:
        project = access.get_or_404(Project, wanted.project, actor, access.reading(Project), lock=True)
        access.require(actor, CONFIGS_WRITE, access.scope_of(project))
        tenant = db.session.get_one(Tenant, project.tenant_id)
    elif wanted.tenant:
        project = None
        tenant = access.get_or_404(Tenant, wanted.tenant, actor, TENANT_READ, lock=True)
        access.require(actor, CONFIGS_WRITE, Scope(tenant.id))
    else:
        raise Invalid.field("tenant", _m("Say in which organisation or project it shall be."), "missing")
    if wanted.tenant and tenant.id != wanted.tenant:
        raise Invalid.field("project", _m("is a project of another organisation"))
    if tenant.deleting_at is not None or (project is not None and project.deleting_at is not None):
        raise Conflict(_m("%(title)s is being deleted.", title=tenant.title or tenant.name))
    if (db.session.scalar(select(func.count()).where(ConfigTemplate.tenant_id == tenant.id)) or 0) >= MOST:
        raise Conflict(_m("There are %(most)s configuration templates already. Delete one first.", most=f"{MOST:,}"))
    return tenant, project.id if project else None


def _refuse_taken(tenant_id: str, name: str) -> None:
    same = select(ConfigTemplate.id).where(ConfigTemplate.tenant_id == tenant_id, ConfigTemplate.name == name)
    if db.session.scalar(same) is not None:
        words = _m("There is already a configuration template named %(name)s. Choose another name.", name=name)
        raise Invalid.field("name", words, "taken")


def _add_version(actor: Actor, row: ConfigTemplate, number: int, content: Content, message: str) -> ConfigVersion:
    made = ConfigVersion(
        template_id=row.id, number=number, content_hash=content.hash(), body=dict(content.body),
        variables=content.variable_documents(), author=actor.name, message=message.strip(),
    )  # fmt: skip
    db.session.add(made)
    row.latest = number
    db.session.flush()
    return made


def update(portal: Portal, actor: Actor, template_id: str, change: TemplateChange, *, revision: int | None) -> ConfigTemplate:
    """Save, if nobody else did so since the caller read `revision`. A new version is made where its content differs."""
    if revision is None:
        raise PreconditionRequired(_m("Send If-Match with the ETag (the revision) that you read, so that no change gets lost."))
    disk_guard.ensure(portal)
    before = get(actor, template_id, CONFIGS_WRITE)
    wanted = _merged(before, change)
    checked = template_checks.accepted(portal, before.adapter, wanted.adapter_versions, wanted.body, wanted.variables)
    template_checks.refuse([*catalog.check_name(wanted.name), *_flaws(wanted.labels, _texts(wanted))])
    with transaction():
        row = get(actor, template_id, CONFIGS_WRITE, lock=True)
        if row.revision != revision:
            raise PreconditionFailed(
                _m("%(name)s is at revision %(now)s now, you changed %(read)s. Read it again and repeat.",
                   name=row.name, now=row.revision, read=revision)
            )  # fmt: skip
        _save(portal, actor, row, wanted, checked)
    return row


def _merged(row: ConfigTemplate, change: TemplateChange) -> NewTemplate:
    newest = version(row)
    before = NewTemplate(
        row.name, row.adapter, row.tenant_id, row.project_id, row.description, row.adapter_versions, row.labels, newest.body,
        newest.variables,
    )  # fmt: skip
    names = ("name", "description", "adapter_versions", "labels", "body", "variables", "message")
    return replace(before, **{name: value for name in names if (value := getattr(change, name)) is not None})


def _save(portal: Portal, actor: Actor, row: ConfigTemplate, wanted: NewTemplate, checked: Content) -> None:
    if wanted.name != row.name:
        _refuse_taken(row.tenant_id, wanted.name)
    told = {
        "name": wanted.name, "description": wanted.description.strip(), "adapter_versions": wanted.adapter_versions.strip(),
        "labels": dict(wanted.labels),
    }  # fmt: skip
    changed = {name: value for name, value in told.items() if getattr(row, name) != value}
    newer = checked.hash() != version(row).content_hash
    if not changed and not newer:
        return
    for name, value in changed.items():
        setattr(row, name, value)
    if newer:
        add_version(actor, row, checked, wanted.message)
    _touch(row)
    words = _n("%(name)s: version %(number)s was saved.") if newer else _n("The configuration template %(name)s was changed.")
    _tell(portal, actor, row, "changed", words)


def add_version(actor: Actor, row: ConfigTemplate, content: Content, message: str) -> ConfigVersion:
    """The next version of a template that is locked."""
    if row.latest >= MOST_VERSIONS:
        raise Conflict(_m("%(name)s has %(most)s versions already. Make a copy of it.", name=row.name, most=f"{MOST_VERSIONS:,}"))
    return _add_version(actor, row, row.latest + 1, content, message)


def _touch(row: ConfigTemplate) -> None:
    row.revision += 1
    row.updated_at = clock.now()


def restore(portal: Portal, actor: Actor, template_id: str, number: int, message: str = "") -> ConfigTemplate:
    """What a version said, as a new one; nothing where the newest says the same."""
    disk_guard.ensure(portal)
    with transaction():
        row = get(actor, template_id, CONFIGS_WRITE, lock=True)
        old, newest = version(row, number), version(row)
        if old.content_hash == newest.content_hash:
            raise Conflict(_m("Version %(number)s says the same as the newest one.", number=number))
        checked = template_checks.accepted(portal, row.adapter, row.adapter_versions, old.body, old.variables)
        template_checks.refuse(_flaws({}, {"message": message}))
        add_version(actor, row, checked, message or _m("Version %(number)s again", number=number))
        _touch(row)
        _tell(portal, actor, row, "restored", _n("%(name)s: an earlier version was restored as version %(number)s."))
    return row


def duplicate(portal: Portal, actor: Actor, template_id: str, name: str, project: str | None = None) -> ConfigTemplate:
    """Another template with the newest version of this one as its first."""
    row = get(actor, template_id)
    message = _m("Copy of %(name)s, version %(number)s", name=row.name, number=row.latest)
    wanted = _merged(row, TemplateChange(name=name, message=message))
    return create(portal, actor, replace(wanted, project=project or row.project_id))


def delete(portal: Portal, actor: Actor, template_id: str) -> None:
    """With all of its versions."""
    with transaction():
        row = get(actor, template_id, CONFIGS_WRITE, lock=True)
        _tell(portal, actor, row, "deleted", _n("The configuration template %(name)s was deleted."))
        db.session.delete(row)
        db.session.flush()


def _tell(portal: Portal, actor: Actor, row: ConfigTemplate, verb: str, words: str) -> None:
    data = {"config_id": row.id, "name": row.name, "version": row.latest}
    message = Message(words, {"name": row.name, "number": row.latest})
    event_log.record(
        portal, f"config.{verb}", actor=actor, tenant_id=row.tenant_id, project_id=row.project_id, message=message, data=data
    )
