"""Instances as people ask for them: create, change, start, stop, restart, kill, delete, list.

Requests write only what is wanted and raise the generation; `converge` brings it about and alone writes what is observed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Select, and_, bindparam, case, func, not_, or_, select, true

from clawportal import clock, origin, paging, validation
from clawportal.contracts.adapters import Adapter
from clawportal.contracts.core_permissions import INSTANCE_DELETE, INSTANCE_KILL, INSTANCE_OPERATE, INSTANCE_READ, INSTANCE_UPDATE
from clawportal.contracts.permissions import Actor, Grant, Permission, Scope
from clawportal.contracts.specs import InstanceSpec
from clawportal.db import UTCDateTime, db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import (
    Conflict,
    FieldError,
    Invalid,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    Problem,
    SettingForbidden,
)
from clawportal.labels import check_labels
from clawportal.lifecycle import CRASH_LOOP_AFTER, PHASE_WORDS, PRIORITIES, Desired, Phase
from clawportal.messages import Message, _m, _n, joined
from clawportal.models import Cluster, IdempotencyKey, Instance, InstanceNote, Operation, Project, Tenant
from clawportal.paging import FIRST_PAGE, Slice, Which
from clawportal.services.audit import refusals, trail
from clawportal.services.configuration import catalog, console_settings, layers, secrets
from clawportal.services.events import event_log
from clawportal.services.fleet import admission, labels, operations, placement, plans, quotas, template_choices
from clawportal.services.fleet.labels import Term
from clawportal.services.fleet.placement import Placement
from clawportal.services.fleet.template_choices import Choice, Pin
from clawportal.services.rights import access
from clawportal.services.system import disk_guard
from clawportal.services.tenancy import tenancy

SORTS: dict[str, ColumnElement[Any]] = {
    "name": Instance.name.expression,
    "created_at": Instance.created_at.expression,
    "updated_at": Instance.updated_at.expression,
    "phase": Instance.phase.expression,
    "adapter": Instance.adapter.expression,
    "phase_since": Instance.phase_since.expression,
    "restart_count": Instance.restart_count.expression,
}
"""What a list can be sorted by; a dash before it turns the order round."""


def _trouble(row: Any) -> ColumnElement[bool]:
    return or_(
        row.phase == Phase.FAILED, row.health.in_(("unhealthy", "degraded")), row.sync == "out-of-sync",
        # a crash loop is one until it has been well for a while: between two ends it looks healthy
        and_(row.crashes >= CRASH_LOOP_AFTER, row.desired == Desired.RUNNING),
    )  # fmt: skip


TROUBLE = _trouble(Instance)


@dataclass(frozen=True)
class NewInstance:
    """What a create asks for."""

    name: str
    adapter: str = ""
    """Empty: that of the template."""
    version: str | None = None
    project: str | None = None
    cluster: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    start: bool = True
    """False: it is created stopped."""
    template: Choice | None = None
    """What it is made of; the rest is laid over what that comes to."""
    pin: Pin | None = None
    """The version that it is held to, once its template was found."""


@dataclass(frozen=True)
class Filters:
    phases: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    project: str = ""
    text: str = ""
    trouble: bool = False
    """Only what needs attention."""
    calm: bool = False
    """Only what does not."""
    name: str = ""
    """Exactly this name, or this id."""
    cluster: str = ""
    """Id of the cluster."""
    labels: tuple[Term, ...] = ()
    """Only with labels for which all of these hold."""


@dataclass(frozen=True)
class Outcome:
    """What became of one item of a bulk request."""

    instance_id: str
    name: str
    error: str = ""
    warning: str = ""
    """What was remarked on it."""


# ---- reading


def listing(actor: Actor, filters: Filters, which: Which = FIRST_PAGE, *, sort: str = "-created_at") -> Slice[Instance]:
    """One page and the true total, in two statements whatever the number of instances."""
    where = [Instance.destroyed_at.is_(None), *_conditions(actor, filters)]
    total = db.session.scalar(select(func.count()).select_from(Instance).where(*where)) or 0
    return paging.page(
        select(Instance).where(*where), _order(sort), which, about=_about(filters, sort), total=total,
        fetch=lambda query: list(db.session.scalars(query)),
    )  # fmt: skip


LEAN = (
    "id", "name", "adapter", "version", "labels", "desired", "generation", "observed_generation", "phase", "sync", "health",
    "reason", "message", "next_action", "phase_since", "phase_deadline", "restart_count", "created_at", "created_by",
    "updated_at", "managed", "applied_generation", "foreign_id", "tenant_id", "project_id", "cluster_id",
)  # fmt: skip
"""Columns that a list shows: not the spec and the workload, which can be a hundred times as large."""


def lean_listing(actor: Actor, filters: Filters, which: Which = FIRST_PAGE, *, sort: str = "-created_at") -> Slice[Any]:
    """`listing` without making objects and without what a list does not show. One statement; two when it is empty, or begins
    far from the start by an offset. Rows have the columns of LEAN, then `tenant_name`, `project_name`, `cluster_name`,
    `project_title`, `cluster_title`, `noted` (whether there is a note on it), and the total."""
    grants, order, about = actor.granted(INSTANCE_READ), _order(sort), _about(filters, sort)
    place = paging.place_of(which.cursor, about, order.kinds) if which.cursor else None
    if which.offset >= paging.FLIP and (found := _lean_from_end(grants, filters, sort, which)):
        return found
    rows = _lean_rows(grants, filters, sort, place, which.limit + 1, which.offset)
    total = rows[0][-1] if rows else db.session.scalar(_lean_total(grants, filters)) or 0
    return paging.cut(rows, place, which, order, about=about, total=total)


def _lean_from_end(grants: tuple[Grant, ...], filters: Filters, sort: str, which: Which) -> Slice[Any] | None:
    """A page that is nearer to the end: read from there. None where it is not."""
    total = db.session.scalar(_lean_total(grants, filters)) or 0
    from_end = paging.flipped(which, total)
    if from_end is None:
        return None
    rows = _lean_rows(grants, filters, sort, paging.Place(paging.END), from_end.limit, from_end.offset)
    return paging.from_end(rows, from_end, _order(sort), about=_about(filters, sort), total=total)


def _lean_rows(
    grants: tuple[Grant, ...], filters: Filters, sort: str, place: paging.Place | None, limit: int, offset: int
) -> Sequence[Any]:
    query = _lean_query(grants, filters, sort, place.way if place else "")
    given = {"page_limit": limit, "page_offset": offset} | (paging.parameters(place) if place else {})
    return db.session.execute(query, given).all()


@functools.lru_cache(maxsize=256)
def _lean_total(grants: tuple[Grant, ...], filters: Filters) -> Select[Any]:
    where = [Instance.destroyed_at.is_(None), *_conditions(Actor("", "", grants=grants), filters)]
    return select(func.count()).select_from(Instance).where(*where)


@functools.lru_cache(maxsize=256)
def _lean_query(grants: tuple[Grant, ...], filters: Filters, sort: str, way: str) -> Select[Any]:
    """Page and total. Kept, because making a statement takes longer than running it."""
    order, backwards = _order(sort), way in (paging.BEFORE, paging.END)
    where = [Instance.destroyed_at.is_(None), *_conditions(Actor("", "", grants=grants), filters)]
    if way in (paging.AFTER, paging.BEFORE):
        where.append(order.beyond(backwards=backwards))
    ids = select(Instance.id).where(*where).order_by(*order.by(backwards=backwards))
    page = ids.limit(bindparam("page_limit")).offset(bindparam("page_offset")).subquery()
    rows, tenant, project, cluster, note = (model.__table__ for model in (Instance, Tenant, Project, Cluster, InstanceNote))
    inside = (
        page.join(rows, rows.c.id == page.c.id)
        .join(tenant, tenant.c.id == rows.c.tenant_id)
        .join(project, project.c.id == rows.c.project_id)
        .join(cluster, cluster.c.id == rows.c.cluster_id)
        .outerjoin(note, note.c.instance_id == rows.c.id)
    )
    names = (
        tenant.c.name.label("tenant_name"), project.c.name.label("project_name"), cluster.c.name.label("cluster_name"),
        _title(project).label("project_title"), _title(cluster).label("cluster_title"),
        (func.coalesce(note.c.text, "") != "").label("noted"),
    )  # fmt: skip
    total = _lean_total(grants, filters).scalar_subquery().label("total")
    query = select(*(rows.c[name] for name in LEAN), *names, total).select_from(inside)
    return query.order_by(*order.by(backwards=backwards))


def _title(table: Any) -> ColumnElement[str]:
    return func.coalesce(func.nullif(table.c.title, ""), table.c.name)


def _about(filters: Filters, sort: str) -> object:
    return "instances", filters, sort


@functools.cache
def _order(sort: str) -> paging.Order:
    name = sort.removeprefix("-")
    column = SORTS.get(name)
    if column is None:
        raise Invalid.field("sort", _m("Sort by one of %(join)s; a dash before it turns the order round.", join=[*SORTS]))
    kind = datetime if isinstance(column.type, UTCDateTime) else int if name == "restart_count" else str
    return paging.Order(
        (column, Instance.id.expression), (kind, str), lambda row: (getattr(row, name), row.id), sort.startswith("-")
    )


def _conditions(actor: Actor, filters: Filters) -> list[ColumnElement[bool]]:
    where = [access.visible(Instance, actor)]
    if filters.phases:
        where.append(Instance.phase.in_(filters.phases))
    if filters.adapters:
        where.append(Instance.adapter.in_(filters.adapters))
    if filters.project:
        where.append(or_(Instance.project_id == filters.project, Instance.project_id.in_(_projects_named(filters.project))))
    if filters.text:
        where.append(or_(Instance.name.icontains(filters.text, autoescape=True), Instance.id == filters.text))
    if filters.cluster:
        where.append(Instance.cluster_id == filters.cluster)
    if filters.name:
        where.append(or_(Instance.name == filters.name, Instance.id == filters.name))
    if filters.trouble:
        where.append(TROUBLE)
    where += [term.on(Instance.labels) for term in filters.labels]
    if filters.calm:
        where.append(not_(TROUBLE))
    return where


def _projects_named(name: str) -> Any:
    return select(Project.id).where(Project.name == name)


@dataclass(frozen=True)
class Counts:
    """By phase, what needs attention counted there, too; and without that, so that `trouble` and `calm_*` add up to `total`."""

    total: int
    running: int
    stopped: int
    failed: int
    changing: int
    trouble: int
    calm_running: int
    calm_stopped: int
    calm_changing: int


CHANGING = (Phase.PENDING, Phase.INSTALLING, Phase.CREATING, Phase.STARTING, Phase.STOPPING, Phase.DELETING)


def counts(actor: Actor) -> Counts:
    """How many there are in which state, in one statement."""
    row = db.session.execute(_counts(actor.granted(INSTANCE_READ))).one()
    return Counts(*(int(number) for number in row))


@functools.lru_cache(maxsize=256)
def _counts(grants: tuple[Grant, ...]) -> Select[Any]:
    """Kept, because making a statement takes longer than running it."""
    # equal ones are put together first: that is read off an index, and few are left to be looked at
    visible = access.visible(Instance, Actor("", "", grants=grants))
    state = (Instance.phase, Instance.health, Instance.sync, Instance.desired, Instance.crashes)
    grouped = select(*state, func.count().label("number")).where(Instance.destroyed_at.is_(None), visible).group_by(*state)
    row = grouped.subquery().c
    running, stopped, failed = (row.phase == phase for phase in (Phase.RUNNING, Phase.STOPPED, Phase.FAILED))
    changing, trouble = row.phase.in_(CHANGING), _trouble(row)
    calm = (and_(state, not_(trouble)) for state in (running, stopped, changing))
    parts = (true(), running, stopped, failed, changing, trouble, *calm)
    return select(*(func.coalesce(func.sum(case((part, row.number), else_=0)), 0) for part in parts))


def running_ids(actor: Actor) -> Sequence[str]:
    """Those that run, of those that the actor may see."""
    query = select(Instance.id).where(Instance.phase == Phase.RUNNING, Instance.destroyed_at.is_(None))
    return db.session.scalars(query.where(access.visible(Instance, actor))).all()


def get(actor: Actor, instance_id: str, permission: Permission = INSTANCE_READ) -> Instance:
    return access.get_or_404(Instance, instance_id, actor, permission)


def names_of(actor: Actor, ids: Sequence[str]) -> dict[str, str]:
    """Names of those of these instances that still exist and that the actor may see."""
    query = select(Instance.id, Instance.name).where(
        Instance.id.in_(set(ids)), Instance.destroyed_at.is_(None), access.visible(Instance, actor)
    )
    return {row.id: row.name for row in db.session.execute(query)} if ids else {}


def find(actor: Actor, name_or_id: str) -> Instance:
    """By id or by name, as people type it."""
    query = select(Instance).where(
        Instance.destroyed_at.is_(None),
        or_(Instance.id == name_or_id, Instance.name == name_or_id),
        access.visible(Instance, actor),
    )
    rows = list(db.session.scalars(query.order_by((Instance.id == name_or_id).desc()).limit(2)))
    if not rows:
        raise NotFound(_m("There is no instance %(name_or_id)s, or it is not yours.", name_or_id=repr(name_or_id)))
    if len(rows) > 1 and rows[0].id != name_or_id:
        raise Conflict(_m("Several instances are named %(name_or_id)s; use the id.", name_or_id=repr(name_or_id)))
    return rows[0]


# ---- creating and changing


def check_new(portal: Portal, actor: Actor, wanted: NewInstance) -> list[FieldError]:
    """Everything that would be wrong with a create; for forms that are checked while one types."""
    placed = placement.resolve(portal, actor, wanted.project, wanted.cluster)
    wanted, errors = _from_template(portal, actor, wanted, placed)
    if errors:
        return [*errors, *catalog.check_name(wanted.name), *placed.errors]
    accepted, errors = _check_new(portal, wanted, placed)
    errors = errors + _refused_new(portal, actor, wanted, placed)
    if errors or accepted is None:
        return errors
    return admission.preview(portal, actor, "instance.create", _row(actor, wanted, accepted, *placed.settled()))


def _from_template(
    portal: Portal, actor: Actor, wanted: NewInstance, placed: Placement, *, hold: bool = False
) -> tuple[NewInstance, list[FieldError]]:
    """With what its template comes to in it; the same without one."""
    if wanted.template is None or placed.project is None:
        return wanted, []
    asked = template_choices.Expanded(wanted.adapter, wanted.version, wanted.spec, wanted.labels, wanted.secrets)
    found = template_choices.expand(portal, actor, wanted.template, placed.project, asked, hold=hold)
    given = {name: getattr(found, name) for name in ("adapter", "version", "spec", "labels", "secrets", "pin")}
    return replace(wanted, template=None, **given), list(found.errors)


def _check_new(portal: Portal, wanted: NewInstance, placed: Placement) -> tuple[catalog.Wanted | None, list[FieldError]]:
    accepted, errors = catalog.check(
        portal, adapter=wanted.adapter, version=wanted.version, spec=wanted.spec, secret_values=wanted.secrets,
        known_secrets=placed.shared_secrets, lay=placed.lay,
        where=(placed.project.tenant_id, placed.project.id) if placed.project else None,
    )  # fmt: skip
    errors = catalog.check_name(wanted.name) + check_labels(wanted.labels) + errors
    if placed.project is not None:
        errors += _check_tenant(placed.project.tenant_id, wanted, accepted)
    if placed.cluster is not None and accepted is not None:
        errors += plans.check_place(portal, placed.cluster, accepted.adapter, accepted.version, accepted.spec)
    return accepted, errors + list(placed.errors)


def _check_tenant(tenant_id: str, wanted: NewInstance, accepted: catalog.Wanted | None) -> list[FieldError]:
    errors = []
    if _name_taken(tenant_id, wanted.name):
        errors.append(
            FieldError("name", _m("There is already an instance named %(name)s. Choose another name.", name=wanted.name), "taken")
        )
    return errors + (tenancy.check_allowed(tenant_id, accepted.adapter.kind, accepted.version) if accepted is not None else [])


def _refused_new(portal: Portal, actor: Actor, wanted: NewInstance, placed: Placement) -> list[FieldError]:
    """Settings that the actor may not set so in the project that is meant; what cannot be found is told elsewhere."""
    adapter = portal.registry.adapters.get(wanted.adapter)
    if placed.project is None or adapter is None:
        return []
    version = wanted.version or catalog.default_version(adapter)
    return _beyond(actor, access.scope_of(placed.project), adapter, version, wanted.spec)


def refused_change(portal: Portal, actor: Actor, instance: Instance, change: InstanceChange) -> list[FieldError]:
    """Settings that the actor may not set so; what somebody else set before stays."""
    adapter = portal.registry.adapters.get(instance.adapter)
    if adapter is None or change.spec is None or instance.foreign_id:
        return []
    version, before = change.version or instance.version, (instance.spec or {}).get("settings")
    return _beyond(actor, access.scope_of(instance), adapter, version, change.spec, before)


def _beyond(
    actor: Actor, scope: Scope, adapter: Adapter, version: str, spec: Mapping[str, Any], before: Mapping[str, Any] | None = None
) -> list[FieldError]:
    settings = spec.get("settings")
    if not isinstance(settings, Mapping) or version not in [entry.version for entry in adapter.versions()]:
        return []
    return console_settings.refused(actor, scope, adapter.settings_model(version), settings, before)


def _require_console(errors: Sequence[FieldError]) -> None:
    if errors:
        raise SettingForbidden(errors[0].message, errors=errors)


def _name_taken(tenant_id: str, name: str) -> bool:
    query = select(Instance.id).where(Instance.tenant_id == tenant_id, Instance.name == name, Instance.destroyed_at.is_(None))
    return db.session.scalar(query) is not None


def create(portal: Portal, actor: Actor, wanted: NewInstance, *, key: str = "", request_hash: str = "") -> Instance:
    """Store what is wanted. With `key` (Idempotency-Key) a repeated request gets the instance of the first one."""
    with transaction() as after_commit:
        if key and (before := earlier(actor, key, request_hash)):
            return before
        disk_guard.ensure(portal)
        placed = placement.resolve(portal, actor, wanted.project, wanted.cluster, hold=True)
        wanted, errors = _from_template(portal, actor, wanted, placed, hold=True)
        accepted, errors = (None, errors) if errors else _check_new(portal, wanted, placed)
        if errors or accepted is None:
            raise Invalid(_m("The instance was not created: %(errors)s", errors=_summary(errors)), errors=errors)
        _require_console(_refused_new(portal, actor, wanted, placed))
        instance = _insert(portal, actor, wanted, accepted, placed)
        catalog.note(instance, accepted)
        if key:
            db.session.add(IdempotencyKey(actor_id=actor.id, key=key, request_hash=request_hash, object_id=instance.id))
        after_commit(lambda: portal.due(instance.id, cluster=instance.cluster_id, tenant=instance.tenant_id))
    return instance


def _summary(errors: Sequence[FieldError]) -> str:
    return joined((joined((error.path or _m("document"), error.message), ": ") for error in errors[:3]), "; ")


def earlier(actor: Actor, key: str, request_hash: str) -> Instance | None:
    """The instance that a request with this Idempotency-Key made already."""
    if len(key) > 200:
        raise Invalid.field("Idempotency-Key", _m("An idempotency key may have 200 characters at most."))
    row = db.session.get(IdempotencyKey, (actor.id, key))
    if row is None:
        return None
    if row.request_hash != request_hash:
        raise Conflict(_m("This Idempotency-Key was used for a different request. Use a new key for a new instance."))
    return access.get_or_404(Instance, row.object_id, actor, INSTANCE_READ)


def _insert(portal: Portal, actor: Actor, wanted: NewInstance, accepted: catalog.Wanted, placed: Placement) -> Instance:
    instance = _row(actor, wanted, accepted, *placed.settled())
    db.session.add(instance)
    db.session.flush()
    secrets.store(portal, instance.id, accepted.secrets, go_to=layers.destinations_of(portal, instance))
    quotas.check(portal, instance)
    admission.admit(portal, actor, "instance.create", instance)
    operations.open_for_instance(actor, "instance.create", instance)
    event_log.record(
        portal, "instance.created", actor=actor, instance=instance, message=_m("%(name)s was created.", name=instance.name)
    )
    return instance


def _row(actor: Actor, wanted: NewInstance, accepted: catalog.Wanted, project: Project, cluster: Cluster) -> Instance:
    return Instance(
        tenant_id=project.tenant_id,
        project_id=project.id,
        cluster_id=cluster.id,
        name=wanted.name,
        labels=dict(wanted.labels),
        adapter=accepted.adapter.kind,
        version=accepted.version,
        spec=accepted.spec.model_dump(mode="json"),
        priority=PRIORITIES[accepted.spec.priority],
        desired=Desired.RUNNING if wanted.start else Desired.STOPPED,
        created_by=actor.name,
        config_version_id=wanted.pin.version_id if wanted.pin else None,
        config_variables=dict(wanted.pin.variables) if wanted.pin else None,
        message=_m("Waiting to be taken up"),
    )


@dataclass(frozen=True)
class InstanceChange:
    """A new configuration. None keeps what is there."""

    version: str | None = None
    labels: Mapping[str, str] | None = None
    spec: Mapping[str, Any] | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Only those named change; an empty value removes."""


