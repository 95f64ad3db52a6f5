"""Saved filters of the list of instances."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from clawportal.api._layer import Answer, Page, Paged, op, paged
from clawportal.contracts.core_permissions import INSTANCE_READ
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import Strict
from clawportal.services.fleet import saved_filters
from clawportal.services.fleet.saved_filters import Change, Saved

TAGS = ("Instances",)


class FilterQuery(Strict):
    """The parts of a filter; empty ones let everything through."""

    q: str = Field("", max_length=200, description="Part of the name, or the id.")
    state: str = Field("", max_length=20, description="`attention`, `running`, `progressing`, `stopped` or `failed`.")
    adapter: str = Field("", max_length=100, description="Kind of claw.")
    project: str = Field("", max_length=100, description="Id or name; kept as its id.")
    labels: str = Field("", max_length=1000, description="As in `GET /instances`.")
    sort: str = Field("", max_length=40, description="As in `GET /instances`.")


class FilterDocument(Answer):
    """A saved filter."""

    id: str
    name: str
    query: FilterQuery
    tenant: str | None = Field(description="Id of the organisation that it is shared with; null: one's own.")
    tenant_name: str = Field(description="Empty for one's own.")
    default: bool = Field(description="Whether the page of instances begins with it, for who asks.")
    created_by: str


class NewFilter(Strict):
    name: str = Field(max_length=60)
    query: FilterQuery
    tenant: str | None = Field(
        None, max_length=100, description="Id of the organisation to share it with; without it, one's own."
    )
    default: bool = Field(False, description="The page of instances begins with it from now on, for who asks.")


class FilterPatch(Strict):
    """What is absent stays."""

    name: str | None = Field(None, max_length=60)
    query: FilterQuery | None = None
    tenant: str | None = Field(
        None, max_length=100, description="Id of the organisation to share it with; null makes it one's own."
    )


EXAMPLE = {"name": "support at night", "query": {"state": "attention", "labels": "team=support"}}


@op("GET", "/filters", permission=INSTANCE_READ, tags=TAGS, summary="Saved filters", returns=Page[FilterDocument])
def list_filters(actor: Actor, query: Paged) -> Any:
    """One's own and those of organisations, by name. Those that name a project which one does not see are left out."""
    page = saved_filters.page_of(actor, query.which)
    return paged(page, query, [document(one) for one in page.items])


@op("POST", "/filters", permission=INSTANCE_READ, tags=TAGS, summary="Save a filter", status=201, returns=FilterDocument,
    problems=(403, 409), example=EXAMPLE)  # fmt: skip
def create_filter(actor: Actor, body: NewFilter) -> Any:
    """Sharing it with an organisation needs the right `filter.share` there."""
    made = saved_filters.save(actor, body.name, body.query.model_dump(), tenant=body.tenant, default=body.default)
    return document(made), 201, {"Location": f"/api/v1/filters/{made.id}"}


@op("GET", "/filters/{filter_id}", permission=INSTANCE_READ, tags=TAGS, summary="One saved filter", returns=FilterDocument,
    problems=(404,))  # fmt: skip
def get_filter(actor: Actor, filter_id: str) -> dict[str, Any]:
    return document(saved_filters.get(actor, filter_id))


@op("PATCH", "/filters/{filter_id}", permission=INSTANCE_READ, tags=TAGS, summary="Change a saved filter", returns=FilterDocument,
    problems=(403, 404, 409), example={"name": "support"})  # fmt: skip
def change_filter(actor: Actor, filter_id: str, body: FilterPatch) -> dict[str, Any]:
    """One's own, or, with the right `filter.share`, one of an organisation."""
    shared = body.tenant is not None if "tenant" in body.model_fields_set else None
    query = body.query.model_dump() if body.query is not None else None
    return document(saved_filters.change(actor, filter_id, Change(body.name, query, shared, body.tenant)))


@op("DELETE", "/filters/{filter_id}", permission=INSTANCE_READ, tags=TAGS, summary="Delete a saved filter",
    status=204, problems=(403, 404))  # fmt: skip
def delete_filter(actor: Actor, filter_id: str) -> None:
    saved_filters.remove(actor, filter_id)


@op("POST", "/filters/{filter_id}/default", permission=INSTANCE_READ, tags=TAGS, summary="Begin the list with a saved filter",
    returns=FilterDocument, problems=(404,))  # fmt: skip
def set_default_filter(actor: Actor, filter_id: str) -> dict[str, Any]:
    """For who asks alone, on the page of instances; lists of the API begin with none."""
    return document(saved_filters.set_default(actor, filter_id))


@op("DELETE", "/filters/{filter_id}/default", permission=INSTANCE_READ, tags=TAGS, summary="Begin the list with everything again",
    status=204, problems=(404,))  # fmt: skip
def unset_default_filter(actor: Actor, filter_id: str) -> None:
    saved_filters.unset_default(actor, filter_id)


def document(one: Saved) -> dict[str, Any]:
    query = {part: one.query.get(part, "") for part in saved_filters.PARTS}
    return {
        "id": one.id, "name": one.name, "query": query, "tenant": one.tenant_id, "tenant_name": one.tenant,
        "default": one.default, "created_by": one.created_by,
    }  # fmt: skip
