"""Portals without pages for the tests of the core."""

from __future__ import annotations

import itertools
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from clawportal import clock
from clawportal.testing.places import MemoryDriver, MemoryRuntime, QuietAdapter
from tests.core.world import World


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(**options: Any) -> World:
        made.append(World(tmp_path / f"portal{len(made)}", **options))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A portal that works."""
    return make_world()


@pytest.fixture
def still(make_world: Callable[..., World]) -> World:
    """A portal without background work: what is asked for stays as it is."""
    return make_world(start=False)


@dataclass
class Memory:
    """A portal with a place in memory and a quiet claw: for what no real machine does on demand."""

    world: World
    runtime: MemoryRuntime
    adapter: QuietAdapter

    def create(self, name: str = "q1", **more: Any) -> str:
        return self.world.create(name, adapter="quiet", cluster="memory", **more)

    def until(self, instance_id: str, what: Any, seconds: float = 15.0) -> Any:
        return self.world.until(instance_id, what, seconds)


@pytest.fixture
def make_memory(make_world: Callable[..., World]) -> Callable[..., Memory]:
    def make(*, start: bool = True, **options: Any) -> Memory:
        world = make_world(start=False, **options)
        runtime, adapter = MemoryRuntime(), QuietAdapter()
        world.portal.registry.adapters["quiet"] = adapter
        world.add_cluster("memory", MemoryDriver(runtime))
        if start:
            world.start()
        return Memory(world, runtime, adapter)

    return make


@pytest.fixture
def memory(make_memory: Callable[..., Memory]) -> Memory:
    return make_memory()


@pytest.fixture
def travel() -> Iterator[Callable[[timedelta], None]]:
    """Make the clock jump; it is right again afterwards."""
    gone = timedelta()

    def jump(by: timedelta) -> None:
        nonlocal gone
        gone += by
        clock.travel(by)

    yield jump
    clock.travel(-gone)
    clock.take_jump()


# ---- PostgreSQL


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """A server of its own; each call makes a database and returns its address."""
    psycopg = pytest.importorskip("psycopg")
    pgserver = pytest.importorskip("pgserver")
    folder = tempfile.mkdtemp(prefix="pg-")  # not below pytest's folder: as root the server runs as a user of its own
    server = pgserver.get_server(folder)
    _make_hasty(psycopg, server.get_uri())
    count = itertools.count()

    def make() -> str:
        name = f"portal{next(count)}"
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return cast(str, server.get_uri(name)).replace("postgresql://", "postgresql+psycopg://")

    try:
        yield make
    finally:
        _end_at_once(Path(folder))
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _end_at_once(folder: Path) -> None:
    """As a crash would: an orderly end writes all databases of a run to the disk first, to be thrown away."""
    process = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
    process.send_signal(signal.SIGQUIT)
    process.wait(30)


def _make_hasty(psycopg: Any, address: str) -> None:
    """No test outlives a power cut, and waiting for the disk was most of what databases cost, their end above all."""
    with psycopg.connect(address, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """Both databases, each fresh."""
    return "" if request.param == "sqlite" else cast(str, request.getfixturevalue("postgres")())


@pytest.fixture
def both(make_world: Callable[..., World], database_url: str) -> World:
    """A portal without background work, on each database."""
    return make_world(start=False, database_url=database_url)
