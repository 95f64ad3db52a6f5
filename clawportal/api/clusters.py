"""Clusters: where claws run, how these places are reached, and whether they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from clawportal import redact
from clawportal.api._layer import BIGGEST, Answer, Page, Paged, Query, agreed_generation, op, paged
from clawportal.api.events import Event as EventDocument
from clawportal.contracts.core_permissions import CLUSTER_MANAGE, CLUSTER_READ
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import Strict
from clawportal.engine.portal import Portal
from clawportal.errors import PreconditionRequired
from clawportal.messages import _m
from clawportal.models import Cluster
from clawportal.models.clusters import UNREACHABLE
from clawportal.services.clusters import clusters, connection_tests
from clawportal.services.clusters import separation as walls
from clawportal.services.fleet.labels import selector

TAGS = ("Clusters",)


# ---- what is answered


class CapacityDocument(Answer):
    """As of the last look, which is once a minute."""

    cpu_cores: float
    memory_bytes: int
    memory_available: int
    disk_bytes: int
    disk_available: int


class TenantName(Answer):
    id: str
    title: str


class ClusterItem(Answer):
    """A place to run claws in, as everybody sees it who may use it."""

    id: str
    name: str
    title: str
    runtime: str = Field(description="Kind of place; see `/runtimes`.")
    reachable: bool = Field(description="False while it is known not to answer.")
    health: Literal["unknown", "healthy", "unreachable"]
    reason: str = Field(description="One word for programs.")
    message: str = Field(description="Why it cannot be reached.")
    health_since: datetime | None
    last_contact_at: datetime | None = Field(description="When it answered last, as of the last change of its health.")
    paused: bool = Field(description="Nothing is done there, and everything is shown as it was last seen.")
    cordoned: bool = Field(description="It takes no new instances.")
    capabilities: list[str]
    separation: str = Field(
        description="What stands between its claws, as measured: `container`, `user+landlock`, `namespace+landlock`, "
        "`landlock+seccomp` or `none`; empty while nobody has looked."
    )
    instances: int = Field(description="Live instances there that you may see.")


class ClusterRow(ClusterItem):
    """With what only those see who look after the portal; null for others."""

    version: str | None
    capacity: CapacityDocument | None
    labels: dict[str, str] | None
    tenants: list[TenantName] | None = Field(description="Who may use it, where it is not for all.")
    for_all: bool | None = Field(description="Every organisation may use it.")
    shared_unseparated: bool | None = Field(
        description="Nothing keeps claws apart, and yet others than the portal's own organisation may use it."
    )
    created_at: datetime | None


class ClusterFinding(Answer):
    name: str
    ok: bool
    message: str
    remedy: str = Field(description="What to do about it.")


class ClusterDocument(ClusterRow):
    """A cluster with how it is connected; never the values of its secrets."""

    generation: int | None = Field(description="Another number after each saved change; also the ETag.")
    settings: dict[str, Any] | None
    secrets: list[str] | None = Field(description="Names of the secrets that are stored.")
    policy: dict[str, Any] | None = Field(description="What differs from the defaults; see the schema of a create.")
    events: list[EventDocument] | None = Field(description="What happened to it lately.")
    separation_findings: list[ClusterFinding] | None = Field(description="What was tried, and why it is no higher level.")
    unseparated_confirmed_by: str | None = Field(
        description="Who offered it to others though nothing keeps claws apart; empty where it was so before anybody knew."
    )
    unseparated_confirmed_at: datetime | None


class TestReport(Answer):
    ok: bool
    version: str
    findings: list[ClusterFinding]


class ClusterLosses(Answer):
    """What deleting would take along."""

    name: str = Field(description="Has to be sent as `confirm`.")
    instances: int
    named: list[str]
    secrets: list[str]
    refusal: str = Field(description="Why it cannot be deleted at all; empty where it can.")


# ---- what is asked


class ClusterQuery(Paged):
    q: str = Field("", max_length=200, description="Part of the name or title.")
    labels: str = Field(
        "", max_length=1000,
        description="Only with these labels: `site=berlin`, `!gpu`, `zone in (a, b)`; all that stand between commas must hold. "
        "For those who see the labels of clusters.",
    )  # fmt: skip


_SETTINGS: Any = Field(default_factory=dict, max_length=200, description="See `settings_schema` of the runtime.")
_SECRETS: Any = Field(default_factory=dict, max_length=50, description="Kept encrypted and never shown again.")


class TestBody(Strict):
    """A connection to be tried."""

    runtime: str = Field(max_length=100, description="Kind of place; see `/runtimes`.")
    settings: dict[str, Any] = _SETTINGS
    secrets: dict[str, str] = _SECRETS


class TestChangeBody(Strict):
    """What would be changed; what is absent is tried as it is stored."""

    settings: dict[str, Any] | None = Field(None, max_length=200)
    secrets: dict[str, str | None] = Field(default_factory=dict, max_length=50)


class NewCluster(TestBody):
    name: str = Field(max_length=200, description="1 to 63 small letters, digits or dashes; unique in the portal, never changes.")
    title: str = Field("", max_length=500)
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)
    tenants: list[str] | None = Field(None, max_length=1000, description="Ids or names of those who may use it. Null: all.")
    policy: clusters.ClusterPolicy = Field(default_factory=lambda: clusters.ClusterPolicy.model_validate({}))


class ClusterPatch(Strict):
    """What is absent stays."""

    title: str | None = Field(None, max_length=500)
    settings: dict[str, Any] | None = Field(None, max_length=200, description="All of them; secrets are kept.")
    secrets: dict[str, str | None] = Field(
        default_factory=dict, max_length=50, description="Only those named change; an empty text keeps, null removes."
    )
    labels: dict[str, str] | None = Field(None, max_length=64)
    tenants: list[str] | None = Field(None, max_length=1000, description="Ids or names. Null: all.")
    policy: clusters.ClusterPolicy | None = Field(None, description="All of it.")
    confirm_unseparated: str = Field(
        "", max_length=200,
        description="The name of the cluster. Needed to offer it to more organisations where `separation` is `none`: whoever "
        "uses a claw there can read the keys of the portal.",
    )  # fmt: skip
    generation: int | None = Field(None, ge=0, le=BIGGEST, description="What was read, where If-Match cannot be sent.")


class Confirmed(Query):
    confirm: str = Field("", max_length=200, description="The name, so that nothing is deleted by mistake.")


EXAMPLE = {"name": "lab", "runtime": "docker", "settings": {}, "policy": {"max_concurrent_starts": 4}}


# ---- reading


@op("GET", "/clusters", permission=CLUSTER_READ, tags=TAGS, summary="Clusters", returns=Page[ClusterRow])
def list_clusters(actor: Actor, query: ClusterQuery) -> Any:
    """Those that your organisations may use. From the portal's own notes: no cluster is asked."""
    page = clusters.listing(actor, text=query.q, labels=selector(query.labels), which=query.which)
    full = clusters.sees_all(actor)
    items = [_item(row, page.instances.get(row.id, 0)) | _more(row, page.tenants.get(row.id, ()), full) for row in page.items]
    return paged(page.found, query, items)


