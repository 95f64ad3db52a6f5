"""Signing in with the account of an OpenID provider, and whose accounts are whose."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select

from clawportal import clock
from clawportal.contracts.extensions import SignInWay
from clawportal.contracts.permissions import Actor
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, Forbidden, NotFound, Problem
from clawportal.keyring import KeyringError
from clawportal.messages import _m
from clawportal.models import Membership, OidcGroupRole, OidcIdentity, OidcProvider, Tenant, User
from clawportal.models.oidc import SOURCE
from clawportal.services import oidc_groups
from clawportal.services.events import event_log
from clawportal.services.identity import accounts, identity, names, otp, sessions, sign_in, throttle
from clawportal.services.oidc_calls import NotProved, Proof, ProviderCalls, ProviderDown, claim
from clawportal.services.oidc_providers import Button, by_slug, setup_of, way_of
from clawportal.services.tenancy import members

LIVES = 900.0
"""Seconds that somebody may take at the provider."""
_PLACE = "oidc/flow"


class NotAllowed(Forbidden):
    """The provider vouches for somebody whom the portal does not let in."""

    title, code = _m("You cannot sign in here"), "not_allowed"


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
    source: sessions.Source
    """The provider, for the session that begins now."""
    wanted: str
    linked: bool
    """An account was linked; nobody was signed in."""
    code_needed: bool
    """The portal's own second factor is still to be asked for."""


@dataclass(frozen=True)
class Identity:
    """An account at a provider, as its owner sees it."""

    id: str
    provider: str
    slug: str
    email: str
    created_at: datetime
    last_login_at: datetime | None


# ---- there


def begin(portal: Portal, slug: str, redirect_uri: str, *, wanted: str = "", user_id: str = "") -> Begun:
    """Where to send somebody. Nothing is stored: the flow travels in the browser's session, sealed."""
    provider = by_slug(slug)
    if not provider.enabled:
        raise NotFound(_m("There is no sign-in provider named %(slug)s.", slug=repr(slug)))
    flow = Flow(
        provider.id, secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), clock.now().timestamp(),
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
    late = clock.now().timestamp() - flow.begun > LIVES
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
        with throttle.guarded_address(portal, "oidc", address):
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
    names = (provider.username_claim, provider.email_claim, provider.name_claim, _groups_claim(provider))
    wanted = [name for name in names if name]
    setup = setup_of(portal, provider)
    db.session.rollback()  # nothing stays open while the network is asked
    calls = portal.part(ProviderCalls)
    proof = calls.prove(setup, redirect_uri, code=given["code"], nonce=flow.nonce, verifier=flow.verifier, wanted=wanted)
    return _arrive(portal, flow, proof)


def _groups_claim(provider: OidcProvider) -> str:
    """Groups are asked for only where they give something."""
    rules = select(OidcGroupRole.id).where(OidcGroupRole.provider_id == provider.id).limit(1)
    return provider.groups_claim if db.session.scalar(rules) is not None else ""


def _check_answer(provider: OidcProvider, given: Mapping[str, str]) -> None:
    if given.get("iss", provider.issuer) != provider.issuer:  # RFC 9207: an answer of another provider than was asked
        raise NotProved(_m("The answer came from another provider than the one that was asked. Begin again."))
    error = given.get("error", "")
    if error == "access_denied":
        raise NotAllowed(_m("%(title)s did not let you in, or you changed your mind.", title=provider.title))
    if error:
        raise NotProved(_m("%(title)s refused the sign-in (%(_plain)s).", title=provider.title, _plain=_plain(error, 100)))
    if not given.get("code"):
        raise _strange()


def _plain(text: str, longest: int) -> str:
    return "".join(letter for letter in text if letter.isprintable())[:longest].strip()


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
        person = _person(provider, proof)
        _check_enough(provider, proof)
        _check_domain(provider, person)
        link = _link_to(portal, provider, person, flow.user_id) if flow.user_id else _known(portal, provider, person)
        user = db.session.get_one(User, link.user_id, with_for_update=True)
        if not user.active:
            raise NotAllowed(_m("Your account here is closed. Ask an administrator."))
        link.email = person.email
        if not flow.user_id:
            link.last_login_at = user.last_login_at = clock.now()
            _follow(portal, provider, user, person)
        code_needed = otp.enabled(user.id) and not provider.second_factor
        source = sessions.Source(provider.source, provider.title, provider.second_factor)
    return Arrived(user, source, flow.wanted, bool(flow.user_id), code_needed)


# ---- who it is


@dataclass(frozen=True)
class _Person:
    """What the provider tells of somebody, in plain form."""

    subject: str
    username: str
    email: str
    confirmed: bool
    """Whether the address is theirs for sure."""
    name: str
    groups: frozenset[str]
    no_groups_claim: bool
    """The claim that rules look at was not there at all."""
    too_many: bool
    """The provider left the groups out because there are too many."""


