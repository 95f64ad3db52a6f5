"""The extension points of the core, each with a feature that uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from clawportal import hookimpl
from clawportal.contracts.extensions import (
    ADMISSION,
    ADMISSION_PREVIEW,
    CHOICE_MARKS,
    SIGN_IN_WAYS,
    InstanceChange,
    SignInWay,
)
from clawportal.contracts.features import EventKind, Feature
from clawportal.contracts.permissions import ALL, SYSTEM, Actor, Grant
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, FieldError
from clawportal.models import AuditEntry
from clawportal.services.events import event_log
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


def choice_marks(portal: Portal, tenant_id: str, kinds: Sequence[str], versions: Any) -> dict[str, dict[str, str]]:
    return {"adapter": {kind: f"Not in {tenant_id}" for kind in kinds if kind == "echo"}}


def ways(portal: Portal) -> list[SignInWay]:
    return [SignInWay("badge", "Badge")]


@pytest.fixture
def extended(make_world: Any) -> World:
    """A portal with one more feature."""
    world: World = make_world(start=False, password_sign_in=False)
    here = {ADMISSION: "admit", ADMISSION_PREVIEW: "preview", CHOICE_MARKS: "choice_marks", SIGN_IN_WAYS: "ways"}
    feature = Feature("extended", "Extended", extra={point: (f"{__name__}:{name}",) for point, name in here.items()},
                      events=(EventKind("instance.remarked", "Somebody remarked on it.", audited=False),))  # fmt: skip
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


def test_a_feature_marks_choices_that_are_always_refused(extended: World) -> None:
    with extended.context() as portal:
        marks = admission.marks(portal, "acme", ["echo", "nanobot"], {})
        assert marks == {"adapter": {"echo": "Not in acme"}, "version": {}, "provider": {}}
        portal.registry.without("extended")
        assert admission.marks(portal, "acme", ["echo"], {})["adapter"] == {}


def test_the_audit_passes_over_what_a_feature_says_it_should(extended: World) -> None:
    with extended.context() as portal:
        row = instances.create(portal, SOMEBODY, new("plain"))
        for kind in ("instance.remarked", "instance.labelled"):
            event_log.record(portal, kind, actor=SOMEBODY, instance=row, message=kind)
        said = set(db.session.scalars(select(AuditEntry.summary)))
        assert "instance.labelled" in said and "instance.remarked" not in said
