"""Installs that fail, are cancelled, are shared or come back: the instances that wait say so and have a way out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from clawportal import clock
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.runtimes import Progress
from clawportal.contracts.workloads import Artifact
from clawportal.errors import Conflict, GiveUp, Retry
from clawportal.services.fleet import operations
from clawportal.testing.places import QuietAdapter
from tests.core.conftest import Memory
from tests.core.world import World, eventually
from tests.faults.portal_process import with_software
from tests.faults.wheels import make_wheel

TINY = Artifact("tiny", "1.0", "pip", ("tiny==1.0",))
NODE = Artifact("node", "24", "node", ("node==24",))


def test_twenty_instances_wait_for_one_install(memory: Memory) -> None:
    go = threading.Event()

    def slowly(artifact: Artifact, progress: Progress) -> None:
        progress(0.5, "half of it")
        assert go.wait(120)

    memory.runtime.prepare_with = slowly
    memory.adapter.needs = (NODE, TINY)
    ids = [memory.create(f"q{number}") for number in range(20)]
    for one in ids:
        seen = memory.until(one, lambda s: s.phase == "installing", 30)
        assert "node 24" in seen.message and seen.phase_deadline and "Operations" in seen.next_action
    eventually(lambda: "half of it" in memory.world.see(ids[0]).message, "the progress is shown")
    with memory.world.context():
        page = operations.listing(SYSTEM, instance_id=ids[0])
        assert [row.kind for row in page.items] == ["artifact.install", "instance.create"]
    go.set()
    for one in ids:
        memory.until(one, "running", 40)
    assert [(row.subject, row.state, row.progress) for row in memory.world.installs()] == [
        ("node 24", "succeeded", 100.0), ("tiny 1.0", "succeeded", 100.0),
    ]  # fmt: skip


def test_an_install_that_fails_fails_once_for_all(memory: Memory) -> None:
    def fail(artifact: Artifact, progress: Progress) -> None:
        raise GiveUp("DiskFull", "No space left on device.", "Free some space.", ("ENOSPC",))

    memory.runtime.prepare_with = fail
    memory.adapter.needs = (TINY,)
    ids = [memory.create(f"q{number}") for number in range(3)]
    for one in ids:
        seen = memory.until(one, "failed")
        assert seen.reason == "InstallFailed" and "No space left" in seen.message and "Free some space" in seen.message
        assert "start the instance again" in seen.next_action and [row.state for row in memory.world.ops(one)] == ["failed"]
    failed = [row for row in memory.world.installs() if row.state == "failed"]
    assert 1 <= len(failed) <= 2 and failed[0].lines == ["ENOSPC"], "not once per instance"

    memory.runtime.prepare_with = None
    memory.world.press("start", ids[0])
    memory.until(ids[0], "running")


def test_one_install_that_fails_is_tried_once(memory: Memory) -> None:
    def fail(artifact: Artifact, progress: Progress) -> None:
        raise GiveUp("InstallFailed", "It does not build.")

    memory.runtime.prepare_with = fail
    memory.adapter.needs = (TINY,)
    one = memory.create()
    memory.until(one, "failed")
    assert memory.runtime.calls["prepare"] == 1 and len(memory.world.installs()) == 1


def test_an_install_that_may_work_later_is_tried_again(memory: Memory) -> None:
    tries = []

    def flaky(artifact: Artifact, progress: Progress) -> None:
        tries.append(artifact)
        if len(tries) == 1:
            raise Retry("MachineError", "Resource temporarily unavailable")

    memory.runtime.prepare_with = flaky
    memory.adapter.needs = (TINY,)
    one = memory.create()
    memory.until(one, lambda s: "temporarily unavailable" in s.message)
    memory.until(one, "running", 20)
    assert [row.attempts for row in memory.world.installs()] == [2]


def test_cancelled(memory: Memory) -> None:
    started = threading.Event()

    def endless(artifact: Artifact, progress: Progress) -> None:
        started.set()
        for _ in range(1000):
            progress(0.1, "Collecting")
            threading.Event().wait(0.05)

    memory.runtime.prepare_with = endless
    memory.adapter.needs = (TINY,)
    one = memory.create()
    assert started.wait(15)
    (install,) = memory.world.installs()
    with memory.world.context() as portal:
        operations.cancel(portal, SYSTEM, install.id)
    seen = memory.until(one, "failed")
    assert seen.reason == "InstallCancelled" and "start the instance again" in seen.next_action
    with memory.world.context() as portal:
        with pytest.raises(Conflict, match="already ended"):
            operations.cancel(portal, SYSTEM, install.id)
        memory.runtime.prepare_with = None
        assert operations.retry(portal, SYSTEM, install.id).state == "queued"
    memory.world.press("start", one)
    memory.until(one, "running")


def test_deleted_while_it_installs(memory: Memory) -> None:
    go = threading.Event()

    def slowly(artifact: Artifact, progress: Progress) -> None:
        assert go.wait(120)

    memory.runtime.prepare_with = slowly
    memory.adapter.needs = (TINY,)
    one, two = memory.create("one"), memory.create("two")
    for each in (one, two):
        memory.until(each, lambda s: s.phase == "installing")
    memory.world.press("delete", one)
    memory.until(one, lambda s: s.destroyed_at)
    assert not memory.world.open_ops(one)
    memory.world.press("stop", two)
    memory.until(two, "stopped")
    (install,) = memory.world.installs()
    assert install.state in ("queued", "running"), "it is of the machine, and others may wait for it"
    go.set()
    eventually(lambda: memory.world.installs()[0].state == "succeeded", "the install ends by itself")
    memory.world.press("start", two)
    memory.until(two, "running")


def test_cancelled_before_it_began(make_memory: Callable[..., Memory]) -> None:
    memory = make_memory(start=False)
    with memory.world.context() as portal:
        operation = operations.ensure_install(portal, _cluster(memory), TINY.key, "tiny 1.0", {}, clock.now())
        assert operations.cancel(portal, SYSTEM, operation.id).state == "cancelled"
        assert operations.claim(portal, operations.INSTALL, 1) == []
        own = memory.create()
        (create,) = memory.world.ops(own)
        with pytest.raises(Conflict, match="stop or delete"):
            operations.cancel(portal, SYSTEM, create.id)


def _cluster(memory: Memory) -> str:
    from sqlalchemy import select

    from clawportal.db import db
    from clawportal.models import Cluster

    return db.session.scalars(select(Cluster.id).where(Cluster.name == "memory")).one()


def test_an_install_that_another_worker_took_over_is_his(make_memory: Callable[..., Memory]) -> None:
    memory = make_memory(start=False)
    with memory.world.context() as portal:
        operation = operations.ensure_install(portal, _cluster(memory), TINY.key, "tiny 1.0", {}, clock.now())
        assert operations.claim(portal, operations.INSTALL, 1) == [operation.id]
        assert operations.report(portal, operation.id, 0.5, "on the way")
        mine, portal.holder = portal.holder, "other:1:aaaa"
        assert not operations.report(portal, operation.id, 0.6, "mine?")
        operations.finish(portal, operation.id, "cancelled")
    assert memory.world.installs()[0].state == "running"
    with memory.world.context() as portal:
        portal.holder = mine
        operations.finish(portal, operation.id, "succeeded")
    assert memory.world.installs()[0].state == "succeeded"


def test_whoever_looked_before_its_end_is_not_given_another(make_memory: Callable[..., Memory]) -> None:
    memory = make_memory(start=False)
    with memory.world.context() as portal:
        asked = (portal, _cluster(memory), TINY.key, "tiny 1.0", {})
        before = clock.now()
        first = operations.ensure_install(*asked, before).id
        operations.claim(portal, operations.INSTALL, 1)
        operations.finish(portal, first, "succeeded")
        assert operations.ensure_install(*asked, before).id == first, "it came meanwhile"
        assert operations.ensure_install(*asked, clock.now()).id != first, "it was removed since"


def test_the_plugin_no_longer_offers_it(memory: Memory) -> None:
    memory.adapter.needs = (TINY,)

    def changed(artifact: Artifact, progress: Progress) -> None:
        raise GiveUp("ArtifactUnknown", "gone")

    memory.runtime.prepare_with = changed
    one = memory.create()
    assert "gone" in memory.until(one, "failed").message


# ---- with the installer of this machine


@pytest.mark.slow
def test_a_real_install_from_a_shelf(make_world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys\ndef main():\n    print('tiny 1.0')\n"
    make_wheel(tmp_path / "shelf", "tiny", "1.0", {"tiny.py": code}, "[console_scripts]\ntiny = tiny:main\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    world = make_world(start=False)
    with_software(world)
    world.start()
    ids = [world.create(f"q{number}", adapter="quiet") for number in range(3)]
    for one in ids:
        world.until(one, "running", 60)
    assert [row.state for row in world.installs()] == ["succeeded"]


@pytest.mark.slow
def test_an_index_that_does_not_answer(make_world: Callable[..., World]) -> None:
    world = make_world(start=False, pip_index_url="http://127.0.0.1:9/simple")
    world.portal.registry.adapters["quiet"] = QuietAdapter(needs=(TINY,))
    world.start()
    one = world.create(adapter="quiet")
    seen = world.until(one, "failed", 60)
    assert seen.reason == "InstallFailed" and "does not answer" in seen.message and "CLAWPORTAL_PIP_INDEX_URL" in seen.message
    assert world.installs()[0].lines, "the tool's own words"
    assert not list((world.folder / "clusters/local/artifacts").glob("tiny-*")), "nothing half-usable is left"
