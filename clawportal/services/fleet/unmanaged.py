"""What runs in a cluster that no portal made: list it, import it to be observed, adopt it as it is, and forget it again.

The list may show what belongs to other people, so it is for those who manage the cluster. Nothing in the place can be marked
after it was made: that something is an instance stands in the portal's row alone, by the id that the place knows it by.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import select

from clawportal import clock, lifecycle
from clawportal.contracts.adapters import Adapter, HealthState
from clawportal.contracts.core_permissions import CLUSTER_MANAGE, INSTANCE_CREATE, INSTANCE_DELETE, INSTANCE_READ
from clawportal.contracts.permissions import Actor, Scope
from clawportal.contracts.runtimes import GONE, RunState, Runtime, UnmanagedWorkload
from clawportal.contracts.specs import InstanceSpec
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, FieldError, GiveUp, Invalid, Retry, Unavailable, Unsupported
from clawportal.labels import check_labels
from clawportal.lifecycle import Desired, Phase, Sync
from clawportal.messages import _m, _n, joined
from clawportal.models import Cluster, Instance
from clawportal.models.operations import CANCELLED
from clawportal.services.clusters import clusters, ports
from clawportal.services.configuration import catalog, secrets
from clawportal.services.events import event_log
from clawportal.services.fleet import admission, operations, plans, quotas
from clawportal.services.rights import access
from clawportal.services.tenancy import tenancy

T = TypeVar("T")
UNKNOWN = "unknown"
_VERSION = re.compile(r"[A-Za-z0-9][\w.+-]{0,59}")
_PUBLIC = "docker.io/library/"
"""Images that hold no claw by themselves: an adapter that runs in one is not known by it."""


@dataclass(frozen=True)
class Found:
    """One thing that somebody else made."""

    item: UnmanagedWorkload
    adapter: str
    """Kind of claw that it seems to be; empty where nobody can tell."""
    version: str
    instance_id: str = ""
    """The instance that it is already."""
    instance_name: str = ""


@dataclass(frozen=True)
class Import:
    """How to import it; what is empty is taken from what was found."""

    name: str = ""
    adapter: str = ""
    version: str = ""
    project: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


# ---- looking


def listing(portal: Portal, actor: Actor, cluster_id: str) -> list[Found]:
    """All of it, what seems to be a claw first."""
    cluster = clusters.get(actor, cluster_id, CLUSTER_MANAGE)
    items = _ask(portal, cluster, lambda runtime: runtime.unmanaged())
    found = _found(portal, cluster, items)
    return sorted(found, key=lambda one: (not one.adapter, one.item.name))


def get(portal: Portal, actor: Actor, cluster_id: str, name: str) -> Found:
    """One by name or id, with all that is known of it but its secrets."""
    cluster = clusters.get(actor, cluster_id, CLUSTER_MANAGE)
    return _found(portal, cluster, _ask(portal, cluster, lambda runtime: runtime.unmanaged(name)))[0]


def _ask(portal: Portal, cluster: Cluster, question: Callable[[Runtime], T]) -> T:
    name = cluster.name
    if cluster.paused_at is not None:
        raise Conflict(_m("Cluster %(name)s is paused. Resume it first.", name=name))
    try:
        runtime = clusters.connect(portal, cluster)
        if "import" not in runtime.capabilities:
            raise Unsupported(_m("Cluster %(name)s is of a kind where only what the portal made can be an instance.", name=name))
        db.session.rollback()  # the place may take a while
        return question(runtime)
    except (OSError, Retry, GiveUp) as error:
        raise Unavailable(_m("Cluster %(name)s does not answer just now: %(error)s", name=name, error=error)) from error


def _found(portal: Portal, cluster: Cluster, items: list[UnmanagedWorkload]) -> list[Found]:
    live = (Instance.foreign_id != "", Instance.destroyed_at.is_(None))
    rows = db.session.execute(select(Instance.foreign_id, Instance.id, Instance.name).where(*live))
    known = {row.foreign_id: row for row in rows}
    images = clusters.policy_of(cluster).images
    found = []
    for item in items:
        kind, version = guess(portal.registry.adapters, images, item)
        row = known.get(item.id)
        found.append(Found(item, kind, version, row.id if row else "", row.name if row else ""))
    return found


def guess(adapters: Mapping[str, Adapter], images: Mapping[str, str], item: UnmanagedWorkload) -> tuple[str, str]:
    """Kind and version: by what the runtime takes it for, by its words, then by the images that adapters and cluster name."""
    repository, tag = _parts(item.image)
    kind = item.adapter if item.adapter in adapters else _by_words(adapters, item) or _by_image(adapters, images, repository)
    version = tag if _VERSION.fullmatch(tag) and tag != "latest" else UNKNOWN
    return kind, version


def _by_words(adapters: Mapping[str, Adapter], item: UnmanagedWorkload) -> str:
    labels, command = item.details.get("labels") or {}, item.details.get("command") or ()
    for text in (item.image, item.name, " ".join(map(str, command)), " ".join(f"{key} {value}" for key, value in labels.items())):
        words = set(re.split(r"[^a-z0-9]+", text.lower()))
        if named := sorted(words & adapters.keys()):
            return named[0]
    return ""


def _by_image(adapters: Mapping[str, Adapter], images: Mapping[str, str], repository: str) -> str:
    own = {kind for kind, reference in images.items() if kind in adapters and _parts(reference)[0] == repository}
    named = {kind for kind, adapter in adapters.items() if _repository(adapter) == repository}
    matching = own or named
    return matching.pop() if len(matching) == 1 else ""


def _repository(adapter: Adapter) -> str:
    image = adapter.image(catalog.default_version(adapter))
    return _parts(image.reference)[0] if image and not image.reference.startswith(_PUBLIC) else ""


def _parts(reference: str) -> tuple[str, str]:
    """Repository and tag; a tag is behind a colon after the last slash."""
    reference = reference.partition("@")[0]
    head, colon, tag = reference.rpartition(":")
    return (head, tag) if colon and "/" not in tag and head != "sha256" else (reference, "")


# ---- importing


def import_one(portal: Portal, actor: Actor, cluster_id: str, name: str, wanted: Import) -> Instance:
    """Make it an instance that is only observed. Needs the right to manage the cluster, and to create in the project."""
    found = get(portal, actor, cluster_id, name)
    with transaction() as after_commit:
        cluster = clusters.get(actor, cluster_id, CLUSTER_MANAGE)
        instance = _insert(portal, actor, cluster, found, wanted)
        after_commit(_tell_runtime, portal, cluster)
        after_commit(lambda: portal.due(instance.id, cluster=instance.cluster_id, tenant=instance.tenant_id))
    return instance


def _insert(portal: Portal, actor: Actor, cluster: Cluster, found: Found, wanted: Import) -> Instance:
    if found.instance_id:
        raise Conflict(
            _m("%(name)s is an instance already: %(instance_name)s.", name=found.item.name, instance_name=found.instance_name)
        )
    project = tenancy.project_for_create(actor, wanted.project)
    kind = wanted.adapter or found.adapter
    if not kind:
        known = sorted(portal.registry.adapters)
        raise Invalid.field("adapter", _m("Nothing tells which kind of claw this is. Say it: %(known)s.", known=known), "missing")
    adapter = portal.registry.adapter(kind)
    name, version = wanted.name.strip() or default_name(found.item.name), wanted.version.strip() or found.version
    errors = catalog.check_name(name) + check_labels(wanted.labels)
    if not _VERSION.fullmatch(version):
        errors.append(FieldError("version", _m("A version has letters, digits and . _ + - inside, 60 characters at most.")))
    if _taken(project.tenant_id, name):
        errors.append(
            FieldError("name", _m("There is already an instance named %(name)s. Choose another name.", name=name), "taken")
        )
    errors += tenancy.check_allowed(project.tenant_id, kind, version)
    if errors:
        told = joined((joined((error.path, error.message), ": ") for error in errors[:3]), "; ")
        raise Invalid(_m("Nothing was imported: %(told)s", told=told), errors=errors)
    tenancy.hold(project)
    clusters.for_create(project.tenant_id, cluster.id)  # one that the organisation may use, and that takes new ones
    spec = _spec(found.item)
    instance = Instance(
        tenant_id=project.tenant_id,
        project_id=project.id,
        cluster_id=cluster.id,
        name=name,
        labels=dict(wanted.labels),
        adapter=kind,
        version=version,
        spec=spec.model_dump(mode="json"),
        priority=lifecycle.PRIORITIES[spec.priority],
        desired=Desired.RUNNING if found.item.state is RunState.RUNNING else Desired.STOPPED,
        created_by=actor.name,
        message=_m("Waiting to be taken up"),
        managed=False,
        foreign_id=found.item.id,
        foreign=_kept(adapter, version, found.item),
    )
    db.session.add(instance)
    db.session.flush()
    quotas.check(portal, instance)
    admission.admit(portal, actor, "instance.import", instance, action="create")
    operations.open_for_instance(actor, "instance.import", instance)
    event_log.record(
        portal,
        "instance.imported",
        actor=actor,
        instance=instance,
        message=_m("%(name)s was imported: it is only observed.", name=name),
        data={"foreign": found.item.name, "image": found.item.image},
    )
    return instance


def default_name(name: str) -> str:
    """What somebody else called it, as a name of an instance."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-") or "imported"
    return plain if not catalog.check_name(plain) else f"imported-{plain}"[:63].strip("-")


