"""The audit for people: a list with filters, one entry with before and after side by side, and the file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from babel.dates import format_skeleton
from flask import Response, render_template, request, stream_with_context, url_for
from flask_babel import get_locale
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response as AnyResponse

from clawportal import clock
from clawportal.contracts.core_permissions import AUDIT_READ, PORTAL_ADMIN
from clawportal.errors import Invalid, NotFound
from clawportal.http import i18n
from clawportal.http.i18n import translate
from clawportal.http.security import actor, requires
from clawportal.messages import _m
from clawportal.models import AuditEntry
from clawportal.services.audit import chain, exports
from clawportal.services.audit import trail as service
from clawportal.services.fleet import instances
from clawportal.web import audit_words, pages
from clawportal.web.instances import frame
from clawportal.web.pages import fragment, page
from clawportal.web.words import gettext as _

PAGE = 50
SHOWN_CHANGES = 3
ACTIONS = {
    "instance": _l("Instances"), "instance.update": _l("Configuration changes"), "operation": _l("Operations"),
    "sign_in": _l("Signing in"), "sign_out": _l("Signing out"), "token": _l("Tokens"), "user": _l("Accounts"),
    "member": _l("Members"), "service_account": _l("Service accounts"), "role": _l("Roles"), "grant": _l("Shared access"),
    "project": _l("Projects"), "tenant": _l("Organisations"), "quota": _l("Quotas"), "portal": _l("The portal"),
    "audit": _l("The audit itself"),
}  # fmt: skip
"""What the list can be narrowed to, in the order of the menu."""

_WORDS = {
    "instance.create": _l("Create %(name)s"), "instance.update": _l("Change the configuration of %(name)s"),
    "instance.start": _l("Start %(name)s"), "instance.stop": _l("Stop %(name)s"), "instance.restart": _l("Restart %(name)s"),
    "instance.kill": _l("Kill %(name)s"), "instance.delete": _l("Delete %(name)s"), "sign_in": _l("Sign in"),
    "sign_out": _l("Sign out"), "token.create": _l("Make the token %(name)s"), "token.revoke": _l("Revoke the token %(name)s"),
    "user.create": _l("Create the account %(name)s"), "user.password_change": _l("Change the password of %(name)s"),
    "instance.import": _l("Import %(name)s"), "instance.adopt": _l("Adopt %(name)s"), "instance.forget": _l("Forget %(name)s"),
    "operation.cancel": _l("Cancel %(name)s"), "operation.retry": _l("Try %(name)s again"),
    "audit.export": _l("Export the audit"),
    "audit.acknowledge": _l("Acknowledge a break of the audit"),
    "audit.confirm_clock": _l("Confirm the clock"), "keys.rotate": _l("Rotate the keys"),
    "backup.create": _l("Make a backup"), "backup.restore": _l("Restore from a backup"),
    "many": _l("Many different attempts"),
}  # fmt: skip

_WORD = re.compile(r"\s+|\w+|[^\w\s]")

Piece = tuple[str, bool]
"""A part of a value, and whether the other side does not have it."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field of an entry."""

    path: str
    before: str
    after: str
    noun: str = ""
    """Of what it is a field."""

    @property
    def title(self) -> str:
        return audit_words.field(self.path, self.noun)

    @property
    def pieces(self) -> tuple[list[Piece], list[Piece]]:
        """Both values in parts, so that a word that changed in a long text can be seen."""
        old, new = _WORD.findall(self.before), _WORD.findall(self.after)
        steps = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        if not any(step == "equal" and last - first > 2 for step, first, last, _from, _to in steps):
            return [(self.before, True)], [(self.after, True)]
        was = [("".join(old[first:last]), step != "equal") for step, first, last, _from, _to in steps if last > first]
        now = [("".join(new[first:last]), step != "equal") for step, _from, _to, first, last in steps if last > first]
        return was, now


