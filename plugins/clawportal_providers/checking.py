"""What somebody asks for about a stored key, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import select

from clawportal.sdk import _m
from clawportal.sdk.addresses import carries_credentials, endpoint
from clawportal.sdk.data import db
from clawportal.sdk.errors import FieldError, Invalid
from clawportal.sdk.fleet import Portal
from clawportal.sdk.pasted import address, flaw_in_header
from clawportal.sdk.pasted import key as pasted_key
from clawportal.sdk.providers import ModelProvider
from clawportal_providers.models import Credential

MOST = 200
"""Keys of one organisation."""
LONGEST = {"title": 200, "base_url": 500, "key": 10_000}
"""Letters of each field."""
_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")


@dataclass(frozen=True)
class Wanted:
    """What somebody asks for. `key` is None where the stored one stays."""

    name: str
    provider: str
    base_url: str = ""
    title: str = ""
    project: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class Change:
    """What somebody asks for about a stored key. None stays as it is by then."""

    provider: str | None = None
    base_url: str | None = None
    title: str | None = None
    key: str | None = None

    def of(self, row: Credential) -> Wanted:
        given = {name: value for name in ("provider", "base_url", "title") if (value := getattr(self, name)) is not None}
        stored = {"provider": row.provider, "base_url": row.base_url, "title": row.title}
        return Wanted(row.name, **(stored | given), key=self.key)


def name_flaws(tenant_id: str, name: str) -> list[FieldError]:
    """Of a new key in an organisation."""
    if not _NAME.fullmatch(name):
        rule = _m("A name has 1 to 63 small letters, digits or dashes, and begins and ends with a letter or digit.")
        return [FieldError("name", rule)]
    rows = db.session.scalars(select(Credential.name).where(Credential.tenant_id == tenant_id)).all()
    if name in rows:
        return [FieldError("name", _m("There is already a key named %(name)s. Choose another name.", name=name), "taken")]
    if len(rows) >= MOST:
        return [FieldError("name", _m("An organisation may keep %(most)s keys.", most=MOST))]
    return []


def checked(portal: Portal, wanted: Wanted, errors: Sequence[FieldError] = ()) -> tuple[str | None, str]:
    """Key and address in the form in which they are kept. Invalid with all that is wrong, `errors` first."""
    errors = [*errors, *_too_long(title=wanted.title.strip())]
    provider, base_url = portal.registry.providers.get(wanted.provider), ""
    if provider is None or provider.served or provider.key == "none":
        known = ", ".join(one.id for one in portal.registry.providers.values() if one.key != "none")
        errors.append(FieldError("provider", _m("Choose a provider that has keys. Known: %(known)s.", known=known), "unknown"))
    try:
        base_url = tidy_address(wanted.base_url)
    except ValueError as error:
        errors.append(FieldError("base_url", str(error)))
    if provider is not None and provider.needs_address and not wanted.base_url.strip():
        errors.append(FieldError("base_url", _m("is needed for %(title)s", title=provider.title), "missing"))
    key = _tidy_key(wanted.key or "")
    errors += [*_too_long(base_url=base_url), *key_flaws(key)]
    if errors:
        raise Invalid(_m("The key cannot be stored like this."), errors=tuple(errors))
    return key or None, base_url


def checked_for_test(portal: Portal, provider: str, base_url: str, key: str) -> tuple[str | None, str]:
    """Key and address of what is not stored."""
    return checked(portal, Wanted("", provider, base_url, key=key or None))


def needed_key(text: str) -> str:
    """A key in the form in which it is kept; Invalid with what is wrong, also where there is none."""
    key = _tidy_key(text)
    errors = key_flaws(key) if key else [FieldError("key", _m("Paste the API key."), "missing")]
    if errors:
        raise Invalid(_m("The key cannot be stored like this."), errors=tuple(errors))
    return key


def key_flaws(key: str) -> list[FieldError]:
    """What is wrong with a key, once nothing stands around it any more."""
    flaw = flaw_in_header(key)
    return [*_too_long(key=key), *([FieldError("key", flaw)] if flaw else [])]


def _too_long(**given: str) -> list[FieldError]:
    return [
        FieldError(name, _m("may have %(most)s letters at most.", most=f"{LONGEST[name]:,}"), "string_too_long")
        for name, text in given.items()
        if len(text) > LONGEST[name]
    ]


def _tidy_key(key: str) -> str:
    return pasted_key(key, _m("the API key")).text


def tidy_address(text: str) -> str:
    """ValueError with what is wrong."""
    found = address(text).text
    if found and (urlsplit(found).scheme not in ("http", "https") or not urlsplit(found).hostname):
        raise ValueError(_m("must start with http:// or https:// and name a host"))
    if carries_credentials(found):
        raise ValueError(
            _m("must not have a user or a password inside; enter the key in its own field, where it is kept encrypted")
        )
    return found.rstrip("/")


def address_flaw(provider: ModelProvider, base_url: str) -> str:
    """What is wrong with a whole address; empty where nothing is."""
    if not base_url:
        return _m("is needed for %(title)s", title=provider.title)
    try:
        tidy_address(base_url)
    except ValueError as error:
        return str(error)
    return ""


def goes_to(portal: Portal, provider: str, base_url: str) -> str:
    """Where a key for this provider and address goes as things stand."""
    return f"{provider} {endpoint(portal.registry.providers.base_url(provider, base_url))}"
