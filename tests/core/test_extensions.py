"""The extension points of the core, each with a feature that uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from clawportal import hookimpl
from clawportal.contracts.extensions import (
    ADMISSION,
    ADMISSION_PREVIEW,
    SIGN_IN_WAYS,
    InstanceChange,
    SignInWay,
)
from clawportal.contracts.features import Feature
from clawportal.contracts.permissions import ALL, SYSTEM, Actor, Grant
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, FieldError
from clawportal.services.fleet import admission, instances
from clawportal.services.fleet.instances import NewInstance
from clawportal.services.identity import sign_in
from tests.core.world import World

SOMEBODY = Actor("kim", "kim", grants=(Grant(ALL),))


@dataclass(frozen=True)
class Remark:
    sentence: str

    def as_document(self) -> dict[str, str]:
        return {"id": "1", "name": "remark", "title": "Remark"}


def admit(portal: Portal, actor: Actor, change: InstanceChange) -> Sequence[Remark]:
    """Refuses one name, and remarks on another."""
    if change.instance.name == "forbidden":
        raise Conflict(f"Nobody may {change.action} this.")
    return [Remark("Odd.")] if change.instance.name == "odd" else []


def preview(portal: Portal, actor: Actor, change: InstanceChange) -> list[FieldError]:
    return [FieldError("name", change.kind)] if change.instance.name == "forbidden" else []


def ways(portal: Portal) -> list[SignInWay]:
    return [SignInWay("badge", "Badge")]


@pytest.fixture
def extended(make_world: Any) -> World:
    """A portal with one more feature."""
    world: World = make_world(start=False, password_sign_in=False)
    here = {ADMISSION: "admit", ADMISSION_PREVIEW: "preview", SIGN_IN_WAYS: "ways"}
    feature = Feature("extended", "Extended", extra={point: (f"{__name__}:{name}",) for point, name in here.items()})
    plugin = SimpleNamespace(register_features=hookimpl(lambda: (feature,)))
    world.portal.registry.add("extended", plugin)
    world.portal.registry.settle()
    return world


def new(name: str) -> NewInstance:
    return NewInstance(name=name, adapter="echo", start=False)


def test_a_feature_refuses_a_change_and_nothing_is_stored(extended: World) -> None:
    with extended.context() as portal:
        with pytest.raises(Conflict, match="Nobody may create this"):
            instances.create(portal, SOMEBODY, new("forbidden"))
        assert instances.counts(SYSTEM).total == 0
        assert [error.message for error in instances.check_new(portal, SOMEBODY, new("forbidden"))] == ["instance.create"]


def test_what_a_feature_remarks_on_is_admitted_and_told(extended: World) -> None:
    with extended.context() as portal:
        odd, plain = (instances.create(portal, SOMEBODY, new(name)) for name in ("odd", "plain"))
        assert [one.sentence for one in admission.warnings_of(odd)] == ["Odd."] and admission.warnings_of(plain) == ()


def test_the_portal_finishes_what_was_admitted(extended: World) -> None:
    with extended.context() as portal:
        assert instances.create(portal, SYSTEM, new("forbidden")).name == "forbidden"


def test_another_way_to_sign_in_is_one_while_its_feature_is_there(extended: World) -> None:
    with extended.context() as portal:
        assert not sign_in.passwords_for_all(portal) and [way.title for way in sign_in.other_ways(portal)] == ["Badge"]
        portal.registry.without("extended")
        assert sign_in.passwords_for_all(portal), "there is no other way"
