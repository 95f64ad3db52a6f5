"""The list of instances, the pages of one instance, and what can be done with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import yaml
from flask import make_response, redirect, render_template, request, url_for
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response

from clawportal import clock, redact
from clawportal.contracts.core_permissions import (
    EVENT_READ,
    INSTANCE_CONSOLE,
    INSTANCE_DELETE,
    INSTANCE_KILL,
    INSTANCE_LOGS,
    INSTANCE_OPERATE,
    INSTANCE_READ,
    OPERATION_READ,
)
from clawportal.contracts.permissions import Actor
from clawportal.contracts.specs import parse_quantity
from clawportal.engine import metric_history
from clawportal.errors import Invalid, NotFound, Problem, Retry, Unavailable, Unsupported
from clawportal.http import headers, markdown, site
from clawportal.http.i18n import translate
from clawportal.http.paging import paging
from clawportal.http.security import actor, portal, requires
from clawportal.lifecycle import Phase
from clawportal.messages import _m
from clawportal.models import Instance
from clawportal.models.operations import OPEN_STATES
from clawportal.paging import Which, whole
from clawportal.services.clusters import clusters
from clawportal.services.configuration import layers, secrets
from clawportal.services.events import event_log
from clawportal.services.fleet import instances as service
from clawportal.services.fleet import labels, notes, operations, pinned, saved_filters
from clawportal.services.live import metrics, runtime_events
from clawportal.web import admission_warnings, gone, menu, pages, rows, ways
from clawportal.web.pages import fragment, page
from clawportal.web.words import gettext as _
from clawportal.web.words import ngettext

LEVELS: dict[str, tuple[str, ...]] = {"": (), "warning": ("warning", "error"), "error": ("error",)}
ACTIONS = {
    "start": INSTANCE_OPERATE, "stop": INSTANCE_OPERATE, "restart": INSTANCE_OPERATE,
    "kill": INSTANCE_KILL, "delete": INSTANCE_DELETE,
}  # fmt: skip
_SAID = {
    "start": _l("%(name)s is starting."), "stop": _l("%(name)s is stopping."), "restart": _l("%(name)s is restarting."),
    "kill": _l("%(name)s is being killed."), "delete": _l("%(name)s is being deleted."),
}  # fmt: skip
_NAMED_FAILURES = 5


# ---- the list


@page("/instances")
@requires(INSTANCE_READ)
def instances() -> str | Response:
    who, page = actor(), paging()
    saved = saved_filters.listing(who)
    if not request.args and not fragment() and (first := saved_filters.default_of(who, saved)):
        return redirect(saved_filters_page(first))
    given = {key: request.args.get(key, "").strip() for key in saved_filters.PARTS}
    if given["state"] not in saved_filters.STATES:
        raise Invalid.field("state", _m("must be one of %(join)s", join=[*filter(None, saved_filters.STATES)]))
    filters, sort = _filters(given), given["sort"] or "-created_at"
    found = whole(page, lambda which: service.lean_listing(who, filters, which, sort=sort))
    counts = rows.tally(who)
    context: dict[str, Any] = {
        "instances": rows.instance_rows(who, found.items, sparks=True),
        "page": rows.paged(found, page),
        "filters": given,
        "counts": counts,
        "any_at_all": counts.total > 0,
        **_saved(saved, given),
    }
    if fragment():
        return render_template("instances/_rows.html", **context)
    names = rows.project_names(who)
    choices = [{"id": choice.id, "name": names[choice.id]} for choice in rows.projects(who)] if names else []
    return render_template("instances/index.html", **context, adapters=rows.adapter_cards(), projects=choices)


def saved_filters_page(one: saved_filters.Saved) -> str:
    """The list as a saved filter shows it."""
    return f"{url_for('web.instances')}?{urlencode(dict(one.query))}"


def _saved(found: Sequence[saved_filters.Saved], given: dict[str, str]) -> dict[str, Any]:
    """The saved filters with the one that is shown, and what would be saved now."""
    now = {part: value for part, value in given.items() if value}
    return {
        "saved": [(one, saved_filters_page(one)) for one in found],
        "saved_now": next((one.id for one in found if dict(one.query) == now), ""),
        "to_save": now,
        "begins_elsewhere": any(one.default for one in found),
    }


def _filters(given: dict[str, str]) -> service.Filters:
    return saved_filters.filters_of({**given, "q": given["q"][:200], "labels": given["labels"][:1000]})


@page("/instances/bulk", "POST")
@requires(INSTANCE_READ)
def instances_bulk() -> Response:
    who, action, ids = actor(), request.form.get("action", ""), request.form.getlist("ids")
    if action == "delete" and not fragment() and request.form.get("confirmed") != "yes":
        return _confirm_page([service.get(who, instance_id) for instance_id in dict.fromkeys(ids)])
    names = _names(who, ids) if 1 <= len(ids) <= 500 else {}
    change = _label_change(action)
    action = service.LABEL if change else action
    outcomes = service.bulk(portal(), who, action, ids, change)
    failed = [outcome for outcome in outcomes if outcome.error]
    text = _bulk_summary(action, outcomes, failed, names)
    warnings = [outcome.warning for outcome in outcomes if outcome.warning]
    text = " ".join([text, *map(translate, warnings[:_NAMED_FAILURES])])
    level = "success" if not failed and not warnings else "warning" if len(failed) < len(outcomes) else "error"
    return pages.changed(text, level=level, url=pages.back(url_for("web.instances")), instances=[o.instance_id for o in outcomes])


def _label_change(action: str) -> dict[str, str | None]:
    """What the bulk bar says of labels: `label` sets those that were typed, `unlabel` removes them."""
    if action not in ("label", "unlabel"):
        return {}
    typed = labels.pairs(request.form.get("labels", "").split(","), "labels")
    return {**typed} if action == "label" else dict.fromkeys(typed)


def _names(who: Actor, ids: Sequence[str]) -> dict[str, str]:
    """Names of what is asked for, for telling failures; what one may not see keeps its id."""
    found: dict[str, str] = {}
    for instance_id in dict.fromkeys(ids):
        try:
            found[instance_id] = service.get(who, instance_id).name
        except Problem:
            continue  # the action itself says why
    return found


def _bulk_summary(
    action: str, outcomes: Sequence[service.Outcome], failed: Sequence[service.Outcome], names: dict[str, str]
) -> str:
    """One sentence on what worked, then every failure by name."""
    done = len(outcomes) - len(failed)
    words = {
        "start": ngettext("%(num)s instance is starting.", "%(num)s instances are starting.", done),
        "stop": ngettext("%(num)s instance is stopping.", "%(num)s instances are stopping.", done),
        "restart": ngettext("%(num)s instance is restarting.", "%(num)s instances are restarting.", done),
        "kill": ngettext("%(num)s instance is being killed.", "%(num)s instances are being killed.", done),
        "delete": ngettext("%(num)s instance is being deleted.", "%(num)s instances are being deleted.", done),
        service.LABEL: ngettext("Labels of %(num)s instance were changed.", "Labels of %(num)s instances were changed.", done),
    }
    parts = [words[action]] if done else []
    if failed:
        parts.append(ngettext("%(num)s failed:", "%(num)s failed:", len(failed)))
        parts += [_failure(outcome, names) for outcome in failed[:_NAMED_FAILURES]]
    if len(failed) > _NAMED_FAILURES:
        parts.append(_("and %(n)s more", n=len(failed) - _NAMED_FAILURES))
    return " ".join(parts)


def _failure(outcome: service.Outcome, names: dict[str, str]) -> str:
    name = names.get(outcome.instance_id, outcome.instance_id)
    said = translate(outcome.error)
    return said if name in said else f"{name}: {said}"


def needing_attention(who: Actor) -> int:
    return rows.tally(who).attention


# ---- one instance


@page("/instances/<instance_id>")
@requires(INSTANCE_READ)
def instance(instance_id: str) -> str | Response:
    found, part = service.get(actor(), instance_id), request.args.get("part", "") if fragment() else ""
    if found.destroyed_at is not None and part not in ("row", "menu"):
        return gone.page(found) if not part else gone.leads_to(found.id)
    if part == "row":
        listed = service.lean_listing(actor(), service.Filters(name=found.id), Which(1)).items
        if not listed:
            raise NotFound(_("%(name)s is gone.", name=found.name))
        return render_template("instances/_row.html", i=rows.instance_rows(actor(), listed, sparks=True)[0])
    context = frame(found) if part in ("", "status") else {"i": rows.instance_row(actor(), found)}
    if part == "":
        return render_template("instances/overview.html", **context, **_overview(found, context["i"]))
    if part == "overview":
        return render_template("instances/_overview.html", **context, **_overview(found, context["i"]))
    if part not in ("status", "menu"):
        raise Invalid.field("part", _m("must be one of status, overview, row, menu"))
    return render_template(f"instances/_{part}.html", **context)


def frame(found: Instance) -> dict[str, Any]:
    """What every tab shows above itself. Of what was deleted there are no tabs."""
    gone.refuse(found)
    who, current = actor(), None
    if who.has(OPERATION_READ):
        doing = operations.listing(who, states=OPEN_STATES, instance_id=found.id, which=Which(1)).items
        current = rows.operation_row(who, doing[0]) if doing else None
    row = rows.instance_row(who, found)
    return {"i": row, "current_operation": current, "tabs": menu.tabs_of(found, row), "offered": menu.actions_of(found)}


def _overview(found: Instance, row: rows.InstanceRow) -> dict[str, Any]:
    usage, note = portal().samples.now(found), notes.get(actor(), found.id)
    limit = (layers.of_instance(portal(), found).spec.get("resources") or {}).get("storage")
    events = event_log.feed(actor(), instance_id=found.id, limit=6) if actor().has(EVENT_READ) else []
    return {
        "events": rows.event_rows(events),
        "note": note,
        "note_html": markdown.rendered(note.text) if note.text else "",
        "may_note": notes.may_write(actor(), found),
        "resources": {"processes": usage.processes, "at": usage.at, "disk_bytes": usage.disk_bytes} if usage else None,
        "template": pinned.of_instance(actor(), found),
        "limits_kernel": _limited_by_kernel(found),
        "storage_limit": limit,
        "storage_bytes": int(parse_quantity(limit)) if limit else None,
        **ways.words(found, row),
    }


def _limited_by_kernel(found: Instance) -> bool | None:
    """Whether its limits are the kernel's; None where nobody knows yet."""
    known = clusters.capabilities_of(found.cluster_id)
    return "limits.kernel" in known if known else None


