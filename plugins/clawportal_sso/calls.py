"""Talks to OpenID providers: what they offer, trading a code for who signed in, and whether that is true.

No table and no request is known here, so that nothing is asked over the network while a transaction is open. Every answer is
bounded in size and time; what seldom changes is kept for an hour.
"""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote_plus, urlsplit

from clawportal.sdk import __version__, _m
from clawportal.sdk.bounded import Budget
from clawportal.sdk.data import now
from clawportal.sdk.errors import Invalid, Unavailable
from clawportal_sso.documents import (
    ALGORITHMS,
    LOOPBACK,
    Discovery,
    NotProved,
    Proof,
    ProviderDown,
    Seen,
    Setup,
    algorithms_of,
    claim,
    key_set,
    object_of,
    paths,
    refusal_of,
    understood,
    words_of,
)

if TYPE_CHECKING:
    import httpx
    from joserfc.jwk import KeySet


LEEWAY = 60
"""Seconds by which the clocks of portal and provider may differ."""
KEPT = 3600.0
REFUSED_FOR = 5.0
"""Seconds for which a provider that did not answer is not asked again: threads must not pile up in front of it."""
SECONDS = 15.0
BIGGEST = 1_000_000
_JWT = re.compile(rb"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*){2,4}")


@dataclass
class _Kept:
    value: Any = None
    until: float = 0.0
    error: Unavailable | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


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

    def last_seen(self, issuer: str) -> Seen | None:
        """What the last sign-in found, as far as this process has seen one."""
        return self._seen.get(issuer)

    # ---- what the provider says about itself

    def discovery(self, issuer: str) -> Discovery:
        return cast(Discovery, self._keep("discovery", issuer, lambda: self._discover(issuer)))

    def _discover(self, issuer: str) -> Discovery:
        from authlib.oidc.discovery import get_well_known_url

        return understood(issuer, self._get(get_well_known_url(issuer, external=True)))

    def keys(self, found: Discovery, *, anew: bool = False) -> KeySet:
        return cast("KeySet", self._keep("keys", found.issuer, lambda: key_set(self._get(found.jwks_uri)), anew=anew))

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
        token = self.exchange(setup, found, redirect_uri, code, verifier)
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
        self._seen[found.issuer] = Seen(told, not unread, tuple(sorted(paths(claims)))[:100])
        return Proof(subject, claims, unread)

    def exchange(self, setup: Setup, found: Discovery, redirect_uri: str, code: str, verifier: str) -> dict[str, Any]:
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
            raise refusal_of(str(error.error or "")) from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, UnicodeError) as error:
            raise ProviderDown(
                _m("The provider at %(issuer)s did not answer: %(_words)s.", issuer=setup.issuer, _words=words_of(error))
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
            claims.validate(now=int(now().timestamp()), leeway=LEEWAY)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise NotProved(_m("The ID token of the provider is not good: %(_words)s.", _words=words_of(error))) from error
        return dict(claims)

    def _decoded(self, found: Discovery, text: str, algorithms: Sequence[str] = ()) -> Any:
        """A key that is not known was perhaps made after the keys were read: they are read once more."""
        from joserfc import jwt
        from joserfc.errors import BadSignatureError, InvalidKeyIdError
        from joserfc.jws import JWSRegistry

        registry = JWSRegistry(algorithms=list(algorithms or algorithms_of(found)), strict_check_header=False)
        try:
            return jwt.decode(text, self.keys(found), registry=registry)
        except (InvalidKeyIdError, BadSignatureError):
            return jwt.decode(text, self.keys(found, anew=True), registry=registry)

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
            return object_of(found.userinfo_endpoint, text)
        try:
            claims = dict(self._decoded(found, text.decode(), ALGORITHMS).claims)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise NotProved(
                _m("What the provider signed about the account is not good: %(_words)s.", _words=words_of(error))
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

    # ---- the network

    def _get(self, url: str) -> dict[str, Any]:
        return object_of(url, self._ask(url, {"Accept": "application/json"}))

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
            raise ProviderDown(_m("%(url)s does not answer: %(_words)s.", url=url, _words=words_of(error))) from error

    def _http(self, url: str) -> httpx.Client:
        """Proxies and certificates of the environment are honoured, but nobody needs a proxy to reach this machine."""
        import httpx

        from clawportal.sdk import http_client

        outside = urlsplit(url).hostname not in LOOPBACK
        with self._lock:
            client = self._clients.get(outside)
            if client is None:
                timeout, told = httpx.Timeout(SECONDS, connect=5.0, pool=5.0), {"User-Agent": f"clawportal/{__version__}"}
                client = self._clients[outside] = http_client.bind(httpx.Client(timeout=timeout, headers=told, trust_env=outside))
        return client


def _bounds() -> AbstractContextManager[None]:
    """For one question to a provider, from connecting to the last byte."""
    from clawportal.sdk import http_client

    return http_client.within(Budget(SECONDS, BIGGEST))


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