def check_change_by(portal: Portal, actor: Actor, instance: Instance, change: InstanceChange) -> list[FieldError]:
    """Everything that would be wrong with a change by this actor; for forms that are checked while one types."""
    return check_change(portal, instance, change)[1] + refused_change(portal, actor, instance, change)


def check_change(portal: Portal, instance: Instance, change: InstanceChange) -> tuple[catalog.Wanted | None, list[FieldError]]:
    if instance.foreign_id:
        return _check_foreign_change(portal, instance, change)
    layer, known = placement.shared_configuration(portal, instance.tenant_id)
    accepted, errors = catalog.check(
        portal,
        adapter=instance.adapter,
        version=change.version or instance.version,
        spec=instance.spec if change.spec is None else change.spec,
        secret_values=change.secrets,
        known_secrets=[*(info.name for info in secrets.listing(instance.id)), *known],
        lay=layer,
        where=(instance.tenant_id, instance.project_id),
    )
    if change.version and change.version != instance.version:
        errors = errors + tenancy.check_allowed(instance.tenant_id, instance.adapter, change.version)
        errors = errors + template_choices.held_back(instance, change.version)
    if accepted is not None:
        errors = errors + layers.moved_secrets(portal, instance, accepted.version, accepted.spec, accepted.secrets)
    return accepted, errors + check_labels(change.labels or {})


