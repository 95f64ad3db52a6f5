"""Facts that features tell: expressions name them, with their types, and what cannot be read refuses."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from clawportal import declarations, hookimpl
from clawportal.contracts.features import Feature, InstanceFact
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Invalid
from clawportal.models import Instance
from clawportal.services.fleet import instance_facts, instances
from clawportal.services.fleet.instances import InstanceChange
from clawportal_policies import services as policies
from clawportal_policies.services import PolicyRefused, Rule, Trial
from tests.core.world import World
from tests.policies.test_policy_service import ANYBODY, home, new

ASKED: list[list[str]] = []
WORDS: dict[str, Any] = {"notes_open": 3, "notes_names": ["a", "b"], "notes_share": 2, "notes_by": "kim", "notes_urgent": True}
TYPES = {"notes_open": "int", "notes_names": "strings", "notes_share": "double", "notes_by": "string", "notes_urgent": "bool"}
UNFIT: dict[str, Any] = {
    "notes_open": "3",
    "notes_names": "ab",
    "notes_share": float("inf"),
    "notes_by": "x" * 1001,
    "notes_urgent": 1,
}


def _told(values: dict[str, Any], name: str) -> Any:
    def read(portal: Any, ids: Sequence[str]) -> dict[str, Any]:
        ASKED.append(list(ids))
        return dict.fromkeys(ids, values[name])

    return read


open_, names, share, by, urgent = (_told(WORDS, name) for name in WORDS)
bad_open, bad_names, bad_share, bad_by, bad_urgent = (_told(UNFIT, name) for name in UNFIT)
READS = dict(zip(WORDS, ("open_", "names", "share", "by", "urgent"), strict=True))


def fails(portal: Any, ids: Sequence[str]) -> dict[str, Any]:
    raise LookupError("no notes")


def fact(name: str, read: str = "") -> InstanceFact:
    return InstanceFact(name, "What the notes say.", f"{__name__}:{read or READS[name]}", TYPES[name])


def bring(world: World, *facts: InstanceFact) -> None:
    feature = Feature("notes", "Notes", instance_facts=facts)
    world.portal.registry.add("notes", SimpleNamespace(register_features=hookimpl(lambda: (feature,))))
    world.portal.registry.settle()
    ASKED.clear()


def write(expression: str) -> None:
    policies.create(WORLD[0].portal, ANYBODY, home(), Rule("told", "expression", {"expression": expression}, actions=("update",)))


WORLD: list[World] = []


def change(portal: Portal, row: Instance) -> None:
    wanted = InstanceChange(version=row.version, spec=row.spec, labels={"a": "b"})
    instances.update(portal, ANYBODY, row.id, wanted, generation=row.generation)


@pytest.fixture
def notes(both: World) -> World:
    """A portal on each database, with a feature that tells one fact of each type."""
    WORLD[:] = [both]
    bring(both, *(fact(name) for name in WORDS))
    return both


GOOD = (
    'facts.notes_open == 3 && facts.notes_names.exists(one, one == "b") && facts.notes_share > 1.5 '
    '&& facts.notes_by.startsWith("k") && facts.notes_urgent'
)


def test_an_expression_sees_what_features_tell_with_their_types(notes: World) -> None:
    with notes.context() as portal:
        row = new(portal)
        write(GOOD)
        change(portal, row)
        assert len(ASKED) == 5 and all(ids == [row.id] for ids in ASKED), "each is asked once"
        rule = policies.rule_of(policies.listing(ANYBODY, home()).items[0])
        assert policies.breaking(portal, ANYBODY, rule).broken == 0
        (verdict,) = policies.dry_run(portal, ANYBODY, home(), Trial("update", row.id))
        assert verdict.outcome == "passes"


def test_nothing_is_read_that_no_rule_asks_for(notes: World) -> None:
    with notes.context() as portal:
        row = new(portal)
        write('action == "update" && facts.notes_urgent')
        change(portal, row)
        assert len(ASKED) == 1


def test_a_claw_that_is_not_there_yet_has_none(notes: World) -> None:
    with notes.context() as portal:
        empty = 'facts.notes_open == 0 && facts.notes_names.size() == 0 && facts.notes_by == "" && !facts.notes_urgent'
        draft = Rule("draft", "expression", {"expression": empty})
        (verdict,) = policies.dry_run(portal, ANYBODY, home(), Trial("create", adapter="echo"), draft)
        assert verdict.outcome == "passes" and ASKED == []


@pytest.mark.parametrize(
    ("expression", "said"),
    [("facts.notes_opne > 1", "column 6: undeclared reference to 'facts.notes_opne'"), ('facts.notes_open > "1"', "column 18"),
     ("facts.notes_open", "true or false")],
)  # fmt: skip
def test_a_name_or_type_that_is_wrong_is_told_on_saving(notes: World, expression: str, said: str) -> None:
    with notes.context(), pytest.raises(Invalid, match=said):
        write(expression)


UNREADABLE = [*zip(WORDS, ("bad_open", "bad_names", "bad_share", "bad_by", "bad_urgent"), strict=True), ("notes_open", "fails")]


@pytest.mark.parametrize(("name", "read"), UNREADABLE)
def test_what_cannot_be_read_refuses_and_is_named(both: World, name: str, read: str) -> None:
    WORLD[:] = [both]
    bring(both, fact(name, read))
    with both.context() as portal:
        row = new(portal)
        write(f"[facts.{name}].size() == 1")
        with pytest.raises(PolicyRefused, match=name):
            change(portal, row)
        (fault,) = portal.registry.faults
        assert fault.plugin == "notes" and f"Its fact {name} cannot be read" in fault.message


def test_a_rule_about_a_fact_whose_plugin_is_gone_refuses(notes: World) -> None:
    with notes.context() as portal:
        row = new(portal)
        write("facts.notes_urgent")
        portal.registry.without("notes")
        with pytest.raises(PolicyRefused, match=r"undeclared reference to 'facts\.notes_urgent'"):
            change(portal, row)


def test_the_core_tells_whether_a_claw_runs_and_how_old_it_is(both: World) -> None:
    with both.context() as portal:
        row = new(portal)
        with transaction():
            db.session.get_one(Instance, row.id).phase = "running"
        found = instance_facts.read(portal, instance_facts.declared(portal), [row.id, ""])
        assert found == {
            "instances_running": {row.id: True, "": False}, "instances_age_days": {row.id: 0, "": 0},
        }  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (InstanceFact("open", "x", "a:b"), "must begin with notes_"),
        (InstanceFact("notes_Open", "x", "a:b"), "must begin with notes_"),
        (InstanceFact("notes_open", "x", "a:b", "map"), "may be bool, int, double, string or strings"),
        (InstanceFact("notes_open", " ", "a:b"), "has no description"),
        (InstanceFact("notes_open", "x", "ab"), "instance_facts.read is 'ab'"),
    ],
)
def test_a_fact_that_cannot_be_is_refused(wrong: InstanceFact, said: str) -> None:
    with pytest.raises(declarations.Broken, match=said):
        declarations.check(Feature("notes", "Notes", instance_facts=(wrong,)))
