"""What most tests need: a portal on a fresh data folder, people in two tenants, and a real server.

Tests talk to the portal through the front door. No application context stays open around a test: requests would share its `g`,
and with it the actor. Use `with app.app_context():` for a look inside.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from sqlalchemy import event, func, select
from werkzeug.routing import Rule
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import TestResponse

from clawportal import pluginmanager
from clawportal.app import create_app, prepare_rows, start_jobs, stop_jobs
from clawportal.contracts.permissions import SYSTEM, Actor
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.models import Instance, Project, Tenant, User
from clawportal.services.clusters import clusters
from clawportal.services.fleet import instances
from clawportal.services.identity import identity, sessions
from clawportal.services.system import portal_settings
from clawportal.settings import Settings

pytest_plugins = ["clawportal.testing.report"]
collect_ignore = ["plugin_example", "plugin_parrot"]
"""Projects of their own, whose tests run where they are installed."""

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # by a script, in the background: all that tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# how fast examples are made says something about the machine, not about what is tested
hypothesis_settings.register_profile("portal", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("portal")

PASSWORD = "correct horse battery"


def pytest_collection_finish(session: pytest.Session) -> None:
    """A third of the time of a worker went into walking hundreds of thousands of objects that never go away."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 10)


def wait_for(condition: Callable[[], Any], seconds: float = 20.0, what: str = "") -> Any:
    """The first true answer of `condition`; the test fails when the time is over."""
    end = time.monotonic() + seconds
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.03)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests must not change what is tested."""
    for name in os.environ:
        if name.startswith(("CLAWPORTAL_", "CLAW_")) and not name.startswith("CLAWPORTAL_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CLAWPORTAL_PRACTICE_MODEL_PORT", "0")  # portals of tests run side by side


# ---- portals


class Compiled(BytecodeCache):
    """Templates that a portal of this process compiled: the next one need not do it again (half a second for a first page)."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if code := self._kept.get(bucket.key):
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._kept[bucket.key] = bucket.bytecode_to_string()


COMPILED = Compiled()


_compile_builder = Rule._compile_builder