@page("/instances/<instance_id>/logs")
@requires(INSTANCE_LOGS)
def instance_logs(instance_id: str) -> str:
    found = service.get(actor(), instance_id, INSTANCE_LOGS)
    download = f"{request.script_root}/api/v1/instances/{found.id}/logs?download=1"
    return render_template("instances/logs.html", **frame(found), download_url=download)


SPANS: dict[str, tuple[timedelta, Any]] = {
    "1h": (timedelta(hours=1), _l("1 hour")), "6h": (timedelta(hours=6), _l("6 hours")),
    "24h": (timedelta(hours=24), _l("24 hours")), "7d": (timedelta(days=7), _l("7 days")),
    "30d": (timedelta(days=30), _l("30 days")), "1y": (timedelta(days=365), _l("1 year")),
}  # fmt: skip


@page("/instances/<instance_id>/metrics")
@requires(INSTANCE_READ)
def instance_metrics(instance_id: str) -> str:
    found, span = service.get(actor(), instance_id), request.args.get("span", "1h")
    if span not in SPANS:
        raise Invalid.field("span", _m("must be one of %(join)s", join=[*SPANS]))
    measured = metrics.read(portal().recorder, actor(), found.id, since=clock.now() - SPANS[span][0])
    titles = [(key, title) for key, (_, title) in SPANS.items()]
    return render_template(
        "instances/metrics.html", **frame(found), span=span, spans=titles, summary=metric_history.summary(measured)
    )


