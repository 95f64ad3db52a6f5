"""Tenants and projects, what they may use, and moving instances between projects."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from clawportal.api._layer import Answer, Page, Paged, Query, op, paged
from clawportal.contracts.core_permissions import (
    CATALOG_READ,
    INSTANCE_UPDATE,
    PROJECT_MANAGE,
    QUOTA_MANAGE,
    QUOTA_PROJECT,
    QUOTA_READ,
    TENANT_CREATE,
    TENANT_DELETE,
    TENANT_READ,
    TENANT_UPDATE,
)
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import Strict
from clawportal.engine.portal import Portal
from clawportal.models import Project, Tenant
from clawportal.services.fleet import moves, quotas, removals
from clawportal.services.tenancy import tenants

TAGS = ("Organisations",)


# ---- what is answered


class TenantItem(Answer):
    """An organisation as lists show it."""

    id: str
    name: str
    title: str
    created_at: datetime
    deleting_at: datetime | None = Field(description="Since when it is being deleted; null for one that stays.")
    projects: int
    members: int
    instances: int


class TenantDocument(Answer):
    """An organisation with its defaults."""

    id: str
    name: str = Field(description="Never changes.")
    title: str
    created_at: datetime
    deleting_at: datetime | None
    allowed_adapters: dict[str, list[str]] | None = Field(
        description="Kinds of claw that may be created, each with its versions (none named: all). Null: every kind."
    )
    default_cluster_id: str | None = Field(description="Where instances go for which no cluster is named.")
    require_totp: bool = Field(description="Whether only people with a second factor reach what is in it.")


class ProjectDocument(Answer):
    id: str
    tenant_id: str
    name: str = Field(description="Never changes.")
    title: str
    created_at: datetime
    deleting_at: datetime | None


class Target(Answer):
    id: str
    title: str


class LossesDocument(Answer):
    """What deleting would take along."""

    name: str = Field(description="Has to be sent as `confirm`.")
    instances: int
    running: int
    named: list[str] = Field(description="Names of the first instances.")
    projects: int
    members: int = Field(description="Their accounts stay.")
    service_accounts: int
    roles: int
    events: int
    refusal: str = Field(description="Why it cannot be deleted at all; empty where it can.")
    move_targets: list[Target] = Field(description="Projects that instances can be moved to.")


class DeleteAnswer(Answer):
    state: Literal["deleted", "deleting"] = Field(description="`deleting`: it goes by itself after its last instance.")


class LimitsDocument(Answer):
    """Null sets no limit."""

    instances: int | None
    cpu: str | None = Field(description="Cores as a Kubernetes quantity, such as `500m` or `4`.")
    memory: str | None = Field(description="Memory as a Kubernetes quantity, such as `8Gi`.")
    storage: str | None = Field(description="Data of all claws, running or not, as a Kubernetes quantity, such as `100Gi`.")


class AmountDocument(Answer):
    instances: int
    cpu: str
    memory: str
    storage: str


class QuotaDocument(Answer):
    limits: LimitsDocument
    used: AmountDocument


class ProjectQuota(QuotaDocument):
    project_id: str
    name: str


class TenantQuota(QuotaDocument):
    projects: list[ProjectQuota]


# ---- what is asked


class TenantQuery(Paged):
    q: str = Field("", max_length=200, description="Part of the name or title.")


class NewTenant(Strict):
    name: str = Field(max_length=200, description="1 to 63 small letters, digits or dashes; unique in the portal.")
    title: str = Field("", max_length=500)


class TenantPatch(Strict):
    """What is absent stays; null removes."""

    title: str | None = Field(None, max_length=500)
    allowed_adapters: dict[str, list[str]] | None = Field(None, max_length=100)
    default_cluster: str | None = Field(None, max_length=100, description="Id or name.")
    require_totp: bool | None = Field(
        None, description="True: people without a second factor get 403 `totp_required` at once; service accounts need none."
    )


class TenantPut(Strict):
    """All that can be set; what is absent gets its default."""

    title: str = Field(max_length=500)
    allowed_adapters: dict[str, list[str]] | None = Field(None, max_length=100, description="Null: every kind of claw.")
    default_cluster: str | None = Field(None, max_length=100, description="Id or name.")
    require_totp: bool = False


class NewProject(Strict):
    tenant: str = Field(max_length=100, description="Id of the organisation.")
    name: str = Field(max_length=200, description="1 to 63 small letters, digits or dashes; unique in its organisation.")
    title: str = Field("", max_length=500)


class ProjectPatch(Strict):
    title: str = Field(max_length=500)


class Confirmed(Query):
    confirm: str = Field("", max_length=200, description="The name, so that nothing is deleted by mistake.")
    keep_data: bool = Field(False, description="Leave the folders of its instances where they are.")


class DeleteTenantQuery(Confirmed):
    instances: Literal["refuse", "delete"] = Field("refuse", description="What to do with its instances.")


class DeleteProjectQuery(Confirmed):
    instances: Literal["refuse", "delete", "move"] = Field("refuse", description="What to do with its instances.")
    move_to: str = Field("", max_length=100, description="With `move`: id or name of another project.")


class QuotaBody(Strict):
    """Null, or absent, sets no limit."""

    instances: int | None = Field(None, ge=0, le=quotas.MOST_INSTANCES)
    cpu: str | None = Field(None, max_length=40)
    memory: str | None = Field(None, max_length=40)
    storage: str | None = Field(None, max_length=40)


class MoveBody(Strict):
    project: str = Field(max_length=100, description="Id or name of a project of the same organisation.")


# ---- tenants


@op("GET", "/tenants", permission=TENANT_READ, tags=TAGS, summary="Organisations", returns=Page[TenantItem])
def list_tenants(actor: Actor, query: TenantQuery) -> Any:
    page = tenants.listing(actor, text=query.q, which=query.which)
    return paged(page, query, [row.__dict__ for row in page.items])


@op("POST", "/tenants", permission=TENANT_CREATE, tags=TAGS, summary="Create an organisation", status=201,
    returns=TenantDocument, problems=(409,), example={"name": "acme", "title": "Acme Ltd."})  # fmt: skip
def create_tenant(actor: Actor, portal: Portal, body: NewTenant) -> Any:
    made = tenants.create(portal, actor, body.name, body.title)
    return _tenant(made), 201, {"Location": f"/api/v1/tenants/{made.id}"}


@op("GET", "/tenants/{tenant_id}", permission=TENANT_READ, tags=TAGS, summary="One organisation",
    returns=TenantDocument, problems=(404,))  # fmt: skip
def get_tenant(actor: Actor, tenant_id: str) -> dict[str, Any]:
    return _tenant(tenants.get(actor, tenant_id))


@op("PATCH", "/tenants/{tenant_id}", permission=TENANT_UPDATE, tags=TAGS, summary="Change an organisation",
    returns=TenantDocument, problems=(404, 409), example={"allowed_adapters": {"nanobot": []}})  # fmt: skip
def change_tenant(actor: Actor, portal: Portal, tenant_id: str, body: TenantPatch) -> dict[str, Any]:
    unset = frozenset(name for name in body.model_fields_set if getattr(body, name) is None)
    change = tenants.TenantChange(body.title, body.allowed_adapters, body.default_cluster, body.require_totp, unset)
    return _tenant(tenants.update(portal, actor, tenant_id, change))


@op("PUT", "/tenants/{tenant_id}", permission=TENANT_UPDATE, tags=TAGS, returns=TenantDocument,
    summary="Replace the settings of an organisation", problems=(404, 409),
    example={"title": "Acme Ltd.", "require_totp": True})  # fmt: skip
def replace_tenant(actor: Actor, portal: Portal, tenant_id: str, body: TenantPut) -> dict[str, Any]:
    unset = frozenset(name for name in ("allowed_adapters", "default_cluster") if getattr(body, name) is None)
    change = tenants.TenantChange(body.title, body.allowed_adapters, body.default_cluster, body.require_totp, unset)
    return _tenant(tenants.update(portal, actor, tenant_id, change))


@op("GET", "/tenants/{tenant_id}/losses", permission=TENANT_DELETE, tags=TAGS, returns=LossesDocument,
    summary="What deleting an organisation would take along", problems=(404,))  # fmt: skip
def get_tenant_losses(actor: Actor, tenant_id: str) -> dict[str, Any]:
    return _losses(removals.tenant_losses(actor, tenant_id))


@op("DELETE", "/tenants/{tenant_id}", permission=TENANT_DELETE, tags=TAGS, summary="Delete an organisation",
    status=202, returns=DeleteAnswer, problems=(404, 409))  # fmt: skip
def delete_tenant(actor: Actor, portal: Portal, tenant_id: str, query: DeleteTenantQuery) -> dict[str, str]:
    """Refused while it has instances, unless `instances` says that they are to be deleted first. See `/losses`."""
    gone = removals.delete_tenant(
        portal, actor, tenant_id, confirm=query.confirm, with_instances=query.instances == "delete", keep_data=query.keep_data
    )
    return {"state": "deleted" if gone else "deleting"}


# ---- projects


@op("POST", "/projects", permission=PROJECT_MANAGE, tags=TAGS, summary="Create a project", status=201,
    returns=ProjectDocument, problems=(404, 409))  # fmt: skip
def create_project(actor: Actor, portal: Portal, body: NewProject) -> Any:
    made = tenants.create_project(portal, actor, body.tenant, body.name, body.title)
    return _project(made), 201, {"Location": f"/api/v1/projects/{made.id}"}


@op("GET", "/projects/{project_id}", permission=CATALOG_READ, tags=TAGS, summary="One project",
    returns=ProjectDocument, problems=(404,))  # fmt: skip
def get_project(actor: Actor, project_id: str) -> dict[str, Any]:
    return _project(tenants.get_project(actor, project_id))


@op("PATCH", "/projects/{project_id}", permission=PROJECT_MANAGE, tags=TAGS, summary="Rename a project",
    returns=ProjectDocument, problems=(404, 409))  # fmt: skip
def change_project(actor: Actor, portal: Portal, project_id: str, body: ProjectPatch) -> dict[str, Any]:
    return _project(tenants.rename_project(portal, actor, project_id, body.title))


@op("PUT", "/projects/{project_id}", permission=PROJECT_MANAGE, tags=TAGS, summary="Replace the settings of a project",
    returns=ProjectDocument, problems=(404, 409))  # fmt: skip
def replace_project(actor: Actor, portal: Portal, project_id: str, body: ProjectPatch) -> dict[str, Any]:
    return _project(tenants.rename_project(portal, actor, project_id, body.title))


@op("GET", "/projects/{project_id}/losses", permission=PROJECT_MANAGE, tags=TAGS, returns=LossesDocument,
    summary="What deleting a project would take along", problems=(404,))  # fmt: skip
def get_project_losses(actor: Actor, project_id: str) -> dict[str, Any]:
    return _losses(removals.project_losses(actor, project_id))


@op("DELETE", "/projects/{project_id}", permission=PROJECT_MANAGE, tags=TAGS, summary="Delete a project",
    status=202, returns=DeleteAnswer, problems=(404, 409))  # fmt: skip
def delete_project(actor: Actor, portal: Portal, project_id: str, query: DeleteProjectQuery) -> dict[str, str]:
    """Refused while it has instances, unless `instances` says that they are to be deleted or moved first. See `/losses`."""
    gone = removals.delete_project(
        portal, actor, project_id, confirm=query.confirm, with_instances=query.instances == "delete", keep_data=query.keep_data,
        move_to=query.move_to if query.instances == "move" else "",
    )  # fmt: skip
    return {"state": "deleted" if gone else "deleting"}


@op("POST", "/instances/{instance_id}/move", permission=INSTANCE_UPDATE, tags=("Instances",), status=204,
    summary="Move to another project", problems=(404, 409))  # fmt: skip
def move_instance(actor: Actor, portal: Portal, instance_id: str, body: MoveBody) -> None:
    """Of the same organisation; the claw does not notice."""
    moves.move_instance(portal, actor, instance_id, body.project)


# ---- quotas


@op("GET", "/tenants/{tenant_id}/quota", permission=QUOTA_READ, tags=TAGS, summary="What an organisation may use",
    returns=TenantQuota, problems=(404,))  # fmt: skip
def get_tenant_quota(actor: Actor, portal: Portal, tenant_id: str) -> dict[str, Any]:
    return _report(portal, actor, tenant_id)


@op("PUT", "/tenants/{tenant_id}/quota", permission=QUOTA_MANAGE, tags=TAGS, returns=TenantQuota,
    summary="Set what an organisation may use", problems=(404,),
    example={"instances": 20, "cpu": "8", "memory": "16Gi", "storage": "100Gi"})  # fmt: skip
def put_tenant_quota(actor: Actor, portal: Portal, tenant_id: str, body: QuotaBody) -> dict[str, Any]:
    """What runs goes on; only what would take more is refused."""
    quotas.set_tenant(portal, actor, tenant_id, _limits_of(body))
    return _report(portal, actor, tenant_id)


@op("GET", "/projects/{project_id}/quota", permission=QUOTA_READ, tags=TAGS, summary="What a project may use",
    returns=QuotaDocument, problems=(404,))  # fmt: skip
def get_project_quota(actor: Actor, portal: Portal, project_id: str) -> dict[str, Any]:
    return _quota(*quotas.of_project(portal, actor, project_id))


@op("PUT", "/projects/{project_id}/quota", permission=QUOTA_PROJECT, tags=TAGS, returns=QuotaDocument,
    summary="Set what a project may use", problems=(404,))  # fmt: skip
def put_project_quota(actor: Actor, portal: Portal, project_id: str, body: QuotaBody) -> dict[str, Any]:
    quotas.set_project(portal, actor, project_id, _limits_of(body))
    return _quota(*quotas.of_project(portal, actor, project_id))


# ---- from rows to documents


def _tenant(row: Tenant) -> dict[str, Any]:
    return {name: getattr(row, name) for name in TenantDocument.model_fields} | {"title": row.title or row.name}


def _project(row: Project) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ProjectDocument.model_fields} | {"title": row.title or row.name}


def _losses(found: removals.Losses) -> dict[str, Any]:
    known = {name: getattr(found, name) for name in LossesDocument.model_fields if name != "move_targets"}
    return known | {"move_targets": [{"id": project_id, "title": title} for project_id, title in found.targets]}


def _limits_of(body: QuotaBody) -> quotas.Limits:
    return quotas.Limits(body.instances, body.cpu or "", body.memory or "", body.storage or "")


def _quota(limits: quotas.Limits, used: quotas.Amount) -> dict[str, Any]:
    return {
        "limits": {"instances": limits.instances} | {name: getattr(limits, name) or None for name in quotas.SIZES},
        "used": {"instances": used.instances} | {name: quotas.written(name, used.of(name)) for name in quotas.SIZES},
    }


def _report(portal: Portal, actor: Actor, tenant_id: str) -> dict[str, Any]:
    found = quotas.report(portal, actor, tenant_id, biggest=0)
    shares = [{"project_id": share.project_id, "name": share.name, **_quota(share.limits, share.used)} for share in found.shares]
    return {**_quota(found.limits, found.used), "projects": shares}
