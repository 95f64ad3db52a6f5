"""The practice model: answers that the portal makes up, so that a claw can be tried without any provider, key or cost."""

from __future__ import annotations

from collections.abc import Iterable

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.features import HEALTH_FINDINGS, MODEL_SERVICES, SETUP_CHOICES, Card, EventKind, Feature
from clawportal.sdk.permissions import PORTAL_READ, SELF
from clawportal.sdk.providers import ModelProvider

SUMMARY = _m("The practice model: lets claws answer without any provider, key or cost.")

FEATURE = Feature(
    name="practice_model",
    title=_m("Practice model"),
    package="clawportal_practice",
    requires=("instances",),
    settings="clawportal_practice.settings:PracticeSettings",
    events=(
        EventKind("portal.practice_model", _m("The practice model was switched on or off."), _m("Switch the practice model")),
    ),
    pages=("clawportal_practice.pages",),
    cards=(
        Card("practice", "clawportal_practice.pages:menu_note", SELF, place="menu"),
        Card("practice", "clawportal_practice.pages:about_card", PORTAL_READ, place="about"),
    ),
    on_start=("clawportal_practice.service:resume",),
    on_stop=("clawportal_practice.service:stop",),
    extra={
        MODEL_SERVICES: ("clawportal_practice.service:model_service",),
        SETUP_CHOICES: ("clawportal_practice.service:setup_choice",),
        HEALTH_FINDINGS: ("clawportal_practice.service:findings",),
    },
)


@hookimpl
def register_features() -> Iterable[Feature]:
    return (FEATURE,)


@hookimpl
def register_model_providers() -> Iterable[ModelProvider]:
    return (
        ModelProvider(
            "practice", _m("Practice model"), _m("No key, no cost. Answers are made up by the portal, to learn and to test."),
            key="none", served=True, group="first", order=10,
            notice=_m("Answers are made up by the portal. Choose a real model under Edit. Write help to see what it can do."),
        ),
    )  # fmt: skip
