"""Operations: pieces of work with progress, which can be cancelled and retried."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from clawportal.api._layer import Answer, Page, Paged, op, paged
from clawportal.contracts.core_permissions import OPERATION_CONTROL, OPERATION_READ
from clawportal.contracts.permissions import Actor
from clawportal.engine.portal import Portal
from clawportal.models import Operation
from clawportal.models.operations import CANCELLED, FAILED, OPEN_STATES
from clawportal.services.fleet import operations

TAGS = ("Operations",)


class OperationDocument(Answer):
    """A piece of work."""

    id: str
    kind: str = Field(description="`instance.create`, `instance.start`, ... or `artifact.install`.")
    title: str
    subject: str = Field(description="What it is about: the name of the instance or of the software.")
    tenant_id: str | None
    instance_id: str | None
    cluster_id: str | None
    state: str = Field(description="`queued`, `running`, `succeeded`, `failed` or `cancelled`.")
    progress: float | None = Field(description="0 to 100; null while it cannot be told.")
    message: str
    error: str
    lines: list[str] = Field(description="The last words of the tool that failed, or the steps taken.")
    attempts: int
    cancel_requested: bool
    can_cancel: bool
    can_retry: bool
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Step(Answer):
    """What was being done from a time on, until the next step or the end."""

    at: datetime
    message: str


class OperationDetail(OperationDocument):
    """A piece of work, with how it went."""

    steps: list[Step] = Field(description="Oldest first, 100 at most.")


class OperationQuery(Paged):
    state: list[Literal["queued", "running", "succeeded", "failed", "cancelled"]] = Field(
        default_factory=list, description="Only in these states; repeatable."
    )
    kind: list[str] = Field(default_factory=list, max_length=20, description="Only of these kinds; repeatable.")
    instance: str = Field(
        "", max_length=100, description="Only of the instance with this id, and the installs that it waits for."
    )


@op("GET", "/operations", permission=OPERATION_READ, tags=TAGS, summary="Operations, newest first",
    returns=Page[OperationDocument], problems=(404,))  # fmt: skip
def list_operations(actor: Actor, query: OperationQuery) -> Any:
    page = operations.listing(
        actor,
        states=tuple(query.state),
        kinds=tuple(query.kind),
        instance_id=query.instance or None,
        which=query.which,
    )
    return paged(page, query, [_document(row) for row in page.items])


@op("GET", "/operations/{operation_id}", permission=OPERATION_READ, tags=TAGS, summary="One operation",
    returns=OperationDetail, problems=(404,))  # fmt: skip
def get_operation(actor: Actor, operation_id: str) -> dict[str, Any]:
    row = operations.get(actor, operation_id)
    return {**_document(row), "steps": row.steps}


@op("POST", "/operations/{operation_id}/cancel", permission=OPERATION_CONTROL, tags=TAGS, summary="Cancel",
    returns=OperationDocument, status=202, problems=(404, 409))  # fmt: skip
def cancel_operation(actor: Actor, portal: Portal, operation_id: str) -> dict[str, Any]:
    """Asks an install to end. What follows an instance is taken back by asking for something else (stop, delete)."""
    return _document(operations.cancel(portal, actor, operation_id))


@op("POST", "/operations/{operation_id}/retry", permission=OPERATION_CONTROL, tags=TAGS, summary="Try again",
    returns=OperationDocument, status=202, problems=(404, 409))  # fmt: skip
def retry_operation(actor: Actor, portal: Portal, operation_id: str) -> dict[str, Any]:
    """Begins a failed or cancelled install or copy again, as a new operation, which is answered."""
    return _document(operations.retry(portal, actor, operation_id))


_COLUMNS = tuple(name for name in OperationDocument.model_fields if name not in ("title", "can_cancel", "can_retry"))


def _document(row: Operation) -> dict[str, Any]:
    controlled = row.kind in operations.BY_WORKERS
    return {
        **{name: getattr(row, name) for name in _COLUMNS},
        "title": operations.TITLES.get(row.kind, row.kind),
        "can_cancel": controlled and row.state in OPEN_STATES and not row.cancel_requested,
        "can_retry": controlled and row.state in (FAILED, CANCELLED),
    }