_FREE = ("restart", "priority")
"""What can be changed of a claw that the portal did not make: only the portal itself looks at it."""
KEEPS = _m(
    "It was adopted and keeps the configuration that its maker gave it. Change that inside, by its console; "
    "or create a new instance and move its data there."
)


def _check_foreign_change(
    portal: Portal, instance: Instance, change: InstanceChange
) -> tuple[catalog.Wanted | None, list[FieldError]]:
    """Its container would have to be made anew for anything else, and the portal does not know all that its maker put in."""
    errors = [FieldError(f"secrets.{name}", KEEPS, "adopted") for name in change.secrets]
    if change.version and change.version != instance.version:
        errors.append(FieldError("version", KEEPS, "adopted"))
    before = InstanceSpec.model_validate(instance.spec or {}).model_dump(mode="json")
    try:
        spec = InstanceSpec.model_validate(dict(instance.spec if change.spec is None else change.spec))
    except ValidationError as error:
        return None, errors + validation.field_errors(error, "spec")
    after = spec.model_dump(mode="json")
    changed = [name for name in after if name not in _FREE and after[name] != before[name]]
    errors += [FieldError(f"spec.{name}", KEEPS, "adopted") for name in changed]
    errors += check_labels(change.labels or {})
    return catalog.Wanted(portal.registry.adapter(instance.adapter), instance.version, spec, {}), errors


