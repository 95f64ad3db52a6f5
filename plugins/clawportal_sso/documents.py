"""What an OpenID provider says about itself and about who signed in, read with care: nothing is asked here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from clawportal.sdk import _m
from clawportal.sdk.bounded import parse_json
from clawportal.sdk.errors import Invalid, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from joserfc.jwk import KeySet


ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
"""Signatures that only the provider can make. Not `none`, and none that the client secret would be enough for."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ProviderDown(Unavailable):
    title, code = _m("The sign-in provider does not answer"), "provider_down"


class NotProved(Unauthenticated):
    """What came from the provider does not prove who signed in."""

    title, code = _m("The sign-in could not be proved"), "not_proved"


class ClientRefused(NotProved):
    """The provider does not take the portal for the client that it says it is."""


@dataclass(frozen=True)
class Setup:
    """What the portal is at a provider."""

    issuer: str
    client_id: str
    secret: str = field(default="", repr=False)
    scopes: str = "openid profile email"


@dataclass(frozen=True)
class Discovery:
    """What a provider says about itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def listed(self, name: str, default: Sequence[str] = ()) -> tuple[str, ...]:
        found = self.document.get(name)
        return tuple(map(str, found)) if isinstance(found, list) else tuple(default)


@dataclass(frozen=True)
class Proof:
    """Who signed in, as the provider vouches for it."""

    subject: str
    claims: Mapping[str, Any]
    unread: str = ""
    """Why the provider's account page could not be used; then the claims are those of the ID token alone."""


@dataclass(frozen=True)
class Seen:
    """What the last sign-in through a provider found; names of claims only, never their values."""

    account_page: str
    """What became of asking the userinfo_endpoint; empty where it was not asked."""
    usable: bool
    claims: tuple[str, ...]


def check_address(address: str, path: str) -> str:
    """An address that secrets may be sent to: https, or http on this machine."""
    try:
        parts = urlsplit(address)
        port_is_right = parts.port != 0
    except ValueError:
        parts, port_is_right = urlsplit(""), False
    if not parts.hostname or not port_is_right or parts.username is not None or any(letter.isspace() for letter in address):
        raise Invalid.field(path, _m("This is no address such as https://sso.example.com/realms/main."))
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise Invalid.field(path, _m("The address must begin with https://, since passwords and secrets travel there."))
    return address


def refusal_of(error: str) -> NotProved:
    if error in ("invalid_client", "unauthorized_client"):
        return ClientRefused(_m("The provider refuses the portal's client id or secret. An administrator has to correct it."))
    if error == "invalid_grant":
        return NotProved(_m("This sign-in is too old or was used already. Begin again."))
    return NotProved(_m("The provider refused to finish the sign-in (%(error)s).", error=error[:100]))


def object_of(url: str, body: bytes) -> dict[str, Any]:
    try:
        found = parse_json(body)
    except ValueError as error:
        raise ProviderDown(_m("%(url)s does not answer with JSON.", url=url)) from error
    if not isinstance(found, dict):
        raise ProviderDown(_m("%(url)s does not answer with a JSON object.", url=url))
    return found


def words_of(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


def understood(issuer: str, document: dict[str, Any]) -> Discovery:
    said = document.get("issuer")
    if said != issuer:
        raise ProviderDown(
            _m(
                "The provider calls itself %(str)s, not %(issuer)s. Enter exactly that as issuer.",
                str=str(said)[:200],
                issuer=issuer,
            )
        )
    needed = {name: document.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    offered = {name: document.get(name) or "" for name in ("userinfo_endpoint", "end_session_endpoint")}
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise ProviderDown(_m("The provider does not name its %(join)s.", join=[*missing]))
    for name, value in {**needed, **offered}.items():
        try:
            check_address(str(value), name) if value else None
        except Invalid as error:
            raise ProviderDown(
                _m("The provider's %(name)s cannot be used: %(detail)s", name=name, detail=error.detail)
            ) from error
    return Discovery(issuer, **{name: str(value) for name, value in {**needed, **offered}.items()}, document=document)


def key_set(document: dict[str, Any]) -> KeySet:
    """Keys for signatures; one that cannot be read does not spoil the others."""
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet

    keys: list[Any] = []
    listed = document.get("keys")
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and entry.get("use", "sig") == "sig" and entry.get("kty") in ("RSA", "EC", "OKP"):
            try:
                keys += KeySet.import_key_set(cast(Any, {"keys": [entry]})).keys
            except (JoseError, ValueError, TypeError, KeyError):
                continue
    if not keys:
        raise ProviderDown(_m("The provider shows no keys that signatures can be checked with."))
    return KeySet(keys)


def algorithms_of(found: Discovery) -> list[str]:
    said = found.listed("id_token_signing_alg_values_supported", ("RS256",))
    return [name for name in ALGORITHMS if name in said]


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name or by a path: `realm_access.roles`, or `/realm_access/roles` as a JSON pointer. None for none.

    Keys may hold dots themselves (`resource_access.claws.example.com.roles`): the longest key that fits is tried first.
    """
    if name in claims:
        return claims[name]
    if name.startswith("/"):
        return _at(claims, [part.replace("~1", "/").replace("~0", "~") for part in name[1:].split("/")])
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        inner = claims.get(".".join(parts[:length]))
        found = claim(inner, ".".join(parts[length:])) if isinstance(inner, Mapping) else None
        if found is not None:
            return found
    return None


def _at(claims: Any, path: Sequence[str]) -> Any:
    for part in path:
        claims = claims.get(part) if isinstance(claims, Mapping) else None
    return claims


def paths(claims: Mapping[str, Any], depth: int = 4) -> Iterator[str]:
    """The names under which claims can be asked for."""
    for name, value in claims.items():
        if isinstance(value, Mapping) and depth:
            yield from (f"{name}.{inner}" for inner in paths(value, depth - 1))
        else:
            yield str(name)
