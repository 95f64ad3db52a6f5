"""The bell on top of every page, the list behind it, and what one wants to be told of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from clawportal.sdk.data import Which, whole
from clawportal.sdk.errors import Invalid, Problem
from clawportal.sdk.pages import actor, background, by_field, changed, fragment, moved, page, paged, paging, portal, requires
from clawportal.sdk.pages import gettext as _
from clawportal.sdk.permissions import PORTAL_ADMIN, SELF, Actor
from clawportal_notifications import choices, inbox, log, ways
from clawportal_notifications.models import EMAIL, PORTAL, WAYS, WEBHOOK
from clawportal_notifications.settings import NotificationSettings


def bell_link(who: Actor) -> Markup:
    return Markup(render_template("notifications/_bell.html", unread=inbox.unread(who)))  # noqa: S704 - a template escapes


def account_section(_who: Actor, errors: Any) -> Markup:
    return Markup(render_template("notifications/_account.html"))  # noqa: S704 - a template escapes


def mail_card(_who: Actor) -> Markup:
    return Markup(render_template("notifications/_mail.html", mail=portal().section(NotificationSettings)))  # noqa: S704 - as above


@page("/notifications/bell")
@background
@requires(SELF)
def notifications_bell() -> str:
    return str(bell_link(actor()))


@page("/notifications")
@requires(SELF)
def notifications() -> str:
    only, which = request.args.get("unread") == "1", paging()
    found = whole(which, lambda asked: inbox.page(actor(), unread=only, which=asked))
    known, muted = choices.interests(portal()), choices.chosen(actor().id).muted
    return render_template(
        "notifications/_list.html" if fragment() else "notifications/index.html",
        lines=found.items, page=paged(found, which), unread=only, titles={name: one.title for name, one in known.items()},
        muted={instance_id for _user, instance_id in muted}, newest=max((line.at for line in found.items), default=None),
    )  # fmt: skip


@page("/notifications/<notification_id>/open")
@requires(SELF)
def notification_open(notification_id: str) -> Response:
    """Read, and on to what it is about."""
    line = inbox.mark(actor(), notification_id)
    return redirect(request.script_root + line.path if line.path else url_for("web.notifications"), 303)


@page("/notifications/<notification_id>/read", "POST")
@requires(SELF)
def notification_read(notification_id: str) -> Response:
    inbox.mark(actor(), notification_id, read=request.form.get("read") != "false")
    return moved(_("Saved."), _list())


@page("/notifications/read-all", "POST")
@requires(SELF)
def notifications_read_all() -> Response:
    """What came after the page was made stays unread."""
    upto = _moment(request.form.get("upto", ""))
    if upto is None:
        raise Invalid.field("upto", _("must be a date and a time"))
    inbox.mark_all(actor(), upto)
    return moved(_("All are marked as read."), url_for("web.notifications"))


def _moment(text: str) -> datetime | None:
    """Without a zone it is none."""
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None


@page("/notifications/mute/<instance_id>", "POST")
@requires(SELF)
def notifications_mute(instance_id: str) -> Response:
    off = request.form.get("muted") != "false"
    choices.mute(actor(), instance_id, off)
    said = _("You hear nothing more of this claw.") if off else _("You hear of this claw again.")
    return moved(said, _list() if request.form.get("back") != "settings" else url_for("web.notification_settings"))


def _list() -> str:
    return url_for("web.notifications", unread="1") if request.form.get("unread") else url_for("web.notifications")


# ---- what one wants


@page("/profile/notifications")
@requires(SELF)
def notification_settings() -> str:
    return _settings()


def _settings(**more: Any) -> str:
    who, mails = actor(), portal().section(NotificationSettings)
    context = {"errors": {}, "secret": "", "values": {}} | more
    reached = ways.of(who.id)
    can = {PORTAL: True, EMAIL: bool(mails.mails and reached.email), WEBHOOK: bool(reached.webhook)}
    return render_template(
        "notifications/settings.html", interests=choices.interests(portal()).values(), chosen=choices.chosen(who.id), who=who.id,
        ways=WAYS, can=can, reached=reached, mail=mails, muted=choices.muted(who), deliveries=log.page(who, Which(10)).items,
        **context,
    )  # fmt: skip


@page("/profile/notifications", "POST", endpoint="notification_choose")
@requires(SELF)
def notification_choose() -> Response | tuple[str, int]:
    """A box that is not ticked is sent by no browser: the form names all that it has."""
    form = request.form
    wanted: dict[str, dict[str, bool]] = {}
    for name in form.getlist("there"):
        interest, _colon, way = name.partition(":")
        wanted.setdefault(interest, {})[way] = name in form.getlist("on")
    try:
        if "every_minutes" in form:
            text = form["every_minutes"]
            ways.set_pause(portal(), actor(), int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0)
        choices.choose(portal(), actor(), wanted)
    except Invalid as problem:
        return _settings(errors=by_field(problem.errors), values=form), 422
    return moved(_("Saved."), url_for("web.notification_settings"))


@page("/profile/notifications/email", "POST")
@requires(SELF)
def notification_email() -> Response | tuple[str, int]:
    form, act = request.form, request.form.get("act", "ask")
    try:
        if act == "remove":
            ways.remove_email(portal(), actor())
            return moved(_("You get no mail any more."), url_for("web.notification_settings"))
        if act == "confirm":
            ways.confirm_email(portal(), actor(), form.get("code", ""))
            return moved(_("Notifications come to this address from now on."), url_for("web.notification_settings"))
        ways.ask_email(portal(), actor(), form.get("email", ""))
    except Invalid as problem:
        return _settings(errors=by_field(problem.errors), values=form), 422
    except Problem as problem:
        return _settings(errors={"email": problem.detail}, values=form), problem.status
    return moved(_("A code is on its way. Type it here."), url_for("web.notification_settings"))


@page("/profile/notifications/webhook", "POST")
@requires(SELF)
def notification_webhook() -> Response | str | tuple[str, int]:
    form, act = request.form, request.form.get("act", "set")
    try:
        if act == "remove":
            ways.remove_webhook(portal(), actor())
            return moved(_("The address was taken away."), url_for("web.notification_settings"))
        if act == "test":
            ways.test_webhook(portal(), actor())
            return moved(_("The address took a call."), url_for("web.notification_settings"))
        return _settings(secret=ways.set_webhook(portal(), actor(), form.get("url", "")))
    except Invalid as problem:
        return _settings(errors=by_field(problem.errors), values=form), 422
    except Problem as problem:
        return _settings(errors={"url": problem.detail}, values=form), problem.status


@page("/about/mail", "POST")
@requires(PORTAL_ADMIN)
def mail_test() -> Response:
    """To an address of the administrator's choice."""
    try:
        ways.send_test(portal(), request.form.get("to", ""), actor().language)
    except Problem as problem:
        said = problem.errors[0].message if problem.errors else problem.detail
        return changed(_("No mail was sent: %(why)s", why=said), level="error", url=url_for("web.about"))
    return changed(_("The mail server took the mail."), url=url_for("web.about"))