def update(portal: Portal, actor: Actor, instance_id: str, change: InstanceChange, *, generation: int | None) -> Instance:
    """Replace the configuration, if nobody else did so since the caller read `generation`."""
    if generation is None:
        raise PreconditionRequired(_m("Send If-Match with the ETag (the generation) that you read, so that no change gets lost."))
    with transaction() as after_commit:
        instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_UPDATE, lock=True)
        _refuse_deleted(instance)
        if instance.generation != generation:
            raise PreconditionFailed(
                _m(
                    "%(name)s is at generation %(generation)s now, you changed %(generation2)s. Read it again and repeat.",
                    name=instance.name,
                    generation=instance.generation,
                    generation2=generation,
                )
            )
        before = quotas.held(portal, instance)
        accepted, errors = check_change(portal, instance, change)
        if errors or accepted is None:
            raise Invalid(_m("Nothing was changed: %(errors)s", errors=_summary(errors)), errors=errors)
        _require_console(refused_change(portal, actor, instance, change))
        action = "version" if accepted.version != instance.version else ""
        layers.note_destinations(portal, instance)
        catalog.note(instance, accepted)
        instance.spec, instance.version = accepted.spec.model_dump(mode="json"), accepted.version
        instance.priority = PRIORITIES[accepted.spec.priority]
        instance.labels = instance.labels if change.labels is None else dict(change.labels)
        secrets.store(portal, instance.id, accepted.secrets, go_to=layers.destinations_of(portal, instance))
        if accepted.secrets:
            instance.restarts_wanted += 1  # a new secret only reaches a claw by its environment
        words = _n("%(name)s: configuration was changed.")
        _changed(portal, actor, instance, "instance.update", words, after_commit, before=before, action=action)
    return instance


