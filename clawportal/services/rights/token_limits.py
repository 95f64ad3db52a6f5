"""What an API token is narrowed to: some of its owner's permissions, and networks from which it may come."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import func, select

from clawportal.contracts.permissions import Actor, Grant, Permission, PermissionRegistry
from clawportal.db import db
from clawportal.errors import Forbidden, Invalid
from clawportal.messages import _m
from clawportal.models import ApiToken

MAX_NETWORKS = 50
MOST = 200
"""Tokens of one person that are not revoked: a program gone wild must not fill the table."""


@dataclass(frozen=True)
class Limits:
    """None means: not limited."""

    scopes: tuple[str, ...] | None = None
    addresses: tuple[str, ...] | None = None

    @property
    def stored_scopes(self) -> list[str] | None:
        return None if self.scopes is None else list(self.scopes)

    @property
    def stored_addresses(self) -> list[str] | None:
        return None if self.addresses is None else list(self.addresses)


NO_LIMITS = Limits()


def checked(permissions: PermissionRegistry, actor: Actor, wanted: Limits, owner: Actor | None = None) -> Limits:
    """The limits in their one form; Invalid for what whoever the token stands for has not, or what cannot be read."""
    if actor.token_id is not None:
        _require_unlimited(actor.token_id)
    scopes = (
        None
        if wanted.scopes is None
        else _scopes(permissions, actor if owner is None else owner, wanted.scopes, mine=owner is None)
    )
    return Limits(scopes, None if not wanted.addresses else _networks(wanted.addresses))


def end_of_own(actor: Actor, expires_at: datetime | None) -> datetime | None:
    """When a token ends that somebody makes for oneself: with the token that it is made with, at the latest."""
    held = select(func.count()).select_from(ApiToken).where(ApiToken.user_id == actor.id, ApiToken.revoked_at.is_(None))
    if (db.session.scalar(held) or 0) >= MOST:
        raise Forbidden(_m("You have %(MOST)s tokens already. Revoke those that are not used any more.", MOST=MOST))
    made_with = db.session.get(ApiToken, actor.token_id) if actor.token_id is not None else None
    ends = [end for end in (expires_at, made_with.expires_at if made_with else None) if end is not None]
    return min(ends, default=None)


def _require_unlimited(token_id: str) -> None:
    """A limited token could make itself one without limits."""
    row = db.session.execute(select(ApiToken.scopes, ApiToken.addresses).where(ApiToken.id == token_id)).one_or_none()
    if row is None or row.scopes is not None or row.addresses is not None:
        raise Forbidden(_m("A token that is limited itself cannot make tokens. Sign in with your password instead."))


def _scopes(permissions: PermissionRegistry, actor: Actor, wanted: Iterable[str], *, mine: bool) -> tuple[str, ...]:
    own = set(map(str, permissions.enumerate(*(grant.permissions for grant in actor.grants))))
    found = sorted(set(wanted))
    if not found:
        raise Invalid.field("scopes", _m("Name at least one permission, or leave the limit out."), "missing")
    beyond = [name for name in found if name not in own]
    if beyond:
        ours = _m("You do not have %(names)s yourself, so no token can have it.", names=beyond)
        theirs = _m("The account does not have %(names)s, so no token of it can.", names=beyond)
        raise Invalid.field("scopes", ours if mine else theirs, "unknown")
    return tuple(found)


def _networks(wanted: Iterable[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for text in wanted:
        try:
            found[str(ipaddress.ip_network(text.strip()))] = None
        except ValueError as error:
            raise Invalid.field(
                "addresses",
                _m("%(strip)s is no address or network. Write 192.0.2.7 or 192.0.2.0/24.", strip=repr(text.strip()[:60])),
            ) from error
    if len(found) > MAX_NETWORKS:
        raise Invalid.field("addresses", _m("A token may have %(MAX_NETWORKS)s networks at most.", MAX_NETWORKS=MAX_NETWORKS))
    return tuple(found)


def address_allowed(networks: list[str] | None, address: str) -> bool:
    """Whether a token with these networks may come from there; from an unknown address only one without networks may."""
    if not networks:
        return True
    try:
        came = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(came, ipaddress.IPv6Address) and came.ipv4_mapped:
        came = came.ipv4_mapped  # a server that listens on both sees IPv4 like this
    return any(came in ipaddress.ip_network(network) for network in networks)


def narrowed(actor: Actor, scopes: list[str] | None) -> Actor:
    """Only what the token was made for, and only while its owner has it."""
    if scopes is None:
        return actor
    wanted = frozenset(scopes)
    return replace(actor, grants=_only(actor.grants, wanted), withheld=_only(actor.withheld, wanted))


def _only(grants: Iterable[Grant], wanted: frozenset[str]) -> tuple[Grant, ...]:
    kept = (
        replace(grant, permissions=frozenset(Permission(name) for name in wanted if name in grant.permissions))
        for grant in grants
    )
    return tuple(grant for grant in kept if grant.permissions)
