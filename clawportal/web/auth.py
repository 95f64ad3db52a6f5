"""Signing in and out, the first-run page, language and theme."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask import Response, g, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from clawportal import paths
from clawportal.contracts.core_permissions import PORTAL_ADMIN
from clawportal.contracts.extensions import SETUP_CHOICES, SetupChoice
from clawportal.contracts.permissions import SELF
from clawportal.db import transaction
from clawportal.errors import FieldError, Forbidden, Invalid, Problem, TooManyRequests, Unauthenticated
from clawportal.http import i18n
from clawportal.http.i18n import translate
from clawportal.http.security import (
    actor,
    begin_session,
    browser_session,
    current_actor,
    device_cookie,
    end_session,
    place,
    portal,
    public,
    requires,
    safe_next,
)
from clawportal.messages import _m, joined
from clawportal.models import User
from clawportal.services.identity import identity, otp, sessions, sign_in
from clawportal.services.system import portal_settings
from clawportal.services.tenancy import tenancy
from clawportal.web import pages, second_step
from clawportal.web.context import THEME_COOKIE, THEMES
from clawportal.web.pages import page
from clawportal.web.words import gettext as _

_YEAR = 365 * 24 * 3600


# ---- in and out


@page("/login", "GET", "POST")
@public("nobody is signed in before it")
def login() -> AnyResponse:
    wanted = safe_next(request.values.get("next"), "")
    if request.method == "GET":
        return redirect(wanted or url_for("web.home")) if current_actor() else _login_page(wanted)
    name = request.form.get("username", "").strip()
    try:
        user = sign_in.first_step(portal(), name, request.form.get("password", ""), place().address, device_cookie())
    except (Unauthenticated, TooManyRequests) as problem:
        answer = _login_page(wanted, name, _told(problem), typed=True)
        answer.status_code = problem.status
        answer.headers.update(problem.headers)
        return answer
    if otp.enabled(user.id):
        return second_step.ask(user, wanted)
    begin_session(user)
    return redirect(wanted or url_for("web.home"), 303)


def _told(problem: Problem) -> str:
    if isinstance(problem, TooManyRequests):
        return _("Too many wrong sign-ins. Wait a minute, then try again.")
    return translate(problem.detail)


def _login_page(wanted: str, name: str = "", error: str = "", *, typed: bool = False) -> Response:
    """`typed`: a password was, so its form is shown again although it may be hidden."""
    ways = sign_in.other_ways(portal())
    form = typed or request.args.get("password") == "1" or sign_in.passwords_for_all(portal())
    out = next((way for way in ways if way.sign_out_endpoint and way.name == request.args.get("out")), None)
    return make_response(
        render_template(
            "auth/login.html", username=name, error=error, next_url=wanted, first_run=not pages.setup_done(), ways=ways,
            lost_password=paths.command(portal().settings.data_dir, "user", "set-password", "admin"),
            password_form=form, out=out, ended=request.args.get("ended") == "1",
        )
    )  # fmt: skip


@page("/logout", "POST")
@requires(SELF)
def logout() -> AnyResponse:
    return redirect(url_for("web.login", out=_signed_out()), 303)


def _signed_out() -> str | None:
    """End the session; returns by which way one may be signed in elsewhere still, if that can be ended there."""
    found = browser_session()
    source = sessions.source_of(found) if found else ""
    end_session()
    way = sign_in.left_open(portal(), source)
    return way.name if way else None


# ---- first run


@dataclass
class _Setup:
    """What the first-run page asks."""

    organization: str = ""
    password: str = ""
    again: str = ""
    ticked: frozenset[str] = frozenset()
    """Names of the choices of features that are switched on."""
    errors: dict[str, str] = field(default_factory=dict)


@page("/setup", "GET", "POST")
@requires(PORTAL_ADMIN)
def setup() -> AnyResponse:
    if pages.setup_done():
        return redirect(url_for("web.home"))
    user = pages.own_user()
    if user is None or actor().kind != "user":
        raise Forbidden(_m("Sign in with your password in a browser to set up the portal."))
    if request.method == "GET":
        return _setup_page(_Setup(ticked=frozenset(one.name for one in _choices() if one.ticked)), user)
    wanted = _setup_form(user)
    if wanted.errors:
        answer = _setup_page(wanted, user)
        answer.status_code = 422
        return answer
    begin_session(_set_up(wanted, user.id))
    return pages.moved(_("The portal is yours. Create your first claw."), url_for("web.home"))


def _choices() -> list[SetupChoice]:
    """What features offer to switch on."""
    return [target(portal()) for target in portal().registry.targets(SETUP_CHOICES)]


def _setup_page(wanted: _Setup, user: User) -> Response:
    return make_response(
        render_template(
            "auth/setup.html",
            values={"organization": wanted.organization, "ticked": wanted.ticked},
            errors=wanted.errors,
            choices=_choices(),
            password_needed=user.must_change_password,
            min_password=identity.MIN_PASSWORD,
            username=user.name,
        )
    )


def _setup_form(user: User) -> _Setup:
    form = request.form
    wanted = _Setup(
        form.get("organization", "").strip(),
        form.get("password", ""),
        form.get("password_again", ""),
        frozenset(one.name for one in _choices() if form.get(one.name) == "true"),
    )
    if not 1 <= len(wanted.organization) <= 80:
        wanted.errors["organization"] = _("Give your organisation a name of 1 to 80 letters.")
    if user.must_change_password or wanted.password:
        wanted.errors.update(password_errors(wanted.password, wanted.again) or _given(user, wanted.password))
    return wanted


def _given(user: User, password: str) -> dict[str, str]:
    try:
        identity.check_not_given(user, password, "password")
    except Invalid as problem:
        return told(problem.errors)
    return {}


def password_errors(password: str, again: str) -> dict[str, str]:
    """What is wrong with a new password, for the forms that ask for it twice."""
    try:
        identity.check_password(password, "password")
    except Invalid as problem:
        return told(problem.errors)
    return {} if password == again else {"password_again": _("The two are not the same. Type the new password again.")}


def told(errors: tuple[FieldError, ...] | list[FieldError]) -> dict[str, str]:
    """The first sentence for each field."""
    found: dict[str, str] = {}
    for error in errors:
        found.setdefault(error.path, error.message)
    g.refused_because = joined(found.values(), "; ")  # a form that comes back with its errors is a refusal, too
    return found


def _set_up(wanted: _Setup, user_id: str) -> User:
    with transaction():
        tenancy.rename_default(wanted.organization)
        if wanted.password:
            identity.set_password(portal(), actor(), user_id, wanted.password)
        for choice in _choices():
            choice.apply(portal(), actor(), choice.name in wanted.ticked)
        portal_settings.write(portal_settings.SETUP_DONE, True)
    user = pages.own_user()
    if user is None:
        raise Unauthenticated(_m("This account is gone. Sign in again."))
    return user


# ---- language and theme


@page("/language", "POST")
@public("people choose their language before they sign in")
def language() -> AnyResponse:
    wanted = request.form.get("language", "")
    if wanted not in i18n.LANGUAGES:
        raise Invalid.field("language", _m("must be one of %(join)s", join=[*i18n.LANGUAGES]))
    answer = redirect(pages.back(url_for("web.home")), 303)
    _remember(answer, i18n.COOKIE, wanted)
    _keep(language=wanted)
    return answer


@page("/theme", "POST")
@public("people choose light or dark before they sign in")
def theme() -> AnyResponse:
    wanted = request.form.get("theme", "")
    if wanted not in THEMES:
        raise Invalid.field("theme", _m("must be one of %(join)s", join=[*THEMES]))
    answer: AnyResponse = make_response("", 204) if pages.fragment() else redirect(pages.back(url_for("web.home")), 303)
    _remember(answer, THEME_COOKIE, wanted)
    _keep(theme=wanted)
    return answer


def _keep(*, language: str | None = None, theme: str | None = None) -> None:
    """With the account, where there is one, so that it holds in every browser."""
    found = current_actor()
    if found is not None:
        identity.set_preferences(found.id, language=language, theme=theme)


def _remember(answer: AnyResponse, cookie: str, value: str) -> None:
    answer.set_cookie(
        cookie,
        value,
        max_age=_YEAR,
        httponly=True,
        samesite="Lax",
        secure=portal().settings.secure_cookies,
        path=request.script_root or "/",
    )
