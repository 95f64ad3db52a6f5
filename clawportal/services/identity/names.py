"""Names of accounts: which may be given, and whose a name is that somebody typed."""

from __future__ import annotations

import hashlib
import secrets
import unicodedata

from sqlalchemy import ColumnElement, or_, select

from clawportal import folding
from clawportal.db import db
from clawportal.errors import FieldError, Invalid
from clawportal.ids import looks_like_id
from clawportal.messages import _m
from clawportal.models import User
from clawportal.models.identity import TWIN

RESERVED = frozenset({"admin", "administrator", "clawportal", "moderator", "nobody", "operator", "owner", "portal", "root",
                      "security", "support", "sysadmin", "system"})  # fmt: skip
"""Nobody may look like these without being written so."""


def check(name: str) -> None:
    """Before anything is compared with it."""
    if letter := folding.invisible(name):
        raise Invalid.field(
            "name",
            _m("There is a letter in it that cannot be seen (U+%(ord)s). Type the name by hand.", ord=f"{ord(letter):04X}"),
        )
    if word := folding.mixed(name):
        raise Invalid.field(
            "name",
            _m("%(word)s mixes letters of several alphabets that look alike. Write it with those of one.", word=repr(word)),
        )
    look = folding.skeleton(name)
    if look in RESERVED and folding.fold(name) != look:
        raise Invalid.field("name", _m("This looks like %(look)s, and is not. Choose another name.", look=repr(look)))


def taken_by(name: str) -> str | None:
    """The account that has this name already, however it is written, or one that looks the same."""
    same = or_(User.folded == folding.fold(name), User.skeleton == folding.skeleton(name))
    return db.session.scalar(select(User.name).where(same).limit(1))


def person(name: str) -> User | None:
    """Whose name somebody typed: written exactly so, else the same by the rule for names. No service account."""
    found = db.session.scalars(select(User).where(is_named(name), User.service_tenant_id.is_(None)).limit(3)).all()
    return next((user for user in found if user.name == name), found[0] if found else None)


def is_named(name: str) -> ColumnElement[bool]:
    return or_(User.name == name, User.folded == folding.fold(name))


def same_address(one: str, other: str) -> bool:
    """Of email addresses: letter by letter, but for the case of ASCII. What only looks or folds alike is somebody else."""
    return _small(one) == _small(other)


def of_address(address: str) -> list[User]:
    """Open accounts of people whose name is this email address."""
    folded = folding.fold(address)
    alike = or_(User.folded == folded, User.folded.startswith(f"{folded}{TWIN}", autoescape=True))
    query = select(User).where(alike, User.service_tenant_id.is_(None), User.active)
    return [user for user in db.session.scalars(query.limit(20)) if same_address(user.name, address)]


def free(said: str, prefix: str) -> str:
    """A name for somebody whom others call so: in the letters that a name may have, with a number where it is taken by whoever,
    however spelt. `prefix` stands before what would not do alone."""
    base = _allowed(unicodedata.normalize("NFKC", said), prefix)
    for number in range(1, 1000):
        name = base if number == 1 else f"{base}-{number}"
        if taken_by(name) is None:
            return name
    return f"{base[:60]}-{secrets.token_hex(8)}"


def _allowed(said: str, prefix: str) -> str:
    base = "".join(letter if letter.isalnum() or letter in "._-@" else "-" for letter in said)[:90].strip("-.")
    base = base if len(base) >= 2 and not looks_like_id(base) else f"{prefix}-{base or 'user'}"
    try:
        check(base)
    except Invalid:  # it looks like somebody else
        return f"{prefix}-{hashlib.sha256(said.encode()).hexdigest()[:10]}"
    return base


def _small(text: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def twins() -> list[str]:
    """Accounts that were made before the rule and are the same as another by it."""
    return list(db.session.scalars(select(User.name).where(User.folded.contains(TWIN, autoescape=True)).order_by(User.name)))


def check_title(text: str, path: str) -> list[FieldError]:
    """Titles and full names may have any letter that can be seen."""
    if letter := folding.invisible(text):
        return [
            FieldError(
                path, _m("There is a letter in it that cannot be seen (U+%(ord)s). Type it by hand.", ord=f"{ord(letter):04X}")
            )
        ]
    return []
