"""OpenID providers, as administrators of the portal set them up."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from sqlalchemy import func, select, update

from clawportal.sdk import _m, addresses, pasted
from clawportal.sdk.data import db, now, transaction
from clawportal.sdk.errors import Invalid, NotFound
from clawportal.sdk.events import record
from clawportal.sdk.features import DoctorResult, SignInWay
from clawportal.sdk.fleet import Portal
from clawportal.sdk.people import Membership, UserSession
from clawportal.sdk.permissions import Actor
from clawportal.sdk.secrets import KeyringError, asked_again
from clawportal_sso import examination, following
from clawportal_sso.calls import ProviderCalls
from clawportal_sso.documents import ProviderDown, Setup
from clawportal_sso.models import OidcGroupRole, OidcIdentity, OidcProvider
from clawportal_sso.rights import require
from clawportal_sso.wanted import Wanted, checked


@dataclass(frozen=True)
class Known:
    """A provider as it is shown; never its secret."""

    id: str
    slug: str
    title: str
    issuer: str
    client_id: str
    has_secret: bool
    scopes: str
    username_claim: str
    email_claim: str
    name_claim: str
    groups_claim: str
    email_domains: tuple[str, ...]
    create_users: bool
    link_by_email: bool
    second_factor: bool
    tenant_id: str | None
    role: str
    enabled: bool
    people: int
    """How many accounts are linked to it."""


@dataclass(frozen=True)
class Button:
    """What the sign-in page shows of a provider."""

    slug: str
    title: str


# ---- reading


def listing(actor: Actor) -> list[Known]:
    require(actor)
    people = select(OidcIdentity.provider_id, func.count().label("people")).group_by(OidcIdentity.provider_id).subquery()
    query = select(OidcProvider, func.coalesce(people.c.people, 0)).outerjoin(people, people.c.provider_id == OidcProvider.id)
    return [_known(row, count) for row, count in db.session.execute(query.order_by(OidcProvider.title, OidcProvider.id))]


def get(actor: Actor, provider_id: str) -> Known:
    require(actor)
    row = row_of(provider_id)
    query = select(func.count()).select_from(OidcIdentity).where(OidcIdentity.provider_id == row.id)
    return _known(row, db.session.scalar(query) or 0)


def by_slug(slug: str) -> OidcProvider:
    row = db.session.scalar(select(OidcProvider).where(OidcProvider.slug == slug))
    if row is None:
        raise NotFound(_m("There is no sign-in provider named %(slug)s.", slug=repr(slug)))
    return row


def buttons() -> list[Button]:
    """Providers that anybody may try, for the sign-in page."""
    query = select(OidcProvider.slug, OidcProvider.title).where(OidcProvider.enabled).order_by(OidcProvider.title)
    return [Button(slug, title) for slug, title in db.session.execute(query)]


def sign_in_ways(portal: Portal) -> list[SignInWay]:
    return [way_of(button.slug, button.title) for button in buttons()]


def way_of(slug: str, title: str) -> SignInWay:
    return SignInWay(slug, title, "web.oidc_begin", "web.oidc_sign_out")


def role_uses(tenant_id: str, role: str) -> int:
    """How often groups, and providers for new people, give a role that an organisation made."""
    models = (OidcGroupRole, OidcProvider)
    queries = (select(func.count()).select_from(one).where(one.tenant_id == tenant_id, one.role == role) for one in models)
    return sum(db.session.scalar(query) or 0 for query in queries)


def row_of(provider_id: str, *, lock: bool = False) -> OidcProvider:
    row = db.session.get(OidcProvider, provider_id, with_for_update=True if lock else None, populate_existing=lock)
    if row is None:
        raise NotFound(_m("There is no such sign-in provider."))
    return row


def _known(row: OidcProvider, people: int) -> Known:
    plain = {item.name: getattr(row, item.name) for item in fields(Known) if item.name not in ("has_secret", "people")}
    return Known(**plain | {"email_domains": tuple(row.email_domains)}, has_secret=row.sealed is not None, people=people)


def setup_of(portal: Portal, row: OidcProvider) -> Setup:
    return Setup(row.issuer, row.client_id, _secret_of(portal, row), row.scopes)


def _secret_of(portal: Portal, row: OidcProvider) -> str:
    if row.sealed is None:
        return ""
    try:
        return portal.keyring.open(row.sealed, _place(row.id))
    except KeyringError as error:  # its key was lost, or retired while this plugin was left out
        message = _m("The client secret of %(title)s does not open any more. Enter it again.", title=row.title)
        raise ProviderDown(message) from error


def _place(provider_id: str) -> str:
    return f"oidc:{provider_id}/client-secret"


# ---- changing


def create(portal: Portal, actor: Actor, wanted: Wanted) -> Known:
    require(actor)
    with transaction():
        wanted = checked(portal, actor, wanted)
        if db.session.scalar(select(OidcProvider.id).where(OidcProvider.slug == wanted.slug)):
            raise Invalid.field(
                "slug", _m("There is already a sign-in provider named %(slug)s.", slug=repr(wanted.slug)), "taken"
            )
        row = OidcProvider(slug=wanted.slug)
        _take(row, wanted)
        db.session.add(row)
        db.session.flush()
        _seal(portal, row, wanted.secret)
        message = _m("The sign-in provider %(title)s was set up.", title=row.title)
        record(portal, "provider.created", actor=actor, message=message, level="warning", data={"provider_id": row.id})
        return get(actor, row.id)


def change(portal: Portal, actor: Actor, provider_id: str, wanted: Wanted) -> Known:
    """All but the slug. Switching it off ends the sessions that it began."""
    require(actor)
    with transaction():
        row = row_of(provider_id, lock=True)
        wanted = checked(portal, actor, replace(wanted, slug=row.slug))
        if wanted.issuer != row.issuer and _has_people(row.id):
            raise Invalid.field(
                "issuer", _m("People are linked to this issuer. Set up a second provider for another one."), "used"
            )
        _check_secret_stays(row, wanted)
        if row.enabled and not wanted.enabled:
            _end_sessions(row)
        _take(row, wanted)
        _seal(portal, row, wanted.secret)
        _name_source(row)
        row.updated_at = now()
        message = _m("The sign-in provider %(title)s was changed.", title=row.title)
        record(portal, "provider.changed", actor=actor, message=message, level="warning", data={"provider_id": row.id})
        db.session.flush()
        known = get(actor, row.id)
    portal.part(ProviderCalls).forget(known.issuer)
    return known


def _check_secret_stays(row: OidcProvider, wanted: Wanted) -> None:
    """The stored secret goes to the issuer that it was entered for, and to nobody who only looks like it."""
    was, there = addresses.endpoint(row.issuer), addresses.endpoint(wanted.issuer.strip())
    if row.sealed is not None and wanted.secret is None and was != there:
        error = asked_again("secret", was, there)
        raise Invalid(f"{error.path}: {error.message}", errors=[error])


def _has_people(provider_id: str) -> bool:
    return db.session.scalar(select(OidcIdentity.id).where(OidcIdentity.provider_id == provider_id).limit(1)) is not None


def _name_source(row: OidcProvider) -> None:
    """What came from it says who it is now, and its sessions whether it asks for a second factor."""
    db.session.execute(update(Membership).where(Membership.source == row.source).values(source_title=row.title))
    named = {"source_title": row.title, "vouched": row.second_factor}
    db.session.execute(update(UserSession).where(UserSession.source == row.source).values(**named))


def _end_sessions(provider: OidcProvider) -> None:
    query = update(UserSession).where(UserSession.source == provider.source, UserSession.ended_at.is_(None))
    db.session.execute(query.values(ended_at=now()))


def remove(portal: Portal, actor: Actor, provider_id: str) -> None:
    """With what its groups gave and the sessions that it began. Accounts stay; those without a password cannot sign in."""
    require(actor)
    with transaction():
        row = row_of(provider_id, lock=True)
        _end_sessions(row)
        following.take_all_back(row)
        message = _m("The sign-in provider %(title)s was removed.", title=row.title)
        record(portal, "provider.removed", actor=actor, message=message, level="warning", data={"provider_id": row.id})
        db.session.delete(row)


def _take(row: OidcProvider, wanted: Wanted) -> None:
    for item in fields(Wanted):
        if item.name not in ("slug", "secret"):
            setattr(row, item.name, getattr(wanted, item.name))
    row.email_domains = list(wanted.email_domains)


def _seal(portal: Portal, row: OidcProvider, secret: str | None) -> None:
    if secret is not None:
        row.sealed = portal.keyring.seal(secret, _place(row.id)) if secret else None


# ---- looking, and new keys


def examine(
    portal: Portal, actor: Actor, wanted: Wanted, redirect_uri: str, provider_id: str | None = None
) -> list[DoctorResult]:
    """What is right and what is missing, before anything is saved. `provider_id`: whose stored secret is used for None."""
    require(actor)
    secret = wanted.secret
    if secret is None and provider_id is not None:
        row = row_of(provider_id)
        _check_secret_stays(row, wanted)
        try:
            secret = setup_of(portal, row).secret
        except ProviderDown as problem:
            return [DoctorResult(_m("Client"), False, problem.detail)]
    claims = [wanted.username_claim, wanted.email_claim, *([wanted.groups_claim] if _groups_count(wanted, provider_id) else [])]
    db.session.rollback()  # nothing stays open while the network is asked
    setup = Setup(wanted.issuer.strip(), wanted.client_id.strip(), pasted.key(secret or "", "").text, wanted.scopes)
    return examination.examine(portal.part(ProviderCalls), setup, redirect_uri, claims)


def _groups_count(wanted: Wanted, provider_id: str | None) -> bool:
    """Whether somebody would miss the groups: they were named, or roles come from them. Many providers send none."""
    if wanted.groups_claim != Wanted.groups_claim:
        return True
    query = select(OidcGroupRole.id).where(OidcGroupRole.provider_id == provider_id)
    return provider_id is not None and db.session.scalar(query.limit(1)) is not None


def reseal(portal: Portal) -> int:
    """Move every client secret to the newest key; returns how many were moved. What does not open stays as it is."""
    with transaction():
        rows = db.session.scalars(select(OidcProvider).where(OidcProvider.sealed.is_not(None))).all()
        return sum(_moved(portal, row) for row in rows if not portal.keyring.is_current(row.sealed or b""))


def _moved(portal: Portal, row: OidcProvider) -> bool:
    try:
        row.sealed = portal.keyring.seal(_secret_of(portal, row), _place(row.id))
    except ProviderDown:
        return False
    return True
