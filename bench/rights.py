"""What a whole company costs beside a small team: lists and sign-in with 200 tenants, 5,000 users and 10,000 instances.

Two portals run side by side and are asked in turns, so that both meet the same machine; the ratio is the figure that counts.
"""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from argon2 import PasswordHasher
from sqlalchemy import Connection, create_engine, insert, select

from bench.lists import session_cookie
from bench.portal import PASSWORD, Portal

SMALL = {"tenants": 1, "users": 5, "instances": 100, "entries": 200}
BIG = {"tenants": 200, "users": 5_000, "instances": 10_000, "entries": 20_000}
ROUNDS = 120
SIGN_INS = 30
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""The parameters of services.identity; a run refuses to compare with others."""

WHO = ("portal admin", "tenant admin", "viewer of a project")
LISTS = {
    "instances": ("/api/v1/instances?limit=50", "/instances", WHO),
    "members": ("/api/v1/tenants/{tenant}/members?limit=50", "/tenants/{tenant}/members", WHO[:2]),
    "audit": ("/api/v1/audit?limit=50", "/audit", WHO[:2]),
}


@dataclass(frozen=True)
class Seeded:
    """A portal with rows in it: the tenant that is looked at, and who looks."""

    portal: Portal
    tenant: str
    headers: Mapping[str, Mapping[str, Mapping[str, str]]]
    """Who -> `api` or `page` -> headers."""


def run() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for database, address in _databases():
        with ExitStack() as stack:
            small, big = (stack.enter_context(_seeded(size, address)) for size in (SMALL, BIG))
            rows += [_compared(database, *case, small, big) for case in _cases()]
            rows += _sign_in(database, small, big)
    return rows


def _cases() -> Iterator[tuple[str, str, str, str]]:
    for what, (api, page, people) in LISTS.items():
        for who in people:
            yield what, who, "api", api
            yield what, who, "page", page


# ---- measuring


class Caller:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: str | None = None, status: int = 200) -> float:
        begun = time.perf_counter()
        self._connection.request(method, path, body, dict(headers))
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != status:
            raise RuntimeError(f"{path} answered {answer.status}: {text[:300]!r}")
        return 1000 * (time.perf_counter() - begun)


def _compared(database: str, what: str, who: str, kind: str, path: str, *portals: Seeded) -> dict[str, Any]:
    """The same request to both in turns."""
    callers = [Caller(one.portal.port) for one in portals]
    times: list[list[float]] = [[], []]
    for number in range(ROUNDS + 10):
        for caller, one, taken in zip(callers, portals, times, strict=True):
            took = caller.ask("GET", path.format(tenant=one.tenant), one.headers[who][kind])
            if number >= 10:  # the first ones warm up
                taken.append(took)
    small, big = times
    return {"what": f"{what} ({kind})", "who": who, "database": database} | _figures(small, big)


def _figures(small: list[float], big: list[float]) -> dict[str, Any]:
    p50, p99 = statistics.median, lambda taken: sorted(taken)[int(len(taken) * 0.99)]
    return {"small p50": round(p50(small), 1), "big p50": round(p50(big), 1), "p50 ratio": round(p50(big) / p50(small), 2),
            "small p99": round(p99(small), 1), "big p99": round(p99(big), 1)}  # fmt: skip


def _sign_in(database: str, *portals: Seeded) -> list[dict[str, Any]]:
    """The whole request beside one bare verification with the same parameters, in turns."""
    hashed = _HASHER.hash(PASSWORD)
    bodies = [f'{{"name": "user-{number}", "password": "{PASSWORD}"}}' for number in (3, 4)]
    callers = [Caller(one.portal.port) for one in portals]
    bare: list[float] = []
    times: list[list[float]] = [[], []]
    for number in range(SIGN_INS + 3):
        begun = time.perf_counter()
        _HASHER.verify(hashed, PASSWORD)
        took = [1000 * (time.perf_counter() - begun)]
        for caller in callers:
            headers = {"Content-Type": "application/json"}
            took.append(caller.ask("POST", "/api/v1/auth/login", headers, bodies[number % 2], 200))
        if number >= 3:
            for taken, moment in zip((bare, *times), took, strict=True):
                taken.append(moment)
    found = {"what": "sign-in (api)", "who": "a member", "database": database} | _figures(*times)
    argon2 = statistics.median(bare)
    found["of argon2id"] = " / ".join(f"{statistics.median(taken) / argon2:.2f}" for taken in times)
    return [{"what": "one bare argon2id verification", "database": database, "big p50": round(argon2, 1)}, found]


# ---- rows


def _databases() -> Iterator[tuple[str, Callable[[], str] | None]]:
    yield "SQLite", None
    with _postgres() as make:
        if make is not None:
            yield "PostgreSQL", make


@contextmanager
def _postgres() -> Iterator[Callable[[], str] | None]:
    """A server of its own where the package `pgserver` is installed; each call makes a database."""
    try:
        import tempfile

        import pgserver
        import psycopg
    except ImportError:
        yield None
        return
    folder = tempfile.mkdtemp(prefix="pg-")
    server = pgserver.get_server(folder, cleanup_mode="delete")
    made = 0

    def make() -> str:
        nonlocal made
        made += 1
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "bench{made}"')
        return str(server.get_uri(f"bench{made}")).replace("postgresql://", "postgresql+psycopg://")

    try:
        yield make
    finally:
        server.cleanup()


@contextmanager
def _seeded(size: Mapping[str, int], address: Callable[[], str] | None) -> Iterator[Seeded]:
    url = address() if address else ""
    settings = {"CLAWPORTAL_DATABASE_URL": url} if url else {}
    with Portal(CLAWPORTAL_JOBS="false", **settings) as portal:
        engine = create_engine(url or f"sqlite:///{portal.data_dir / 'clawportal.db'}")
        with engine.begin() as connection:
            tenant = _fill(connection, size)
            _audit(connection, size["entries"])
        if url:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("ANALYZE")
        engine.dispose()
        people = {"portal admin": "bench", "tenant admin": "user-0", "viewer of a project": "user-1"}
        yield Seeded(portal, tenant, {who: _headers(portal, name) for who, name in people.items()})


def _headers(portal: Portal, name: str) -> dict[str, dict[str, str]]:
    sent = {"name": name, "password": PASSWORD, "token_name": "lists"}
    token = portal.call("POST", "/api/v1/auth/token", sent)["token"]
    return {
        "api": {"Authorization": f"Bearer {token}", "Accept": "application/json"},
        "page": {"Cookie": session_cookie(portal, name), "Accept": "text/html"},
    }


def _fill(connection: Connection, size: Mapping[str, int]) -> str:
    """Everything in a few statements; returns the first tenant, which the people who look belong to."""
    from clawportal import clock
    from clawportal.ids import new_id
    from clawportal.models import Cluster, Instance, Membership, PortalSetting, Project, RoleGrant, Tenant, User

    now, hashed = clock.now(), _HASHER.hash(PASSWORD)
    cluster = connection.execute(select(Cluster.id)).scalar()
    connection.execute(insert(PortalSetting).values(name="setup_done", value=True, updated_at=now))
    tenants = [new_id() for _ in range(size["tenants"])]
    projects = [(new_id(), tenant, name) for tenant in tenants for name in ("day", "night")]
    by_tenant = {tenant: [row for row, owner, _ in projects if owner == tenant] for tenant in tenants}
    users = [new_id() for _ in range(size["users"])]
    connection.execute(insert(Tenant), [
        {"id": row, "name": f"team-{number}", "title": f"Team {number}", "created_at": now} for number, row in enumerate(tenants)
    ])  # fmt: skip
    connection.execute(insert(Project), [
        {"id": row, "tenant_id": tenant, "name": name, "title": name.title(), "created_at": now} for row, tenant, name in projects
    ])  # fmt: skip
    connection.execute(insert(User), [
        {"id": row, "name": f"user-{number}", "display_name": f"User {number}", "password_hash": hashed, "session_epoch": 1,
         "must_change_password": False, "active": True, "created_at": now} for number, row in enumerate(users)
    ])  # fmt: skip
    homes = _spread(tenants, len(users), first=5)
    roles = ["tenant-admin", "guest", "viewer", "developer", "operator"]
    connection.execute(insert(Membership), [
        {"id": new_id(), "user_id": row, "tenant_id": home, "role": roles[number % 5], "created_at": now}
        for number, (row, home) in enumerate(zip(users, homes, strict=True))
    ])  # fmt: skip
    connection.execute(insert(RoleGrant), [
        {"id": new_id(), "user_id": row, "tenant_id": home, "role": "viewer", "project_id": by_tenant[home][0],
         "created_at": now, "created_by": "bench"}
        for number, (row, home) in enumerate(zip(users, homes, strict=True)) if number % 5 == 1
    ])  # fmt: skip
    connection.execute(insert(Instance), [
        {"id": new_id(), "tenant_id": home, "project_id": by_tenant[home][number % 2], "cluster_id": cluster,
         "name": f"claw-{number:05}", "adapter": "echo", "version": "1.0", "spec": {}, "phase": "running",
         "sync": "synced", "health": "healthy", "observed_generation": 1, "due_at": None, "labels": {},
         "created_at": now - timedelta(seconds=number)}
        for number, home in enumerate(_spread(tenants, size["instances"], first=100))
    ])  # fmt: skip
    return tenants[0]


def _spread(tenants: list[str], count: int, *, first: int) -> list[str]:
    """A tenant for each of so many rows: the first one has the same number in every portal, the rest is shared evenly."""
    others = tenants[1:] or tenants
    return tenants[:1] * min(first, count) + [others[number % len(others)] for number in range(max(0, count - first))]


def _audit(connection: Connection, entries: int) -> None:
    """Entries as they look, evenly over the tenants; their hashes mean nothing, because nobody verifies them here."""
    from clawportal import clock
    from clawportal.models import AuditEntry, AuditHead, Instance

    known = connection.execute(select(Instance.id, Instance.tenant_id, Instance.name)).all()
    head = connection.execute(select(AuditHead.seq)).scalar() or 0
    empty = {"token_id": "", "object_type": "instance", "agent": "bench", "request_id": "", "result": "ok", "status": 0,
             "reason": "", "times": 1, "prev_hash": "0" * 64, "hash": "0" * 64}  # fmt: skip
    connection.execute(insert(AuditEntry), [
        {"seq": head + 1 + number, "at": clock.now(), "actor_id": f"u{number % 50}", "actor_name": f"user-{number % 50}",
         "actor_kind": "user", "tenant_id": tenant, "instance_id": row, "action": "instance.update", "object_id": row,
         "object_name": name, "summary": f"{name}: configuration was changed.", "via": "web", "address": "192.0.2.1",
         "before": {"spec.model.name": "a"}, "after": {"spec.model.name": "b"}} | empty
        for number in range(entries) for row, tenant, name in [known[number % len(known)]]
    ])  # fmt: skip
    connection.execute(AuditHead.__table__.update().values(seq=head + entries))
