"""What templates see: small read-only rows, made in bulk so that a page costs the same SQL whatever its length."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from flask import g
from flask_babel import lazy_gettext as _l
from jinja2.filters import do_filesizeformat

from clawportal.contracts.adapters import Adapter
from clawportal.contracts.core_permissions import (
    AUDIT_READ,
    CLUSTER_MANAGE,
    CLUSTER_READ,
    INSTANCE_CREATE,
    INSTANCE_DELETE,
    OPERATION_CONTROL,
)
from clawportal.contracts.permissions import Actor, Permission, PermissionRegistry, Scope
from clawportal.contracts.specs import parse_quantity
from clawportal.db import db
from clawportal.engine import metric_history
from clawportal.http.i18n import title_of
from clawportal.http.security import portal
from clawportal.lifecycle import Phase
from clawportal.messages import _m
from clawportal.models import Cluster, EventRow, Instance, Operation
from clawportal.models.operations import CANCELLED, FAILED, OPEN_STATES
from clawportal.paging import Slice, Which
from clawportal.services.fleet import instances, operations
from clawportal.services.tenancy import tenancy, tenants
from clawportal.web.words import gettext as _

CONDITIONS = {
    "ConfigAccepted": _m("Configuration accepted"),
    "Healthy": _m("Healthy"),
    "Placed": _m("Placed by its cluster"),
    "Storage": _m("Storage"),
    "Drifted": _m("As it was applied"),
    "Seen": _m("Runs in its cluster"),
    "ConfigRead": _m("New configuration taken up"),
}
"""What a condition is called on pages."""
_BAD_WHEN_TRUE = frozenset({"Drifted"})
_TAKES_TIME = frozenset({"ConfigRead"})
"""What is not so yet, and nothing bad."""

_SHORT = {"files.read": "files", "files.write": "upload"}


@functools.lru_cache(maxsize=16)
def _abilities_there_are(known: PermissionRegistry) -> dict[str, Permission]:
    """What pages ask for, such as `logs`, and the permission it needs: those on instances, of every feature, and the audit."""
    found = {str(one).removeprefix("instance."): one for one in known if one.startswith("instance.")}
    return {_SHORT.get(name, name): one for name, one in found.items()} | {"changes": AUDIT_READ}


_KEPT = ("logs", "changes")
"""What can be read of an instance that is gone."""

_NOT_ADOPTED = frozenset({"update", "chat", "files", "upload"})
"""What cannot be done with what somebody else made, once it was adopted."""

_TITLES = {
    "instance.import": _l("Import %(name)s"), "instance.adopt": _l("Adopt %(name)s"),
    "instance.create": _l("Create %(name)s"), "instance.start": _l("Start %(name)s"), "instance.stop": _l("Stop %(name)s"),
    "instance.restart": _l("Restart %(name)s"), "instance.kill": _l("Kill %(name)s"), "instance.delete": _l("Delete %(name)s"),
    "instance.update": _l("Change the configuration of %(name)s"), operations.INSTALL: _l("Install %(name)s"),
    operations.COPY_FILES: _l("Copy files to %(name)s"),
}  # fmt: skip


class InstanceRow(NamedTuple):
    """One instance as lists and its own pages show it."""

    id: str
    name: str
    adapter: str
    adapter_title: str
    version: str
    phase: str
    health: str
    sync: str
    reason: str
    message: str
    next_action: str
    phase_since: datetime
    desired: str
    restart_count: int
    created_at: datetime
    updated_at: datetime
    memory_bytes: int | None
    cpu_percent: float | None
    project_name: str
    generation: int
    observed_generation: int
    applied_generation: int
    can: frozenset[str]
    memory_limit: int | None
    cpu_limit: float | None
    cluster: tuple[str, str] | None = None
    """Id and title of where it runs, for those who may see that; on its own pages only."""
    foreign_id: str = ""
    """Not empty where somebody else made it."""
    managed: bool = True
    conditions: Sequence[Mapping[str, Any]] = ()
    endpoints: Sequence[instances.Endpoint] = ()
    labels: Mapping[str, str] = MappingProxyType({})
    cluster_name: str = ""
    """In lists only."""
    cpu_spark: Drawn | None = None
    """In lists only."""
    memory_spark: Drawn | None = None
    since_iso: str = ""
    noted: bool = False
    """Whether there is a note on it; in lists only."""

    @property
    def tile(self) -> str:
        return self.adapter_title[:1]

    @property
    def since_text(self) -> str:
        return self.since_iso[:19].replace("T", " ")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A small line of the last hours."""

    path: str
    """Of an SVG that is `width` wide and `Pen.HEIGHT` high."""
    words: str
    """The same for whoever does not see it."""
    width: int


