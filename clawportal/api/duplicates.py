"""A second instance like one that exists: looked at first, then made."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from pydantic import Field

from clawportal.api._layer import Answer, op
from clawportal.api.instances import CheckAnswer, InstanceDocument, answer_of, field_error
from clawportal.contracts.core_permissions import INSTANCE_CREATE
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import Strict
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, Invalid
from clawportal.models import Instance
from clawportal.services.fleet import duplicates
from clawportal.services.fleet.duplicates import Wish

TAGS = ("Instances",)


class DuplicateBody(Strict):
    """How the copy is meant to be."""

    name: str = Field(max_length=200, description="1 to 63 small letters, digits or dashes; unique in its tenant.")
    project: str | None = Field(None, max_length=100, description="Id or name; without it, that of the source.")
    cluster: str | None = Field(
        None,
        max_length=100,
        description="Id or name; without it, that of the source if the project may use it, else its default.",
    )
    start: bool = Field(True, description="False: it stays stopped.")
    files: bool = Field(False, description="Copy the files of the work folder, too, as an operation of the new instance.")
    stop: bool = Field(False, description="With `files`: stop the source while they are copied; it is started again after that.")
    secrets: dict[str, str] = Field(
        default_factory=dict, max_length=64, description="Values for secrets that are not copied, or instead of those that are."
    )


class DuplicatedPart(Answer):
    path: str = Field(description="Such as `spec`, `labels`, `secrets.model_api_key` or `files.work`.")
    title: str
    copied: bool
    why: str = Field(description="Why it is not copied, or how.")


class PreviewAnswer(CheckAnswer):
    """What the copy would get, and with what it would be refused."""

    parts: list[DuplicatedPart]
    warning: str = Field(description="About copying the files of a claw that runs; else empty.")


EXAMPLE = {"name": "help-desk-2", "files": True}


@op("POST", "/instances/{instance_id}/duplicate/preview", permission=INSTANCE_CREATE, tags=TAGS, returns=PreviewAnswer,
    summary="What a duplicate would get", problems=(404, 409), example=EXAMPLE)  # fmt: skip
def preview_duplicate(actor: Actor, portal: Portal, instance_id: str, body: DuplicateBody) -> dict[str, Any]:
    """Says of each part whether it is copied and why. Nothing is stored."""
    found = duplicates.preview(portal, actor, instance_id, Wish(**body.model_dump()))
    parts = [{"path": part.path, "title": part.title, "copied": part.copied, "why": part.why} for part in found.parts]
    errors = [field_error(error) for error in found.errors]
    return {"ok": not errors, "errors": errors, "parts": parts, "warning": found.warning}


@op("POST", "/instances/{instance_id}/duplicate", permission=INSTANCE_CREATE, tags=TAGS, summary="Duplicate an instance",
    status=201, returns=InstanceDocument, etag=True, problems=(403, 404, 409), example=EXAMPLE)  # fmt: skip
def duplicate_instance(actor: Actor, portal: Portal, instance_id: str, body: DuplicateBody, idempotency_key: str) -> Any:
    """Configuration and labels are copied, and secrets where the rights allow it; never what makes a claw this one, such as its
    access tokens, or keys that two claws must not share. Quotas and rules hold as for a new one. With an Idempotency-Key, a
    repeated request gets the instance of the first one."""
    made = _once(actor, portal, instance_id, Wish(**body.model_dump()), idempotency_key, _hash(portal, instance_id, body))
    document, status, headers = answer_of(portal, made, 201)
    return document, status, headers | {"Location": f"/api/v1/instances/{made.id}"}


def _once(actor: Actor, portal: Portal, instance_id: str, wish: Wish, key: str, request_hash: str) -> Instance:
    try:
        return duplicates.create(portal, actor, instance_id, wish, key=key, request_hash=request_hash)
    except (Conflict, Invalid):
        if not key:
            raise
        # the same request at the same time may have won meanwhile; now its key can be seen
        return duplicates.create(portal, actor, instance_id, wish, key=key, request_hash=request_hash)


def _hash(portal: Portal, instance_id: str, body: DuplicateBody) -> str:
    # with a key, because a secret may stand in the body and a plain hash of it could be guessed
    text = f"duplicate {instance_id} {body.model_dump_json()}"
    return hmac.new(portal.keyring.session_key.encode(), text.encode(), hashlib.sha256).hexdigest()
