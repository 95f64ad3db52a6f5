"""The audit: who did what, when, from where, and what it changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from flask import Response, stream_with_context
from pydantic import AwareDatetime, Field

from clawportal.api._layer import BIGGEST, Answer, Query, op
from clawportal.contracts.core_permissions import AUDIT_READ
from clawportal.contracts.permissions import Actor
from clawportal.errors import NotFound
from clawportal.http.paging import MAX_LIMIT, link_header
from clawportal.messages import _m
from clawportal.models import AuditEntry
from clawportal.services.audit import exports, trail

TAGS = ("Audit",)


class Entry(Answer):
    """One thing that somebody did or tried. Entries never change."""

    seq: int = Field(description="Place in the chain; grows without gaps.")
    at: datetime
    actor_id: str
    actor_name: str
    actor_kind: str = Field(description="`user`, `token`, `system` (the portal itself) or `nobody` (not signed in).")
    token_id: str = Field(description="The token that was used; empty for none.")
    tenant_id: str | None
    instance_id: str | None = Field(description="The instance that it is about.")
    action: str = Field(description="Such as `instance.update` or `sign_in`.")
    object_type: str
    object_id: str
    object_name: str
    summary: str
    via: str = Field(description="`web`, `api` or `command` (on the server).")
    address: str = Field(description="From where it was asked for.")
    agent: str = Field(description="What the caller's program calls itself.")
    request_id: str = Field(description="The same as in the answer's X-Request-ID and in the log.")
    result: str = Field(description="`ok` or `refused`.")
    status: int = Field(description="HTTP status of a refusal; 0 for what was done.")
    reason: str
    times: int = Field(description="How many equal refusals within a minute this entry stands for.")
    before: dict[str, Any] = Field(description="Dotted path and value of what changed, as it was. Secrets are masked.")
    after: dict[str, Any] = Field(description="The same, as it is since.")
    prev_hash: str
    hash: str = Field(description="SHA-256 over the entry, `prev_hash` included.")


class Entries(Answer):
    items: list[Entry]
    total: int = Field(description="How many entries fit the filters in all.")
    next: int | None = Field(description="Send it as `before` to go on. Null: there is nothing older.")


class AuditFilters(Query):
    actor: str = Field("", max_length=200, description="Id or name of who did it.")
    action: str = Field("", max_length=80, description="Such as `instance.update`; `instance` stands for all on instances.")
    object: str = Field("", max_length=200, description="Id of what it was done to, or part of its name.")
    instance: str = Field("", max_length=100, description="Id of the instance that it is about.")
    result: Literal["", "ok", "refused"] = Field("", description="What was done, or what was refused; empty for both.")
    since: AwareDatetime | None = Field(None, description="Not before this time.")
    until: AwareDatetime | None = Field(None, description="Before this time.")
    text: str = Field("", max_length=200, description="Found in a name, the summary, the reason or the address.")


class AuditQuery(AuditFilters):
    before: int | None = Field(None, ge=0, le=BIGGEST, description="Only entries older than this place.")
    limit: int = Field(50, ge=1, le=MAX_LIMIT, description="Entries in one answer.")


class ExportQuery(AuditFilters):
    format: Literal["jsonl", "csv"] = Field("jsonl", description="One JSON document a line, or a table.")


def _filters(query: AuditFilters) -> trail.Filters:
    return trail.check(trail.Filters(**{name: getattr(query, name) for name in AuditFilters.model_fields}))


@op("GET", "/audit", permission=AUDIT_READ, tags=TAGS, summary="Who did what", returns=Entries)
def list_audit(actor: Actor, query: AuditQuery) -> Any:
    """Newest first. Inside an organisation only what was done in it; administrators of the portal see everything."""
    page = trail.listing(actor, _filters(query), before=query.before, limit=query.limit)
    document = {"items": [_document(row) for row in page.items], "total": page.total, "next": page.next}
    return document, 200, link_header({"next": {"before": str(page.next)}} if page.next is not None else {})


@op("GET", "/audit/export", permission=AUDIT_READ, tags=TAGS, summary="The audit as a file", returns=str,
    produces=("application/x-ndjson", "text/csv"))  # fmt: skip
def export_audit(actor: Actor, query: ExportQuery) -> Response:
    """Oldest first, with the same filters. Every export is an entry itself."""
    filters = _filters(query)
    trail.exported(actor, filters, query.format)
    text = exports.lines(trail.export(actor, filters), query.format)
    name = f'attachment; filename="audit.{query.format}"'
    return Response(stream_with_context(text), mimetype=exports.TYPES[query.format], headers={"Content-Disposition": name})


@op("GET", "/audit/{seq}", permission=AUDIT_READ, tags=TAGS, summary="One entry", returns=Entry, problems=(404,))
def get_audit(actor: Actor, seq: str) -> dict[str, Any]:
    if not (seq.isascii() and seq.isdigit() and len(seq) < 18):
        raise NotFound(_m("There is no audit entry with this number."))
    return _document(trail.get(actor, int(seq)))


def _document(row: AuditEntry) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Entry.model_fields}