@op("GET", "/clusters/{cluster_id}", permission=CLUSTER_READ, tags=TAGS, summary="One cluster",
    returns=ClusterDocument, etag=True, problems=(404,))  # fmt: skip
def get_cluster(actor: Actor, cluster_id: str) -> Any:
    """By id or name."""
    return _answer(actor, clusters.get(actor, cluster_id))


# ---- trying


@op("POST", "/clusters/test", permission=CLUSTER_MANAGE, tags=TAGS, summary="Try a connection before it is stored",
    returns=TestReport, problems=(429,), example={"runtime": "docker", "settings": {}})  # fmt: skip
def test_new_cluster(actor: Actor, portal: Portal, body: TestBody) -> dict[str, Any]:
    """Says what is missing, each with what to do about it. Nothing is stored, and nothing stays in the place."""
    return _report(connection_tests.try_new(portal, actor, body.runtime, body.settings, body.secrets))


@op("POST", "/clusters/{cluster_id}/test", permission=CLUSTER_MANAGE, tags=TAGS, summary="Try a stored connection",
    returns=TestReport, problems=(404, 429), example={})  # fmt: skip
def test_cluster(actor: Actor, portal: Portal, cluster_id: str, body: TestChangeBody) -> dict[str, Any]:
    """As it is stored, or with a change that is not stored yet. Secrets that are not named are those that are stored."""
    return _report(connection_tests.try_stored(portal, actor, cluster_id, body.settings, body.secrets))


# ---- changing


@op("POST", "/clusters", permission=CLUSTER_MANAGE, tags=TAGS, summary="Connect a cluster", status=201,
    returns=ClusterDocument, etag=True, problems=(409,), example=EXAMPLE)  # fmt: skip
def create_cluster(actor: Actor, portal: Portal, body: NewCluster) -> Any:
    """Stored and watched from now on; whether it answers is told by `health` a moment later. `/clusters/test` tries it first."""
    given = body.model_dump(mode="json", exclude={"policy"})
    made = clusters.create(portal, actor, clusters.NewCluster(**given, policy=body.policy.model_dump(mode="json")))
    return _document(actor, made), 201, _etag(made) | {"Location": f"/api/v1/clusters/{made.id}"}


@op("PATCH", "/clusters/{cluster_id}", permission=CLUSTER_MANAGE, tags=TAGS, summary="Change a cluster",
    returns=ClusterDocument, etag=True, problems=(404, 409, 412, 428),
    example={"title": "Laboratory", "tenants": ["acme"]})  # fmt: skip