def relabel(portal: Portal, actor: Actor, instance_id: str, change: Mapping[str, str | None]) -> Instance:
    """Set labels, and remove those that are None; the rest of the configuration stays as it is."""
    with transaction():
        instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_UPDATE, lock=True)
        wanted = labels.changed(instance.labels or {}, change)
        if wanted == (instance.labels or {}):
            raise Conflict(_m("%(name)s has these labels already.", name=instance.name))
        return update(portal, actor, instance_id, InstanceChange(labels=wanted), generation=instance.generation)


def rekey(portal: Portal, actor: Actor, instance_id: str) -> None:
    """Make new generated secrets (the claw's own access token); the claw restarts with them."""
    with transaction() as after_commit:
        instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_UPDATE, lock=True)
        _refuse_deleted(instance)
        if instance.foreign_id:
            raise Conflict(_m("%(name)s has no access tokens of the portal's. %(KEEPS)s", name=instance.name, KEEPS=KEEPS))
        names = [info.name for info in secrets.listing(instance.id) if info.generated]
        secrets.store(portal, instance.id, dict.fromkeys(names, ""))
        secrets.generate_missing(portal, instance.id, names)
        instance.restarts_wanted += 1
        _changed(portal, actor, instance, "instance.update", _n("%(name)s: got new access tokens."), after_commit)