@dataclass(frozen=True, slots=True)
class OperationRow:
    id: str
    kind: str
    title: str
    state: str
    progress: float | None
    message: str
    error: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    instance_id: str | None
    instance_name: str
    cancellable: bool
    retryable: bool
    lines: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class StepView:
    at: datetime
    message: str
    lasted: str


@dataclass(frozen=True, slots=True)
class EventView:
    seq: int
    at: datetime
    kind: str
    level: str
    reason: str
    message: str
    actor: str
    instance_id: str | None
    instance_name: str


@dataclass(frozen=True)
class Paged:
    """Where a list is, for the pager."""

    total: int
    shown: int
    first: int | None
    """Place of the first entry of the page, from one; None where only a cursor says where it is."""
    next: str = ""
    previous: str = ""
    last: str = ""


def paged(found: Slice[Any], which: Which) -> Paged:
    at_end = not found.next and not which.offset
    first = found.total - len(found.items) + 1 if at_end else None if which.cursor and found.previous else which.offset + 1
    return Paged(found.total, len(found.items), first, found.next, found.previous, found.last)


@dataclass(frozen=True)
class AdapterCard:
    """A kind of claw as the cards of the form and the plugins page show it."""

    kind: str
    title: str
    description: str
    capabilities: frozenset[str]
    versions: Sequence[Any]
    suggested_memory: str
    plugin: str = ""


@dataclass(frozen=True)
class Tally:
    """Numbers for the tabs, in the words of the templates."""

    total: int = 0
    attention: int = 0
    running: int = 0
    progressing: int = 0
    stopped: int = 0


def projects(actor: Actor) -> list[tenancy.ProjectChoice]:
    """Projects that the actor sees, asked once per request."""
    if "web_projects" not in g:
        g.web_projects = tenancy.projects(actor)
    return list(g.web_projects)


def tally(actor: Actor) -> Tally:
    """Counts of the actor's instances, asked once per request."""
    if "web_tally" not in g:
        found = instances.counts(actor)
        g.web_tally = Tally(found.total, found.trouble, found.calm_running, found.calm_changing, found.calm_stopped)
    answer: Tally = g.web_tally
    return answer


def project_names(actor: Actor) -> dict[str, str]:
    """How to name each project: not at all where there is only one, and with its tenant where there are several tenants."""
    choices = projects(actor)
    if len(choices) < 2:
        return {}
    return project_titles(choices)


def project_titles(choices: Sequence[tenancy.ProjectChoice]) -> dict[str, str]:
    """By id, in the reader's language; with the tenant where there are several."""
    several = len({choice.tenant_id for choice in choices}) > 1
    own = {choice.id: title_of(choice.title or choice.name) for choice in choices}
    return {choice.id: f"{title_of(choice.tenant_title)} / {own[choice.id]}" for choice in choices} if several else own


def instance_rows(actor: Actor, found: Iterable[Any], *, sparks: bool = False) -> list[InstanceRow]:
    """Rows of a list, out of instances or of the columns that `lean_listing` gives. `sparks`: with lines of the last hours, and
    without what can be done: the menu of a row asks for that when it is opened."""
    names, listed = project_names(actor), list(found)
    drawn = metric_history.sparks([instance.id for instance in listed]) if sparks else {}
    pen = Pen() if drawn else None
    return [_instance_row(actor, instance, names, spark=drawn.get(instance.id), pen=pen, lean=sparks) for instance in listed]


def instance_row(actor: Actor, instance: Instance) -> InstanceRow:
    return _instance_row(actor, instance, project_names(actor), full=True)