def change_cluster(actor: Actor, portal: Portal, cluster_id: str, body: ClusterPatch, if_match: int | None) -> Any:
    """Needs If-Match with the ETag that was read (or `generation` in the body), so that no change of others gets lost.

    A change of settings or secrets connects anew; claws run on.
    """
    generation = agreed_generation(body.generation, if_match)
    if generation is None:
        raise PreconditionRequired(_m("Send If-Match with the ETag (the generation) that you read, so that no change gets lost."))
    change = clusters.ClusterChange(
        title=body.title, settings=body.settings, secrets=body.secrets, labels=body.labels, tenants=body.tenants,
        for_all="tenants" in body.model_fields_set and body.tenants is None,
        policy=body.policy.model_dump(mode="json") if body.policy is not None else None,
        confirm_unseparated=body.confirm_unseparated,
    )  # fmt: skip
    return _answer(actor, clusters.update(portal, actor, cluster_id, change, generation=generation))


@op("POST", "/clusters/{cluster_id}/{verb}", permission=CLUSTER_MANAGE, tags=TAGS, returns=ClusterDocument,
    summary="Pause, resume, cordon or uncordon", etag=True, problems=(404, 409))  # fmt: skip
def press_cluster(actor: Actor, portal: Portal, cluster_id: str, verb: Literal["pause", "resume", "cordon", "uncordon"]) -> Any:
    """`pause`: nothing is done there and everything is shown as last seen. `cordon`: it takes no new instances."""
    return _answer(actor, clusters.ACTIONS[verb](portal, actor, cluster_id))


@op("GET", "/clusters/{cluster_id}/losses", permission=CLUSTER_MANAGE, tags=TAGS, returns=ClusterLosses,
    summary="What deleting a cluster would take along", problems=(404,))  # fmt: skip
def get_cluster_losses(actor: Actor, cluster_id: str) -> dict[str, Any]:
    return dict(clusters.losses(actor, cluster_id).__dict__)


@op("DELETE", "/clusters/{cluster_id}", permission=CLUSTER_MANAGE, tags=TAGS, status=204,
    summary="Delete a cluster", problems=(404, 409))  # fmt: skip
def delete_cluster(actor: Actor, portal: Portal, cluster_id: str, query: Confirmed) -> None:
    """Refused while it has instances. What is in the place itself is not touched."""
    clusters.remove(portal, actor, cluster_id, confirm=query.confirm)


# ---- from rows to documents


def _item(row: Cluster, instances: int) -> dict[str, Any]:
    return {
        "id": row.id, "name": row.name, "title": row.title or row.name, "runtime": row.runtime,
        "reachable": row.health != UNREACHABLE, "health": row.health, "reason": row.health_reason, "message": row.health_message,
        "health_since": row.health_since, "last_contact_at": row.last_contact_at, "paused": row.paused_at is not None,
        "cordoned": row.cordoned, "capabilities": row.capabilities or [], "separation": row.separation, "instances": instances,
    }  # fmt: skip


_MORE = ("version", "capacity", "labels", "tenants", "for_all", "shared_unseparated", "created_at")
_ALL = (
    "generation", "settings", "secrets", "policy", "events", "separation_findings", "unseparated_confirmed_by",
    "unseparated_confirmed_at",
)  # fmt: skip


def _more(row: Cluster, tenants: Sequence[tuple[str, str]], full: bool) -> dict[str, Any]:
    if not full:
        return dict.fromkeys(_MORE)
    return {
        "version": row.version, "capacity": row.capacity, "labels": row.labels or {}, "for_all": row.all_tenants,
        "tenants": [{"id": tenant_id, "title": title} for tenant_id, title in tenants], "created_at": row.created_at,
        "shared_unseparated": walls.standing(row).shared,
    }  # fmt: skip


def _document(actor: Actor, row: Cluster) -> dict[str, Any]:
    full = clusters.sees_all(actor)
    count = clusters.instance_counts(actor, [row.id]).get(row.id, 0)
    tenants = clusters.tenants_of([row.id]).get(row.id, []) if full else []
    found = _item(row, count) | _more(row, tenants, full)
    if not full:
        return found | dict.fromkeys(_ALL)
    return found | {
        "generation": clusters.generation_of(row), "settings": redact.document(row.settings or {}),
        "secrets": clusters.secret_names(row.id),
        "policy": row.policy or {},
        "events": [_event(event) for event in clusters.events(actor, row.id)],
        "separation_findings": row.separation_findings or [], "unseparated_confirmed_by": row.trusted_by,
        "unseparated_confirmed_at": walls.standing(row).at,
    }  # fmt: skip


def _etag(row: Cluster) -> dict[str, str]:
    return {"ETag": f'"{clusters.generation_of(row)}"'}


def _answer(actor: Actor, row: Cluster) -> Any:
    return _document(actor, row), 200, _etag(row)


def _event(row: Any) -> Mapping[str, Any]:
    return {name: getattr(row, name) for name in EventDocument.model_fields}


def _report(found: connection_tests.Report) -> dict[str, Any]:
    return {"ok": found.ok, "version": found.version, "findings": [item.__dict__ for item in found.findings]}