@page("/instances/<instance_id>/console")
@requires(INSTANCE_CONSOLE)
def instance_console(instance_id: str) -> Response:
    found = service.get(actor(), instance_id, INSTANCE_CONSOLE)
    answer = make_response(render_template("instances/console.html", **frame(found), closed=_no_console(found)))
    return headers.with_inline_styles(answer)  # xterm.js writes its colours into a style element


def _no_console(found: Instance) -> str | None:
    if found.phase != Phase.RUNNING:
        return _("%(name)s is not running. Start it to open a console.", name=found.name)
    return None


@page("/instances/<instance_id>/events")
@requires(EVENT_READ)
def instance_events(instance_id: str) -> str:
    found = service.get(actor(), instance_id)
    if fragment():
        return render_template("instances/_events.html", i=rows.instance_row(actor(), found), **_timeline(found))
    return render_template("instances/events.html", **frame(found), **_timeline(found))


def _timeline(found: Instance) -> dict[str, Any]:
    limit, level, before = paging().limit, request.args.get("level", ""), request.args.get("before", "")
    if level not in LEVELS:
        raise Invalid.field("level", _m("must be warning or error"))
    if before and not (before.isdigit() and len(before) < 18):
        raise Invalid.field("before", _m("must be the number of an event"))
    events = event_log.feed(
        actor(), instance_id=found.id, before=int(before) if before else None, levels=LEVELS[level], limit=limit + 1
    )
    return {
        "events": rows.event_rows(events[:limit]),
        "older": events[limit - 1].seq if len(events) > limit else None,
        "before": before,
        "level": level,
    }


@page("/instances/<instance_id>/place-events")
@requires(EVENT_READ)
def instance_place_events(instance_id: str) -> str:
    """Asked by the page once it is there: a place that is slow must not keep the portal's own events back."""
    found = service.get(actor(), instance_id, EVENT_READ)
    place: dict[str, Any] = {"said": [], "problem": ""}
    try:
        place["said"] = runtime_events.read(portal(), actor(), instance_id)[::-1]
    except (Unavailable, Unsupported, Retry) as error:
        place["problem"] = str(error)
    if fragment():
        return render_template("instances/_place_events.html", i=rows.instance_row(actor(), found), place=place)
    return render_template("instances/events.html", **frame(found), **_timeline(found), place=place)


