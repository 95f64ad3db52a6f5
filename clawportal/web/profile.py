"""One's own account: password, looks, tokens. Sessions and the second factor of the same page are in `profile_sign_in`."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from clawportal.contracts.permissions import SELF, described
from clawportal.errors import Forbidden, Invalid, Unauthenticated
from clawportal.http.i18n import translate
from clawportal.http.security import actor, begin_session, current_session, place, portal, requires
from clawportal.messages import _m
from clawportal.models import User
from clawportal.services.identity import identity, otp, sessions, throttle
from clawportal.services.rights.token_limits import Limits
from clawportal.web import auth, pages
from clawportal.web.pages import fragment, page
from clawportal.web.words import gettext as _

_PATHS = {"old_password": "current", "new_password": "password", "days": "expires_days"}
"""The service's names of fields as the forms spell them."""
LIFETIMES = (30, 90, 365)


@page("/profile")
@requires(SELF)
def profile() -> Response:
    return page_of()


def page_of(status: int = 200, **more: Any) -> Response:
    user = person()
    roles = dict.fromkeys(grant.source for grant in (*actor().grants, *actor().withheld) if grant.source)
    context: dict[str, Any] = _token_part() | {
        "sessions": sessions.listing(user.id, current_session()), "otp": otp.status(user.id),
        "has_password": user.password_hash != identity.NO_PASSWORD,
    } | more  # fmt: skip
    answer = make_response(
        render_template(
            "profile/index.html",
            user={"name": user.display_name or user.name, "username": user.name, "roles": [_role(source) for source in roles]},
            min_password=identity.MIN_PASSWORD,
            **context,
        )
    )
    answer.status_code = status
    return answer


def _token_part() -> dict[str, Any]:
    """What the part with the tokens shows when nothing was sent."""
    mine = portal().permissions.enumerate(*(grant.permissions for grant in actor().grants))
    return {
        "errors": {}, "new_token": None, "tokens": identity.list_tokens(person().id), "typed": {},
        "rights": described(mine),
    }  # fmt: skip


def _role(source: str) -> str:
    said = translate(source)
    return said[:1].upper() + said[1:]


def person() -> User:
    user = pages.own_user()
    if user is None:
        raise Unauthenticated(_m("This account is gone. Sign in again."))
    return user


def told_errors(problem: Invalid) -> dict[str, str]:
    return {_PATHS.get(path, path): message for path, message in auth.told(problem.errors).items()}


@page("/profile/password", "POST")
@requires(SELF)
def password() -> AnyResponse:
    if actor().kind != "user":
        raise Forbidden(_m("A token cannot change the password. Sign in with your password instead."))
    new = request.form.get("password", "")
    errors = auth.password_errors(new, request.form.get("password_again", ""))
    if errors:
        return page_of(422, errors=errors)
    try:
        with throttle.guarded(portal(), "password", actor().name, place().address):
            old, too = request.form.get("current", ""), request.form.get("end_tokens") == "true"
            user = identity.set_password(portal(), actor(), actor().id, new, old=old, end_tokens=too)
    except Invalid as problem:
        return page_of(422, errors=told_errors(problem))
    begin_session(user)
    return pages.moved(_("Your password was changed. Other devices are signed out."), url_for("web.profile"))


@page("/profile/tokens", "POST")
@requires(SELF)
def tokens() -> Response:
    try:
        days = lifetime(request.form.get("expires_days", ""))
        made = identity.create_token(portal(), actor(), person().id, request.form.get("name", ""), days, limits=limits())
    except Invalid as problem:
        return _tokens(422, errors=told_errors(problem), typed=typed())
    return _tokens(200, new_token=made.text)


def lifetime(days: str) -> int:
    if days not in map(str, LIFETIMES):
        raise Invalid.field("days", _m("Choose how long the token is valid."))
    return int(days)


def limits() -> Limits:
    """Nothing ticked and nothing written means: not limited."""
    return Limits(
        tuple(request.form.getlist("scopes")) or None, tuple(request.form.get("addresses", "").replace(",", " ").split()) or None
    )


def typed() -> dict[str, Any]:
    """What was sent, so that a refused form comes back as it was."""
    names = ("name", "expires_days", "addresses")
    return {name: request.form.get(name, "") for name in names} | {"scopes": request.form.getlist("scopes")}


@page("/profile/tokens/<token_id>/revoke", "POST")
@requires(SELF)
def token_revoke(token_id: str) -> AnyResponse:
    identity.revoke_token(portal(), actor(), person().id, token_id)
    if not fragment():
        return pages.moved(_("The token was revoked."), url_for("web.profile"))
    answer = _tokens(200)
    pages.trigger(answer, {"toast": {"level": "success", "text": _("The token was revoked.")}})
    return answer


def _tokens(status: int, **more: Any) -> Response:
    """The part with the tokens; the whole page without scripts. A new token is in this answer and never again."""
    if not fragment():
        return page_of(status, **more)
    context = _token_part() | more
    answer = make_response(render_template("profile/_tokens.html", **context))
    answer.status_code = status
    return answer
