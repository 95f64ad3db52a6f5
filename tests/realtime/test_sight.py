"""Who is told of a change: a truth table over grants, which must agree with what a list shows."""

from __future__ import annotations

import pytest

from clawportal import clock
from clawportal.contracts.bus import News
from clawportal.contracts.core_permissions import INSTANCE_LOGS, INSTANCE_READ, OPERATION_READ
from clawportal.contracts.events import Event
from clawportal.contracts.permissions import SELF, Actor, Grant
from clawportal.services.live import audience
from clawportal.services.live.audience import Changed

READ = frozenset({INSTANCE_READ})
BOTH = frozenset({INSTANCE_READ, OPERATION_READ})
PROJECTS = {"i1": "p1", "i2": "p2", "i3": "p3"}
CHANGES = [Changed("a", "i1", "o1"), Changed("a", "i2", "o2"), Changed("b", "i3", "o3"), Changed(None, None, "install")]


@pytest.mark.parametrize(
    ("grants", "instances", "operations"),
    [
        ([], [], []),
        ([Grant(BOTH)], ["i1", "i2", "i3"], ["o1", "o2", "o3", "install"]),
        ([Grant(BOTH, "a")], ["i1", "i2"], ["o1", "o2", "install"]),
        ([Grant(READ, "a")], ["i1", "i2"], []),
        ([Grant(BOTH, "a", "p2")], ["i2"], ["o2", "install"]),
        ([Grant(BOTH, None, None, "i3")], ["i3"], ["o3", "install"]),
        ([Grant(BOTH, "a", None, "i3")], [], ["install"]),
        ([Grant(READ, "a", "p1"), Grant(BOTH, "b")], ["i1", "i3"], ["o3", "install"]),
        ([Grant(frozenset({INSTANCE_LOGS}))], [], []),
    ],
)
def test_told(grants: list[Grant], instances: list[str], operations: list[str]) -> None:
    found = audience.told(audience.of(Actor("u", "u", grants=tuple(grants))), CHANGES, PROJECTS)
    assert found == {"instances": instances, "operations": operations}


def test_each_id_is_told_once() -> None:
    all_of_it = audience.of(Actor("u", "u", grants=(Grant(BOTH),)))
    found = audience.told(all_of_it, [*CHANGES, *CHANGES], {})
    assert found["instances"] == ["i1", "i2", "i3"]


def test_equal_rights_are_one_room_and_different_ones_are_not() -> None:
    def name(*grants: Grant) -> str:
        return audience.of(Actor("u", "u", grants=grants)).name

    assert name(Grant(BOTH, "a", source="x"), Grant(BOTH, "b")) == name(Grant(BOTH, "b"), Grant(BOTH, "a", source="y"))
    assert len({name(), name(Grant(BOTH)), name(Grant(READ)), name(Grant(BOTH, "a")), name(Grant(BOTH, None, "a"))}) == 5


def test_events_without_a_thing_are_not_told() -> None:
    def event(instance_id: str | None, **data: str) -> News:
        news = Event(1, "k", clock.now(), "a", instance_id, "info", "", "secret words", "u", data).news()
        assert "secret words" not in str(news)
        return news

    assert audience.changed(event(None)) is None
    assert audience.changed(event("i1")) == Changed("a", "i1", None)
    assert audience.changed(event("i1", operation_id="o1")) == Changed("a", "i1", "o1")


def test_what_is_for_one_person_is_for_nobody_where_that_person_is_not_named() -> None:
    """Everybody holds the right to their own account; it must not open what is about the account of somebody else."""
    everything = audience.of(Actor("u", "u", grants=(Grant(BOTH | {SELF}),)), [SELF])
    changes = [Changed("a", "i1", read_permission=SELF, person_id=person) for person in ("u", "v", None)]
    assert audience.told(everything, changes[:1], PROJECTS, "u")["instances"] == ["i1"]
    for person in ("u", ""):
        assert audience.told(everything, changes[1:], PROJECTS, person)["instances"] == []
