"""A sign-in provider as somebody wants it, and all that is wrong with that at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from clawportal.sdk import _m, joined, pasted
from clawportal.sdk.errors import FieldError, Invalid, NotFound
from clawportal.sdk.fleet import Portal
from clawportal.sdk.people import check_givable, tenant_for
from clawportal.sdk.permissions import TENANT_READ, Actor, Scope
from clawportal_sso.documents import check_address

_SLUG = re.compile(r"^[a-z][a-z0-9-]{1,39}$")
_SCOPE = re.compile(r"^[\x21\x23-\x5b\x5d-\x7e]+$")
_DOMAIN = re.compile(r"^(?=.{3,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$")


@dataclass(frozen=True)
class Wanted:
    """A provider as somebody wants it. `secret`: None leaves what is stored, empty takes it away."""

    slug: str = ""
    title: str = ""
    issuer: str = ""
    client_id: str = ""
    secret: str | None = None
    scopes: str = "openid profile email"
    username_claim: str = "preferred_username"
    email_claim: str = "email"
    name_claim: str = "name"
    groups_claim: str = "groups"
    email_domains: tuple[str, ...] = ()
    create_users: bool = False
    link_by_email: bool = False
    second_factor: bool = False
    tenant_id: str | None = None
    role: str = "viewer"
    enabled: bool = True


def checked(portal: Portal, actor: Actor, wanted: Wanted) -> Wanted:
    """In its final form; all that is wrong at once."""
    domains = (name.strip().lower().removeprefix("@") for name in wanted.email_domains)
    names = ("username_claim", "email_claim", "name_claim", "groups_claim", "role")
    tidy = Wanted(**asdict(wanted) | {
        "title": wanted.title.strip(), "issuer": wanted.issuer.strip(), "client_id": wanted.client_id.strip(),
        "scopes": " ".join(dict.fromkeys(wanted.scopes.split())), "tenant_id": wanted.tenant_id or None,
        "secret": None if wanted.secret is None else pasted.key(wanted.secret, "").text,
        "email_domains": tuple(dict.fromkeys(filter(None, domains))), **{name: getattr(wanted, name).strip() for name in names},
    })  # fmt: skip
    errors = [*_errors(tidy), *_errors_of_place(portal, actor, tidy)]
    if errors:
        raise Invalid(joined((error.message for error in errors[:3]), "; "), errors=errors)
    return tidy


def _errors(wanted: Wanted) -> Iterator[FieldError]:
    if not _SLUG.match(wanted.slug):
        yield FieldError("slug", _m("A short name has 2 to 40 small letters, digits or dashes, and begins with a letter."))
    if not 1 <= len(wanted.title) <= 100:
        yield FieldError("title", _m("Give it a title of 1 to 100 characters; it stands on the button."), "missing")
    try:
        check_address(wanted.issuer, "issuer")
    except Invalid as problem:
        yield from problem.errors
    if len(wanted.issuer) > 500 or "?" in wanted.issuer or "#" in wanted.issuer:
        yield FieldError("issuer", _m("An issuer has 500 characters at most, and no ? or # in it."))
    if not 1 <= len(wanted.client_id) <= 200 or not wanted.client_id.isprintable():
        yield FieldError("client_id", _m("Enter the client id that the provider gave to the portal."), "missing")
    if wanted.secret and len(wanted.secret) > 1000:
        yield FieldError("secret", _m("A client secret has 1,000 plain characters at most."))
    elif flaw := pasted.flaw_in_header(wanted.secret or ""):
        yield FieldError("secret", flaw)
    scopes = wanted.scopes.split()
    if "openid" not in scopes or len(wanted.scopes) > 500 or not all(map(_SCOPE.match, scopes)):
        yield FieldError("scopes", _m("Scopes are words with spaces between, and openid is one of them."))
    for name in ("username_claim", "email_claim", "name_claim", "groups_claim"):
        text = getattr(wanted, name)
        if len(text) > 100 or not text.isprintable() or " " in text:
            yield FieldError(name, _m("A claim's name has 100 characters at most, without spaces."))
    if len(wanted.email_domains) > 100:
        yield FieldError("email_domains", _m("Name 100 domains at most."))
    for name in wanted.email_domains:
        if not _DOMAIN.match(name):
            yield FieldError("email_domains", _m("%(name)s is no domain such as example.com.", name=repr(name[:100])))
            return


def _errors_of_place(portal: Portal, actor: Actor, wanted: Wanted) -> Iterator[FieldError]:
    """Where new people become members, and as what."""
    if wanted.tenant_id is None:
        return
    try:
        tenant_for(actor, wanted.tenant_id, TENANT_READ)
    except NotFound:
        yield FieldError("tenant", _m("There is no such organisation."), "unknown")
        return
    try:
        check_givable(portal, actor, wanted.tenant_id, wanted.role, Scope(wanted.tenant_id))
    except Invalid as problem:
        yield from problem.errors
