"""Testing the model in the form of a claw, before it is saved."""

from __future__ import annotations

from typing import Any

from flask import render_template, request, url_for
from markupsafe import Markup

from clawportal.sdk.fleet import ModelTrial, model_as_saved
from clawportal.sdk.pages import actor, page, portal, requires
from clawportal.sdk.permissions import INSTANCE_CREATE, INSTANCE_UPDATE, Actor
from clawportal_providers import outcomes, testing_models

_FIELDS = ("provider", "base_url", "name", "credential")


def card(_actor: Actor, *, instance_id: str) -> Markup:
    """Below the fields of the model."""
    url = url_for("web.model_trial", instance_id=instance_id) if instance_id else url_for("web.model_trial_new")
    return Markup(render_template("credentials/_trial.html", url=url))  # noqa: S704 - a template escapes what it shows


@page("/model-trials", "POST", endpoint="model_trial_new")
@requires(INSTANCE_CREATE)
def model_trial_new() -> str:
    return _answer("")


@page("/model-trials/<instance_id>", "POST", endpoint="model_trial")
@requires(INSTANCE_UPDATE)
def model_trial(instance_id: str) -> str:
    return _answer(instance_id)


def _answer(instance_id: str) -> str:
    return outcomes.shown(lambda: _found(_asked(instance_id)), "f-spec.model.name")


def _asked(instance_id: str) -> ModelTrial:
    form = request.form
    said = {name: form.get(f"spec.model.{name}", "").strip() for name in _FIELDS}
    if said["credential"]:  # its provider and address come along; the fields for others then say nothing
        said |= {"provider": "", "base_url": ""}
    project, key = form.get("project_id") or None, form.get("secrets.model_api_key", "")
    return model_as_saved(portal(), actor(), instance_id, project, said, key)


def _found(trial: ModelTrial) -> dict[str, Any]:
    target, search = testing_models.of_form(portal(), actor(), trial), request.form.get("model_search", "").strip()
    if request.args.get("list"):
        return outcomes.listed(testing_models.models_of(portal(), actor(), target, search), search)
    return {"report": testing_models.run_target(portal(), actor(), target)}