def _taken(tenant_id: str, name: str) -> bool:
    query = select(Instance.id).where(Instance.tenant_id == tenant_id, Instance.name == name, Instance.destroyed_at.is_(None))
    return db.session.scalar(query) is not None


def _spec(item: UnmanagedWorkload) -> InstanceSpec:
    """What can be told of what its maker wanted: its limits, and whether it is restarted."""
    resources = {}
    if memory := item.details.get("memory_bytes"):
        resources["memory"] = quotas.written("memory", int(memory))
    if cores := item.details.get("cpu_cores"):
        resources["cpu"] = quotas.written("cpu", Decimal(str(cores)))
    return InstanceSpec.model_validate({"resources": resources, "restart": item.details.get("restart") or "never"})


def _kept(adapter: Adapter, version: str, item: UnmanagedWorkload) -> dict[str, Any]:
    return {
        "name": item.name, "image": item.image, "ports": _ports(adapter, version, item),
        "details": json.loads(json.dumps(dict(item.details), default=str)),
    }  # fmt: skip


def _ports(adapter: Adapter, version: str, item: UnmanagedWorkload) -> dict[str, int]:
    """By the adapter's names where it knows the number. What tells no ports is taken to have those of its kind."""
    try:
        named = {spec.default: spec.name for spec in adapter.ports(version)}
    except (LookupError, ValueError):
        named = {}
    numbers = sorted(item.details.get("ports") or named)
    return {named.get(number, f"port-{number}"): number for number in numbers}


