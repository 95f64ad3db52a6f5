"""Claws' own pages: which there are, and a way in for a browser."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from clawportal.sdk.adapters import Strict
from clawportal.sdk.api import Answer, Page, Paged, Portal, op, paged
from clawportal.sdk.data import get_or_404
from clawportal.sdk.fleet import Instance
from clawportal.sdk.hosts import bearer, portal_url
from clawportal.sdk.permissions import INSTANCE_READ, Actor
from clawportal_apps import services, shares
from clawportal_apps.models import AppShare
from clawportal_apps.permissions import APP_OPEN, APP_SHARE

TAGS = ("Pages of claws",)


class AppDocument(Answer):
    port: str
    title: str
    page: bool = Field(description="Whether people find a page there; others are for programs.")


class AppsAnswer(Answer):
    items: list[AppDocument] = Field(description="Pages first.")


class ShareDocument(Answer):
    id: str
    port: str
    note: str = Field(description="For whom it is, in the words of who made it.")
    created_at: datetime
    ends_at: datetime
    revoked_at: datetime | None
    used_at: datetime | None = Field(description="When a browser last came in by it.")


class NewShareAnswer(ShareDocument):
    url: str = Field(description="With the secret; it is not told again.")


class NewShareBody(Strict):
    hours: int = Field(24, ge=1, le=8760, description="How long it is good; the portal's settings say how long at most.")
    note: str = Field("", max_length=200, description="For whom it is.")


class TicketAnswer(Answer):
    url: str = Field(description="For a browser; good for a minute and one use.")
    origin: str = Field(description="Where the page is, for whoever is in already.")


@op("GET", "/instances/{instance_id}/apps", permission=INSTANCE_READ, tags=TAGS, summary="Ports of an instance for browsers",
    returns=AppsAnswer, problems=(404,))  # fmt: skip
def list_apps(actor: Actor, portal: Portal, instance_id: str) -> dict[str, Any]:
    instance = get_or_404(Instance, instance_id, actor, INSTANCE_READ)
    return {"items": [{"port": spec.name, "title": spec.title or spec.name, "page": spec.page}
                      for spec in services.ports_of(portal, instance)]}  # fmt: skip


@op("POST", "/instances/{instance_id}/apps/{port}/ticket", permission=APP_OPEN, tags=TAGS, summary="Open a page of an instance",
    status=201, returns=TicketAnswer, problems=(404, 409))  # fmt: skip
def create_app_ticket(actor: Actor, portal: Portal, instance_id: str, port: str) -> Any:
    """An address that leads a browser to the page once, with the rights of who asks. It ends with their sign-in or token."""
    opened = services.open_page(portal, actor, instance_id, port, bearer(), portal_url())
    return {"url": opened.url, "origin": opened.origin}, 201


def _document(row: AppShare) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ShareDocument.model_fields}


@op("GET", "/instances/{instance_id}/shared-links", permission=APP_OPEN, tags=TAGS, summary="Links to pages of an instance",
    returns=Page[ShareDocument], problems=(404,))  # fmt: skip
def list_shared_links(actor: Actor, instance_id: str, query: Paged) -> Any:
    page = shares.of_instance(actor, instance_id, query.which)
    return paged(page, query, [_document(row) for row in page.items])


@op("POST", "/instances/{instance_id}/apps/{port}/shared-links", permission=APP_SHARE, tags=TAGS, status=201,
    summary="Share a page of an instance by a link", returns=NewShareAnswer, problems=(404,),
    example={"hours": 48, "note": "for the review"})  # fmt: skip
def create_shared_link(actor: Actor, portal: Portal, instance_id: str, port: str, body: NewShareBody) -> Any:
    """Whoever has the link opens the page in the name of who made it, until it ends, is taken back, or they may not share."""
    made = shares.create(portal, actor, instance_id, port, body.hours, body.note, portal_url())
    return {**_document(made.row), "url": made.url}, 201


@op("DELETE", "/shared-links/{share_id}", permission=APP_SHARE, tags=TAGS, summary="Take back a link to a page", status=204,
    problems=(404,))  # fmt: skip
def revoke_shared_link(actor: Actor, portal: Portal, share_id: str) -> None:
    """What is open by it ends within seconds."""
    shares.revoke(portal, actor, share_id)