def _person(provider: OidcProvider, proof: Proof) -> _Person:
    claims = proof.claims
    email = _text(claims, provider.email_claim, 320)
    confirmed = provider.email_claim == "email" and _true(claims.get("email_verified"))
    groups = claim(claims, provider.groups_claim) if provider.groups_claim else None
    left_out = claims.get("_claim_names")
    return _Person(
        proof.subject,
        _text(claims, provider.username_claim, 200),
        email,
        "@" in email and (confirmed or _true(claims.get("xms_edov"))),
        _text(claims, provider.name_claim, 200),
        frozenset(_listed(groups)),
        groups is None,
        isinstance(left_out, Mapping) and provider.groups_claim in left_out,
    )


def _text(claims: Mapping[str, Any], name: str, longest: int) -> str:
    found = claim(claims, name) if name else None
    return _plain(found, longest) if isinstance(found, str) else ""


def _true(value: Any) -> bool:
    """Some providers send it as text or as number."""
    return value is True or value == 1 or (isinstance(value, str) and value.lower() in ("true", "1"))


def _listed(value: Any) -> Collection[str]:
    found = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return [item for item in found if isinstance(item, str) and len(item) <= 255]


def _check_enough(provider: OidcProvider, proof: Proof) -> None:
    """Where the account page could not be used, the ID token has to have what decides: who may come in, and with which rights."""
    if not proof.unread:
        return
    needed = [_groups_claim(provider), provider.email_claim if provider.email_domains else ""]
    known = select(OidcIdentity.id).where(OidcIdentity.provider_id == provider.id, OidcIdentity.subject == proof.subject)
    if db.session.scalar(known) is None:
        needed += [provider.username_claim, provider.email_claim if provider.link_by_email else ""]
    lacking = [name for name in dict.fromkeys(needed) if name and claim(proof.claims, name) is None]
    if lacking:
        raise ProviderDown(_m("%(unread)s The ID token alone does not say %(join)s.", unread=proof.unread, join=[*lacking]))


def _check_domain(provider: OidcProvider, person: _Person) -> None:
    if not provider.email_domains:
        return
    if person.email.rpartition("@")[2].lower() not in provider.email_domains:
        raise NotAllowed(_m("People with your email address cannot sign in here. Ask an administrator."))
    if not person.confirmed:
        raise NotAllowed(_m("%(title)s has not confirmed your email address, so it does not count here.", title=provider.title))


def _follow(portal: Portal, provider: OidcProvider, user: User, person: _Person) -> None:
    if person.too_many and _groups_claim(provider):
        raise NotAllowed(
            _m("%(title)s left your groups out, since there are too many. Ask an administrator.", title=provider.title)
        )
    if person.no_groups_claim and (wanted := _groups_claim(provider)):
        message = _m(
            "%(title)s sent no %(wanted)s for %(name)s, so none of its groups gives anything.",
            title=provider.title,
            wanted=wanted,
            name=user.name,
        )
        data = {"user_id": user.id, "provider": provider.slug}
        event_log.record(
            portal, "user.groups_missing", actor=Actor(user.id, user.name), level="warning", message=message, data=data
        )
    oidc_groups.follow(portal, provider, user, person.groups)


# ---- whose account it is


def _known(portal: Portal, provider: OidcProvider, person: _Person) -> OidcIdentity:
    """By what the provider calls the account; else by a confirmed address, or newly made, where an administrator allowed that."""
    found = _of_subject(provider, person)
    if found is not None:
        return found
    user = _by_email(portal, provider, person) if provider.link_by_email else None
    if user is not None:
        _end_other_ways_in(portal, user)
    if user is None and provider.create_users:
        user = _create(portal, provider, person)
    if user is None:
        raise NotAllowed(
            _m(
                "There is no account for you here yet. Ask an administrator for one, or sign in with your password and link this "
                "account on the page of your account."
            )
        )
    return _link(portal, provider, person, user)


def _of_subject(provider: OidcProvider, person: _Person) -> OidcIdentity | None:
    query = select(OidcIdentity).where(OidcIdentity.provider_id == provider.id, OidcIdentity.subject == person.subject)
    return db.session.scalar(query.with_for_update())


def _by_email(portal: Portal, provider: OidcProvider, person: _Person) -> User | None:
    """An account whose name is the confirmed address. Never one over the whole portal: who runs the provider must not be it."""
    if not person.confirmed:
        return None
    found = names.of_address(person.email)
    if len(found) != 1 or _of_user(provider.id, found[0].id) is not None or _over_the_portal(found[0]):
        return None
    return found[0]


def _end_other_ways_in(portal: Portal, user: User) -> None:
    """Whoever made this account, such as a guest with an invitation, never proved that the address is theirs. They knew its
    password, and would from now on have the rights that the owner of the address gets here."""
    db.session.execute(delete(OidcIdentity).where(OidcIdentity.user_id == user.id))
    accounts.end_ways_in(portal, user)


def _over_the_portal(user: User) -> bool:
    query = select(Membership.id).where(Membership.user_id == user.id, Membership.tenant_id.is_(None))
    return db.session.scalar(query) is not None


