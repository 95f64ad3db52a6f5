"""First steps over the API: what is done, what is next, and what is not for this portal."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from clawportal.sdk.adapters import Strict
from clawportal.sdk.api import Answer, Portal, op
from clawportal.sdk.permissions import INSTANCE_READ, PORTAL_ADMIN, Actor
from clawportal_checklist import services
from clawportal_checklist.models import WHOLE
from clawportal_checklist.services import Checklist

TAGS = ("First steps",)


class FirstStepDocument(Answer):
    name: str
    title: str
    why: str
    done: bool = Field(description="By what is there; nobody ticks it.")
    command: str = Field(description="What does it on the portal's own machine; empty: a page does it.")
    put_aside_by: str | None = Field(description="Who said that it is not for this portal.")
    put_aside_at: datetime | None


class ChecklistDocument(Answer):
    audience: Literal["portal", "team"] = Field(description="`portal` for its administrators, `team` for everybody else.")
    items: list[FirstStepDocument]
    done: int
    shown: bool = Field(description="Whether it is still on the home page.")
    put_aside_by: str | None = Field(description="Who put all of it aside.")


class AsideBody(Strict):
    put_aside: bool = Field(description="Whether it is not for this portal.")


def _document(found: Checklist) -> dict[str, Any]:
    items = [
        {"name": one.step.name, "title": one.step.title, "why": one.step.why, "done": one.step.done, "command": one.step.command,
         "put_aside_by": one.mark.marked_by if one.mark else None, "put_aside_at": one.mark.marked_at if one.mark else None}
        for one in found.items
    ]  # fmt: skip
    by = found.put_aside.marked_by if found.put_aside else None
    return {"audience": found.audience, "items": items, "done": found.done, "shown": found.shown, "put_aside_by": by}


@op("GET", "/checklist", permission=INSTANCE_READ, tags=TAGS, summary="First steps", returns=ChecklistDocument)
def get_checklist(actor: Actor, portal: Portal) -> dict[str, Any]:
    return _document(services.of(portal, actor))


@op("PUT", "/checklist", permission=PORTAL_ADMIN, tags=TAGS, summary="Put all first steps aside", returns=ChecklistDocument,
    example={"put_aside": True})  # fmt: skip
def put_checklist(actor: Actor, portal: Portal, body: AsideBody) -> dict[str, Any]:
    """They are not on the home page any more; with false they are again."""
    services.put_aside(portal, actor, WHOLE, body.put_aside)
    return _document(services.of(portal, actor))


@op("PUT", "/checklist/{name}", permission=PORTAL_ADMIN, tags=TAGS, summary="Put a first step aside", returns=ChecklistDocument,
    problems=(404,), example={"put_aside": True})  # fmt: skip
def put_checklist_step(actor: Actor, portal: Portal, name: str, body: AsideBody) -> dict[str, Any]:
    services.put_aside(portal, actor, name, body.put_aside)
    return _document(services.of(portal, actor))
