"""Testing the model in the form of a claw, before it is saved."""

from __future__ import annotations

from flask import render_template, request, url_for
from markupsafe import Markup

from clawportal.sdk.errors import Conflict, Invalid
from clawportal.sdk.fleet import ModelTrial, model_as_saved
from clawportal.sdk.pages import actor, page, portal, requires
from clawportal.sdk.permissions import INSTANCE_CREATE, INSTANCE_UPDATE, Actor
from clawportal_providers import testing_models

SHOWN = 500
"""Models of a list that are shown at once."""
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
    """What came of it, to stand in the form; also what is wrong with the form, which stays as it is."""
    found: dict[str, object] = {}
    try:
        trial = _asked(instance_id)
        found = _listed(trial) if request.args.get("list") else _tested(trial)
    except Invalid as problem:
        found = {"problem": problem, "errors": problem.errors}
    except Conflict as problem:
        found = {"problem": problem}
    return render_template("credentials/_outcome.html", **({"report": None, "models": None, "errors": ()} | found))


def _asked(instance_id: str) -> ModelTrial:
    form = request.form
    said = {name: form.get(f"spec.model.{name}", "").strip() for name in _FIELDS}
    if said["credential"]:  # its provider and address come along; the fields for others then say nothing
        said |= {"provider": "", "base_url": ""}
    project, key = form.get("project_id") or None, form.get("secrets.model_api_key", "")
    return model_as_saved(portal(), actor(), instance_id, project, said, key)


def _tested(trial: ModelTrial) -> dict[str, object]:
    return {"report": testing_models.run_target(portal(), testing_models.of_form(portal(), actor(), trial))}


def _listed(trial: ModelTrial) -> dict[str, object]:
    search = request.form.get("model_search", "").strip()
    found = testing_models.models_of(portal(), testing_models.of_form(portal(), actor(), trial), search)
    return {"models": found[:SHOWN], "count": len(found), "search": search}
