"""Claws' own pages: which there are, and a way in for a browser."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from clawportal.sdk.api import Answer, Portal, op
from clawportal.sdk.data import get_or_404
from clawportal.sdk.fleet import Instance
from clawportal.sdk.hosts import bearer, portal_url
from clawportal.sdk.permissions import INSTANCE_READ, Actor
from clawportal_apps import services
from clawportal_apps.permissions import APP_OPEN

TAGS = ("Pages of claws",)


class AppDocument(Answer):
    port: str
    title: str
    page: bool = Field(description="Whether people find a page there; others are for programs.")


class AppsAnswer(Answer):
    items: list[AppDocument] = Field(description="Pages first.")


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
