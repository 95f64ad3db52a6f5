"""Signing in through an OpenID provider: the way there, the way back, and linking an account of one's own."""

from __future__ import annotations

from collections.abc import Mapping

from flask import flash, make_response, redirect, render_template, request, session, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from clawportal.sdk.errors import Invalid, NotFound, Problem, TooManyRequests, Unavailable
from clawportal.sdk.pages import (
    account_page,
    actor,
    ask_second_step,
    begin_session,
    by_field,
    current_actor,
    external,
    moved,
    page,
    place,
    portal,
    public,
    requires,
    safe_next,
    told_as,
    translate,
)
from clawportal.sdk.pages import gettext as _
from clawportal.sdk.permissions import SELF, Actor
from clawportal_sso import flows, linked
from clawportal_sso.addresses import callback_of
from clawportal_sso.flows import Begun
from clawportal_sso.providers import buttons, by_slug

_FLOWS = "oidc"
_AT_ONCE = 2
"""Sign-ins that one browser may have begun, as with two tabs; a cookie holds no more."""


@page("/login/oidc/<name>")
@public("nobody is signed in before it")
def oidc_begin(name: str) -> AnyResponse:
    wanted = safe_next(request.args.get("next"), "")[:300]
    if current_actor() is not None:
        return redirect(wanted or url_for("web.home"))
    try:
        begun = flows.begin(portal(), name, callback_of(name), wanted=wanted)
    except NotFound:
        raise
    except Problem as problem:
        return _refused(name, problem, "")
    _keep(begun)
    return redirect(begun.url)


def _keep(begun: Begun) -> None:
    """In the browser's own session, so that nobody can finish a sign-in that somebody else began."""
    flows = session.get(_FLOWS)
    kept = list(flows.items())[-(_AT_ONCE - 1) :] if isinstance(flows, dict) else []
    session[_FLOWS] = {**dict(kept), begun.state: begun.sealed}


def _taken(state: str) -> str:
    """What was kept; it can be taken once."""
    flows = session.pop(_FLOWS, None)
    flows = dict(flows) if isinstance(flows, dict) else {}
    found = str(flows.pop(state, ""))
    if flows:
        session[_FLOWS] = flows
    return found


@page("/login/oidc/<name>/callback")
@public("nobody is signed in before it; what it needs is the proof of the provider, and that this browser began")
def oidc_callback(name: str) -> AnyResponse:
    sealed = _taken(request.args.get("state", ""))
    given = {key: request.args.get(key, "")[:4000] for key in ("state", "code", "error", "iss") if key in request.args}
    try:
        arrived = flows.finish(portal(), name, sealed, given, callback_of(name), place().address, current_actor())
    except NotFound:
        raise
    except Problem as problem:
        return _refused(name, problem, sealed)
    if arrived.linked:
        return moved(_("The account is linked. You can sign in with it from now on."), url_for("web.profile"))
    wanted = safe_next(arrived.wanted, "")
    if arrived.code_needed:
        return ask_second_step(arrived.user, wanted, arrived.source)
    begin_session(arrived.user, arrived.source)
    return redirect(wanted or url_for("web.home"), 303)


def _refused(name: str, problem: Problem, sealed: str) -> AnyResponse:
    """Back to where it began, with the reason in plain words. Addresses inside the network are for the audit alone."""
    session.pop("_flashes", None)  # only the last reason counts, and a cookie holds not many
    flash(_words(name, problem), "error")
    wanted = flows.wanted_of(portal(), sealed)
    if current_actor() is not None:
        return redirect(url_for("web.profile"), 303)
    return redirect(url_for("web.login", next=safe_next(wanted, "") or None), 303)


def _words(name: str, problem: Problem) -> str:
    if isinstance(problem, TooManyRequests):
        return _("Too many wrong sign-ins. Wait a minute, then try again.")
    if isinstance(problem, Unavailable):
        title = by_slug(name).title
        return _("%(title)s does not answer right now. Wait a minute and try again, or sign in another way.", title=title)
    return translate(problem.detail)


@page("/login/oidc/<name>/sign-out")
@public("whoever comes here has just signed out; it only leads on to the provider's own page")
def oidc_sign_out(name: str) -> AnyResponse:
    url = flows.sign_out_url(portal(), name, external(url_for("web.login")))
    return redirect(url or url_for("web.login"))


# ---- linking


def account_section(who: Actor, errors: Mapping[str, str]) -> Markup | None:
    """Accounts elsewhere, on the page of one's own account; nothing where there are none and none can be linked."""
    mine, linkable = linked.mine(who.id), linked.linkable(who.id, buttons())
    if not mine and not linkable:
        return None
    context = {"identities": mine, "linkable": linkable, "has_password": linked.has_password(who.id), "errors": errors}
    return Markup(render_template("single_sign_on/_accounts.html", **context))  # noqa: S704  # a template of ours


@page("/profile/oidc", "POST")
@requires(SELF)
@told_as("identity.linked")
def oidc_link() -> AnyResponse:
    """A page that leads on: browsers hold a form's redirects to `form-action`, and providers redirect wherever they like."""
    name = request.form.get("provider", "")
    try:
        linked.check_may_link(portal(), actor(), request.form.get("link_password", ""), place().address)
        begun = flows.begin(portal(), name, callback_of(name), user_id=actor().id)
    except Invalid as problem:
        return account_page(422, errors=by_field(problem.errors))
    except Unavailable as problem:
        return _refused(name, problem, "")
    _keep(begun)
    return make_response(render_template("single_sign_on/going.html", url=begun.url, title=by_slug(name).title))


@page("/profile/oidc/<identity_id>/unlink", "POST")
@requires(SELF)
@told_as("identity.unlinked")
def oidc_unlink(identity_id: str) -> AnyResponse:
    linked.unlink(portal(), actor(), identity_id)
    return moved(_("The account is linked no more."), url_for("web.profile"))
