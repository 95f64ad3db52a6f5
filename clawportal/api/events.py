"""The feed of facts: of the whole portal as far as one may see it, and of one instance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from clawportal.api._layer import BIGGEST, Answer, Query, op
from clawportal.contracts.core_permissions import EVENT_READ
from clawportal.contracts.permissions import Actor
from clawportal.engine.portal import Portal
from clawportal.errors import Invalid
from clawportal.http.paging import MAX_LIMIT, link_header
from clawportal.messages import _m
from clawportal.models import EventRow
from clawportal.services.events import event_log
from clawportal.services.live import runtime_events

TAGS = ("Events",)


class Event(Answer):
    """A fact that happened."""

    seq: int = Field(description="Place in the feed; grows.")
    kind: str = Field(description="`noun.verb`, such as `instance.phase_changed`.")
    at: datetime
    tenant_id: str | None
    instance_id: str | None
    level: str = Field(description="`info`, `warning` or `error`.")
    reason: str
    message: str
    actor: str
    data: dict[str, Any]


class Feed(Answer):
    """A piece of the feed."""

    items: list[Event]
    next: int | None = Field(
        description="Send it as `after` (when that was given) or else as `before` to go on. Null: there is nothing more that way."
    )


class PlaceEvent(Answer):
    """What the place of an instance says about it."""

    at: datetime
    level: Literal["info", "warning"]
    reason: str = Field(description="A word of the place, such as `Pulled`, `Scheduled` or `OutOfMemory`.")
    message: str
    count: int = Field(description="How often it was said.")


class PlaceEvents(Answer):
    """Oldest first, as far back as the place remembers."""

    items: list[PlaceEvent]


class InstanceFeedQuery(Query):
    after: int | None = Field(None, ge=0, le=BIGGEST, description="Only what came later than this place, oldest first.")
    before: int | None = Field(None, ge=0, le=BIGGEST, description="Only what came earlier than this place, newest first.")
    level: list[Literal["info", "warning", "error"]] = Field(default_factory=list, description="Only these levels; repeatable.")
    limit: int = Field(50, ge=1, le=MAX_LIMIT, description="Entries in one answer.")


class FeedQuery(InstanceFeedQuery):
    instance: str = Field("", max_length=100, description="Only of the instance with this id.")


@op("GET", "/events", permission=EVENT_READ, tags=TAGS, summary="What happened", returns=Feed, problems=(404,))
def list_events(actor: Actor, query: FeedQuery) -> Any:
    """Newest first; with `after`, oldest first, so that a follower misses nothing."""
    return _feed(actor, query, query.instance or None)


@op("GET", "/instances/{instance_id}/events", permission=EVENT_READ, tags=TAGS, summary="What happened to an instance",
    returns=Feed, problems=(404,))  # fmt: skip
def list_instance_events(actor: Actor, instance_id: str, query: InstanceFeedQuery) -> Any:
    """Newest first; with `after`, oldest first."""
    return _feed(actor, query, instance_id)


@op("GET", "/instances/{instance_id}/runtime-events", permission=EVENT_READ, tags=TAGS,
    summary="What the place says about an instance", returns=PlaceEvents, problems=(404, 409, 503))  # fmt: skip
def list_runtime_events(actor: Actor, portal: Portal, instance_id: str) -> dict[str, Any]:
    """Asked of the place at this moment: images fetched, machines found, restarts, memory that ran out. 503 with the reason when
    it does not answer; 409 for a place that says nothing by itself."""
    found = runtime_events.read(portal, actor, instance_id)
    return {"items": [{name: getattr(event, name) for name in PlaceEvent.model_fields} for event in found]}


def _feed(actor: Actor, query: InstanceFeedQuery, instance_id: str | None) -> Any:
    if query.after is not None and query.before is not None:
        raise Invalid.field("before", _m("cannot be given together with after"))
    rows = event_log.feed(
        actor,
        instance_id=instance_id,
        after=query.after,
        before=query.before,
        levels=tuple(query.level),
        limit=query.limit,
        oldest_first=query.after is not None,
    )
    on, way = _next(rows, query), "before" if query.after is None else "after"
    document = {"items": [_document(row) for row in rows], "next": on}
    return document, 200, link_header({"next": {way: str(on)}} if on is not None else {})


def _next(rows: Sequence[EventRow], query: InstanceFeedQuery) -> int | None:
    if query.after is not None:
        return rows[-1].seq if rows else query.after  # a follower asks again from here
    return rows[-1].seq if len(rows) == query.limit else None


def _document(row: EventRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Event.model_fields}
