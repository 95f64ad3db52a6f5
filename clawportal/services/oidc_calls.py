"""Talks to OpenID providers: what they offer, trading a code for who signed in, and whether that is true.

No table and no request is known here, so that nothing is asked over the network while a transaction is open. Every answer is
bounded in size and time; what seldom changes is kept for an hour.
"""

from __future__ import annotations

import base64
import re
import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote_plus, urlsplit

from clawportal import __version__, clock
from clawportal.bounded import Budget, parse_json
from clawportal.contracts.doctor import DoctorResult
from clawportal.errors import Invalid, Unauthenticated, Unavailable
from clawportal.messages import _m

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
_JWT = re.compile(rb"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*){2,4}")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ProviderDown(Unavailable):
    title, code = _m("The sign-in provider does not answer"), "provider_down"


class NotProved(Unauthenticated):
    """What came from the provider does not prove who signed in."""

    title, code = _m("The sign-in could not be proved"), "not_proved"


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
        raise Invalid.field(path, _m("This is no address such as https://sso.example.com/realms/main."))
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise Invalid.field(path, _m("The address must begin with https://, since passwords and secrets travel there."))
    return address


class ProviderCalls:
    """The calls of one process, with what it keeps of each provider."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._lock = threading.Lock()
        self._clients: dict[bool, httpx.Client] = {}
        self._seen: dict[str, Seen] = {}

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
            raise NotProved(_m("The provider did not say whose account it is."))
        access, unread = token.get("access_token"), ""
        asked = found.userinfo_endpoint and isinstance(access, str) and any(claim(claims, name) is None for name in wanted)
        if asked:
            try:
                claims = self._more(setup, found, str(access), subject) | claims
            except ProviderDown as problem:
                unread = problem.detail
        told = (unread or "Its account page answers.") if asked else ""
        self._seen[found.issuer] = Seen(told, not unread, tuple(sorted(_paths(claims)))[:100])
        return Proof(subject, claims, unread)

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
            raise ProviderDown(
                _m("The provider at %(issuer)s did not answer: %(_words)s.", issuer=setup.issuer, _words=_words(error))
            ) from error

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
            raise NotProved(_m("The provider sent no ID token. Its client must use OpenID Connect, with the scope `openid`."))
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
            raise NotProved(_m("The ID token of the provider is not good: %(_words)s.", _words=_words(error))) from error
        return dict(claims)

    def _decoded(self, found: Discovery, text: str, algorithms: Sequence[str] = ()) -> Any:
        """A key that is not known was perhaps made after the keys were read: they are read once more."""
        from joserfc import jwt
        from joserfc.errors import BadSignatureError, InvalidKeyIdError
        from joserfc.jws import JWSRegistry

        registry = JWSRegistry(algorithms=list(algorithms or _algorithms(found)), strict_check_header=False)
        try:
            return jwt.decode(text, self._keys(found), registry=registry)
        except (InvalidKeyIdError, BadSignatureError):
            return jwt.decode(text, self._keys(found, anew=True), registry=registry)

    def _more(self, setup: Setup, found: Discovery, access: str, subject: str) -> dict[str, Any]:
        """What the userinfo_endpoint says, as JSON or as a signed JWT. ProviderDown where nothing can be read from it."""
        url = found.userinfo_endpoint
        accepted = "application/json, application/jwt;q=0.9"
        more = self._account(setup, found, self._ask(url, {"Authorization": f"Bearer {access}", "Accept": accepted}))
        if more.get("sub") != subject:
            raise NotProved(_m("The provider told about another account than the one that signed in."))
        return more

    def _account(self, setup: Setup, found: Discovery, body: bytes) -> dict[str, Any]:
        from joserfc.errors import JoseError

        text = body.strip()
        if not text:
            raise ProviderDown(_m("The provider's account page answers with nothing."))
        if text.count(b".") == 4 and _JWT.fullmatch(text):
            raise ProviderDown(_m("The provider's account page answers in encrypted form, which the portal does not read."))
        if not _JWT.fullmatch(text):
            return _object(found.userinfo_endpoint, text)
        try:
            claims = dict(self._decoded(found, text.decode(), ALGORITHMS).claims)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise NotProved(
                _m("What the provider signed about the account is not good: %(_words)s.", _words=_words(error))
            ) from error
        audience = claims.get("aud", setup.client_id)
        if claims.get("iss", found.issuer) != found.issuer or setup.client_id not in (
            audience if isinstance(audience, list) else [audience]
        ):
            raise NotProved(_m("What the provider signed about the account is meant for somebody else."))
        return claims

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
            remedy = _m("Enter the issuer as the provider names it, and see that the portal reaches it.")
            return [DoctorResult(_m("Provider"), False, problem.detail, remedy)]
        results = [DoctorResult(_m("Provider"), True, _m("%(issuer)s answers.", issuer=found.issuer)), self._examined_keys(found)]
        results += [_flow(found), _pkce(found), _scopes(setup, found), *_claims(claims, found)]
        results += [_account_page(found), *_last(self._seen.get(found.issuer), claims)]
        return [*results, self._credentials(setup, found, redirect_uri), _sign_out(found)]

    def _examined_keys(self, found: Discovery) -> DoctorResult:
        try:
            keys = self._keys(found)
        except Unavailable as problem:
            return DoctorResult(_m("Keys"), False, problem.detail, _m("See that the portal reaches the provider's jwks_uri."))
        if not _algorithms(found):
            message = _m("Its ID tokens are signed in no way that the portal accepts.")
            return DoctorResult(_m("Keys"), False, message, _m("Let the provider sign ID tokens with RS256 or ES256."))
        return DoctorResult(_m("Keys"), True, _m("Keys to check signatures with: %(len)s.", len=len(keys.keys)))

    def _credentials(self, setup: Setup, found: Discovery, redirect_uri: str) -> DoctorResult:
        """A code that cannot be good: whoever refuses only the code has accepted client id and secret."""
        try:
            self._exchange(setup, found, redirect_uri, f"made-up-{secrets.token_hex(8)}", secrets.token_urlsafe(48))
        except Unavailable as problem:
            return DoctorResult(
                _m("Client"), False, problem.detail, _m("See that the portal reaches the provider's token_endpoint.")
            )
        except ClientRefused:
            message = _m("The provider refuses the client id or the secret.")
            return DoctorResult(_m("Client"), False, message, _m("Copy both from the provider's settings once more."))
        except NotProved:
            pass
        return DoctorResult(_m("Client"), True, _m("The provider accepts client id and secret."))

    # ---- the network

    def _get(self, url: str) -> dict[str, Any]:
        return _object(url, self._ask(url, {"Accept": "application/json"}))

    def _ask(self, url: str, headers: Mapping[str, str]) -> bytes:
        import httpx

        try:
            with _bounds():
                answer = self._http(url).get(url, headers=dict(headers))
            answer.raise_for_status()
            return bytes(answer.content)
        except httpx.HTTPStatusError as error:
            raise ProviderDown(
                _m("%(url)s answers with the status %(status_code)s.", url=url, status_code=error.response.status_code)
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise ProviderDown(_m("%(url)s does not answer: %(_words)s.", url=url, _words=_words(error))) from error

    def _http(self, url: str) -> httpx.Client:
        """Proxies and certificates of the environment are honoured, but nobody needs a proxy to reach this machine."""
        import httpx

        from clawportal.engine import bounded_http

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
        return ClientRefused(_m("The provider refuses the portal's client id or secret. An administrator has to correct it."))
    if error == "invalid_grant":
        return NotProved(_m("This sign-in is too old or was used already. Begin again."))
    return NotProved(_m("The provider refused to finish the sign-in (%(error)s).", error=error[:100]))


def _object(url: str, body: bytes) -> dict[str, Any]:
    try:
        found = parse_json(body)
    except ValueError as error:
        raise ProviderDown(_m("%(url)s does not answer with JSON.", url=url)) from error
    if not isinstance(found, dict):
        raise ProviderDown(_m("%(url)s does not answer with a JSON object.", url=url))
    return found


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


def _bounds() -> AbstractContextManager[None]:
    """For one question to a provider, from connecting to the last byte."""
    from clawportal.engine import bounded_http

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
        raise ProviderDown(_m("The provider shows no keys that signatures can be checked with."))
    return KeySet(keys)


def _algorithms(found: Discovery) -> list[str]:
    said = found.listed("id_token_signing_alg_values_supported", ("RS256",))
    return [name for name in ALGORITHMS if name in said]


def _method(setup: Setup, found: Discovery) -> Any:
    if not setup.secret:
        return "none"
    said = found.listed("token_endpoint_auth_methods_supported", ("client_secret_basic",))
    return "client_secret_post" if "client_secret_basic" not in said and "client_secret_post" in said else _basic


def _basic(client: Any, method: str, uri: str, headers: Any, body: Any) -> tuple[Any, Any, Any]:
    """RFC 6749, 2.3.1: id and secret are form-encoded first, which Authlib leaves out. A `+` or `%` in a secret needs it."""
    text = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
    headers["Authorization"] = f"Basic {base64.b64encode(text.encode()).decode()}"
    return uri, headers, body


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


def _paths(claims: Mapping[str, Any], depth: int = 4) -> Iterator[str]:
    """The names under which claims can be asked for."""
    for name, value in claims.items():
        if isinstance(value, Mapping) and depth:
            yield from (f"{name}.{inner}" for inner in _paths(value, depth - 1))
        else:
            yield str(name)


def _flow(found: Discovery) -> DoctorResult:
    if "code" in found.listed("response_types_supported", ("code",)):
        return DoctorResult(_m("Sign-in with a code"), True, _m("The provider offers it."))
    remedy = _m("Allow the authorization code flow at the provider.")
    return DoctorResult(_m("Sign-in with a code"), False, _m("The provider does not offer it."), remedy)


def _pkce(found: Discovery) -> DoctorResult:
    said = found.listed("code_challenge_methods_supported")
    if said and "S256" not in said:
        return DoctorResult(_m("PKCE"), False, _m("The provider refuses S256."), _m("Allow PKCE with S256 for this client."))
    message = _m("The provider checks it.") if said else _m("The provider does not say; it is sent all the same.")
    return DoctorResult(_m("PKCE"), True, message)


def _scopes(setup: Setup, found: Discovery) -> DoctorResult:
    said = found.listed("scopes_supported")
    lacking = [scope for scope in setup.scopes.split() if said and scope not in said]
    if not lacking:
        return DoctorResult(_m("Scopes"), True, _m("The provider knows all of them."))
    message = _m("The provider does not list %(join)s.", join=[*lacking])
    return DoctorResult(_m("Scopes"), False, message, _m("Take these scopes out, or make them at the provider."))


def _claims(wanted: Sequence[str], found: Discovery) -> list[DoctorResult]:
    """Only what is told: many providers send claims that they do not list."""
    said = found.listed("claims_supported")
    lacking = [name for name in wanted if said and name and not any(_begins(name, one) for one in said)]
    if not lacking:
        return []
    message = _m("The provider does not list %(join)s. It may send them all the same; sign in once to see.", join=[*lacking])
    return [DoctorResult(_m("Claims"), True, message)]


def _begins(name: str, listed: str) -> bool:
    return name == listed or name.startswith((f"{listed}.", f"/{listed}/")) or name == f"/{listed}"


def _account_page(found: Discovery) -> DoctorResult:
    if not found.userinfo_endpoint:
        return DoctorResult(
            _m("Account page"), True, _m("The provider has none (userinfo_endpoint); the ID token says everything.")
        )
    return DoctorResult(
        _m("Account page"), True, _m("It is asked for what the ID token lacks; where that fails, the ID token counts.")
    )


def _last(seen: Seen | None, wanted: Sequence[str]) -> list[DoctorResult]:
    """What the last sign-in found, as far as this process has seen one."""
    if seen is None:
        return []
    results = []
    if seen.account_page:
        remedy = _m("Let the provider put the claims into the ID token, or allow its userinfo_endpoint for this client.")
        message = _m("At the last sign-in: %(account_page)s", account_page=seen.account_page)
        results.append(DoctorResult(_m("Account page at the last sign-in"), seen.usable, message, remedy))
    lacking = [name for name in wanted if name and not any(name in (path, _pointer(path)) for path in seen.claims)]
    lacking = [name for name in lacking if not any(_begins(path, name) for path in seen.claims)]
    there = [*seen.claims[:30]]
    if lacking:
        message = _m("The last sign-in had no %(join)s. It had: %(there)s.", join=[*lacking], there=there)
        remedy = _m("Correct the names of the claims, or let the provider send them.")
        results.append(DoctorResult(_m("Claims of the last sign-in"), False, message, remedy))
    else:
        results.append(DoctorResult(_m("Claims of the last sign-in"), True, _m("The last sign-in had: %(there)s.", there=there)))
    return results


def _pointer(path: str) -> str:
    return "/" + path.replace(".", "/")


def _sign_out(found: Discovery) -> DoctorResult:
    if found.end_session_endpoint:
        return DoctorResult(_m("Sign-out"), True, _m("Who signs out here is offered to sign out of the provider too."))
    return DoctorResult(_m("Sign-out"), True, _m("The provider has no page for it; who signs out here stays signed in there."))
