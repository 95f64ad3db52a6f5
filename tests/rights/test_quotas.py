"""Quotas are counted exactly, checked in the transaction of the change, and cannot be passed by hurrying."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from clawportal import clock
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.specs import parse_quantity
from clawportal.db import db, transaction
from clawportal.errors import OverQuota
from clawportal.models import Instance, Tenant
from clawportal.services.fleet import instances, moves, quotas
from clawportal.services.fleet.instances import InstanceChange, NewInstance
from clawportal.services.fleet.quotas import Limits
from tests.conftest import People
from tests.core.world import World

SMALL: dict[str, Any] = {"resources": {"cpu": "500m", "memory": "64Mi"}}


@pytest.mark.parametrize("what", ["create", "start"])
def test_a_hundred_at_once_do_not_pass_a_quota_of_ten(both: World, what: str) -> None:
    with both.context() as portal:
        tenant = db.session.scalars(select(Tenant.id)).one()
        limits = Limits(instances=10) if what == "create" else Limits(cpu="5")
        ids = [both.create(f"s{n}", start=False, **SMALL) for n in range(100)] if what == "start" else []
        quotas.set_tenant(portal, SYSTEM, tenant, limits)
    outcomes: list[str] = []
    gate = threading.Barrier(20)

    def hurry(worker: int) -> None:
        gate.wait(30)
        for number in range(worker, 100, 20):
            with both.context() as portal:
                try:
                    if what == "create":
                        instances.create(portal, SYSTEM, NewInstance(name=f"n{number}", adapter="echo", spec=SMALL))
                    else:
                        instances.start(portal, SYSTEM, ids[number])
                    outcomes.append("made")
                except OverQuota as problem:
                    outcomes.append(problem.code)
                finally:
                    db.session.remove()

    threads = [threading.Thread(target=hurry, args=(worker,)) for worker in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(set(outcomes)) == ["made", "over_quota"]
    assert outcomes.count("made") == 10 and len(outcomes) == 100
    with both.context():
        wanted = Instance.desired == "running"
        assert db.session.scalar(select(func.count()).select_from(Instance).where(wanted)) == 10


def test_start_and_resize_and_move_are_checked(both: World) -> None:
    with both.context() as portal:
        tenant = db.session.scalars(select(Tenant.id)).one()
        from clawportal.services.tenancy import tenants

        shop = tenants.create_project(portal, SYSTEM, tenant, "shop").id
        quotas.set_tenant(portal, SYSTEM, tenant, Limits(cpu="1", memory="128Mi"))
        quotas.set_project(portal, SYSTEM, shop, Limits(instances=1))
        one, two = both.create("one", **SMALL), both.create("two", **SMALL)
        three = both.create("three", start=False, **SMALL)
        with pytest.raises(OverQuota) as told:
            instances.start(portal, SYSTEM, three)
        assert {(item["resource"], item["asked"], item["used"], item["allowed"]) for item in told.value.extra["quota"]} == {  # type: ignore[attr-defined]  # a list
            ("cpu", "500m", "1", "1"),
            ("memory", "64Mi", "128Mi", "128Mi"),
        }
        assert instances.get(SYSTEM, three).desired == "stopped" and instances.get(SYSTEM, three).generation == 1
        bigger = InstanceChange(spec={"resources": {"cpu": "501m", "memory": "64Mi"}})
        with pytest.raises(OverQuota, match="CPU"):
            instances.update(portal, SYSTEM, one, bigger, generation=1)
        without = InstanceChange(spec={"resources": {"memory": "64Mi"}})
        with pytest.raises(OverQuota, match="give the instance a CPU limit"):
            instances.update(portal, SYSTEM, one, without, generation=1)
        moves.move_instance(portal, SYSTEM, one, "shop")
        with pytest.raises(OverQuota, match="project"):
            moves.move_instance(portal, SYSTEM, two, "shop")
        instances.stop(portal, SYSTEM, two)
        instances.start(portal, SYSTEM, three)


def test_what_is_over_already_may_shrink_and_stop(both: World) -> None:
    with both.context() as portal:
        tenant = db.session.scalars(select(Tenant.id)).one()
        one = both.create("one", resources={"cpu": "4", "memory": "1Gi"})
        quotas.set_tenant(portal, SYSTEM, tenant, Limits(instances=0, cpu="1", memory="64Mi"))
        smaller = InstanceChange(spec={"resources": {"cpu": "3", "memory": "1Gi"}})
        instances.update(portal, SYSTEM, one, smaller, generation=1)
        same = InstanceChange(labels={"a": "b"})
        instances.update(portal, SYSTEM, one, same, generation=2)
        instances.restart(portal, SYSTEM, one)
        instances.stop(portal, SYSTEM, one)
        instances.remove(portal, SYSTEM, one)
        with pytest.raises(OverQuota, match="0 instances"):
            both.create("two", **SMALL)


def test_memory_without_a_limit_counts_as_the_adapter_suggests(still: World) -> None:
    with still.context() as portal:
        tenant = db.session.scalars(select(Tenant.id)).one()
        suggested = parse_quantity(portal.registry.adapters["echo"].suggested_memory)
        db.session.rollback()  # what was read until now would hide what another context writes
        still.create("one")
        assert quotas.report(portal, SYSTEM, tenant).used.memory == suggested
        quotas.set_tenant(portal, SYSTEM, tenant, Limits(memory=str(2 * suggested)))
        still.create("two")
        with pytest.raises(OverQuota):
            still.create("three")


def sized(storage: str) -> dict[str, Any]:
    return {"resources": {**SMALL["resources"], "storage": storage}}


def test_storage_counts_until_the_data_is_gone(both: World) -> None:
    with both.context() as portal:
        tenant = db.session.scalars(select(Tenant.id)).one()
        old = both.create("old", start=False, **SMALL)  # from before there was a quota
        quotas.set_tenant(portal, SYSTEM, tenant, Limits(storage="10Gi"))
        one = both.create("one", **sized("6Gi"))
        with pytest.raises(OverQuota, match="give the instance a size of storage") as told:
            both.create("two", **SMALL)
        assert [error.path for error in told.value.errors] == ["quota.storage"]
        instances.stop(portal, SYSTEM, one)
        assert quotas.report(portal, SYSTEM, tenant).used.storage == parse_quantity("6Gi"), "its data stays"
        with pytest.raises(OverQuota) as told:
            both.create("two", start=False, **sized("5Gi"))
        assert told.value.extra["quota"][0].items() >= {"asked": "5Gi", "used": "6Gi", "allowed": "10Gi"}.items()  # type: ignore[attr-defined,index]  # a list
        two = both.create("two", start=False, **sized("4Gi"))
        with pytest.raises(OverQuota, match="1Gi more asked"):
            instances.update(portal, SYSTEM, two, InstanceChange(spec=sized("5Gi")), generation=1)
        with pytest.raises(OverQuota, match="give the instance a size"):
            instances.update(portal, SYSTEM, two, InstanceChange(spec=SMALL), generation=1)
        instances.start(portal, SYSTEM, two)
        instances.start(portal, SYSTEM, old)
        with pytest.raises(OverQuota, match="1Gi more asked"):  # data without a size was not counted until now
            instances.update(portal, SYSTEM, old, InstanceChange(spec=sized("1Gi")), generation=2)
        instances.update(portal, SYSTEM, one, InstanceChange(spec=sized("2Gi")), generation=2)
        instances.update(portal, SYSTEM, old, InstanceChange(spec=sized("1Gi")), generation=2)
        instances.remove(portal, SYSTEM, one)
        assert quotas.report(portal, SYSTEM, tenant).used.storage == parse_quantity("7Gi"), "as long as it is being deleted"
        with transaction():
            row = db.session.get(Instance, one)
            assert row is not None
            row.destroyed_at = clock.now()
        assert quotas.report(portal, SYSTEM, tenant).used.storage == parse_quantity("5Gi")


def test_a_project_has_a_quota_of_storage_too(still: World) -> None:
    with still.context() as portal:
        from clawportal.services.tenancy import tenants

        tenant = db.session.scalars(select(Tenant.id)).one()
        shop = tenants.create_project(portal, SYSTEM, tenant, "shop").id
        quotas.set_project(portal, SYSTEM, shop, Limits(storage="5Gi"))
        big, small, none = (
            still.create("big", **sized("6Gi")),
            still.create("small", **sized("5Gi")),
            still.create("none", **SMALL),
        )
        for one in (big, none):
            with pytest.raises(OverQuota, match="project"):
                moves.move_instance(portal, SYSTEM, one, "shop")
        moves.move_instance(portal, SYSTEM, small, "shop")
        bars = {bar.resource: bar for bar in quotas.report(portal, SYSTEM, tenant).shares[-1].bars}
        assert (bars["storage"].used, bars["storage"].allowed, bars["storage"].percent) == ("5Gi", "5Gi", 100.0)


quantities = st.one_of(
    st.integers(0, 10**6).map(str),
    st.integers(1, 10**6).map(lambda n: f"{n}m"),
    st.decimals("0.0001", "9999", places=4).map(lambda d: f"{d:f}"),
    st.builds(lambda n, unit: f"{n}{unit}", st.integers(1, 4096), st.sampled_from(["Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T"])),
)


@given(st.lists(quantities, max_size=30))
def test_sums_are_exact_in_every_order(texts: list[str]) -> None:
    amounts = [quotas.Amount(1, *[quotas.parse(text)] * 3) for text in texts]
    forth, back = quotas._sum(amounts), quotas._sum(reversed(amounts))
    exact = sum((parse_quantity(text) for text in texts), Decimal(0))
    assert forth == back == quotas.Amount(len(texts), exact, exact, exact)


@given(quantities, st.sampled_from(quotas.SIZES))
def test_what_is_written_reads_as_the_same_amount(text: str, resource: str) -> None:
    amount = parse_quantity(text)
    assert parse_quantity(quotas.written(resource, amount)) == amount


@settings(max_examples=200)
@given(st.lists(st.tuples(quantities, st.booleans()), max_size=12), quantities, st.sampled_from(quotas.SIZES))
def test_whatever_is_admitted_stays_within(steps: list[tuple[str, bool]], limit: str, resource: str) -> None:
    """A model of a quota: what passes the rule never adds up to more than the limit, and nothing that fits is refused."""
    limits, held = Limits(**{resource: limit}), Decimal(0)
    for text, grows in steps:
        asked = parse_quantity(text)
        used, more = quotas.Amount(**{resource: held}), quotas.Amount(1, **{resource: asked})
        over = quotas._over(limits, used, quotas.Amount(), more, resource) if grows else None
        assert (over is not None) == (grows and held + asked > parse_quantity(limit))
        if grows and over is None:
            held += asked
        assert held <= parse_quantity(limit)


def test_the_api_says_what_is_asked_used_and_allowed(people: People) -> None:
    tenant = people.owner.get("tenants").get_json()["items"][0]["id"]
    project = people.owner.get("projects").get_json()["items"][0]["id"]
    assert people.admin.put(f"tenants/{tenant}/quota", {"instances": 2, "memory": "1Gi"}).status_code == 200
    assert people.owner.put(f"tenants/{tenant}/quota", {"instances": 99}).status_code == 403, "nobody raises their own quota"
    assert people.stranger.get(f"tenants/{tenant}/quota").status_code == 404
    assert people.owner.put(f"projects/{project}/quota", {"instances": 1}).status_code == 200
    assert people.developer.put(f"projects/{project}/quota", {"instances": 9}).status_code == 403
    assert people.stranger.put(f"projects/{project}/quota", {"instances": 9}).status_code == 404
    people.developer.create("one", spec=SMALL)
    answer = people.developer.post("instances", {"name": "two", "adapter": "echo", "spec": SMALL})
    assert answer.status_code == 409
    told = answer.get_json()
    expected = {"scope": "project", "id": project, "resource": "instances", "asked": "1", "used": "1", "allowed": "1"}
    assert told["code"] == "over_quota" and told["quota"] == [expected]
    seen = people.viewer.get(f"tenants/{tenant}/quota").get_json()
    assert seen["limits"] == {"instances": 2, "cpu": None, "memory": "1Gi", "storage": None}
    assert seen["used"] == {"instances": 1, "cpu": "500m", "memory": "64Mi", "storage": "0"}
    assert seen["projects"][0]["limits"]["instances"] == 1
    for bad in ({"instances": -1}, {"cpu": "lots"}, {"memory": "-1Gi"}, {"storage": "-1Gi"}, {"disk": "1Gi"}):
        assert people.admin.put(f"tenants/{tenant}/quota", bad).status_code == 422
    assert people.owner.get("instances").get_json()["total"] == 1
