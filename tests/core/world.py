"""A portal without its pages: services, reconciler and claws on a folder of its own, that can be ended and opened again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from flask import Flask
from sqlalchemy import event, func, or_, select

from clawportal import app as assembly
from clawportal.app import prepare_rows, start_jobs, stop_jobs
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.runtimes import Ref
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.models import Cluster, EventRow, Instance, Operation
from clawportal.models.operations import OPEN_STATES
from clawportal.services.clusters import clusters
from clawportal.services.events import event_log
from clawportal.services.fleet import instances, operations
from clawportal.services.fleet.instances import InstanceChange, NewInstance
from clawportal.settings import Settings
from tests.conftest import make_tables


def make_core(settings: Settings) -> Flask:
    """What `create_app` puts together, but for pages, API and sockets."""
    portal = assembly._portal(settings)
    app = Flask("core", root_path=str(Path(__file__).parent))
    app.extensions["clawportal"] = portal
    assembly._configure(app, portal)
    assembly._database(app)
    return app


def eventually(found: Callable[[], Any], what: str, seconds: float = 15.0, pause: float = 0.03) -> Any:
    """The first true answer; the test fails when the time is over."""
    end = time.monotonic() + seconds
    while True:
        answer = found()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(pause)


@dataclass(frozen=True)
class Seen:
    """The columns of an instance at one moment."""

    id: str
    name: str
    phase: str
    reason: str
    message: str
    next_action: str
    sync: str
    health: str
    desired: str
    generation: int
    observed_generation: int
    incarnation: str
    restarts_wanted: int
    restarts_done: int
    restart_count: int
    crashes: int
    attempts: int
    lease_holder: str
    phase_deadline: Any
    phase_since: Any
    not_before: Any
    due_at: Any
    destroyed_at: Any
    workload: dict[str, Any] | None = field(repr=False)
    conditions: list[dict[str, Any]]

    @property
    def settled(self) -> bool:
        return self.observed_generation == self.generation and not self.lease_holder


class World:
    """One portal. `start` begins background work, `crash` forgets it without a word, `close` ends every claw."""

    def __init__(self, folder: Path, *, start: bool = True, create: bool = True, **settings: Any) -> None:
        given = {"log_level": "warning", "resync_seconds": 1, "health_seconds": 1, "sample_seconds": 5}
        self.settings = Settings(data_dir=folder, **(given | settings))
        self.folder = folder
        self.app = make_core(self.settings)
        if create:
            with self.context():
                make_tables()
                prepare_rows()
        if start:
            self.start()

    @property
    def portal(self) -> Portal:
        return cast(Portal, self.app.extensions["clawportal"])

    @contextmanager
    def context(self) -> Iterator[Portal]:
        with self.app.app_context():
            yield self.portal

    def start(self) -> None:
        start_jobs(self.app, exclusive=True)

    def end(self) -> None:
        """End the portal in order; claws go on."""
        stop_jobs(self.app)
        with self.context():
            db.engine.dispose()

    def again(self, **changes: Any) -> World:
        """The next portal on the same folder."""
        self.end()
        given = self.settings.model_dump() | changes
        return World(Path(given.pop("data_dir")), create=False, **given)

    def close(self) -> None:
        self.end()
        runtime = self.runtime()
        for entry in (self.folder / "clusters" / "local" / "instances").glob("*"):
            runtime.kill(Ref(entry.name))

    def runtime(self, name: str = "local") -> Any:
        with self.context():
            cluster = db.session.scalars(select(Cluster).where(Cluster.name == name)).one()
            return clusters.connect(self.portal, cluster, probe=True)

    def cluster(self, name: str) -> Cluster:
        """The row of a cluster."""
        with self.context():
            return db.session.scalars(select(Cluster).where(Cluster.name == name)).one()

    def add_cluster(self, name: str, driver: Any) -> None:
        """A second place to run, with a driver that the test made."""
        self.portal.registry.runtimes[driver.kind] = driver
        with self.context(), transaction():
            db.session.add(Cluster(name=name, title=name, runtime=driver.kind))

    # ---- asking for things

    def create(self, name: str = "e1", *, adapter: str = "echo", start: bool = True, secrets: Any = None, **more: Any) -> str:
        """`settings` are the claw's; other names are of the spec, but for cluster, project and version."""
        top = {key: more.pop(key) for key in ("cluster", "project", "version", "labels") if key in more}
        with self.context() as portal:
            wanted = NewInstance(name=name, adapter=adapter, start=start, spec=more, secrets=secrets or {}, **top)
            return instances.create(portal, SYSTEM, wanted).id

    def press(self, action: str, instance_id: str, **more: Any) -> None:
        with self.context() as portal:
            instances.ACTIONS[action](portal, SYSTEM, instance_id, **more)  # type: ignore[call-arg]  # only delete takes more

    def update(self, instance_id: str, *, secrets: Any = None, **spec: Any) -> None:
        with self.context() as portal:
            row = instances.get(SYSTEM, instance_id)
            change = InstanceChange(spec={**row.spec, **spec}, secrets=secrets or {})
            instances.update(portal, SYSTEM, instance_id, change, generation=row.generation)

    # ---- looking

    def see(self, instance_id: str) -> Seen:
        with self.context():
            row = db.session.get_one(Instance, instance_id)
            return Seen(**{name: getattr(row, name) for name in Seen.__dataclass_fields__})

    def until(self, instance_id: str, what: str | Callable[[Seen], Any], seconds: float = 15.0) -> Seen:
        """Wait for a phase with nothing left to do, or for a condition."""

        def look() -> Seen | None:
            seen = self.see(instance_id)
            good = (seen.phase == what and seen.settled) if isinstance(what, str) else what(seen)
            return seen if good else None

        try:
            return cast(Seen, eventually(look, "", seconds))
        except AssertionError:
            raise AssertionError(f"not {what} within {seconds} s but {self.see(instance_id)}") from None

    def quiet(self, seconds: float = 60.0) -> None:
        """Wait until no instance has anything left to do, and nobody has hinted at one: a claw that runs may get another pass."""

        def look() -> bool:
            with self.context() as portal:
                busy = select(func.count()).select_from(Instance).where(
                    Instance.destroyed_at.is_(None), or_(Instance.due_at.is_not(None), Instance.lease_holder != "")
                )  # fmt: skip
                return not len(portal.dispatcher) and not db.session.scalar(busy)

        eventually(lambda: look() and (time.sleep(0.5) or look()), "nothing is left to do", seconds)

    def ops(self, instance_id: str) -> list[Any]:
        """Operations of an instance, oldest first."""
        with self.context():
            query = select(Operation).where(Operation.instance_id == instance_id).order_by(Operation.id)
            return list(db.session.scalars(query))

    def installs(self) -> list[Operation]:
        with self.context():
            return list(db.session.scalars(select(Operation).where(Operation.kind == operations.INSTALL).order_by(Operation.id)))

    def open_ops(self, instance_id: str) -> list[str]:
        return [row.kind for row in self.ops(instance_id) if row.state in OPEN_STATES]

    def events(self, instance_id: str) -> list[EventRow]:
        """Oldest first."""
        with self.context():
            return list(reversed(event_log.feed(SYSTEM, instance_id=instance_id, limit=500)))

    def pid(self, instance_id: str, cluster: str = "local") -> int | None:
        return cast("int | None", self.runtime(cluster).inspect(Ref(instance_id)).pid)

    def counts(self, instance_id: str) -> dict[str, int]:
        """How often the echo claw was started: its data."""
        raw = self.runtime().read_file(Ref(instance_id), "state", "counter.json", 1000)
        return cast("dict[str, int]", json.loads(raw))

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """SQL that this thread runs meanwhile, or a pool whose threads are called `counted`; background work does not count."""
        told: list[str] = []
        caller = threading.current_thread()

        def note(*arguments: Any) -> None:
            if (thread := threading.current_thread()) is caller or thread.name.startswith("counted"):
                told.append(arguments[2])

        with self.context():
            engine = db.engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            yield told
        finally:
            event.remove(engine, "before_cursor_execute", note)


def phases(events: Sequence[EventRow]) -> list[str]:
    """The phases that an instance went through, each once in a row."""
    told = [row.data["phase"] for row in events if row.kind == "instance.phase_changed"]
    return [phase for number, phase in enumerate(told) if number == 0 or told[number - 1] != phase]
