"""Several portals on one database: each cluster is watched by one of them, another takes over, nothing is started twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clawportal.contracts.permissions import SYSTEM
from clawportal.services.clusters import clusters
from clawportal.services.clusters.clusters import NewCluster
from clawportal.testing.places import QuietAdapter
from tests.core.world import World, eventually
from tests.faults.child import Child
from tests.kubernetes.double.api import KubeDouble

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

LEASE = 3.0
ALL = ["k8s", "local"]


class Replica(Child):
    """A portal in a process of its own."""

    def __init__(self, folder: Path, database_url: str) -> None:
        super().__init__("tests.faults.replica_process", str(folder), database_url, str(LEASE))


@pytest.fixture
def double() -> Iterator[KubeDouble]:
    with KubeDouble() as found:
        yield found


@pytest.fixture
def eyes(tmp_path: Path, postgres: Callable[[], str], double: KubeDouble) -> Iterator[World]:
    """Looks and asks, without any background work; a cluster is there."""
    world = World(tmp_path / "portal", start=False, database_url=postgres())
    world.portal.registry.adapters["quiet"] = QuietAdapter()  # without ports: the pods of the double share this machine's
    settings = double.settings()
    secrets = {"kubeconfig": settings.pop("kubeconfig")}
    with world.context() as portal:
        clusters.create(portal, SYSTEM, NewCluster("k8s", "kubernetes", settings=settings, secrets=secrets))
    yield world
    world.close()


@pytest.fixture
def replicas(eyes: World) -> Iterator[Callable[[], Replica]]:
    made: list[Replica] = []

    def make() -> Replica:
        made.append(Replica(eyes.folder, eyes.settings.database))
        return made[-1]

    yield make
    for one in made:
        one.kill()


def pods_made(double: KubeDouble) -> Counter[str]:
    """How many pods there ever were of each instance."""
    told = [one.object["metadata"]["labels"] for one in double.store.since(0, "/pods", 0.0) if one.kind == "ADDED"]
    return Counter(labels["clawportal.io/instance"] for labels in told if labels["clawportal.io/role"] == "claw")


def test_another_takes_over_and_starts_nothing_twice(eyes: World, replicas: Callable[[], Replica], double: KubeDouble) -> None:
    both = [replicas(), replicas()]
    assert [one.hear() for one in both] == ["ready", "ready"]
    kept: list[list[str]] = []

    def one_keeps_all() -> bool:
        kept[:] = [one.ask("keeps") for one in both]
        assert [] in kept, f"both watch: {kept}"
        return ALL in kept

    eventually(one_keeps_all, "one of them watches all clusters", 30)
    with ThreadPoolExecutor(2) as pool:  # through either of them, at the same time
        asked = [
            pool.submit(one.ask, "create", f"claw-{number}", adapter="quiet", cluster="k8s") for number, one in enumerate(both)
        ]
        ids = [one.result(30) for one in asked]
    ids.append(
        eyes.create("claw-2", adapter="quiet", cluster="k8s")
    )  # by a process that does no background work: found by itself
    for one in ids:
        eyes.until(one, "running", 40)
        assert one_keeps_all()

    before = [eyes.see(one) for one in ids]
    leader, other = sorted(both, key=lambda one: not one.ask("keeps"))
    leader.kill()
    began = time.monotonic()
    eventually(lambda: other.ask("keeps") == ALL, "the other takes over", 20)
    took = time.monotonic() - began
    assert took < LEASE * 4 / 3 + 8, f"within the lease and one look at it; it took {took:.1f} s"

    [pod] = [found for found in pods(double) if found["metadata"]["labels"]["clawportal.io/instance"] == ids[0]]
    double.store.delete(("/pods", pod["metadata"]["namespace"], pod["metadata"]["name"]), grace=0)
    eyes.until(ids[0], lambda s: s.phase == "running" and s.settled and s.incarnation != before[0].incarnation, 40)
    eyes.press("stop", ids[1])
    eyes.until(ids[1], "stopped", 40)
    last = eyes.create("late", adapter="quiet", cluster="k8s")
    eyes.until(last, "running", 40)

    again = replicas()
    assert again.hear() == "ready"
    both[:] = [other, again]
    assert one_keeps_all() and kept == [ALL, []], "who comes back waits"
    assert pods_made(double) == {ids[0]: 2, ids[1]: 1, ids[2]: 1, last: 1}
    assert eyes.see(ids[2]).incarnation == before[2].incarnation and eyes.see(ids[2]).restart_count == 0
    assert [row.state for one in (*ids, last) for row in eyes.ops(one)] == ["succeeded"] * 5


def pods(double: KubeDouble) -> list[dict[str, Any]]:
    return double.store.select("/pods", "", "clawportal.io/role=claw")[1]
