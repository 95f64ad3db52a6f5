"""Clusters: whether they answer and what runs there, and the form that connects one, with a test before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask import Response, make_response, render_template, request, url_for
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response as AnyResponse

from clawportal.contracts.core_permissions import CLUSTER_MANAGE, CLUSTER_READ, EVENT_READ
from clawportal.contracts.permissions import Scope
from clawportal.contracts.runtimes import RuntimeDriver
from clawportal.errors import Conflict, FieldError, Invalid, PreconditionFailed, PreconditionRequired, Problem
from clawportal.http import forms
from clawportal.http.i18n import translate_label
from clawportal.http.paging import paging
from clawportal.http.security import actor, portal, requires
from clawportal.messages import _m
from clawportal.models import Cluster
from clawportal.paging import Which
from clawportal.services.clusters import claw_proxy, clusters, connection_tests, separation
from clawportal.services.fleet import instances as service
from clawportal.services.fleet.labels import selector
from clawportal.services.tenancy import tenants
from clawportal.web import edit_conflict, label_fields, pages, rows
from clawportal.web.pages import fragment, page
from clawportal.web.words import gettext as _

_SAID = {
    "pause": _l("The portal does nothing there any more. Claws run on."),
    "resume": _l("The portal goes on there."),
    "cordon": _l("It takes no new instances now."),
    "uncordon": _l("It takes new instances again."),
}
_SHOWN_INSTANCES = 100
_POLICY = clusters.ClusterPolicy.model_json_schema()


@dataclass(frozen=True)
class Bar:
    """How much of something is taken."""

    title: str
    used: int
    whole: int

    @property
    def percent(self) -> int:
        return round(100 * self.used / self.whole) if self.whole else 0


@dataclass(frozen=True)
class ClusterView:
    """One cluster as lists and its own page show it."""

    id: str
    name: str
    title: str
    kind: str
    health: str
    reason: str
    message: str
    since: datetime | None
    last_contact: datetime | None
    paused: bool
    cordoned: bool
    instances: int
    version: str = ""
    cores: float | None = None
    bars: Sequence[Bar] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    for_all: bool = True
    tenants: Sequence[tuple[str, str]] = ()
    wall: separation.Standing | None = None


def view_of(row: Cluster, instances: int, tenants_of: Sequence[tuple[str, str]] = (), *, full: bool) -> ClusterView:
    driver = portal().registry.runtimes.get(row.runtime)
    known: dict[str, Any] = {}
    if full:
        size = row.capacity or {}
        known = {
            "version": row.version, "labels": row.labels or {}, "for_all": row.all_tenants, "tenants": tenants_of,
            "cores": size.get("cpu_cores"), "bars": _bars(size), "wall": separation.standing(row),
        }  # fmt: skip
    return ClusterView(
        row.id, row.name, row.title or row.name, driver.title if driver else row.runtime, row.health, row.health_reason,
        row.health_message, row.health_since, row.last_contact_at, row.paused_at is not None, row.cordoned, instances, **known,
    )  # fmt: skip


def _bars(size: Mapping[str, Any]) -> list[Bar]:
    found = []
    for title, key in ((_("Memory"), "memory"), (_("Disk"), "disk")):
        whole = int(size.get(f"{key}_bytes") or 0)
        if whole > 0:
            found.append(Bar(title, max(0, whole - int(size.get(f"{key}_available") or 0)), whole))
    return found


def _manages() -> bool:
    return actor().allows(CLUSTER_MANAGE, Scope())


# ---- the list and one cluster


@page("/clusters", endpoint="clusters")
@requires(CLUSTER_READ)
def clusters_index() -> str:
    who, page, text, wanted = actor(), paging(), request.args.get("q", "").strip()[:200], request.args.get("labels", "")[:1000]
    found = clusters.listing(who, text=text, labels=selector(wanted), which=page)
    full = clusters.sees_all(who)
    views = [view_of(row, found.instances.get(row.id, 0), found.tenants.get(row.id, ()), full=full) for row in found.items]
    context = {"clusters": views, "page": rows.paged(found.found, page), "q": text, "labels": wanted.strip(), "full": full}
    template = "clusters/_rows.html" if fragment() else "clusters/index.html"
    return render_template(template, **context, manages=_manages(), drivers=_drivers())


def _drivers() -> list[RuntimeDriver]:
    return sorted(portal().registry.runtimes.values(), key=lambda driver: driver.title)


@page("/clusters/<cluster_id>")
@requires(CLUSTER_READ)
def cluster(cluster_id: str) -> str:
    found = clusters.get(actor(), cluster_id)
    return render_template("clusters/_show.html" if fragment() else "clusters/show.html", **_context(found))


def _context(row: Cluster) -> dict[str, Any]:
    who, full = actor(), clusters.sees_all(actor())
    count = clusters.instance_counts(who, [row.id]).get(row.id, 0)
    view = view_of(row, count, clusters.tenants_of([row.id]).get(row.id, ()) if full else (), full=full)
    inside = service.lean_listing(who, service.Filters(cluster=row.id), Which(_SHOWN_INSTANCES), sort="name")
    events = clusters.events(who, row.id) if full and who.has(EVENT_READ) else []
    return {
        "c": view, "full": full, "manages": _manages(), "capabilities": row.capabilities or [],
        "instances": rows.instance_rows(who, inside.items), "shown": _SHOWN_INSTANCES, "events": rows.event_rows(events),
        "secrets": clusters.secret_names(row.id) if full else [], "policy": clusters.policy_of(row),
        "own": row.name == clusters.LOCAL and row.runtime == "process", "report": None, "separation": row.separation,
    }  # fmt: skip


@page("/clusters/<cluster_id>/<any(pause, resume, cordon, uncordon):action>", "POST")
@requires(CLUSTER_MANAGE)
def cluster_action(cluster_id: str, action: str) -> AnyResponse:
    row = clusters.ACTIONS[action](portal(), actor(), cluster_id)
    return pages.moved(str(_SAID[action]), url_for("web.cluster", cluster_id=row.id))


@page("/clusters/<cluster_id>/test", "POST")
@requires(CLUSTER_MANAGE)
def cluster_test(cluster_id: str) -> AnyResponse:
    """As it is stored; nothing is changed by it."""
    report = connection_tests.try_stored(portal(), actor(), cluster_id)
    if fragment():
        return make_response(render_template("clusters/_report.html", report=report))
    context = _context(clusters.get(actor(), cluster_id)) | {"report": report}
    return make_response(render_template("clusters/show.html", **context))


# ---- the form


@dataclass
class Draft:
    """The form at one moment."""

    driver: RuntimeDriver
    schema: dict[str, Any]
    values: dict[str, Any]
    cluster: Cluster | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    generation: int | None = None
    """What somebody read before they typed."""


@page("/clusters/new", "GET", "POST")
@requires(CLUSTER_MANAGE)
def cluster_new() -> AnyResponse:
    known = _drivers()
    if not known:
        raise Conflict(_m("No kind of place is loaded. Look at CLAWPORTAL_PLUGINS: it narrows the list of plugins."))
    kind = request.values.get("runtime", "")
    driver = clusters.driver_of(portal(), kind) if kind else next((d for d in known if d.kind != "process"), known[0])
    if request.method == "GET":
        return _page(_empty(driver))
    draft = _read(_empty(driver))
    if request.form.get("action") == "test":
        return _tested(draft)
    return _saved(draft)


@page("/clusters/<cluster_id>/edit", "GET", "POST")
@requires(CLUSTER_MANAGE)
def cluster_edit(cluster_id: str) -> AnyResponse:
    row = clusters.get(actor(), cluster_id, CLUSTER_MANAGE)
    draft = _stored(row)
    if request.method == "GET":
        return _page(draft)
    draft = _read(draft)
    if request.form.get("action") == "test":
        return _tested(draft)
    return _saved(draft)


def _empty(driver: RuntimeDriver) -> Draft:
    values = {"name": "", "title": "", "labels": [], "for_all": True, "tenants": [], "settings": {}, "policy": {}}
    return Draft(driver, driver.settings_model().model_json_schema(), values)


def _stored(row: Cluster) -> Draft:
    driver = clusters.driver_of(portal(), row.runtime)
    schema = driver.settings_model().model_json_schema()
    values = {
        "name": row.name, "title": row.title, "labels": sorted((row.labels or {}).items()),
        "for_all": row.all_tenants, "tenants": [tenant_id for tenant_id, _title in clusters.tenants_of([row.id]).get(row.id, [])],
        "settings": forms.shown(row.settings or {}, schema), "policy": forms.shown(row.policy or {}, _POLICY),
    }  # fmt: skip
    return Draft(driver, schema, values, row, settings=dict(row.settings or {}), generation=clusters.generation_of(row))


def _read(draft: Draft) -> Draft:
    form = request.form
    settings, policy = forms.read(form, "settings", draft.schema), forms.read(form, "policy", _POLICY)
    draft.settings, draft.policy = settings.document, policy.document
    draft.secrets = forms.read_secrets(form)
    pairs, wrong = label_fields.read(form) or (draft.values["labels"], "")
    draft.labels = dict(pairs)
    draft.errors = settings.errors | policy.errors | ({"labels": wrong} if wrong else {})
    draft.values |= {
        "title": form.get("title", ""), "labels": pairs, "for_all": form.get("audience") != "some",
        "tenants": form.getlist("tenants"), "settings": settings.typed, "policy": policy.typed,
        separation.FIELD: form.get(separation.FIELD, "").strip(),
    }  # fmt: skip
    if draft.cluster is None:
        draft.values["name"] = form.get("name", "").strip()
    draft.generation = edit_conflict.read_generation(digits=17)
    return draft


def _tested(draft: Draft) -> AnyResponse:
    """Try what was entered; nothing is stored."""
    report: connection_tests.Report | None = None
    problem: Problem | None = None
    try:
        if not draft.errors:
            report = _try(draft)
    except Problem as found:
        problem = found
        _note(draft, found.errors)
    if fragment():
        return make_response(render_template("clusters/_report.html", report=report, errors=draft.errors, problem=problem))
    return _page(draft, report=report, problem=problem)


def _try(draft: Draft) -> connection_tests.Report:
    if draft.cluster is None:
        return connection_tests.try_new(portal(), actor(), draft.driver.kind, draft.settings, draft.secrets)
    return connection_tests.try_stored(portal(), actor(), draft.cluster.id, draft.settings, draft.secrets)


def _saved(draft: Draft) -> AnyResponse:
    if draft.errors:
        return _page(draft, status=422)
    audience = None if draft.values["for_all"] else draft.values["tenants"]
    try:
        row = _store(draft, audience)
    except Invalid as problem:
        _note(draft, problem.errors)
        return _page(draft, status=422)
    except PreconditionFailed as problem:
        assert draft.cluster is not None
        return _page(draft, problem.status, stale=_what_happened(draft, clusters.get(actor(), draft.cluster.id)))
    text = (
        _("The cluster was saved.") if draft.cluster else _("The cluster is connected. Whether it answers is shown in a moment.")
    )
    return pages.moved(text, url_for("web.cluster", cluster_id=row.id))


def _store(draft: Draft, audience: Sequence[str] | None) -> Cluster:
    if draft.cluster is None:
        wanted = clusters.NewCluster(
            draft.values["name"], draft.driver.kind, draft.values["title"], draft.settings, draft.secrets, draft.labels, audience,
            draft.policy,
        )  # fmt: skip
        return clusters.create(portal(), actor(), wanted)
    change = clusters.ClusterChange(
        draft.values["title"], draft.settings, draft.secrets, draft.labels, audience, audience is None, draft.policy,
        draft.values[separation.FIELD],
    )  # fmt: skip
    if draft.generation is None:
        raise PreconditionRequired(_m("The form does not say what it changes. Load it again."))
    return clusters.update(portal(), actor(), draft.cluster.id, change, generation=draft.generation)


def _what_happened(draft: Draft, now: Cluster) -> edit_conflict.Stale:
    last = next((event for event in clusters.events(actor(), now.id) if event.kind == "cluster.changed"), None)
    mine, names = _typed(draft, now), _names(draft)
    changes = [
        edit_conflict.Difference(path, edit_conflict.shown(value) or "–", names.get(path, ""))
        for path, value in _now(now).items()
        if value != mine.get(path)
    ]
    changed = clusters.secrets_since(now.id, draft.generation or 0)
    changes += [
        edit_conflict.Difference(f"secrets.{name}", _("another value"), names.get(f"settings.{name}", "")) for name in changed
    ]
    return edit_conflict.Stale(last.actor if last else "", last.at if last else None, clusters.generation_of(now), changes)


def _typed(draft: Draft, now: Cluster) -> dict[str, Any]:
    titles = {item.id: item.title for item in tenants.listing(actor(), which=Which(200)).items}
    some = None if draft.values["for_all"] else [titles.get(one, one) for one in draft.values["tenants"]]
    settings = clusters.as_stored(portal(), now, draft.settings, draft.secrets)
    return _fields(draft.values["title"].strip(), draft.labels, some, settings, draft.policy)


def _now(row: Cluster) -> dict[str, Any]:
    some = None if row.all_tenants else [title for _id, title in clusters.tenants_of([row.id]).get(row.id, [])]
    return _fields(row.title, row.labels or {}, some, row.settings or {}, row.policy or {})


def _fields(
    title: str, labels: Mapping[str, str], some: Sequence[str] | None, settings: Mapping[str, Any], policy: Mapping[str, Any]
) -> dict[str, Any]:
    """All that the form changes, so that two of them can be compared."""
    return {
        "title": title, "labels": ", ".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "tenants": _("every organisation") if some is None else ", ".join(sorted(some)),
        **{f"settings.{key}": value for key, value in settings.items()},
        **{f"policy.{key}": value for key, value in _whole_policy(policy).items() if key != claw_proxy.LOGIN},
    }  # fmt: skip


def _whole_policy(document: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return clusters.ClusterPolicy.model_validate(dict(document)).model_dump(mode="json")
    except ValueError:
        return dict(document)  # it was typed wrongly


def _names(draft: Draft) -> dict[str, str]:
    """How the form calls its fields."""
    found = {"title": _("Title"), "labels": _("Labels"), "tenants": _("Who may use it")}
    for prefix, schema in (("settings", draft.schema), ("policy", _POLICY)):
        found |= {
            f"{prefix}.{key}": translate_label(prop["title"]) for key, prop in schema["properties"].items() if "title" in prop
        }
    return found


def _note(draft: Draft, errors: Sequence[FieldError]) -> None:
    for error in label_fields.note(draft.errors, errors):
        draft.errors.setdefault(error.path, error.message)


def _page(draft: Draft, status: int = 200, **more: Any) -> Response:
    row = draft.cluster
    context = {
        "mode": "edit" if row else "create", "cluster": row, "driver": draft.driver, "drivers": _drivers(),
        "schema": draft.schema, "policy_schema": _POLICY, "values": draft.values, "errors": draft.errors,
        "stored_secrets": clusters.secret_names(row.id) if row else [], "report": None, "problem": None,
        "generation": draft.generation, "stale": None, "wall": separation.standing(row) if row else None,
        "organisations": [(item.id, item.title) for item in tenants.listing(actor(), which=Which(200)).items],
    }  # fmt: skip
    answer = make_response(render_template("clusters/form.html", **(context | more)))
    answer.status_code = status
    return answer


# ---- deleting


@page("/clusters/<cluster_id>/delete", "GET", "POST")
@requires(CLUSTER_MANAGE)
def cluster_delete(cluster_id: str) -> AnyResponse:
    losses = clusters.losses(actor(), cluster_id)
    if request.method == "GET":
        return _delete_page(losses, cluster_id)
    try:
        clusters.remove(portal(), actor(), cluster_id, confirm=request.form.get("confirm", ""))
    except Invalid as problem:
        return _delete_page(losses, cluster_id, problem)
    return pages.moved(_("The cluster was deleted. What is in the place itself was not touched."), url_for("web.clusters"))


def _delete_page(losses: clusters.Losses, cluster_id: str, problem: Invalid | None = None) -> Response:
    errors = {error.path: error.message for error in problem.errors} if problem else {}
    back = url_for("web.cluster", cluster_id=cluster_id)
    answer = make_response(render_template("clusters/delete.html", losses=losses, back=back, errors=errors, values=request.form))
    answer.status_code = 422 if problem else 200
    return answer