def _compile_when_asked(rule: Rule, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
    """A rule compiles what builds its address: most of the time that a portal takes to begin, and a test asks for few."""
    compiled: list[Callable[..., tuple[str, str]]] = []

    def build(rule: Rule, /, *args: Any, **values: Any) -> tuple[str, str]:
        if not compiled:
            compiled.append(_compile_builder(rule, append_unknown))
        return compiled[0](rule, *args, **values)

    return build


Rule._compile_builder = _compile_when_asked  # type: ignore[method-assign]

_TABLES: list[bytes] = []


def make_tables() -> None:
    """All tables of the portal of this context; those of SQLite are made once in a process, and copied after that."""
    _every_model()
    if db.engine.dialect.name != "sqlite":
        return db.create_all()
    database = Path(str(db.engine.url.database))
    new = not database.exists()
    if new and _TABLES:
        database.write_bytes(_TABLES[0])
        return
    db.create_all()
    if new:
        with closing(sqlite3.connect(database)) as connection:
            _TABLES.append(connection.serialize())


@cache
def _every_model() -> None:
    """Those of bundled plugins that this portal leaves out, too: the tables are copied for others, and data stays."""
    for feature in pluginmanager.load(pluginmanager.BUNDLED).features:
        for module in feature.models:
            importlib.import_module(module)


@contextmanager
def portals(folder: Path) -> Iterator[Callable[..., Flask]]:
    """`make(**settings)`: a portal with its tables. `first_run=True` leaves the first-run page undone."""
    made: list[Flask] = []

    def make(*, first_run: bool = False, **settings: Any) -> Flask:
        given = {"data_dir": folder / "data", "log_level": "warning", "jobs": False}
        app = create_app(Settings(**(given | settings)))
        app.jinja_env.bytecode_cache = COMPILED
        made.append(app)
        with app.app_context():
            make_tables()
            prepare_rows()
            if not first_run:
                portal_settings.write(portal_settings.SETUP_DONE, True)
        return app

    yield make
    for app in made:
        stop_jobs(app)
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[Callable[..., Flask]]:
    with portals(tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def quiet_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """A portal for the tests of a module that change nothing in it."""
    with portals(tmp_path_factory.mktemp("quiet")) as make:
        yield make()


@pytest.fixture
def portal_app(make_app: Callable[..., Flask]) -> Flask:
    """A portal without background work: what is created stays pending."""
    return make_app()


@pytest.fixture
def running_app(make_app: Callable[..., Flask]) -> Iterator[Flask]:
    """A portal with background work at short intervals; ends without any claw left."""
    app = make_app(jobs=True, resync_seconds=1, health_seconds=1, sample_seconds=1)
    runner = start_jobs(app, exclusive=True)
    assert runner is not None
    wait_for(lambda: runner.leading, what="the portal leads")
    try:
        yield app
    finally:
        remove_all_claws(app)


def portal_of(app: Flask) -> Portal:
    return cast(Portal, app.extensions["clawportal"])


def remove_all_claws(app: Flask) -> None:
    with app.app_context():
        for instance_id in db.session.scalars(select(Instance.id).where(Instance.destroyed_at.is_(None))).all():
            instances.remove(portal_of(app), SYSTEM, instance_id, force=True)

    def gone() -> bool:
        with app.app_context():
            return not db.session.scalar(select(func.count()).select_from(Instance).where(Instance.destroyed_at.is_(None)))

    wait_for(gone, 30, "every claw is gone")


# ---- people


@dataclass
class Person:
    """Somebody with a password, an API token, and a client that sends it."""

    app: Flask
    name: str
    actor: Actor
    token: str
    password: str = PASSWORD
    tenant: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def request(self, method: str, path: str, **options: Any) -> TestResponse:
        """Ask as this person; a path without a leading slash is under /api/v1."""
        path = path if path.startswith("/") else f"/api/v1/{path}"
        options["headers"] = {**self.headers, **options.get("headers", {})}
        return self.app.test_client().open(path, method=method, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.request("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> TestResponse:
        return self.request("POST", path, **({} if json is None else {"json": json}), **options)

    def put(self, path: str, json: Any = None, **options: Any) -> TestResponse:
        return self.request("PUT", path, json=json, **options)

    def patch(self, path: str, json: Any = None, **options: Any) -> TestResponse:
        return self.request("PATCH", path, json=json, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self.request("DELETE", path, **options)

    def browser(self) -> FlaskClient:
        """A client that is signed in by a session, as a browser is; changes need a CSRF token."""
        client = self.app.test_client()
        with self.app.app_context():
            user = db.session.get_one(User, self.actor.id)
            row = sessions.begin(portal_of(self.app), user, sessions.BROWSER, sessions.Place("127.0.0.1", "tests"))
        with client.session_transaction() as session:
            session["_user_id"], session["_fresh"] = row.id, True
        return client

    def create(self, name: str, adapter: str = "echo", **more: Any) -> dict[str, Any]:
        """A new instance through the API."""
        answer = self.post("instances", {"name": name, "adapter": adapter, **more})
        assert answer.status_code == 201, answer.get_data(as_text=True)
        return cast("dict[str, Any]", answer.get_json())

    def reaches(self, instance_id: str, phase: str, seconds: float = 20.0) -> dict[str, Any]:
        """Wait until an instance is in a phase."""

        def look() -> dict[str, Any] | None:
            found = self.get(f"instances/{instance_id}").get_json()
            return found if found["phase"] == phase else None

        return cast("dict[str, Any]", wait_for(look, seconds, f"{instance_id} is {phase}"))


def make_tenant(app: Flask, name: str) -> str:
    """A tenant with one project named `default`; returns its id."""
    with app.app_context(), transaction():
        tenant = Tenant(name=name, title=name.title())
        db.session.add(tenant)
        db.session.flush()
        db.session.add(Project(tenant_id=tenant.id, name="default", title="Default project"))
        return tenant.id


def make_cluster(app: Flask, name: str, tenants: list[str] | None = None, runtime: str = "process", **more: Any) -> str:
    """A cluster that only these tenants may use (None: all); returns its id."""
    with app.app_context():
        wanted = clusters.NewCluster(name, runtime, tenants=tenants, **more)
        return clusters.create(portal_of(app), SYSTEM, wanted).id


@cache
def _hashed() -> str:
    """Of PASSWORD; a hash takes long on purpose, and most tests never sign in with it."""
    return identity._hasher.hash(PASSWORD)


def make_person(app: Flask, name: str, role: str, tenant: str = "") -> Person:
    """A user with a role in a tenant (by name; none for portal-admin) and a token."""
    portal = portal_of(app)
    with app.app_context():
        row = db.session.scalar(select(Tenant).where(Tenant.name == tenant)) if tenant else None
        user = identity.create_user(portal, SYSTEM, name, _hashed(), hashed=True, role=role, tenant=row)
        actor = identity.actor_of(portal, user)
        token = identity.create_token(portal, actor, user.id, "tests", None).text
    return Person(app, name, actor, token, tenant=tenant)


@dataclass
class People:
    """Everybody that the permission tests need: all roles in tenant `default`, and the neighbours in tenant `acme`."""

    admin: Person
    viewer: Person
    developer: Person
    operator: Person
    owner: Person
    """tenant-admin of `default`."""
    stranger: Person
    """tenant-admin of `acme`."""
    acme: str
    everybody: list[Person] = field(default_factory=list)


def make_people(app: Flask) -> People:
    acme = make_tenant(app, "acme")
    named = {
        "admin": make_person(app, "admin", "portal-admin"),
        **{
            name: make_person(app, name, role, "default")
            for name, role in (
                ("viewer", "viewer"),
                ("developer", "developer"),
                ("operator", "operator"),
                ("owner", "tenant-admin"),
            )
        },
        "stranger": make_person(app, "stranger", "tenant-admin", "acme"),
    }
    return People(**named, acme=acme, everybody=list(named.values()))


@pytest.fixture
def admin(portal_app: Flask) -> Person:
    """The administrator of `portal_app`."""
    return make_person(portal_app, "admin", "portal-admin")


@pytest.fixture
def people(portal_app: Flask) -> People:
    """All roles and a second tenant in `portal_app`. Not together with `admin`."""
    return make_people(portal_app)


@pytest.fixture
def running_admin(running_app: Flask) -> Person:
    """The administrator of `running_app`."""
    return make_person(running_app, "admin", "portal-admin")


# ---- a real server


@dataclass
class Server:
    """A portal that listens."""

    app: Flask
    url: str
    port: int
    admin: Person


class _Handler(WSGIRequestHandler):
    def connection_dropped(self, error: BaseException, environ: dict[str, Any] | None = None) -> None:
        """What follows a websocket is no request: werkzeug would read it as one and keep the connection."""
        self.close_connection = True


@contextmanager
def serving(app: Flask) -> Iterator[tuple[str, int]]:
    """Serve an app on a free loopback port: address and port."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture
def server(running_app: Flask, running_admin: Person) -> Iterator[Server]:
    """`running_app` behind a threaded server, for HTTP, Socket.IO and browser tests."""
    with serving(running_app) as (url, port):
        yield Server(running_app, url, port, running_admin)


# ---- measuring


@contextmanager
def counted_sql(app: Flask) -> Iterator[list[str]]:
    """The statements that are executed inside the block."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)