def _instance_row(
    actor: Actor, instance: Any, names: Mapping[str, str], *, full: bool = False, spark: metric_history.Spark | None = None,
    pen: Pen | None = None, lean: bool = False,
) -> InstanceRow:  # fmt: skip
    here = portal()
    adapter, usage = here.registry.adapters.get(instance.adapter), here.samples.now(instance)
    workload = instance.workload if full and instance.workload else {}
    cores = workload.get("cpu_cores")
    return InstanceRow(
        id=instance.id,
        name=instance.name,
        adapter=instance.adapter,
        adapter_title=adapter.title if adapter else instance.adapter,
        version=instance.version,
        phase=instance.phase,
        health=instance.health,
        sync=instance.sync,
        reason=instance.reason,
        message=instance.message,
        next_action=instance.next_action,
        phase_since=instance.phase_since,
        since_iso=instance.phase_since.isoformat(),
        desired=instance.desired,
        restart_count=instance.restart_count,
        created_at=instance.created_at,
        updated_at=instance.updated_at,
        memory_bytes=usage.memory_bytes if usage else None,
        cpu_percent=usage.cpu_percent if usage else None,
        project_name=names.get(instance.project_id, "") if full else names.get(instance.project_id) or instance.project_title,
        labels=instance.labels or {},
        cluster_name="" if full else instance.cluster_title,
        generation=instance.generation,
        observed_generation=instance.observed_generation,
        applied_generation=instance.applied_generation,
        can=frozenset() if lean else _abilities(actor, instance, adapter),
        memory_limit=workload.get("memory_bytes"),
        cpu_limit=100 * cores if cores else None,
        cluster=_cluster(actor, instance) if full else None,
        foreign_id=instance.foreign_id or "",
        managed=instance.managed is not False,
        conditions=_conditions(instance) if full else (),
        endpoints=instances.endpoints(here, instance) if full else (),
        noted=bool(getattr(instance, "noted", False)),
        cpu_spark=pen.cpu(spark) if spark and pen else None,
        memory_spark=pen.memory(spark) if spark and pen else None,
    )


class Pen:
    """Draws the lines of one list; what is the same for all its rows is looked up once."""

    HEIGHT = 32
    """Units of the picture; it is one unit wide for each step."""

    def __init__(self) -> None:
        self._cpu = _("CPU in the last two hours: %(low)s to %(high)s", low="{low}", high="{high}")
        self._memory = _("Memory in the last two hours: %(low)s to %(high)s", low="{low}", high="{high}")

    def cpu(self, spark: metric_history.Spark) -> Drawn | None:
        # an idle claw must not look busy because 0.2 % is twice 0.1 %
        return self._drawn(spark.cpu, 5.0, self._cpu, lambda value: f"{value:.0f} %")

    def memory(self, spark: metric_history.Spark) -> Drawn | None:
        return self._drawn(spark.memory, 1.0, self._memory, _size)

    def _drawn(self, values: Sequence[float | None], least: float, words: str, written: Callable[[float], str]) -> Drawn | None:
        """A line from zero to the highest value; broken where nothing was measured. None where there is no line yet."""
        known = [value for value in values if value is not None]
        if len(known) < 2:
            return None
        low, high = min(known), max(known)
        scale, lowest = (self.HEIGHT - 2) / max(high, least), self.HEIGHT - 1
        parts, pen = [], "M"
        for place, value in enumerate(values):
            if value is None:
                pen = "M"
                continue
            parts.append(f"{pen}{place} {round(lowest - value * scale)}")
            pen = "L"
        told = words.replace("{low}", written(low)).replace("{high}", written(high))
        return Drawn("".join(parts), told, len(values) - 1)


def _size(value: float) -> str:
    return do_filesizeformat(value, True).replace(".0 ", " ")


def _cluster(actor: Actor, instance: Any) -> tuple[str, str] | None:
    found = db.session.get(Cluster, instance.cluster_id) if actor.has(CLUSTER_READ) else None
    return (found.id, found.title or found.name) if found else None


def _conditions(instance: Any) -> tuple[dict[str, Any], ...]:
    """As stored, but with times that a template can format: JSON has none."""
    return tuple(
        {
            **entry,
            "status": "unknown" if entry["type"] in _TAKES_TIME else entry["status"] != (entry["type"] in _BAD_WHEN_TRUE),
            "title": CONDITIONS.get(entry["type"], entry["type"]),
            "since": datetime.fromisoformat(entry["since"]),
        }
        for entry in instance.conditions or ()
    )


def _abilities(actor: Actor, instance: Any, adapter: Adapter | None) -> frozenset[str]:
    """What this actor may do with this instance; from the grants alone, without a query."""
    scope = Scope(instance.tenant_id, instance.project_id, instance.id)
    gone = instance.phase == Phase.DESTROYED
    abilities = _abilities_there_are(portal().permissions)
    found = {name for name, permission in abilities.items() if (name in _KEPT or not gone) and actor.allows(permission, scope)}
    if adapter is None or "chat" not in adapter.capabilities:
        found.discard("chat")
    if instance.foreign_id and not gone:
        found = _of_others(actor, scope, found, instance.managed)
    return frozenset(found)


