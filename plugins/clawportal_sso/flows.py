"""Signing in with the account of an OpenID provider: the way there, the way back, and the way out."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import select

from clawportal.sdk import _m
from clawportal.sdk.data import db, now, transaction
from clawportal.sdk.errors import Conflict, NotFound, Problem
from clawportal.sdk.features import SignInWay
from clawportal.sdk.fleet import Portal
from clawportal.sdk.people import Source, User, guarded_address, second_factor_enabled, tell_refusal
from clawportal.sdk.permissions import Actor
from clawportal.sdk.secrets import KeyringError
from clawportal_sso import arrivals
from clawportal_sso.arrivals import NotAllowed
from clawportal_sso.calls import ProviderCalls
from clawportal_sso.documents import NotProved, Proof
from clawportal_sso.models import SOURCE, OidcProvider
from clawportal_sso.providers import by_slug, setup_of, way_of

LIVES = 900.0
"""Seconds that somebody may take at the provider."""
_PLACE = "oidc/flow"


@dataclass(frozen=True)
class Flow:
    """What has to be known again when somebody comes back from the provider."""

    provider_id: str
    state: str
    nonce: str
    verifier: str
    begun: float
    wanted: str = ""
    """Path to go to afterwards."""
    user_id: str = ""
    """Whose account the provider's account is to be linked to; empty for signing in."""


@dataclass(frozen=True)
class Begun:
    url: str
    """Of the provider."""
    state: str
    sealed: str
    """The flow, for the browser's session; nobody but the portal reads it."""


@dataclass(frozen=True)
class Arrived:
    """Who came back."""

    user: User
    source: Source
    """The provider, for the session that begins now."""
    wanted: str
    linked: bool
    """An account was linked; nobody was signed in."""
    code_needed: bool
    """The portal's own second factor is still to be asked for."""


# ---- there


def begin(portal: Portal, slug: str, redirect_uri: str, *, wanted: str = "", user_id: str = "") -> Begun:
    """Where to send somebody. Nothing is stored: the flow travels in the browser's session, sealed."""
    provider = by_slug(slug)
    if not provider.enabled:
        raise NotFound(_m("There is no sign-in provider named %(slug)s.", slug=repr(slug)))
    flow = Flow(
        provider.id, secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), now().timestamp(),
        wanted[:300], user_id,
    )  # fmt: skip
    setup = setup_of(portal, provider)
    db.session.rollback()  # nothing stays open while the network is asked
    try:
        calls = portal.part(ProviderCalls)
        url = calls.authorization_url(setup, redirect_uri, state=flow.state, nonce=flow.nonce, verifier=flow.verifier)
    except Problem as problem:
        _tell_refusal(portal, slug, problem, None)
        raise
    sealed = portal.keyring.seal(json.dumps(asdict(flow)), _PLACE)
    return Begun(url, flow.state, base64.urlsafe_b64encode(sealed).decode())


def _strange() -> NotProved:
    return NotProved(_m("This sign-in did not begin in this browser, or it took too long. Begin again."))


def _opened(portal: Portal, sealed: str, state: str) -> Flow:
    try:
        flow = Flow(**json.loads(portal.keyring.open(base64.urlsafe_b64decode(sealed), _PLACE)))
    except (KeyringError, ValueError, TypeError, binascii.Error) as error:
        raise _strange() from error
    late = now().timestamp() - flow.begun > LIVES
    if late or not secrets.compare_digest(flow.state.encode(), state.encode()):
        raise _strange()
    return flow


def wanted_of(portal: Portal, sealed: str) -> str:
    """Where somebody wanted to go, also when the sign-in went wrong."""
    try:
        found = json.loads(portal.keyring.open(base64.urlsafe_b64decode(sealed), _PLACE)).get("wanted", "")
    except (KeyringError, ValueError, AttributeError, binascii.Error):
        return ""
    return found if isinstance(found, str) else ""


# ---- and back


def finish(
    portal: Portal, slug: str, sealed: str, given: Mapping[str, str], redirect_uri: str, address: str, current: Actor | None
) -> Arrived:
    """Who came back, with rights as their groups say. Whoever may not gets a Problem in plain words, and the audit an entry."""
    try:
        with guarded_address(portal, "oidc", address):
            return _finish(portal, slug, sealed, given, redirect_uri, current)
    except Problem as problem:
        _tell_refusal(portal, slug, problem, current)
        raise


