"""Talks to OpenID providers: what they offer, trading a code for who signed in, and whether that is true.

No table and no request is known here, so that nothing is asked over the network while a transaction is open. Every answer is
bounded in size and time; what seldom changes is kept for an hour.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from clawportal import __version__, clock
from clawportal.bounded import Budget, parse_json
from clawportal.errors import Invalid, Unauthenticated, Unavailable
from clawportal.types import DoctorResult

if TYPE_CHECKING:
    import httpx
    from joserfc.jwk import KeySet

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
"""Signatures that only the provider can make. Not `none`, and none that the client secret would be enough for."""
LEEWAY = 60
"""Seconds by which the clocks of portal and provider may differ."""
KEPT = 3600.0
REFUSED_FOR = 5.0
"""Seconds for which a provider that did not answer is not asked again: threads must not pile up in front of it."""
SECONDS = 15.0
BIGGEST = 1_000_000
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ProviderDown(Unavailable):
    title, code = "The sign-in provider does not answer", "provider_down"


class NotProved(Unauthenticated):
    """What came from the provider does not prove who signed in."""

    title, code = "The sign-in could not be proved", "not_proved"


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


@dataclass
class _Kept:
    value: Any = None
    until: float = 0.0
    error: Unavailable | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


def check_address(address: str, path: str) -> str:
    """An address that secrets may be sent to: https, or http on this machine."""
    try:
        parts = urlsplit(address)
        port_is_right = parts.port != 0
    except ValueError:
        parts, port_is_right = urlsplit(""), False
    if not parts.hostname or not port_is_right or parts.username is not None or any(letter.isspace() for letter in address):
        raise Invalid.field(path, "This is no address such as https://sso.example.com/realms/main.")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise Invalid.field(path, "The address must begin with https://, since passwords and secrets travel there.")
    return address


class ProviderCalls:
    """The calls of one process, with what it keeps of each provider."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._lock = threading.Lock()
        self._clients: dict[bool, httpx.Client] = {}

    def close(self) -> None:
        with self._lock:
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()

    def forget(self, issuer: str) -> None:
        """Ask anew: what is kept may be from before somebody corrected it."""
        with self._lock:
            self._kept = {key: kept for key, kept in self._kept.items() if key[1] != issuer}

    # ---- what the provider says about itself

    def discovery(self, issuer: str) -> Discovery:
        return cast(Discovery, self._keep("discovery", issuer, lambda: self._discover(issuer)))

    def _discover(self, issuer: str) -> Discovery:
        from authlib.oidc.discovery import get_well_known_url

        return _understood(issuer, self._get(get_well_known_url(issuer, external=True)))

    def _keys(self, found: Discovery, *, anew: bool = False) -> KeySet:
        return cast("KeySet", self._keep("keys", found.issuer, lambda: _key_set(self._get(found.jwks_uri)), anew=anew))

    def _keep(self, kind: str, issuer: str, ask: Callable[[], Any], *, anew: bool = False) -> Any:
        """One asks, the others wait for the answer; a failure holds for some seconds."""
        with self._lock:
            kept = self._kept.setdefault((kind, issuer), _Kept())
        with kept.lock:
            if time.monotonic() < kept.until and not (anew and kept.error is None):
                if kept.error is not None:
                    raise kept.error
                return kept.value
            try:
                kept.value, kept.error = ask(), None
            except Unavailable as error:
                kept.error, kept.until = error, time.monotonic() + REFUSED_FOR
                raise
            kept.until = time.monotonic() + KEPT
            return kept.value

    # ---- signing in

    def authorization_url(self, setup: Setup, redirect_uri: str, *, state: str, nonce: str, verifier: str) -> str:
        found = self.discovery(setup.issuer)
        client = self._client(setup, found, redirect_uri)
        url, _state = client.create_authorization_url(
            found.authorization_endpoint, state=state, code_verifier=verifier, nonce=nonce, scope=setup.scopes
        )
        return str(url)

    def prove(
        self, setup: Setup, redirect_uri: str, *, code: str, nonce: str, verifier: str, wanted: Sequence[str] = ()
    ) -> Proof:
        """Trade the code, check the ID token, and ask for the claims in `wanted` that it lacks."""
        found = self.discovery(setup.issuer)
        token = self._exchange(setup, found, redirect_uri, code, verifier)
        claims = self._checked(setup, found, token, nonce)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 1 <= len(subject) <= 255 or not subject.isprintable():
            raise NotProved("The provider did not say whose account it is.")
        access = token.get("access_token")
        if found.userinfo_endpoint and isinstance(access, str) and any(claim(claims, name) is None for name in wanted):
            claims = self._more(found, access, subject) | claims
        return Proof(subject, claims)

    def _exchange(self, setup: Setup, found: Discovery, redirect_uri: str, code: str, verifier: str) -> dict[str, Any]:
        import httpx
        from authlib.oauth2 import OAuth2Error

        client = self._client(setup, found, redirect_uri)
        try:
            with _bounds():
                token = client.fetch_token(
                    found.token_endpoint, grant_type="authorization_code", code=code, code_verifier=verifier,
                    redirect_uri=redirect_uri,
                )  # fmt: skip
            return dict(token)
        except OAuth2Error as error:
            raise _refusal(str(error.error or "")) from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, UnicodeError) as error:
            raise ProviderDown(f"The provider at {setup.issuer} did not answer: {_words(error)}.") from error

    def _client(self, setup: Setup, found: Discovery, redirect_uri: str) -> Any:
        return _oauth_client()(
            self._http(found.token_endpoint),
            client_id=setup.client_id,
            client_secret=setup.secret or None,
            token_endpoint_auth_method=_method(setup, found),
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            scope=setup.scopes,
        )

    def _checked(self, setup: Setup, found: Discovery, token: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """The claims of the ID token, if it was made by this provider, for the portal, for this sign-in, and just now."""
        from authlib.oidc.core import CodeIDToken
        from joserfc.errors import JoseError

        text = token.get("id_token")
        if not isinstance(text, str):
            raise NotProved("The provider sent no ID token. Its client must use OpenID Connect, with the scope `openid`.")
        try:
            decoded = self._decoded(found, text)
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                {"iss": {"essential": True, "value": found.issuer}, "aud": {"essential": True, "value": setup.client_id}},
                {"nonce": nonce, "client_id": setup.client_id, "access_token": token.get("access_token")},
            )
            claims.validate(now=int(clock.now().timestamp()), leeway=LEEWAY)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise NotProved(f"The ID token of the provider is not good: {_words(error)}.") from error
        return dict(claims)

    def _decoded(self, found: Discovery, text: str) -> Any:
        """A key that is not known was perhaps made after the keys were read: they are read once more."""
        from joserfc import jwt
        from joserfc.errors import BadSignatureError, InvalidKeyIdError
        from joserfc.jws import JWSRegistry

        registry = JWSRegistry(algorithms=_algorithms(found), strict_check_header=False)
        try:
            return jwt.decode(text, self._keys(found), registry=registry)
        except (InvalidKeyIdError, BadSignatureError):
            return jwt.decode(text, self._keys(found, anew=True), registry=registry)

    def _more(self, found: Discovery, access: str, subject: str) -> dict[str, Any]:
        more = self._get(found.userinfo_endpoint, {"Authorization": f"Bearer {access}"})
        if more.get("sub") != subject:
            raise NotProved("The provider told about another account than the one that signed in.")
        return more

    def end_session_url(self, setup: Setup, back: str) -> str:
        """Where somebody signs out of the provider itself; empty where it has no such page, or cannot be asked."""
        from authlib.common.urls import add_params_to_uri

        try:
            endpoint = self.discovery(setup.issuer).end_session_endpoint
        except (Unavailable, Invalid):
            return ""
        if not endpoint:
            return ""
        return str(add_params_to_uri(endpoint, [("client_id", setup.client_id), ("post_logout_redirect_uri", back)]))

    # ---- looking before saving

    def examine(self, setup: Setup, redirect_uri: str, claims: Sequence[str] = ()) -> list[DoctorResult]:
        """What is right and what is missing, one finding each; asks anew."""
        self.forget(setup.issuer)
        try:
            found = self.discovery(check_address(setup.issuer, "issuer"))
        except (Unavailable, Invalid) as problem:
            remedy = "Enter the issuer as the provider names it, and see that the portal reaches it."
            return [DoctorResult("Provider", False, problem.detail, remedy)]
        results = [DoctorResult("Provider", True, f"{found.issuer} answers."), self._examined_keys(found)]
        results += [_flow(found), _pkce(found), _scopes(setup, found), *_claims(claims, found)]
        return [*results, self._credentials(setup, found, redirect_uri), _sign_out(found)]

    def _examined_keys(self, found: Discovery) -> DoctorResult:
        try:
            keys = self._keys(found)
        except Unavailable as problem:
            return DoctorResult("Keys", False, problem.detail, "See that the portal reaches the provider's jwks_uri.")
        if not _algorithms(found):
            message = "Its ID tokens are signed in no way that the portal accepts."
            return DoctorResult("Keys", False, message, "Let the provider sign ID tokens with RS256 or ES256.")
        return DoctorResult("Keys", True, f"Keys to check signatures with: {len(keys.keys)}.")

    def _credentials(self, setup: Setup, found: Discovery, redirect_uri: str) -> DoctorResult:
        """A code that cannot be good: whoever refuses only the code has accepted client id and secret."""
        try:
            self._exchange(setup, found, redirect_uri, f"made-up-{secrets.token_hex(8)}", secrets.token_urlsafe(48))
        except Unavailable as problem:
            return DoctorResult("Client", False, problem.detail, "See that the portal reaches the provider's token_endpoint.")
        except ClientRefused:
            message = "The provider refuses the client id or the secret."
            return DoctorResult("Client", False, message, "Copy both from the provider's settings once more.")
        except NotProved:
            pass
        return DoctorResult("Client", True, "The provider accepts client id and secret.")

    # ---- the network

    def _get(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        import httpx

        try:
            with _bounds():
                answer = self._http(url).get(url, headers={"Accept": "application/json", **(headers or {})})
            answer.raise_for_status()
            found = parse_json(answer.content)
        except httpx.HTTPStatusError as error:
            raise ProviderDown(f"{url} answers with the status {error.response.status_code}.") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise ProviderDown(f"{url} does not answer: {_words(error)}.") from error
        except ValueError as error:
            raise ProviderDown(f"{url} does not answer with JSON.") from error
        if not isinstance(found, dict):
            raise ProviderDown(f"{url} does not answer with a JSON object.")
        return found

    def _http(self, url: str) -> httpx.Client:
        """Proxies and certificates of the environment are honoured, but nobody needs a proxy to reach this machine."""
        import httpx

        from clawportal.services import bounded_http

        outside = urlsplit(url).hostname not in _LOOPBACK
        with self._lock:
            client = self._clients.get(outside)
            if client is None:
                timeout, told = httpx.Timeout(SECONDS, connect=5.0, pool=5.0), {"User-Agent": f"clawportal/{__version__}"}
                client = self._clients[outside] = bounded_http.bind(
                    httpx.Client(timeout=timeout, headers=told, trust_env=outside)
                )
        return client


class ClientRefused(NotProved):
    """The provider does not take the portal for the client that it says it is."""


def _refusal(error: str) -> NotProved:
    if error in ("invalid_client", "unauthorized_client"):
        return ClientRefused("The provider refuses the portal's client id or secret. An administrator has to correct it.")
    if error == "invalid_grant":
        return NotProved("This sign-in is too old or was used already. Begin again.")
    return NotProved(f"The provider refused to finish the sign-in ({error[:100]}).")


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


def _bounds() -> AbstractContextManager[None]:
    """For one question to a provider, from connecting to the last byte."""
    from clawportal.services import bounded_http

    return bounded_http.within(Budget(SECONDS, BIGGEST))


def _oauth_client() -> Any:
    """Authlib's client over httpx; made here, so that only portals with a provider load it."""
    import httpx
    from authlib.oauth2.auth import ClientAuth
    from authlib.oauth2.client import OAuth2Client

    class Authentication(httpx.Auth, ClientAuth):  # type: ignore[misc]  # Authlib has no types
        requires_request_body = True

        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            url, headers, body = self.prepare(request.method, str(request.url), request.headers, request.content.decode())
            yield httpx.Request(request.method, url, headers=headers, content=body, extensions=request.extensions)

    class Client(OAuth2Client):  # type: ignore[misc]  # as above
        client_auth_class = Authentication

    return Client


# ---- reading what it says


def _understood(issuer: str, document: dict[str, Any]) -> Discovery:
    said = document.get("issuer")
    if said != issuer:
        raise ProviderDown(f"The provider calls itself {str(said)[:200]}, not {issuer}. Enter exactly that as issuer.")
    needed = {name: document.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    offered = {name: document.get(name) or "" for name in ("userinfo_endpoint", "end_session_endpoint")}
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise ProviderDown(f"The provider does not name its {', '.join(missing)}.")
    for name, value in {**needed, **offered}.items():
        try:
            check_address(str(value), name) if value else None
        except Invalid as error:
            raise ProviderDown(f"The provider's {name} cannot be used: {error.detail}") from error
    return Discovery(issuer, **{name: str(value) for name, value in {**needed, **offered}.items()}, document=document)


def _key_set(document: dict[str, Any]) -> KeySet:
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
        raise ProviderDown("The provider shows no keys that signatures can be checked with.")
    return KeySet(keys)


def _algorithms(found: Discovery) -> list[str]:
    said = found.listed("id_token_signing_alg_values_supported", ("RS256",))
    return [name for name in ALGORITHMS if name in said]


def _method(setup: Setup, found: Discovery) -> str:
    if not setup.secret:
        return "none"
    said = found.listed("token_endpoint_auth_methods_supported", ("client_secret_basic",))
    return "client_secret_post" if "client_secret_basic" not in said and "client_secret_post" in said else "client_secret_basic"


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by a path with dots (`realm_access.roles`); None where there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _flow(found: Discovery) -> DoctorResult:
    if "code" in found.listed("response_types_supported", ("code",)):
        return DoctorResult("Sign-in with a code", True, "The provider offers it.")
    remedy = "Allow the authorization code flow at the provider."
    return DoctorResult("Sign-in with a code", False, "The provider does not offer it.", remedy)


def _pkce(found: Discovery) -> DoctorResult:
    said = found.listed("code_challenge_methods_supported")
    if said and "S256" not in said:
        return DoctorResult("PKCE", False, "The provider refuses S256.", "Allow PKCE with S256 for this client.")
    message = "The provider checks it." if said else "The provider does not say; it is sent all the same."
    return DoctorResult("PKCE", True, message)


def _scopes(setup: Setup, found: Discovery) -> DoctorResult:
    said = found.listed("scopes_supported")
    lacking = [scope for scope in setup.scopes.split() if said and scope not in said]
    if not lacking:
        return DoctorResult("Scopes", True, "The provider knows all of them.")
    message = f"The provider does not list {', '.join(lacking)}."
    return DoctorResult("Scopes", False, message, "Take these scopes out, or make them at the provider.")


def _claims(wanted: Sequence[str], found: Discovery) -> list[DoctorResult]:
    """Only what is told: many providers send claims that they do not list."""
    said = found.listed("claims_supported")
    lacking = [name for name in wanted if said and name and name.split(".")[0] not in said]
    if not lacking:
        return []
    message = f"The provider does not list {', '.join(lacking)}. It may send them all the same; sign in once to see."
    return [DoctorResult("Claims", True, message)]


def _sign_out(found: Discovery) -> DoctorResult:
    if found.end_session_endpoint:
        return DoctorResult("Sign-out", True, "Who signs out here is offered to sign out of the provider too.")
    return DoctorResult("Sign-out", True, "The provider has no page for it; who signs out here stays signed in there.")