@page("/instances/<instance_id>/config")
@requires(INSTANCE_READ)
def instance_config(instance_id: str) -> str:
    found = service.get(actor(), instance_id)
    if found.foreign_id:
        return render_template("instances/unmanaged.html", **frame(found), foreign=found.foreign or {})
    workload = redact.document(found.workload or {})
    processes = workload.get("processes", [])
    return render_template(
        "instances/config.html",
        **frame(found),
        planned=found.workload is not None,
        files=workload.get("files", []),
        processes=processes,
        environment=_environment(processes),
        spec_text=_spec_text(found),
        shared=_shared(found),
        secrets=secrets.listing(found.id),
        render_error=None,
    )


def _shared(found: Instance) -> list[tuple[str, str, str]]:
    """What holds because the organisation says so: path, value, strength."""
    whole = layers.of_instance(portal(), found)
    values: dict[str, Any] = {"labels": whole.labels, **redact.document(whole.spec)}
    shown: list[tuple[str, str, str]] = []
    for path, source in sorted(whole.sources.items()):
        part, _dot, name = path.partition(".")
        value = values[part].get(name)
        shown.append((path, value if isinstance(value, str) else json.dumps(value), source))
    return shown


def _environment(processes: Sequence[dict[str, Any]]) -> list[tuple[str, str, bool]]:
    """Name, value, whether it is a secret; of a secret only its name is known here."""
    found: dict[str, tuple[str, bool]] = {}
    for process in processes:
        found |= {name: (value, False) for name, value in process.get("env", {}).items()}
        found |= dict.fromkeys(process.get("secret_env", {}), (redact.MASK, True))
    return [(name, value, hidden) for name, (value, hidden) in sorted(found.items())]


def _spec_text(found: Instance) -> str:
    """As `claw create -f` takes it."""
    document = {"name": found.name, "adapter": found.adapter, "version": found.version, "spec": redact.document(found.spec)}
    if found.labels:
        document["labels"] = found.labels
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


@page("/instances/<instance_id>/operations")
@requires(OPERATION_READ)
def instance_operations(instance_id: str) -> str:
    found, page = service.get(actor(), instance_id), paging()
    doing = whole(page, lambda which: operations.listing(actor(), instance_id=found.id, which=which))
    return render_template(
        "instances/operations.html",
        **frame(found),
        operations=rows.operation_rows(actor(), doing.items),
        page=rows.paged(doing, page),
    )


# ---- what can be done


@page("/instances/<instance_id>/<any(start, stop, restart, kill, delete):action>", "POST")
@requires(INSTANCE_READ)
def instance_action(instance_id: str, action: str) -> Response:
    who = actor()
    if action == "delete":
        return _delete(who, instance_id)
    row = service.ACTIONS[action](portal(), who, instance_id)
    return _told(row, action)


def _delete(who: Actor, instance_id: str) -> Response:
    """Without scripts nobody was asked yet, so the question is a page."""
    found = service.get(who, instance_id, INSTANCE_DELETE)
    if not fragment():
        typed = request.form.get("confirm_name")
        if typed is None:
            return _confirm_page([found], alone=True)
        if typed.strip() != found.name:
            return _confirm_page([found], alone=True, error=_("Type the name exactly as it is shown."), typed=typed)
    options = {name: request.form.get(name) == "true" for name in ("keep_data", "force")}
    row = service.remove(portal(), who, instance_id, **options)
    return _back_in_the_list(row)


def _back_in_the_list(row: Instance) -> Response:
    """The pages of what is being deleted have nothing more to offer; whoever pressed it in the list is there already."""
    said, here = _said(row, "delete"), site.path_in(request.headers.get("HX-Current-URL", ""))
    if not fragment() or here.startswith(url_for("web.instance", instance_id=row.id)):
        return pages.moved(said, url_for("web.instances"), level="toast")
    return pages.changed(said, url=url_for("web.instances"), instances=[row.id])


def _told(row: Instance, action: str) -> Response:
    level, url = "warning" if admission_warnings.words(row) else "success", url_for("web.instance", instance_id=row.id)
    return pages.changed(_said(row, action), level=level, url=url, instances=[row.id])


def _said(row: Instance, action: str) -> str:
    said = str(_SAID[action]).replace("%(name)s", row.name)
    return f"{said} {admission_warnings.words(row)}".strip()


def _confirm_page(found: Sequence[Instance], *, alone: bool = False, error: str = "", typed: str = "") -> Response:
    if not found:
        raise NotFound(_m("Choose at least one instance."))
    answer = make_response(
        render_template(
            "instances/delete.html", instances=found, alone=alone, errors={"confirm_name": error} if error else {}, typed=typed
        )
    )
    answer.status_code = 422 if error else 200
    return answer