def _finish(
    portal: Portal, slug: str, sealed: str, given: Mapping[str, str], redirect_uri: str, current: Actor | None
) -> Arrived:
    provider = by_slug(slug)
    flow = _opened(portal, sealed, given.get("state", ""))
    if flow.provider_id != provider.id or not provider.enabled:
        raise _strange()
    if flow.user_id and (current is None or current.id != flow.user_id or current.kind != "user"):
        raise NotProved(_m("You are signed in as somebody else by now. Sign in again, then link the account."))
    _check_answer(provider, given)
    names = (provider.username_claim, provider.email_claim, provider.name_claim, arrivals.groups_claim_of(provider))
    wanted = [name for name in names if name]
    setup = setup_of(portal, provider)
    db.session.rollback()  # nothing stays open while the network is asked
    calls = portal.part(ProviderCalls)
    proof = calls.prove(setup, redirect_uri, code=given["code"], nonce=flow.nonce, verifier=flow.verifier, wanted=wanted)
    return _arrive(portal, flow, proof)


def _check_answer(provider: OidcProvider, given: Mapping[str, str]) -> None:
    if given.get("iss", provider.issuer) != provider.issuer:  # RFC 9207: an answer of another provider than was asked
        raise NotProved(_m("The answer came from another provider than the one that was asked. Begin again."))
    error = given.get("error", "")
    if error == "access_denied":
        raise NotAllowed(_m("%(title)s did not let you in, or you changed your mind.", title=provider.title))
    if error:
        raise NotProved(
            _m("%(title)s refused the sign-in (%(_plain)s).", title=provider.title, _plain=arrivals.plain(error, 100))
        )
    if not given.get("code"):
        raise _strange()


def _arrive(portal: Portal, flow: Flow, proof: Proof) -> Arrived:
    """Once more when two came at the same time: the second one finds what the first one made."""
    try:
        return _let_in(portal, flow, proof)
    except Conflict:
        return _let_in(portal, flow, proof)


def _let_in(portal: Portal, flow: Flow, proof: Proof) -> Arrived:
    with transaction():
        provider = db.session.get(OidcProvider, flow.provider_id)
        if provider is None or not provider.enabled:
            raise _strange()
        person = arrivals.person_of(provider, proof)
        arrivals.check_enough(provider, proof)
        arrivals.check_domain(provider, person)
        link = (
            arrivals.link_to(portal, provider, person, flow.user_id) if flow.user_id else arrivals.known(portal, provider, person)
        )
        user = db.session.get_one(User, link.user_id, with_for_update=True)
        if not user.active:
            raise NotAllowed(_m("Your account here is closed. Ask an administrator."))
        link.email = person.email
        if not flow.user_id:
            link.last_login_at = user.last_login_at = now()
            arrivals.follow_groups(portal, provider, user, person)
        code_needed = second_factor_enabled(user.id) and not provider.second_factor
        source = Source(provider.source, provider.title, provider.second_factor)
    return Arrived(user, source, flow.wanted, bool(flow.user_id), code_needed)


# ---- out


def sign_out_url(portal: Portal, slug: str, back: str) -> str:
    """Where to sign out of the provider too; empty where that cannot be done."""
    provider = by_slug(slug)
    setup = setup_of(portal, provider)
    db.session.rollback()
    return portal.part(ProviderCalls).end_session_url(setup, back)


def sign_out_way(portal: Portal, source: str) -> SignInWay | None:
    """The provider where somebody whose session it began may be signed in still; None where one cannot sign out of it."""
    of_source = (OidcProvider.id == source.removeprefix(SOURCE), OidcProvider.enabled)
    provider = db.session.scalar(select(OidcProvider).where(*of_source)) if source.startswith(SOURCE) else None
    if provider is None:
        return None
    way = way_of(provider.slug, provider.title)
    return way if sign_out_url(portal, provider.slug, "") else None


# ---- the audit


def _tell_refusal(portal: Portal, slug: str, problem: Problem, current: Actor | None) -> None:
    title = db.session.scalar(select(OidcProvider.title).where(OidcProvider.slug == slug)) or _m("an unknown provider")
    tell_refusal(portal, title, problem, current)
