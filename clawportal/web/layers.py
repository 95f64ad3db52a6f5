"""The page where an organisation says something about every claw in it."""

from __future__ import annotations

from typing import Any

import yaml
from flask import flash, request, url_for
from werkzeug.wrappers import Response

from clawportal.contracts.core_permissions import TENANT_UPDATE
from clawportal.contracts.layers import Part
from clawportal.errors import Invalid, SettingForbidden
from clawportal.http.i18n import translate
from clawportal.http.security import actor, portal, requires
from clawportal.messages import _m
from clawportal.services.configuration import layers, model_keys
from clawportal.services.fleet import layer_changes
from clawportal.services.tenancy import tenants
from clawportal.web import auth, pages, rows
from clawportal.web.pages import page
from clawportal.web.tenants import tenant_page
from clawportal.web.words import ngettext

_MODEL = ("provider", "base_url", "name", "credential")
PARTS = ("defaults", "enforced")


@page("/tenants/<tenant_id>/layer", "GET", "POST", endpoint="tenant_layer")
@requires(TENANT_UPDATE)
def tenant_layer(tenant_id: str) -> Response:
    """POST with `preview` shows what saving would do, and saves nothing."""
    found = layers.get(actor(), tenant_id)
    if request.method == "GET":
        return _page(tenant_id, found, _shown(found))
    key = _key()
    try:
        document = {strength: _part(strength) for strength in PARTS}
        if request.form.get("preview"):
            return _page(
                tenant_id, found, request.form, impact=layer_changes.preview(portal(), actor(), tenant_id, document, key)
            )
        done = layer_changes.put(portal(), actor(), tenant_id, document, key)
    except (Invalid, SettingForbidden) as problem:
        return _page(tenant_id, found, request.form, problem.status, errors=auth.told(problem.errors))
    for note in layer_changes.corrections(document, key):
        flash(translate(note), "info")
    said = ngettext("Saved. %(num)s claw changes.", "Saved. %(num)s claws change.", done.changes)
    return pages.moved(said, url_for("web.tenant_layer", tenant_id=tenant_id))


def _page(tenant_id: str, found: layers.Shared, values: Any, status: int = 200, **context: Any) -> Response:
    tenant = tenants.get(actor(), tenant_id, TENANT_UPDATE)
    return tenant_page(
        "layer", tenant, "layer", status=status, values=values, has_key=found.has_key, adapters=rows.adapter_cards(),
        providers=list(portal().registry.providers.values()), model_keys=model_keys.offered(portal(), (tenant.id, None)),
        **({"errors": {}, "impact": None} | context),
    )  # fmt: skip


def _key() -> str | None:
    typed = request.form.get("model_api_key", "").strip()
    return "" if request.form.get("remove_key") == "true" else typed or None


def _shown(found: layers.Shared) -> dict[str, str]:
    """A layer as the fields of the form."""
    values: dict[str, str] = {}
    for strength in PARTS:
        part: Part = getattr(found.layer, strength)
        model = part.model.model_dump() if part.model else {}
        values |= {f"{strength}.model.{name}": value for name, value in model.items()}
        values |= {f"{strength}.resources.{name}": value for name, value in part.resources.model_dump().items()}
        values[f"{strength}.labels"] = "\n".join(f"{name}={value}" for name, value in part.labels.items())
        text = yaml.safe_dump(part.settings, sort_keys=False, allow_unicode=True) if part.settings else ""
        values[f"{strength}.settings"] = text
    return values


def _part(strength: str) -> dict[str, Any]:
    form = request.form
    part: dict[str, Any] = {
        "resources": {name: form.get(f"{strength}.resources.{name}", "").strip() for name in ("memory", "cpu", "storage")},
        "labels": _labels(strength), "settings": _settings(strength),
    }  # fmt: skip
    model = {name: form.get(f"{strength}.model.{name}", "").strip() for name in _MODEL}
    if model["credential"]:  # with it come provider and address
        part["model"] = {**model, "provider": "", "base_url": ""}
    elif model["provider"]:
        part["model"] = model
    return part


def _labels(strength: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in request.form.get(f"{strength}.labels", "").splitlines():
        name, equals, value = line.strip().partition("=")
        if name and not equals:
            raise Invalid.field(f"{strength}.labels", _m("Write one label a line, such as team=support."))
        if name:
            found[name.strip()] = value.strip()
    return found


def _settings(strength: str) -> dict[str, Any]:
    path = f"{strength}.settings"
    try:
        found = yaml.safe_load(request.form.get(path, "")[:100_000]) or {}
    except yaml.YAMLError as error:
        raise Invalid.field(path, _m("This is no YAML. Write the kind of claw, a colon, and its settings below.")) from error
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise Invalid.field(path, _m("Write the kind of claw, a colon, and its settings below, indented."))
    return {str(kind): {str(name): value for name, value in settings.items()} for kind, settings in found.items()}
