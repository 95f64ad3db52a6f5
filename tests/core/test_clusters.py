"""Clusters by themselves: their secrets, who may use them, the breaker, the queue, images and the practice model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text

from clawportal import origin
from clawportal.contracts.extensions import ModelService
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.runtimes import Place, Runtime
from clawportal.db import db, transaction
from clawportal.engine.breaker import FAILURES_TO_OPEN, Breaker
from clawportal.engine.dispatcher import Dispatcher, rank_of
from clawportal.errors import Conflict, GiveUp, Invalid, Retry
from clawportal.keyring import KeyringError
from clawportal.models import AuditEntry, Cluster, ClusterSecret
from clawportal.services.clusters import clusters, connection_tests, reachability
from clawportal.services.clusters.clusters import ClusterChange, ClusterPolicy, NewCluster
from clawportal.services.fleet import plans
from clawportal.testing.places import MemoryDriver, MemoryRuntime, QuietAdapter
from clawportal_practice import service as practice
from tests.core.world import World
from tests.web.test_cluster_pages import LabDriver

SECRET = "a-very-secret-key"


@pytest.fixture
def lab(still: World) -> World:
    still.portal.registry.runtimes["lab"] = LabDriver(kind="lab", title="Laboratory")
    return still


def make(world: World, name: str = "lab", **more: Any) -> str:
    with world.context() as portal:
        given = {"settings": {"address": "lab.example"}, "secrets": {"key": SECRET}} | more
        return clusters.create(portal, SYSTEM, NewCluster(name, "lab", **given)).id


# ---- secrets


def test_a_secret_is_sealed_kept_and_never_told(lab: World) -> None:
    with origin.during(origin.Origin("web")):
        one, other = make(lab), make(lab, "other")
    with lab.context() as portal:
        row = db.session.get_one(Cluster, one)
        assert row.settings == {"address": "lab.example", "verify": True}, "no secret among the settings"
        sealed = db.session.get_one(ClusterSecret, (one, "key")).sealed
        assert SECRET.encode() not in sealed and clusters.open_secrets(portal, one) == {"key": SECRET}
        with transaction():
            db.session.get_one(ClusterSecret, (other, "key")).sealed = sealed
        with pytest.raises(KeyringError, match="another place"):
            clusters.open_secrets(portal, other)
        told = [str(entry.after) + str(entry.before) + entry.summary for entry in db.session.scalars(select(AuditEntry))]
        assert told and not [words for words in told if SECRET in words] and "********" in "".join(told)
    with lab.context() as portal:
        assert clusters.connect(portal, db.session.get_one(Cluster, one)).place.secrets == {"key": SECRET}  # type: ignore[attr-defined]
        before = db.session.get_one(Cluster, one).revision
        clusters.update(portal, SYSTEM, one, ClusterChange(secrets={"key": ""}, title="Same"))
        assert clusters.open_secrets(portal, one) == {"key": SECRET}, "left empty: as it was"
        assert db.session.get_one(Cluster, one).revision == before, "and nothing connects anew"
        clusters.update(portal, SYSTEM, one, ClusterChange(secrets={"key": "new-key-value"}))
        assert db.session.get_one(Cluster, one).revision == before + 1
        assert clusters.connect(portal, db.session.get_one(Cluster, one)).place.secrets == {"key": "new-key-value"}  # type: ignore[attr-defined]
        clusters.update(portal, SYSTEM, one, ClusterChange(secrets={"key": None}))
        assert clusters.open_secrets(portal, one) == {}


def test_what_a_driver_says_is_told_without_the_secret(lab: World) -> None:
    class Talking(LabDriver):
        def connect(self, place: Place) -> Runtime:
            raise ValueError(f"bad key {place.secrets['key']}")

    lab.portal.registry.runtimes["lab"] = Talking(kind="lab")
    one = make(lab)
    with lab.context() as portal:
        with pytest.raises(Retry) as caught:
            clusters.connect(portal, db.session.get_one(Cluster, one))
        assert SECRET not in str(caught.value) and "bad key ********" in str(caught.value)
        report = connection_tests.try_stored(portal, SYSTEM, one)
        assert not report.ok and SECRET not in str(report) and "bad key" in report.findings[0].message


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ({"name": "Lab"}, "name"), ({"name": "local"}, "name"), ({"settings": {"address": "x"}}, "settings.address"),
        ({"settings": {"nope": 1}}, "settings.nope"), ({"secrets": {"nope": "x"}}, "secrets.nope"),
        ({"tenants": ["nobody"]}, "tenants"), ({"policy": {"image_registry": "http://x"}}, "policy.image_registry"),
        ({"policy": {"max_concurrent_starts": 0}}, "policy.max_concurrent_starts"), ({"labels": {"a b": "c"}}, "labels.a b"),
        ({"title": "x" * 300}, "title"), ({"runtime": "nope"}, "runtime"),
    ],
)  # fmt: skip
def test_bad_input_names_its_field(lab: World, wanted: dict[str, Any], path: str) -> None:
    given: dict[str, Any] = {"name": "lab", "runtime": "lab", "settings": {"address": "lab.example"}} | wanted
    with lab.context() as portal, pytest.raises(Invalid) as caught:
        clusters.create(portal, SYSTEM, NewCluster(**given))
    assert path in [error.path for error in caught.value.errors]
    with lab.context():
        assert db.session.scalars(select(Cluster.name)).all() == ["local"]


def test_a_test_ends_in_time(make_world: Callable[..., World]) -> None:
    world = make_world(start=False, cluster_timeout_seconds=0.3)
    runtime = MemoryRuntime()
    runtime.character.hangs = threading.Event()
    world.portal.registry.runtimes["hanging"] = MemoryDriver(runtime, kind="hanging")
    try:
        with world.context() as portal:
            report = connection_tests.try_new(portal, SYSTEM, "hanging", {}, {})
        assert not report.ok and "does not answer" in report.findings[0].message and "firewall" in report.findings[0].remedy
    finally:
        runtime.character.hangs.set()


# ---- who may use them


def test_where_a_new_instance_goes(lab: World) -> None:
    open_one, closed = make(lab, "a-open"), make(lab, "b-closed", tenants=[])
    with lab.context() as portal:
        tenant = db.session.execute(text("SELECT id FROM tenant")).scalar_one()
        assert clusters.for_create(tenant, None).name == "local", "this machine before the others"
        assert clusters.for_create(tenant, None, open_one).name == "a-open", "the default of the tenant"
        assert clusters.for_create(tenant, None, closed).name == "local", "unless it may not be used"
        for name in ("b-closed", closed, "nope"):
            with pytest.raises(Invalid, match="may use"):
                clusters.for_create(tenant, name)
        clusters.cordon(portal, SYSTEM, open_one)
        with pytest.raises(Invalid, match="takes no new instances"):
            clusters.for_create(tenant, "a-open")
        clusters.cordon(portal, SYSTEM, "local")
        with pytest.raises(Invalid, match="no cluster to create it in"):
            clusters.for_create(tenant, None)


def test_a_cluster_with_instances_stays(lab: World) -> None:
    one = make(lab)
    lab.create("e1", cluster="lab")
    with lab.context() as portal:
        with pytest.raises(Conflict, match="e1"):
            clusters.remove(portal, SYSTEM, one, confirm="lab")
        with pytest.raises(Conflict, match="belongs to the portal"):
            clusters.remove(portal, SYSTEM, "local", confirm="local")
        db.session.execute(text("UPDATE instance SET destroyed_at = created_at"))
        db.session.commit()
        with pytest.raises(Invalid, match="Type lab"):
            clusters.remove(portal, SYSTEM, one, confirm="")
        clusters.remove(portal, SYSTEM, one, confirm="lab")
        assert db.session.scalars(select(ClusterSecret)).all() == []


def test_known_silence_is_told_at_once(lab: World) -> None:
    one = make(lab)
    with lab.context() as portal:
        assert reachability.silent(portal, one, "ClusterUnreachable", "It sleeps.", None)
        assert not reachability.silent(portal, one, "ClusterUnreachable", "It sleeps.", None), "told once"
        with pytest.raises(Retry, match="It sleeps"):
            clusters.connect(portal, db.session.get_one(Cluster, one))
        assert clusters.connect(portal, db.session.get_one(Cluster, one), probe=True)


# ---- images and the practice model


@pytest.mark.parametrize(
    ("reference", "policy", "meant"),
    [
        ("quiet:1.0", {}, "quiet:1.0"),
        ("quiet:1.0", {"image_registry": "mirror.example:5000/m"}, "mirror.example:5000/m/quiet:1.0"),
        ("claws/quiet:1.0", {"image_registry": "mirror.example"}, "mirror.example/claws/quiet:1.0"),
        ("ghcr.io/claws/quiet:1.0", {"image_registry": "mirror.example"}, "mirror.example/claws/quiet:1.0"),
        ("localhost/quiet:1.0", {"image_registry": "mirror.example"}, "mirror.example/quiet:1.0"),
        ("quiet:1.0", {"images": {"quiet": "own.example/q:{version}"}, "image_registry": "m.example"}, "own.example/q:1.0"),
        ("quiet:1.0", {"images": {"other": "own.example/q:1"}}, "quiet:1.0"),
    ],
)
def test_images_are_mapped(reference: str, policy: dict[str, Any], meant: str) -> None:
    assert plans.mapped(reference, "quiet", "1.0", ClusterPolicy.model_validate(policy)) == meant
    assert plans.image_of(QuietAdapter(), "1.0", ClusterPolicy.model_validate(policy)).uid == 1000


def test_the_practice_model_needs_a_way_there(lab: World) -> None:
    one = make(lab)
    with lab.context() as portal:
        row = db.session.get_one(Cluster, one)
        service = ModelService("practice", "http://127.0.0.1:8799/v1", "practice", remedy=practice.FAR)
        with pytest.raises(GiveUp, match="cannot reach this model") as caught:
            plans._from_afar(service, row)
        assert "host name of the portal" in caught.value.remedy
        clusters.update(portal, SYSTEM, one, ClusterChange(policy={"portal_host": "portal.example"}))
        assert plans._from_afar(service, row) == "http://portal.example:8799/v1"


# ---- the breaker and the queue


def test_the_breaker_in_figures() -> None:
    breaker = Breaker()
    assert breaker.wait(20.0) == 20.0
    waits = []
    for _ in range(12):
        breaker.bad()
        waits.append(breaker.wait(20.0))
    assert waits[:6] == [0.5, 1.0, 1.0, 2.0, 4.0, 8.0] and waits[-1] == 60.0 and breaker.open
    breaker.good()
    assert not breaker.open and breaker.trip() and breaker.open and not breaker.trip()
    assert [Breaker(n).open for n in (FAILURES_TO_OPEN - 1, FAILURES_TO_OPEN)] == [False, True]


def test_hints_come_by_rank_once_they_are_due() -> None:
    queue = Dispatcher()
    for name, rank in (("low", rank_of(0)), ("high", rank_of(2)), ("asked", 0), ("normal", rank_of(1))):
        queue.hint(name, rank=rank)
    queue.hint("low", rank=rank_of(2))  # seen to be more urgent meanwhile
    assert [queue.take(1) for _ in range(4)] == ["asked", "low", "high", "normal"] and queue.take(0.01) is None


def test_one_cluster_never_holds_all_workers() -> None:
    queue = Dispatcher()
    queue.share = 2
    for number in range(4):
        queue.hint(f"a{number}", cluster="a")
    queue.hint("b0", cluster="b")
    queue.hint("unknown")
    taken = [queue.take(0.1) for _ in range(4)]
    assert taken == ["a0", "a1", "b0", "unknown"] and queue.take(0.05) is None
    queue.learn("unknown", "a")  # it turns out to be one too many, and is let go on
    queue.done("a0")
    assert queue.take(0.05) is None
    queue.done("a1")
    assert queue.take(0.5) == "a2" and queue.take(0.05) is None
    queue.done("unknown")
    assert queue.take(0.5) == "a3"
