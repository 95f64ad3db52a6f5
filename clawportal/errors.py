"""What can go wrong, as exceptions that already know how they are to be told.

A `Problem` is for the person who asked: it has a status, a title, a sentence that says what to do, and, where a field
is at fault, the path of that field. `Retry` and `GiveUp` are for background work: nothing else decides what comes next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from clawportal.messages import _m, clipped


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with one field of what was sent."""

    path: str
    """Where, as dotted path into the document that was sent: `config.model.name`. Empty for the whole document."""
    message: str
    """What is wrong and what to do about it, one sentence."""
    code: str = "invalid"
    """Stable word for programs: `missing`, `unknown`, `taken`, `invalid` ..."""


MOST_ERRORS = 50
"""Of one answer; whoever sends a thousand mistakes does not read a thousand sentences."""
_LONGEST_PATH, _LONGEST_MESSAGE, _LONGEST_DETAIL = 200, 1_000, 4_000


def _shown(errors: Iterable[FieldError]) -> tuple[FieldError, ...]:
    """Never more than is read, and never what was sent in full: paths are made of the names that somebody chose."""
    found = tuple(errors)
    kept = [
        replace(item, path=clipped(item.path, _LONGEST_PATH, "…"), message=clipped(item.message, _LONGEST_MESSAGE, "…"))
        for item in found[:MOST_ERRORS]
    ]
    if (left := len(found) - MOST_ERRORS) > 0:
        kept.append(FieldError("", _m("and %(left)s more", left=f"{left:,}"), "more"))
    return tuple(kept)


class Problem(Exception):
    """Something the caller did or met, told with an HTTP status (RFC 9457)."""

    status = 500
    title: str = _m("Something went wrong")
    code = "error"

    def __init__(self, detail: str, *, errors: Iterable[FieldError] = (), headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = clipped(detail, _LONGEST_DETAIL, "…")
        self.errors = _shown(errors)
        self.headers = dict(headers or {})
        self.extra: Mapping[str, object] = {}
        """Further members of the document, as RFC 9457 allows."""


class Invalid(Problem):
    """The document cannot be accepted; `errors` says which fields and why. Nothing was stored."""

    status, title, code = 422, _m("Please check what you entered"), "invalid"

    @classmethod
    def field(cls, path: str, message: str, code: str = "invalid") -> Invalid:
        return cls(message, errors=[FieldError(path, message, code)])


class BadRequest(Problem):
    status, title, code = 400, _m("The request cannot be read"), "bad_request"


class Unauthenticated(Problem):
    status, title, code = 401, _m("Please sign in"), "unauthenticated"


class Forbidden(Problem):
    status, title, code = 403, _m("You may not do this"), "forbidden"


class PasswordChangeRequired(Forbidden):
    """Whoever made the account knows its password still, and could make tokens with it that last."""

    title, code = _m("Choose a password of your own first"), "password_change_required"

    def __init__(self) -> None:
        super().__init__(_m("This password was given to you. Sign in to the portal in a browser and choose one of your own."))


class TotpRequired(Forbidden):
    """The organisation asks for a second factor, and this person has none."""

    title, code = _m("A second factor is asked for here"), "totp_required"

    def __init__(self) -> None:
        super().__init__(_m("This organisation asks everybody for a second factor. Set up an authenticator app first."))
        remedy = _m("Sign in with your password, set up an app on your account page or with /auth/otp/generate, and try again.")
        self.extra = {"remedy": remedy}


class SettingForbidden(Forbidden):
    """A setting that this person may not set so; `errors` says which, as with what is invalid."""


class NotFound(Problem):
    """Also the answer for what exists but is not yours: the two must not be told apart."""

    status, title, code = 404, _m("There is no such thing here"), "not_found"


class Conflict(Problem):
    status, title, code = 409, _m("This does not fit the present state"), "conflict"


class OverQuota(Conflict):
    """`extra["quota"]` says what is asked, used and allowed."""

    title, code = _m("This is more than the quota allows"), "over_quota"


class NotAdmitted(Conflict):
    """What a feature raises that does not admit a change: a class of its own with its title, code and `extra`. Forms show it at
    the fields that `errors` names."""

    title, code = _m("This change is not allowed here"), "not_admitted"


class PreconditionFailed(Problem):
    """Somebody else changed the object since the caller read it."""

    status, title, code = 412, _m("Somebody else changed this meanwhile"), "stale"


class PreconditionRequired(Problem):
    status, title, code = 428, _m("Say which version you are changing"), "precondition_required"


class TooManyRequests(Problem):
    status, title, code = 429, _m("Too many attempts"), "too_many_requests"


class Unavailable(Problem):
    """A part that is needed does not answer; trying again later may help."""

    status, title, code = 503, _m("This does not answer right now"), "unavailable"


class Unsupported(Problem):
    """The adapter or the runtime cannot do this at all."""

    status, title, code = 409, _m("This kind of claw or runtime cannot do this"), "unsupported"


@dataclass
class Retry(Exception):
    """Background work cannot go on now, but may later."""

    reason: str
    """CamelCase word for programs, such as `ImagePulling`."""
    message: str = ""
    delay: timedelta | None = None
    """Wait at least this long; None leaves it to the exponential back-off."""

    def __str__(self) -> str:
        return self.message or self.reason


@dataclass
class GiveUp(Exception):
    """Background work will not succeed until somebody changes something; `remedy` says what."""

    reason: str
    message: str = ""
    remedy: str = ""
    lines: tuple[str, ...] = field(default=())
    """The last words of the claw or tool that refused, oldest first."""

    def __str__(self) -> str:
        return self.message or self.reason


class Cancelled(Exception):
    """The person who asked for an operation took it back."""
