"""Who came back from a provider, and whose account here that is: known, linked by a confirmed address, or newly made."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select

from clawportal.sdk import _m
from clawportal.sdk.data import db
from clawportal.sdk.errors import Forbidden
from clawportal.sdk.events import record
from clawportal.sdk.fleet import Portal, Tenant
from clawportal.sdk.people import (
    NO_PASSWORD,
    Membership,
    User,
    accounts_of_address,
    end_ways_in,
    free_name,
    permissions_of_role,
)
from clawportal.sdk.permissions import Actor
from clawportal_sso import following
from clawportal_sso.documents import Proof, ProviderDown, claim
from clawportal_sso.models import OidcGroupRole, OidcIdentity, OidcProvider


class NotAllowed(Forbidden):
    """The provider vouches for somebody whom the portal does not let in."""

    title, code = _m("You cannot sign in here"), "not_allowed"


# ---- who it is


@dataclass(frozen=True)
class Person:
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


def person_of(provider: OidcProvider, proof: Proof) -> Person:
    claims = proof.claims
    email = _text(claims, provider.email_claim, 320)
    confirmed = provider.email_claim == "email" and _true(claims.get("email_verified"))
    groups = claim(claims, provider.groups_claim) if provider.groups_claim else None
    left_out = claims.get("_claim_names")
    return Person(
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
    return plain(found, longest) if isinstance(found, str) else ""


def plain(text: str, longest: int) -> str:
    return "".join(letter for letter in text if letter.isprintable())[:longest].strip()


def _true(value: Any) -> bool:
    """Some providers send it as text or as number."""
    return value is True or value == 1 or (isinstance(value, str) and value.lower() in ("true", "1"))


def _listed(value: Any) -> Collection[str]:
    found = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return [item for item in found if isinstance(item, str) and len(item) <= 255]


def groups_claim_of(provider: OidcProvider) -> str:
    """Groups are asked for only where they give something."""
    rules = select(OidcGroupRole.id).where(OidcGroupRole.provider_id == provider.id).limit(1)
    return provider.groups_claim if db.session.scalar(rules) is not None else ""


def check_enough(provider: OidcProvider, proof: Proof) -> None:
    """Where the account page could not be used, the ID token has to have what decides: who may come in, and with which rights."""
    if not proof.unread:
        return
    needed = [groups_claim_of(provider), provider.email_claim if provider.email_domains else ""]
    known = select(OidcIdentity.id).where(OidcIdentity.provider_id == provider.id, OidcIdentity.subject == proof.subject)
    if db.session.scalar(known) is None:
        needed += [provider.username_claim, provider.email_claim if provider.link_by_email else ""]
    lacking = [name for name in dict.fromkeys(needed) if name and claim(proof.claims, name) is None]
    if lacking:
        raise ProviderDown(_m("%(unread)s The ID token alone does not say %(join)s.", unread=proof.unread, join=[*lacking]))


def check_domain(provider: OidcProvider, person: Person) -> None:
    if not provider.email_domains:
        return
    if person.email.rpartition("@")[2].lower() not in provider.email_domains:
        raise NotAllowed(_m("People with your email address cannot sign in here. Ask an administrator."))
    if not person.confirmed:
        raise NotAllowed(_m("%(title)s has not confirmed your email address, so it does not count here.", title=provider.title))


def follow_groups(portal: Portal, provider: OidcProvider, user: User, person: Person) -> None:
    if person.too_many and groups_claim_of(provider):
        raise NotAllowed(
            _m("%(title)s left your groups out, since there are too many. Ask an administrator.", title=provider.title)
        )
    if person.no_groups_claim and (wanted := groups_claim_of(provider)):
        message = _m(
            "%(title)s sent no %(wanted)s for %(name)s, so none of its groups gives anything.",
            title=provider.title,
            wanted=wanted,
            name=user.name,
        )
        data = {"user_id": user.id, "provider": provider.slug}
        record(portal, "user.groups_missing", actor=Actor(user.id, user.name), level="warning", message=message, data=data)
    following.follow(portal, provider, user, person.groups)


# ---- whose account it is


def known(portal: Portal, provider: OidcProvider, person: Person) -> OidcIdentity:
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


def _of_subject(provider: OidcProvider, person: Person) -> OidcIdentity | None:
    query = select(OidcIdentity).where(OidcIdentity.provider_id == provider.id, OidcIdentity.subject == person.subject)
    return db.session.scalar(query.with_for_update())


def _by_email(portal: Portal, provider: OidcProvider, person: Person) -> User | None:
    """An account whose name is the confirmed address. Never one over the whole portal: who runs the provider must not be it."""
    if not person.confirmed:
        return None
    found = accounts_of_address(person.email)
    if len(found) != 1 or _of_user(provider.id, found[0].id) is not None or _over_the_portal(found[0]):
        return None
    return found[0]


def _end_other_ways_in(portal: Portal, user: User) -> None:
    """Whoever made this account, such as a guest with an invitation, never proved that the address is theirs. They knew its
    password, and would from now on have the rights that the owner of the address gets here."""
    db.session.execute(delete(OidcIdentity).where(OidcIdentity.user_id == user.id))
    end_ways_in(portal, user)


def _over_the_portal(user: User) -> bool:
    query = select(Membership.id).where(Membership.user_id == user.id, Membership.tenant_id.is_(None))
    return db.session.scalar(query) is not None


def _of_user(provider_id: str, user_id: str) -> OidcIdentity | None:
    return db.session.scalar(select(OidcIdentity).where(OidcIdentity.provider_id == provider_id, OidcIdentity.user_id == user_id))


def _create(portal: Portal, provider: OidcProvider, person: Person) -> User:
    """Somebody new, without a password: only the provider, or an administrator who sets one, lets them in."""
    said = person.username or person.email or f"{provider.slug}-{person.subject}"
    user = User(name=free_name(said, provider.slug), display_name=person.name, password_hash=NO_PASSWORD)
    db.session.add(user)
    db.session.flush()
    actor = Actor(user.id, user.name)
    message = _m("User %(name)s was created by signing in through %(title)s.", name=user.name, title=provider.title)
    record(portal, "user.created", actor=actor, message=message, data={"user_id": user.id})
    tenant = db.session.get(Tenant, provider.tenant_id) if provider.tenant_id else None
    if tenant is not None and tenant.deleting_at is None and permissions_of_role(portal, tenant.id, provider.role):
        given = {"source": provider.source, "source_title": provider.title}
        db.session.add(Membership(user_id=user.id, tenant_id=tenant.id, role=provider.role, **given))
        data = {"user_id": user.id, "role": provider.role}
        joined = _m("%(name)s joined with the role %(role)s.", name=user.name, role=provider.role)
        record(portal, "member.added", actor=actor, tenant_id=tenant.id, message=joined, data=data)
    return user


def link_to(portal: Portal, provider: OidcProvider, person: Person, user_id: str) -> OidcIdentity:
    """Somebody who is signed in says: this account at the provider is mine too."""
    found = _of_subject(provider, person)
    if found is not None and found.user_id != user_id:
        raise NotAllowed(_m("This account of %(title)s belongs to somebody else here.", title=provider.title))
    if found is None and _of_user(provider.id, user_id) is not None:
        raise NotAllowed(_m("Another account of %(title)s is linked to yours already. Unlink that first.", title=provider.title))
    return found or _link(portal, provider, person, db.session.get_one(User, user_id))


def _link(portal: Portal, provider: OidcProvider, person: Person, user: User) -> OidcIdentity:
    row = OidcIdentity(provider_id=provider.id, subject=person.subject, user_id=user.id, email=person.email)
    db.session.add(row)
    db.session.flush()
    message = _m("%(name)s can sign in through %(title)s now.", name=user.name, title=provider.title)
    data = {"identity_id": row.id, "provider": provider.slug}
    record(portal, "identity.linked", actor=Actor(user.id, user.name), message=message, level="warning", data=data)
    return row
