"""What a change for a whole organisation would do is asked before anything is written, and of clusters that may not answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.runtimes import Place, Runtime
from clawportal.db import db, in_transaction, transaction
from clawportal.errors import Retry
from clawportal.messages import _m
from clawportal.models import Cluster, Instance
from clawportal.services.fleet import layer_changes
from clawportal.testing.places import MemoryDriver, QuietAdapter
from tests.core.world import World


@dataclass(frozen=True)
class Watched(MemoryDriver):
    """Notes whether somebody connects while a transaction is open, or a snapshot held; `refuses` makes it say that it cannot be
    reached."""

    inside: list[bool] = field(default_factory=list)
    snapshots: list[bool] = field(default_factory=list)
    refuses: list[bool] = field(default_factory=list)

    def connect(self, place: Place) -> Runtime:
        self.inside.append(in_transaction())
        self.snapshots.append(db.session().in_transaction())
        if self.refuses:
            raise Retry("ClusterUnreachable", _m("It does not answer."))
        return self.runtime


def with_a_claw(make_world: Callable[..., World]) -> tuple[World, Watched, str]:
    world, driver = make_world(start=False), Watched()
    world.portal.registry.adapters["quiet"] = QuietAdapter()
    world.add_cluster("memory", driver)
    world.start()
    one = world.create("q1", adapter="quiet", cluster="memory")
    world.until(one, "running")
    world.end()  # nobody else connects from now on
    return world, driver, one


def anew(world: World) -> None:
    """The next call has to connect again."""
    with world.context(), transaction():
        db.session.get_one(Cluster, world.cluster("memory").id).revision += 1


def layer(**settings: str) -> dict[str, Any]:
    return {"enforced": {"settings": {"quiet": settings}}}


@pytest.mark.parametrize(("settings", "restarts"), [({"word": "new"}, 0), ({"cold": "new"}, 1)])
@pytest.mark.parametrize("change", [layer_changes.preview, layer_changes.put])
def test_clusters_are_asked_before_the_transaction(
    make_world: Callable[..., World], change: Callable[..., layer_changes.Impact], settings: dict[str, str], restarts: int
) -> None:
    world, driver, one = with_a_claw(make_world)
    anew(world)
    driver.inside.clear()
    driver.snapshots.clear()
    with world.context() as portal:
        tenant = db.session.get_one(Instance, one).tenant_id
        assert change(portal, SYSTEM, tenant, layer(**settings)).restarts == restarts
    assert driver.inside == driver.snapshots == [False]


def test_a_claw_whose_cluster_does_not_answer_is_told_as_a_restart(make_world: Callable[..., World]) -> None:
    """Nobody knows what the claw does with the change; that it refuses it is not what is known."""
    world, driver, one = with_a_claw(make_world)
    anew(world)
    driver.refuses.append(True)
    with world.context() as portal:
        tenant = db.session.get_one(Instance, one).tenant_id
        impact = layer_changes.put(portal, SYSTEM, tenant, layer(word="new"))
    assert (impact.changes, impact.restarts, impact.refused) == (1, 1, 0)