def _tell_runtime(portal: Portal, cluster: Cluster) -> None:
    """So that this process observes it at once; others learn it with their next look at the cluster."""
    try:
        clusters.connect(portal, cluster).recognise(plans.unmanaged_refs(cluster.id))
    except Retry:
        return


# ---- adopting and forgetting


def adopt(portal: Portal, actor: Actor, instance_id: str) -> Instance:
    """The portal manages it from now on, as it is: it is neither touched nor made anew by that."""
    with transaction() as after_commit:
        instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_READ, lock=True)
        access.require(actor, CLUSTER_MANAGE, Scope())
        access.require(actor, INSTANCE_CREATE, access.scope_of(instance))
        if instance.managed:
            raise Conflict(_m("%(name)s is managed by the portal already.", name=instance.name))
        if instance.destroyed_at is not None or instance.reason == GONE:
            raise Conflict(_m("%(name)s no longer exists in its cluster. Forget it here.", name=instance.name))
        instance.managed = True
        instance.generation += 1
        instance.updated_at = instance.due_at = clock.now()
        instance.crashes = instance.attempts = 0
        admission.admit(portal, actor, "instance.adopt", instance, action="create")
        operations.open_for_instance(actor, "instance.adopt", instance)
        event_log.record(
            portal, "instance.adopted", actor=actor, instance=instance,
            message=_m("%(name)s was adopted: the portal manages it from now on.", name=instance.name),
        )  # fmt: skip
        after_commit(_tell_runtime, portal, plans.cluster_of(instance))
        after_commit(lambda: portal.due(instance.id, cluster=instance.cluster_id, tenant=instance.tenant_id))
    return instance


def forget(portal: Portal, actor: Actor, instance_id: str) -> Instance:
    """Take an imported or adopted instance out of the portal; what runs there runs on and is not touched."""
    with transaction() as after_commit:
        instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_READ, lock=True)
        access.require(actor, INSTANCE_DELETE, access.scope_of(instance))
        if not instance.foreign_id:
            raise Conflict(_m("%(name)s was made by the portal. Delete it instead.", name=instance.name))
        if instance.destroyed_at is not None or instance.desired == Desired.DELETED:
            raise Conflict(_m("%(name)s is being deleted, or is gone already.", name=instance.name))
        admission.admit(portal, actor, "instance.forget", instance, action="delete")
        instance.generation += 1
        now = clock.now()
        gone: dict[str, Any] = {
            "desired": Desired.DELETED, "keep_data": True, "phase": Phase.DESTROYED, "sync": Sync.SYNCED,
            "health": HealthState.UNKNOWN, "reason": _n("Forgotten"), "next_action": "", "due_at": None, "turn_at": None,
            "message": _m("Forgotten. What runs in the cluster was not touched."), "phase_since": now, "phase_deadline": None,
            "destroyed_at": now, "updated_at": now, "observed_generation": instance.generation, "lease_holder": "",
            "lease_until": None,
        }  # fmt: skip
        for name, value in gone.items():
            setattr(instance, name, value)
        ports.release(instance.id)
        secrets.forget(instance.id)
        operations.close_for_instance(portal, instance, instance.generation, CANCELLED, message=_m("Forgotten"))
        event_log.record(
            portal, "instance.forgotten", actor=actor, instance=instance,
            message=_m("%(name)s was forgotten. What runs in the cluster was not touched.", name=instance.name),
        )  # fmt: skip
        after_commit(_tell_runtime, portal, plans.cluster_of(instance))
    return instance
