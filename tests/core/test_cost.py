"""What a portal costs in statements, not in seconds: the same number however many instances there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clawportal.contracts.permissions import SYSTEM
from clawportal.jobs import sync
from clawportal.services.fleet import instances
from clawportal.services.fleet.instances import Filters
from tests.core.conftest import Memory
from tests.core.world import World, eventually


def test_a_list_takes_two_statements_whatever_its_length(still: World) -> None:
    counted = []
    for upto in (5, 60):
        for number in range(len(counted) * 5, upto):
            still.create(f"e{number}")
        with still.statements() as told, still.context():
            page = instances.listing(SYSTEM, Filters(phases=("pending",), text="e"))
            assert page.total == upto and len(page.items) == min(upto, 50)
        counted.append([text for text in told if not text.startswith(("BEGIN", "PRAGMA"))])
    assert len(counted[0]) == len(counted[1]) == 2


def steady(memory: Memory, count: int) -> tuple[int, int, int]:
    """Statements of one round each of sync, health and sampling, once nothing changes."""
    world = memory.world
    for number in range(len(memory.runtime.running()), count):
        memory.create(f"q{number}")
    eventually(lambda: len(memory.runtime.running()) == count, "all run", 60)
    with world.context():
        eventually(lambda: _running(memory) == count, "all are running", 60)
    world.quiet()
    health = sync.HealthWatch(world.portal, world.cluster("memory").id, world.app.app_context)
    figures = []
    place = world.cluster("memory")
    with ThreadPoolExecutor(2, "counted") as pool:
        with world.context():
            health.once(pool)  # the first round gets to know them
        for job in (
            lambda: sync.sync_cluster(world.portal, place),
            lambda: health.once(pool),
            lambda: sync.sample_cluster(world.portal, place),
        ):
            with world.statements() as told, world.context():
                job()
            figures.append(len(told))
    return figures[0], figures[1], figures[2]


def _running(memory: Memory) -> int:
    with memory.world.context():
        return instances.counts(SYSTEM).running


@pytest.mark.slow
def test_a_round_over_fifty_instances_asks_no_more_than_one_over_five(make_memory: Callable[..., Memory]) -> None:
    memory = make_memory(resync_seconds=600, health_seconds=600, sample_seconds=600)
    few = steady(memory, 5)
    before = memory.runtime.calls.copy()
    many = steady(memory, 50)
    assert many == few and max(many) <= 5
    assert memory.runtime.calls["observe"] - before["observe"] <= 2, "one call for all"


def test_real_claws_in_steady_state_cost_no_write(make_world: Callable[..., World]) -> None:
    """A smaller number of real ones: nothing is written while nothing happens."""
    world = make_world(resync_seconds=600, health_seconds=600, sample_seconds=600)
    ids = [world.create(f"e{number}") for number in range(5)]
    for one in ids:
        world.until(one, "running", 60)
    world.quiet()
    place = world.cluster("local")
    health = sync.HealthWatch(world.portal, place.id, world.app.app_context)
    with ThreadPoolExecutor(2, "counted") as pool:
        with world.context():
            health.once(pool)
        with world.statements() as told, world.context():
            assert sync.sync_cluster(world.portal, place) == 0 and health.once(pool) == 0
            assert sync.sample_cluster(world.portal, place) == 5
    assert not [text for text in told if text.startswith(("UPDATE", "INSERT", "DELETE", "BEGIN IMMEDIATE"))]


# ---- what is loaded

_LOADED = """
import json, pathlib, sys
from clawportal.app import create_app
from clawportal.settings import Settings

create_app(Settings(data_dir=pathlib.Path(sys.argv[1]), log_level="error"))
print(json.dumps(sorted(sys.modules)))
"""
LATE = {"kubernetes", "docker", "psycopg", "authlib", "httpx", "boto3", "numpy", "pandas", "pytest", "playwright"}
"""Large packages that a portal needs for some of its clusters, databases and sign-in providers, or never."""
LATE_PARTS = {"clawportal_kubernetes.runtime", "clawportal_docker.runtime"}


def test_a_portal_loads_no_client_of_a_cluster_before_it_has_one(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'plugins'}"}
    command = [sys.executable, "-c", _LOADED, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert "clawportal_kubernetes.driver" in loaded and "clawportal_docker.driver" in loaded, "their settings are known"
    assert sorted(LATE & {name.partition(".")[0] for name in loaded} | LATE_PARTS & set(loaded)) == []