def _of_user(provider_id: str, user_id: str) -> OidcIdentity | None:
    return db.session.scalar(select(OidcIdentity).where(OidcIdentity.provider_id == provider_id, OidcIdentity.user_id == user_id))


def _create(portal: Portal, provider: OidcProvider, person: _Person) -> User:
    """Somebody new, without a password: only the provider, or an administrator who sets one, lets them in."""
    said = person.username or person.email or f"{provider.slug}-{person.subject}"
    user = User(name=names.free(said, provider.slug), display_name=person.name, password_hash=identity.NO_PASSWORD)
    db.session.add(user)
    db.session.flush()
    actor = Actor(user.id, user.name)
    message = _m("User %(name)s was created by signing in through %(title)s.", name=user.name, title=provider.title)
    event_log.record(portal, "user.created", actor=actor, message=message, data={"user_id": user.id})
    tenant = db.session.get(Tenant, provider.tenant_id) if provider.tenant_id else None
    if tenant is not None and tenant.deleting_at is None and members.permissions_of(portal, tenant.id, provider.role):
        given = {"source": provider.source, "source_title": provider.title}
        db.session.add(Membership(user_id=user.id, tenant_id=tenant.id, role=provider.role, **given))
        data = {"user_id": user.id, "role": provider.role}
        joined = _m("%(name)s joined with the role %(role)s.", name=user.name, role=provider.role)
        event_log.record(portal, "member.added", actor=actor, tenant_id=tenant.id, message=joined, data=data)
    return user


def _link_to(portal: Portal, provider: OidcProvider, person: _Person, user_id: str) -> OidcIdentity:
    """Somebody who is signed in says: this account at the provider is mine too."""
    found = _of_subject(provider, person)
    if found is not None and found.user_id != user_id:
        raise NotAllowed(_m("This account of %(title)s belongs to somebody else here.", title=provider.title))
    if found is None and _of_user(provider.id, user_id) is not None:
        raise NotAllowed(_m("Another account of %(title)s is linked to yours already. Unlink that first.", title=provider.title))
    return found or _link(portal, provider, person, db.session.get_one(User, user_id))


def _link(portal: Portal, provider: OidcProvider, person: _Person, user: User) -> OidcIdentity:
    row = OidcIdentity(provider_id=provider.id, subject=person.subject, user_id=user.id, email=person.email)
    db.session.add(row)
    db.session.flush()
    message = _m("%(name)s can sign in through %(title)s now.", name=user.name, title=provider.title)
    data = {"identity_id": row.id, "provider": provider.slug}
    event_log.record(portal, "identity.linked", actor=Actor(user.id, user.name), message=message, level="warning", data=data)
    return row


# ---- one's own


def mine(user_id: str) -> list[Identity]:
    query = (
        select(OidcIdentity, OidcProvider.title, OidcProvider.slug)
        .join(OidcProvider, OidcProvider.id == OidcIdentity.provider_id)
        .where(OidcIdentity.user_id == user_id)
        .order_by(OidcProvider.title)
    )
    return [
        Identity(row.id, title, slug, row.email, row.created_at, row.last_login_at)
        for row, title, slug in db.session.execute(query)
    ]


def linkable(user_id: str, every: Collection[Button]) -> list[Button]:
    """Providers that an account of is not linked yet."""
    linked = {found.slug for found in mine(user_id)}
    return [button for button in every if button.slug not in linked]


def has_password(user_id: str) -> bool:
    return db.session.get_one(User, user_id).password_hash != identity.NO_PASSWORD


def check_may_link(portal: Portal, actor: Actor, password: str, address: str) -> None:
    """Ask for the password, where there is one: an open browser alone must not gain a second way in."""
    sessions.require_person(actor)
    user = db.session.get_one(User, actor.id)
    if user.password_hash != identity.NO_PASSWORD:
        with throttle.guarded(portal, "password", actor.name, address):
            identity.verify_own(user, password, "link_password")


def unlink(portal: Portal, actor: Actor, identity_id: str) -> None:
    """Sign in through it no more. The last way in stays."""
    sessions.require_person(actor)
    with transaction():
        user = db.session.get_one(User, actor.id, with_for_update=True)
        row = db.session.get(OidcIdentity, identity_id)
        if row is None or row.user_id != user.id:
            raise NotFound(_m("There is no such linked account."))
        if user.password_hash == identity.NO_PASSWORD and len(mine(user.id)) == 1:
            raise Conflict(
                _m("You have no password here, so this is your only way in. Ask an administrator for a password first.")
            )
        provider = db.session.get_one(OidcProvider, row.provider_id)
        message = _m("%(name)s cannot sign in through %(title)s any more.", name=user.name, title=provider.title)
        data = {"identity_id": row.id, "provider": provider.slug}
        event_log.record(portal, "identity.unlinked", actor=actor, message=message, level="warning", data=data)
        oidc_groups.follow(portal, provider, user, ())
        db.session.delete(row)


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
    sign_in.tell_refusal(portal, title, problem, current)