@dataclass(frozen=True, slots=True)
class Span:
    """Some days that the list can be narrowed to by one click."""

    title: str
    since: str
    until: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as pages show it."""

    row: AuditEntry
    title: str
    changes: tuple[Change, ...]

    @property
    def more(self) -> int:
        return len(self.changes) - SHOWN_CHANGES


def shown(row: AuditEntry, names: Mapping[str, str] | None = None) -> Entry:
    known = audit_words.names_in([row]) if names is None else names
    return Entry(row, _title(row), _changes(row.before, row.after, known, row.object_type))


def _title(row: AuditEntry) -> str:
    name = row.object_name or row.object_id
    if row.action == "sign_in" and row.result == service.REFUSED and row.object_name:
        return _("Sign in as %(name)s", name=name)
    words = _WORDS.get(row.action)
    if words:
        return str(words).replace("%(name)s", name).strip()
    said = audit_words.action(row.action, name)
    if row.result == service.REFUSED:  # its summary is the request, in the words of HTTP
        return said or row.action
    return translate(row.sentence("summary")) or said or row.action


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], names: Mapping[str, str], noun: str = "") -> tuple[Change, ...]:
    known = {path: place for place, path in enumerate(audit_words.FIELDS)}
    paths = sorted({**before, **after}, key=lambda path: known.get(path, len(known)))
    changes = (
        Change(path, audit_words.value(before.get(path), names), audit_words.value(after.get(path), names), noun)
        for path in paths
    )
    return tuple(change for change in changes if change.before or change.after)  # a new thing has many fields that are empty


# ---- pages


@page("/audit")
@requires(AUDIT_READ)
def audit() -> str:
    given = _given()
    page = service.listing(actor(), _filters(given), before=_before(), limit=PAGE)
    context = _listed(page) | {"filters": given, "actions": ACTIONS, "instance": None}
    if fragment():
        return render_template("audit/_rows.html", **context)
    return render_template("audit/index.html", **context, broken=_broken(), errors={})


def _broken() -> int | None:
    """The entry at which the chain is known to be broken, for those who look after the portal."""
    return chain.known_break() if actor().has(PORTAL_ADMIN) else None


@page("/audit/acknowledge", "POST")
@requires(PORTAL_ADMIN)
def audit_acknowledge() -> AnyResponse:
    verdict = service.acknowledge(actor(), request.form.get("why", ""))
    said = _("The break at entry %(seq)s is acknowledged. What follows verifies again.", seq=verdict.broken)
    return pages.moved(said, url_for("web.audit"))


@page("/audit/<int:seq>")
@requires(AUDIT_READ)
def audit_entry(seq: int) -> str:
    if seq > service.BIGGEST:
        raise NotFound(_m("There is no audit entry with this number."))
    return render_template("audit/show.html", e=shown(service.get(actor(), seq)))


@page("/audit/export")
@requires(AUDIT_READ)
def audit_export() -> Response:
    filters, form = _filters(_given()), request.args.get("format", "csv")
    if form not in exports.TYPES:
        raise Invalid.field("format", _m("must be one of %(join)s", join=[*exports.TYPES]))
    service.exported(actor(), filters, form)
    text = exports.lines(service.export(actor(), filters), form)
    name = f'attachment; filename="audit.{form}"'
    return Response(stream_with_context(text), mimetype=exports.TYPES[form], headers={"Content-Disposition": name})


@page("/instances/<instance_id>/changes")
@requires(AUDIT_READ)
def instance_changes(instance_id: str) -> str:
    found = instances.get(actor(), instance_id)
    given = _given() | {"instance": found.id}
    page = service.listing(actor(), _filters(given), before=_before(), limit=PAGE)
    context = _listed(page) | {"filters": given, "actions": ACTIONS, "instance": found.id}
    if fragment():
        return render_template("audit/_rows.html", **context)
    return render_template("instances/changes.html", **frame(found), **context)


def _listed(page: service.Page) -> dict[str, Any]:
    names = audit_words.names_in(page.items)
    return {
        "entries": [shown(row, names) for row in page.items],
        "total": page.total,
        "older": page.next,
        "before": request.args.get("before", ""),
        "shown_changes": SHOWN_CHANGES,
        "spans": _spans(clock.now().astimezone(i18n.zone()).date()),
    }


def _spans(today: date) -> list[Span]:
    """Each of the last days by its name, so that "last Tuesday" is one click."""
    days = [today - timedelta(days=back) for back in range(8)]
    names = [_("Today"), _("Yesterday"), *(format_skeleton("MMMEd", day, locale=get_locale()) for day in days[2:])]
    return [
        Span(_("Any time"), "", ""),
        *(Span(name, day.isoformat(), day.isoformat()) for name, day in zip(names, days, strict=True)),
        Span(_("Last 30 days"), (today - timedelta(days=29)).isoformat(), today.isoformat()),
    ]


# ---- filters


def _given() -> dict[str, str]:
    names = ("q", "actor", "action", "object", "instance", "result", "since", "until")
    return {name: request.args.get(name, "").strip()[:200] for name in names}


def _filters(given: Mapping[str, str]) -> service.Filters:
    same = {name: given[name] for name in ("actor", "action", "object", "instance", "result")}
    since, until = _day("since", given["since"]), _day("until", given["until"], days=1)
    return service.check(service.Filters(**same, since=since, until=until, text=given["q"]))


def _day(name: str, text: str, days: int = 0) -> datetime | None:
    """The reader's midnight before a date as browsers send it, or so many days later."""
    if not text:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError as error:
        raise Invalid.field(name, _m("must be a date, such as 2026-11-17")) from error
    if not 2000 <= day.year < 9000:
        raise Invalid.field(name, _m("must be a date after the year 2000"))
    return datetime.combine(day + timedelta(days=days), time(), i18n.zone()).astimezone(UTC)


def _before() -> int | None:
    text = request.args.get("before", "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Invalid.field("before", _m("must be the number of an entry"))
    return int(text) if text else None
