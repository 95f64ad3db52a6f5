"""Stored keys of model providers: keep, replace, see who uses them, and test the models that they open."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from clawportal.sdk.adapters import Strict
from clawportal.sdk.api import Answer, Page, Paged, Portal, op, paged
from clawportal.sdk.permissions import Actor
from clawportal_providers import services, testing_models, using
from clawportal_providers.checking import Change, Wanted
from clawportal_providers.permissions import PROVIDERS_MANAGE, PROVIDERS_READ
from clawportal_providers.probe import Report
from clawportal_providers.testing_models import Asked

MOST_ITEMS = 1000
"""Models of one answer."""
TAGS = ("Model keys",)


class CredentialDocument(Answer):
    """A stored key; its value is never told."""

    id: str
    tenant_id: str
    project_id: str | None = Field(description="Null: for all projects of the organisation.")
    name: str
    title: str
    provider: str
    base_url: str = Field(description="Empty: the address of the provider.")
    goes_to: str = Field(description="The only address that it is given out for.")
    used_by: int = Field(description="How many instances name it, or get it from the shared configuration.")
    tested: dict[str, Any] | None = Field(description="What the last test found.")
    last_used_at: datetime | None = Field(description="When a claw was given it last, or a test used it, to the minute.")
    rotated_at: datetime
    created_by: str
    created_at: datetime
    updated_at: datetime


class UserItem(Answer):
    id: str
    name: str
    phase: str


class UsersAnswer(Answer):
    count: int
    items: list[UserItem] = Field(description=f"Those that one may see, at most {using.NAMED}.")


class CredentialStepDocument(Answer):
    name: Literal["address", "key", "model", "answer", "usage", "tools"]
    state: Literal["ok", "failed", "skipped", "unsure"]
    message: str
    said: str = Field(description="The provider's own words, cut, without the key.")
    remedy: str


class TestAnswer(Answer):
    ok: bool
    message: str
    steps: list[CredentialStepDocument]
    answer: str
    input_tokens: int
    output_tokens: int
    first_seconds: float | None = Field(description="Until the first words came.")
    seconds: float | None


class ModelItem(Answer):
    id: str
    title: str


class ModelsAnswer(Answer):
    items: list[ModelItem] = Field(description=f"The first {MOST_ITEMS} of them.")
    count: int = Field(description="How many there are that match.")


class CredentialQuery(Paged):
    tenant: str = Field("", max_length=100, description="Id of an organisation; empty: of all that one may see.")


class NewCredential(Strict):
    tenant: str = Field(max_length=100, description="Id of the organisation.")
    project: str | None = Field(None, max_length=100, description="Id or name of a project; null: for all of them.")
    name: str = Field(max_length=100, description="1 to 63 small letters, digits or dashes; never changes.")
    title: str = Field("", max_length=200)
    provider: str = Field(max_length=40)
    base_url: str = Field("", max_length=500, description="Empty: the address of the provider.")
    key: str = Field(max_length=10_000)


class CredentialPatch(Strict):
    """What is absent stays. Another provider or address needs the key again."""

    title: str | None = Field(None, max_length=200)
    provider: str | None = Field(None, max_length=40)
    base_url: str | None = Field(None, max_length=500)
    key: str | None = Field(None, max_length=10_000)


class Rotation(Strict):
    key: str = Field(max_length=10_000, description="The new key for the same address.")


class CredentialTest(Strict):
    """A stored key, or a provider with a key that is not stored."""

    tenant: str = Field("", max_length=100, description="Id of the organisation; not needed with `credential`.")
    credential: str = Field("", max_length=100, description="Id of a stored key.")
    provider: str = Field("", max_length=40, description="Empty: that of the stored key.")
    base_url: str = Field("", max_length=500)
    key: str = Field("", max_length=10_000, description="Used for this test only.")
    model: str = Field("", max_length=200)


class ModelsBody(CredentialTest):
    search: str = Field("", max_length=200)


def _document(portal: Portal, row: Any) -> dict[str, Any]:
    return services.as_document(row, using.counts(portal, [row])[row.id])


@op("GET", "/credentials", permission=PROVIDERS_READ, tags=TAGS, summary="Stored keys", returns=Page[CredentialDocument],
    problems=(404,))  # fmt: skip
def list_credentials(actor: Actor, portal: Portal, query: CredentialQuery) -> Any:
    page = services.all_of(actor, query.tenant or None, which=query.which)
    counts = using.counts(portal, page.items)
    return paged(page, query, [services.as_document(row, counts[row.id]) for row in page.items])


@op("POST", "/credentials", permission=PROVIDERS_MANAGE, tags=TAGS, summary="Store a key", status=201,
    returns=CredentialDocument, problems=(404, 409),
    example={"tenant": "01h2xcejqtf2nbrexx3vqjhp41", "name": "router", "provider": "openrouter", "key": "sk-or-..."})  # fmt: skip
def create_credential(actor: Actor, portal: Portal, body: NewCredential) -> Any:
    """It is kept sealed and never told again. Instances name its id in `spec.model.credential`."""
    wanted = Wanted(body.name, body.provider, body.base_url, body.title, body.project, body.key)
    made = services.create(portal, actor, body.tenant, wanted)
    return _document(portal, made), 201, {"Location": f"/api/v1/credentials/{made.id}"}


@op("POST", "/credentials/test", permission=PROVIDERS_MANAGE, tags=TAGS, summary="Test a model", returns=TestAnswer,
    problems=(404, 409), example={"credential": "01h2xcejqtf2nbrexx3vqjhp41", "model": "gpt-5-mini"})  # fmt: skip
def test_model(actor: Actor, portal: Portal, body: CredentialTest) -> dict[str, Any]:
    """Asks the provider: address, key, model, a short answer, tools, tokens. It costs a few tokens."""
    return _report(testing_models.run(portal, actor, body.tenant, _asked(body)))


@op("POST", "/credentials/models", permission=PROVIDERS_MANAGE, tags=TAGS, summary="Models of a provider", returns=ModelsAnswer,
    problems=(404, 409), example={"credential": "01h2xcejqtf2nbrexx3vqjhp41", "search": "mini"})  # fmt: skip
def list_provider_models(actor: Actor, portal: Portal, body: ModelsBody) -> dict[str, Any]:
    """As the provider lists them for this key; empty where it gives no list."""
    found = testing_models.models(portal, actor, body.tenant, _asked(body), body.search)
    return {"items": [model.__dict__ for model in found[:MOST_ITEMS]], "count": len(found)}


def _asked(body: CredentialTest) -> Asked:
    return Asked(body.provider, body.base_url, body.model, body.key, body.credential)


def _report(report: Report) -> dict[str, Any]:
    return {
        "ok": report.ok, "message": report.sentence, "steps": [step.__dict__ for step in report.steps], "answer": report.answer,
        "input_tokens": report.input_tokens, "output_tokens": report.output_tokens, "first_seconds": report.first_seconds,
        "seconds": report.seconds,
    }  # fmt: skip


@op("GET", "/credentials/{credential_id}", permission=PROVIDERS_READ, tags=TAGS, summary="One stored key",
    returns=CredentialDocument, problems=(404,))  # fmt: skip
def get_credential(actor: Actor, portal: Portal, credential_id: str) -> dict[str, Any]:
    return _document(portal, services.get(actor, credential_id))


@op("PATCH", "/credentials/{credential_id}", permission=PROVIDERS_MANAGE, tags=TAGS, summary="Change a stored key",
    returns=CredentialDocument, problems=(404, 409), example={"title": "Router of the team"})  # fmt: skip
def change_credential(actor: Actor, portal: Portal, credential_id: str, body: CredentialPatch) -> dict[str, Any]:
    """Another provider or address is refused while an instance or the shared configuration uses the key."""
    given = Change(body.provider, body.base_url, body.title, body.key)
    return _document(portal, services.change(portal, actor, credential_id, given))


@op("DELETE", "/credentials/{credential_id}", permission=PROVIDERS_MANAGE, tags=TAGS, summary="Delete a stored key", status=204,
    problems=(404, 409))  # fmt: skip
def delete_credential(actor: Actor, portal: Portal, credential_id: str) -> None:
    """Refused while an instance names it."""
    services.remove(portal, actor, credential_id)


@op("POST", "/credentials/{credential_id}/rotate", permission=PROVIDERS_MANAGE, tags=TAGS, returns=UsersAnswer,
    summary="Replace the value of a key", problems=(404,), example={"key": "sk-or-..."})  # fmt: skip
def rotate_credential(actor: Actor, portal: Portal, credential_id: str, body: Rotation) -> dict[str, Any]:
    """The claws that use it take it up one after the other. Answers which these are."""
    return _users(services.rotate(portal, actor, credential_id, body.key))


@op("GET", "/credentials/{credential_id}/instances", permission=PROVIDERS_READ, tags=TAGS, returns=UsersAnswer,
    summary="Who uses a key", problems=(404,))  # fmt: skip
def list_credential_users(actor: Actor, portal: Portal, credential_id: str) -> dict[str, Any]:
    return _users(using.users(portal, actor, services.get(actor, credential_id)))


def _users(found: using.Users) -> dict[str, Any]:
    items = [{"id": row.id, "name": row.name, "phase": str(row.phase)} for row in found.visible]
    return {"count": found.count, "items": items}
