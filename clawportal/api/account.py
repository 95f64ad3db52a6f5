"""Who one is, and the tokens by which programs act for one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from clawportal import __version__
from clawportal.api._layer import Answer, op
from clawportal.api.sign_in import Login
from clawportal.contracts.permissions import SELF, Actor
from clawportal.contracts.specs import Strict
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.http import security
from clawportal.models import ApiToken, User
from clawportal.services.identity import identity, sign_in
from clawportal.services.rights.token_limits import Limits

TAGS = ("Account",)


class Credentials(Login):
    """A name and a password, to be traded for a token."""

    token_name: str = Field("API", min_length=1, max_length=100, description="What the token is for, such as a machine's name.")
    days: int | None = Field(90, ge=1, le=3650, description="How long it lives; null: until it is revoked.")


class NewTokenBody(Strict):
    name: str = Field(min_length=1, max_length=100, description="What the token is for, such as a machine's name.")
    days: int | None = Field(90, ge=1, le=3650, description="How long it lives; null: until it is revoked.")
    scopes: list[str] | None = Field(
        None, max_length=200, description="Permissions that it is limited to, some of your own; null: all that you may do."
    )
    addresses: list[str] | None = Field(
        None, max_length=200, description="Addresses or networks (CIDR) that it may come from; null: everywhere."
    )


class Token(Answer):
    """What is known of a token; never its text."""

    id: str
    name: str
    prefix: str = Field(description="The first characters, to recognise it by.")
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    scopes: list[str] | None = Field(description="What it is limited to; null: all that its owner may do.")
    addresses: list[str] | None = Field(description="Networks it may come from; null: everywhere.")


class NewToken(Token):
    token: str = Field(description="The token itself. It is shown this once.")


class TokenList(Answer):
    items: list[Token]


class GrantDocument(Answer):
    permissions: list[str]
    tenant_id: str | None
    project_id: str | None
    instance_id: str | None
    source: str = Field(description="Why it exists, in words.")


class Me(Answer):
    """The account that this request was made with."""

    id: str
    name: str
    display_name: str
    kind: str = Field(description="`user` for somebody who signed in, `token` for an API token, `service` for a service account.")
    language: str
    token_id: str | None
    session_id: str | None = Field(description="The session that this request belongs to; null for API tokens.")
    portal_version: str
    permissions: list[str] = Field(description="Everything that is granted anywhere.")
    totp_required_by: list[str] = Field(
        description="Ids of organisations that are kept from you until your account has a second factor."
    )
    grants: list[GrantDocument]


@op(
    "POST", "/auth/token", public="it is how one signs in", csrf_free=True, tags=TAGS,
    summary="Trade name and password for a token",
    status=201, problems=(401, 403, 429), example={"name": "kim", "password": "a few words in a row", "token_name": "laptop"},
)  # fmt: skip
def trade_password(portal: Portal, body: Credentials) -> NewToken:
    """The token lives for long and is refused only when it is revoked; programs that can refresh use `/auth/login` instead.

    Somebody with a second factor sends a code as `otp`; without one the answer is 401 with the code `otp_required`.
    """
    user = sign_in.both_steps(portal, body.name, body.password, body.otp, security.place().address)
    actor = identity.actor_of(portal, user)
    return new_token(identity.create_token(portal, actor, user.id, body.token_name, body.days))


@op("GET", "/auth/me", permission=SELF, tags=TAGS, summary="Who am I?")
def get_me(actor: Actor, portal: Portal) -> Me:
    known = portal.permissions
    user = db.session.get_one(User, actor.id)
    return Me(
        id=actor.id,
        name=actor.name,
        display_name=user.display_name,
        kind=actor.kind,
        language=actor.language,
        token_id=actor.token_id,
        session_id=security.current_session(),
        portal_version=__version__,
        totp_required_by=list(actor.asking),
        permissions=sorted(map(str, known.enumerate(*(grant.permissions for grant in actor.grants)))),
        grants=[
            GrantDocument(
                permissions=sorted(map(str, known.enumerate(grant.permissions))),
                tenant_id=grant.tenant_id,
                project_id=grant.project_id,
                instance_id=grant.instance_id,
                source=grant.source,
            )
            for grant in actor.grants
        ],
    )


@op("GET", "/tokens", permission=SELF, tags=TAGS, summary="My tokens")
def list_tokens(actor: Actor) -> TokenList:
    return TokenList(items=[Token(**_known(row)) for row in identity.list_tokens(actor.id)])


@op("POST", "/tokens", permission=SELF, tags=TAGS, summary="Make a token", status=201,
    example={"name": "build server", "days": 30, "scopes": ["instance.read"], "addresses": ["192.0.2.0/24"]})  # fmt: skip
def create_token(actor: Actor, portal: Portal, body: NewTokenBody) -> NewToken:
    """A token can be limited to some permissions and to networks; a limited token cannot make further tokens."""
    return new_token(identity.create_token(portal, actor, actor.id, body.name, body.days, limits=limits_of(body)))


def limits_of(body: NewTokenBody) -> Limits:
    return Limits(None if body.scopes is None else tuple(body.scopes), None if body.addresses is None else tuple(body.addresses))


@op("DELETE", "/tokens/{token_id}", permission=SELF, tags=TAGS, summary="Revoke a token", status=204,
    problems=(404, 409))  # fmt: skip
def revoke_token(actor: Actor, portal: Portal, token_id: str) -> None:
    identity.revoke_token(portal, actor, actor.id, token_id)


def _known(row: ApiToken) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Token.model_fields}


def new_token(made: identity.NewToken) -> NewToken:
    return NewToken(**_known(made.row), token=made.text)
