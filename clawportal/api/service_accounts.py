"""Service accounts of organisations, and their tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from clawportal.api._layer import Answer, op
from clawportal.api.account import NewToken, NewTokenBody, Token, TokenList, limits_of, new_token
from clawportal.contracts.core_permissions import MEMBER_MANAGE, MEMBER_READ
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import Strict
from clawportal.engine.portal import Portal
from clawportal.services.tenancy import service_accounts

TAGS = ("Service accounts",)
_ALL = "/tenants/{tenant_id}/service-accounts"
_ONE = f"{_ALL}/{{account_id}}"


class ServiceAccountDocument(Answer):
    """An account of a program: it belongs to one organisation and comes with API tokens only."""

    id: str
    name: str = Field(description="Name of the organisation, a slash, and its own; so the audit names it. Never changes.")
    description: str
    role: str
    active: bool = Field(description="False: none of its tokens works.")
    created_at: datetime
    grants: int = Field(description="How many roles on single projects and instances.")
    tokens: int = Field(description="How many tokens are good.")
    last_used_at: datetime | None


class ServiceAccountList(Answer):
    items: list[ServiceAccountDocument]


class NewServiceAccount(Strict):
    name: str = Field(max_length=100, description="1 to 36 small letters, digits or dashes; unique in its organisation.")
    role: str = Field(max_length=40)
    description: str = Field("", max_length=500, description="What it is for.")


class ServiceAccountPatch(Strict):
    """What is absent stays."""

    role: str | None = Field(None, max_length=40)
    description: str | None = Field(None, max_length=500)
    active: bool | None = Field(None, description="False ends the use of all its tokens at once; true allows it again.")


@op("GET", _ALL, permission=MEMBER_READ, tags=TAGS, summary="Service accounts", returns=ServiceAccountList,
    problems=(404,))  # fmt: skip
def list_service_accounts(actor: Actor, tenant_id: str) -> dict[str, Any]:
    return {"items": [row.__dict__ for row in service_accounts.listing(actor, tenant_id)]}


@op("POST", _ALL, permission=MEMBER_MANAGE, tags=TAGS, summary="Make a service account", status=201,
    returns=ServiceAccountDocument, problems=(404, 409),
    example={"name": "ci", "role": "developer", "description": "The build server"})  # fmt: skip
def create_service_account(actor: Actor, portal: Portal, tenant_id: str, body: NewServiceAccount) -> dict[str, Any]:
    """It can do nothing before it has a token. Give it roles on single projects and instances with `POST /grants`."""
    return service_accounts.create(portal, actor, tenant_id, body.name, body.role, description=body.description).__dict__


@op("GET", _ONE, permission=MEMBER_READ, tags=TAGS, summary="One service account", returns=ServiceAccountDocument,
    problems=(404,))  # fmt: skip
def get_service_account(actor: Actor, tenant_id: str, account_id: str) -> dict[str, Any]:
    return service_accounts.get(actor, tenant_id, account_id).__dict__


@op("PATCH", _ONE, permission=MEMBER_MANAGE, tags=TAGS, returns=ServiceAccountDocument,
    summary="Change a service account, or switch it off", problems=(404, 409))  # fmt: skip
def change_service_account(
    actor: Actor, portal: Portal, tenant_id: str, account_id: str, body: ServiceAccountPatch
) -> dict[str, Any]:
    """Whoever changes it needs every right that it has."""
    wanted = service_accounts.Change(body.role, body.description, body.active)
    return service_accounts.change(portal, actor, tenant_id, account_id, wanted).__dict__


@op("DELETE", _ONE, permission=MEMBER_MANAGE, tags=TAGS, status=204, summary="Delete a service account",
    problems=(404, 409))  # fmt: skip
def delete_service_account(actor: Actor, portal: Portal, tenant_id: str, account_id: str) -> None:
    """Its tokens and rights go with it; what it did stays in the audit under its name."""
    service_accounts.delete(portal, actor, tenant_id, account_id)


@op("GET", f"{_ONE}/tokens", permission=MEMBER_READ, tags=TAGS, summary="Tokens of a service account",
    problems=(404,))  # fmt: skip
def list_service_tokens(actor: Actor, tenant_id: str, account_id: str) -> TokenList:
    rows = service_accounts.tokens(actor, tenant_id, account_id)
    return TokenList(items=[Token(**{name: getattr(row, name) for name in Token.model_fields}) for row in rows])


@op("POST", f"{_ONE}/tokens", permission=MEMBER_MANAGE, tags=TAGS, status=201, problems=(404, 409),
    summary="Make a token of a service account",
    example={"name": "runner 1", "days": 90, "scopes": ["instance.read"], "addresses": ["192.0.2.0/24"]})  # fmt: skip
def create_service_token(actor: Actor, portal: Portal, tenant_id: str, account_id: str, body: NewTokenBody) -> NewToken:
    """It can be limited to some rights of the account and to networks. Needs every right that the account has."""
    made = service_accounts.create_token(portal, actor, tenant_id, account_id, body.name, body.days, limits=limits_of(body))
    return new_token(made)


@op("DELETE", f"{_ONE}/tokens/{{token_id}}", permission=MEMBER_MANAGE, tags=TAGS, status=204,
    summary="Revoke a token of a service account", problems=(404, 409))  # fmt: skip
def revoke_service_token(actor: Actor, portal: Portal, tenant_id: str, account_id: str, token_id: str) -> None:
    service_accounts.revoke_token(portal, actor, tenant_id, account_id, token_id)