# ---- what people press


def start(portal: Portal, actor: Actor, instance_id: str) -> Instance:
    def want(instance: Instance) -> None:
        if _on_shared_machine(instance):
            disk_guard.ensure(portal)
        waits = instance.phase in (Phase.FAILED, Phase.STOPPED) or instance.not_before is not None
        if instance.desired == Desired.RUNNING and not waits:
            if instance.phase == Phase.RUNNING:
                raise Conflict(_m("%(name)s is already running.", name=instance.name))
            raise Conflict(
                _m("%(name)s is already being started (%(phase)s).", name=instance.name, phase=PHASE_WORDS[instance.phase])
            )
        if instance.desired == Desired.RUNNING:
            instance.restarts_wanted += 1  # failed, completed, or waiting after a crash: try again now
        instance.desired, instance.kill_wanted = Desired.RUNNING, False

    return _want(portal, actor, instance_id, "instance.start", INSTANCE_OPERATE, want, _n("%(name)s: start was asked for."))


def stop(portal: Portal, actor: Actor, instance_id: str) -> Instance:
    def want(instance: Instance) -> None:
        if instance.desired == Desired.STOPPED and instance.phase != Phase.FAILED:
            raise Conflict(_m("%(name)s is already %(phase)s.", name=instance.name, phase=PHASE_WORDS[instance.phase]))
        instance.desired, instance.kill_wanted = Desired.STOPPED, False

    return _want(portal, actor, instance_id, "instance.stop", INSTANCE_OPERATE, want, _n("%(name)s: stop was asked for."))