def _touches(name: str) -> bool:
    return _abilities_there_are(portal().permissions)[name].touches_workload


def _of_others(actor: Actor, scope: Scope, found: set[str], managed: bool) -> set[str]:
    """What can be done with what somebody else made: little while it is only observed, and never a new configuration."""
    kept = found - _NOT_ADOPTED if managed else {one for one in found if not _touches(one)}
    if actor.allows(INSTANCE_DELETE, scope):
        kept.add("forget")
    if not managed and actor.allows(CLUSTER_MANAGE, Scope()) and actor.allows(INSTANCE_CREATE, scope):
        kept.add("adopt")
    return kept


def operation_rows(actor: Actor, found: Iterable[Operation]) -> list[OperationRow]:
    return [operation_row(actor, operation) for operation in found]


def operation_row(actor: Actor, operation: Operation) -> OperationRow:
    control = operation.kind in operations.BY_WORKERS and actor.has(OPERATION_CONTROL)
    return OperationRow(
        id=operation.id,
        kind=operation.kind,
        title=operation_title(operation),
        state=operation.state,
        progress=operation.progress,
        message=operation.message,
        error=operation.error,
        created_at=operation.created_at,
        started_at=operation.started_at,
        finished_at=operation.finished_at,
        instance_id=operation.instance_id,
        instance_name=operation.subject if operation.instance_id else "",
        cancellable=control and operation.state in OPEN_STATES and not operation.cancel_requested,
        retryable=control and operation.state in (FAILED, CANCELLED),
        lines=tuple(operation.lines or ()),
    )


def operation_steps(operation: Operation) -> tuple[StepView, ...]:
    """Each lasts until the next begins; the last until the end, and it is open while the operation is."""
    begun = [datetime.fromisoformat(step["at"]) for step in operation.steps]
    ends = [*begun[1:], operation.finished_at]
    return tuple(
        StepView(at, step["message"], _lasted((end - at).total_seconds()) if end and (end - at).total_seconds() >= 0.05 else "")
        for step, at, end in zip(operation.steps, begun, ends, strict=False)
    )


def _lasted(seconds: float) -> str:
    if seconds >= 120:
        return _("%(minutes)s min", minutes=round(seconds / 60))
    return _("%(seconds)s s", seconds=f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}")


def operation_title(operation: Operation) -> str:
    title = _TITLES.get(operation.kind)
    return str(title).replace("%(name)s", operation.subject) if title else f"{operation.kind} {operation.subject}"


def event_rows(found: Iterable[EventRow], names: Mapping[str, str] | None = None) -> list[EventView]:
    known = names or {}
    return [
        EventView(
            row.seq, row.at, row.kind, row.level, row.reason, row.message, row.actor, row.instance_id,
            known.get(row.instance_id or "", ""),
        )
        for row in found
    ]  # fmt: skip


def adapter_card(adapter: Adapter) -> AdapterCard:
    return AdapterCard(
        adapter.kind, adapter.title, adapter.description, adapter.capabilities, adapter.versions(), adapter.suggested_memory,
        type(adapter).__module__.partition(".")[0],
    )  # fmt: skip


def adapter_cards() -> list[AdapterCard]:
    """Real claws first, the lightest before the others, as it is what a newcomer gets; the one for trying things out last."""
    cards = [adapter_card(adapter) for adapter in portal().registry.adapters.values()]
    return sorted(cards, key=lambda card: ("model" not in card.capabilities, parse_quantity(card.suggested_memory or "0")))


@dataclass
class Where:
    """In which organisation and project one is; asked only by pages that show it."""

    actor: Actor | None

    def tenant(self) -> str:
        if self.actor and self.actor.inside:
            return tenants.title_of(self.actor.inside)
        found = self._reach()
        return _("All organisations") if found.several else found.tenant or "clawportal"

    def project(self) -> str:
        return self._reach().project

    def _reach(self) -> tenancy.Reach:
        """Asked once per request."""
        if "web_reach" not in g:
            g.web_reach = tenancy.reach_of(g.web_projects) if "web_projects" in g else self._asked()
        found: tenancy.Reach = g.web_reach
        return found

    def _asked(self) -> tenancy.Reach:
        return tenancy.reach(self.actor) if self.actor else tenancy.Reach()