def restart(portal: Portal, actor: Actor, instance_id: str) -> Instance:
    def want(instance: Instance) -> None:
        instance.desired, instance.kill_wanted = Desired.RUNNING, False
        instance.restarts_wanted += 1

    return _want(portal, actor, instance_id, "instance.restart", INSTANCE_OPERATE, want, _n("%(name)s: restart was asked for."))


def kill(portal: Portal, actor: Actor, instance_id: str) -> Instance:
    def want(instance: Instance) -> None:
        if instance.phase == Phase.STOPPED and instance.desired == Desired.STOPPED:
            raise Conflict(_m("%(name)s is not running.", name=instance.name))
        instance.desired, instance.kill_wanted = Desired.STOPPED, True

    return _want(portal, actor, instance_id, "instance.kill", INSTANCE_KILL, want, _n("%(name)s: kill was asked for."), "warning")


def remove(portal: Portal, actor: Actor, instance_id: str, *, keep_data: bool = False, force: bool = False) -> Instance:
    """Delete; `force` ends the claw at once instead of asking it, `keep_data` leaves its folder."""

    def want(instance: Instance) -> None:
        if instance.desired == Desired.DELETED and not force and instance.phase != Phase.FAILED:
            raise Conflict(_m("%(name)s is already being deleted.", name=instance.name))
        instance.desired, instance.kill_wanted, instance.keep_data = Desired.DELETED, force, keep_data

    return _want(
        portal,
        actor,
        instance_id,
        "instance.delete",
        INSTANCE_DELETE,
        want,
        _n("%(name)s: delete was asked for."),
        "warning",
        even_deleted=True,
    )


ACTIONS: dict[str, Callable[[Portal, Actor, str], Instance]] = {
    "start": start, "stop": stop, "restart": restart, "kill": kill, "delete": remove,
}  # fmt: skip


LABEL = "label"
"""The bulk action that sets and removes labels."""


def bulk(
    portal: Portal, actor: Actor, action: str, instance_ids: Sequence[str], change: Mapping[str, str | None] | None = None
) -> list[Outcome]:
    """One action on many; each succeeds or fails for itself, and each answer says so. `change`: of labels, for LABEL."""
    if action not in ACTIONS and action != LABEL:
        raise Invalid.field("action", _m("must be one of %(join)s", join=[*ACTIONS, LABEL]))
    if not 1 <= len(instance_ids) <= 500:
        raise Invalid.field("ids", _m("Choose from 1 to 500 instances at a time."))
    if (action == LABEL) != bool(change):
        raise Invalid.field(
            "labels", _m("Say which labels to set or to remove, with the action %(LABEL)s and no other.", LABEL=LABEL)
        )
    return [_one(portal, actor, action, instance_id, change or {}) for instance_id in dict.fromkeys(instance_ids)]


def _one(portal: Portal, actor: Actor, action: str, instance_id: str, change: Mapping[str, str | None]) -> Outcome:
    try:
        row = relabel(portal, actor, instance_id, change) if change else ACTIONS[action](portal, actor, instance_id)
        return Outcome(instance_id, row.name, warning=joined(verdict.sentence for verdict in admission.warnings_of(row)))
    except Problem as problem:
        _refused(portal, actor, action, instance_id, problem)
        return Outcome(instance_id, "", problem.detail)


def _refused(portal: Portal, actor: Actor, action: str, instance_id: str, problem: Problem) -> None:
    """The answer to a bulk request is 200 whatever becomes of its items, so their refusals are told here."""
    entry = trail.Pending(f"instance.{action}", actor, "instance", instance_id[:100], summary=_m("One of many at once."))
    row = db.session.scalar(select(Instance).where(Instance.id == instance_id, access.visible(Instance, actor)))
    if row is not None:
        entry.object_name, entry.tenant_id, entry.instance_id = row.name, row.tenant_id, row.id
    entry.result, entry.status, entry.reason, entry.origin = trail.REFUSED, problem.status, problem.detail, origin.current()
    refusals.write(portal.part(refusals.Refusals).add(entry))


def _want(
    portal: Portal,
    actor: Actor,
    instance_id: str,
    kind: str,
    permission: Permission,
    want: Callable[[Instance], None],
    words: str,
    level: str = "info",
    *,
    even_deleted: bool = False,
) -> Instance:
    with transaction() as after_commit:
        instance = access.get_or_404(Instance, instance_id, actor, permission, lock=True)
        if not even_deleted:
            _refuse_deleted(instance)
        before = quotas.held(portal, instance)
        want(instance)
        _changed(portal, actor, instance, kind, words, after_commit, level, before=before)
    return instance


def _refuse_deleted(instance: Instance) -> None:
    if instance.desired == Desired.DELETED:
        raise Conflict(_m("%(name)s is being deleted.", name=instance.name))


def _changed(
    portal: Portal, actor: Actor, instance: Instance, kind: str, sentence: str, after_commit: Any, level: str = "info",
    *, before: quotas.Amount | None = None, action: str = "",
) -> Operation:  # fmt: skip
    """What every change has in common: within quota, admitted, a new generation, due now, an operation, a fact, a hint.

    `before`: what the instance took until now; None for a change that takes no more. `action`: as `InstanceChange` calls it.
    """
    instance.generation += 1
    instance.updated_at = instance.due_at = clock.now()
    instance.not_before, instance.attempts = None, 0
    if before is not None:
        quotas.check(portal, instance, before)
    admission.admit(portal, actor, kind, instance, action=action)
    operation = operations.open_for_instance(actor, kind, instance)
    verb = kind.split(".")[1]
    event_log.record(
        portal,
        f"instance.{verb}_requested",
        actor=actor,
        instance=instance,
        level=level,
        message=Message(sentence, {"name": instance.name}),
        data={"generation": instance.generation},
    )
    after_commit(lambda: portal.due(instance.id, cluster=instance.cluster_id, tenant=instance.tenant_id))
    return operation


# ---- what pages and the API show


@dataclass(frozen=True)
class Endpoint:
    name: str
    title: str
    url: str


def endpoints(portal: Portal, instance: Instance) -> list[Endpoint]:
    """Where the running claw listens."""
    adapter = portal.registry.adapters.get(instance.adapter)
    given = (instance.workload or {}).get("ports", {})
    if adapter is None or not given or instance.phase != Phase.RUNNING or not _on_shared_machine(instance):
        return []
    host = "127.0.0.1" if not instance.spec.get("expose") else "0.0.0.0"
    scheme = {"http": "http", "ws": "ws", "tcp": "tcp"}
    return [
        Endpoint(spec.name, spec.title or spec.name, f"{scheme[spec.protocol]}://{host}:{given[spec.name]}")
        for spec in adapter.ports(instance.version)
        if spec.name in given
    ]


def _on_shared_machine(instance: Instance) -> bool:
    """Whether its ports are those of a machine; in a network of its own, it is reached through the portal."""
    cluster = db.session.get(Cluster, instance.cluster_id)
    return cluster is not None and (cluster.runtime == "process" or "allocated-ports" in cluster.capabilities)


@dataclass(frozen=True)
class NamedPort:
    """A port that the claw has, as `claw connect` names it."""

    name: str
    number: int
    title: str


def named_ports(portal: Portal, instance: Instance) -> list[NamedPort]:
    """The ports of the claw, the first one first; empty before its first start."""
    adapter = portal.registry.adapters.get(instance.adapter)
    given = plans.known_ports(instance)
    if instance.foreign_id:
        return [NamedPort(name, number, name) for name, number in given.items()]
    specs = adapter.ports(instance.version) if adapter else ()
    return [NamedPort(spec.name, given[spec.name], spec.title or spec.name) for spec in specs if spec.name in given]
