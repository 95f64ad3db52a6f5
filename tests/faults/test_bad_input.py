"""What cannot be accepted: each field is named with a remedy, and not a single row is stored."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db
from clawportal.errors import Conflict, Invalid, PreconditionFailed, PreconditionRequired
from clawportal.models import EventRow, IdempotencyKey, Instance, InstanceSecret, Operation, PortAllocation
from clawportal.services.fleet import instances
from clawportal.services.fleet.instances import InstanceChange, NewInstance
from tests.core.world import World

TABLES = (Instance, InstanceSecret, PortAllocation, Operation, IdempotencyKey)


def rows(world: World) -> dict[str, int]:
    with world.context():
        counts = {table.__name__: db.session.scalar(select(func.count()).select_from(table)) or 0 for table in TABLES}
        kinds = select(func.count()).select_from(EventRow).where(EventRow.kind.like("instance.%"))
        return counts | {"events": db.session.scalar(kinds) or 0}


GOOD: dict[str, Any] = {"name": "good", "adapter": "echo"}


@pytest.mark.parametrize(
    ("change", "path", "word"),
    [
        ({"adapter": "unheard-of"}, "adapter", "echo"),
        ({"version": "99"}, "version", "1.0"),
        ({"name": ""}, "name", "name"),
        ({"name": "Has Spaces"}, "name", "small letters"),
        ({"name": "-dash"}, "name", "small letters"),
        ({"name": "x" * 64}, "name", "63"),
        ({"name": "line\n"}, "name", "small letters"),
        ({"labels": {"a b": "c"}}, "labels.a b", "letters"),
        ({"project": "nowhere"}, "project", "nowhere"),
        ({"cluster": "nowhere"}, "cluster", "local"),
        ({"spec": {"persnoa": "x"}}, "spec.persnoa", "known field"),
        ({"spec": {"model": {"base_url": "ftp://x"}}}, "spec.model.base_url", "http"),
        ({"spec": {"resources": {"memory": "lots"}}}, "spec.resources.memory", "512Mi"),
        ({"spec": {"resources": {"cpu": "0"}}}, "spec.resources.cpu", "greater"),
        ({"spec": {"restart": "sometimes"}}, "spec.restart", "always"),
        ({"spec": {"settings": {"greting": "x"}}}, "spec.settings.greting", "known field"),
        ({"spec": {"settings": {"startup_delay": "soon"}}}, "spec.settings.startup_delay", "number"),
        ({"spec": {"settings": {"exit_code": 256}}}, "spec.settings.exit_code", "255"),
        ({"spec": {"settings": "x"}}, "spec.settings", "object"),
        ({"secrets": {"no_such": "x"}}, "secrets.no_such", "model_api_key"),
        ({"secrets": {"model_api_key": "x" * 100_001}}, "secrets.model_api_key", "100,000"),
        ({"secrets": {"model_api_key": "a\0b"}}, "secrets.model_api_key", "control"),
        (
            {"adapter": "nanobot", "spec": {"model": {"provider": "openai", "name": "gpt"}}},
            "secrets.model_api_key", "API key",
        ),
        ({"adapter": "nanobot", "spec": {"model": {"provider": "openai"}}}, "spec.model.name", "needed"),
        (
            {"adapter": "nanobot", "spec": {"model": {"provider": "openai-compatible", "name": "x"}}},
            "spec.model.base_url", "needed",
        ),
        ({"adapter": "nanobot"}, "spec.model.provider", "practice model is switched off"),
    ],
)  # fmt: skip
def test_a_bad_create_names_the_field_and_stores_nothing(still: World, change: dict[str, Any], path: str, word: str) -> None:
    before = rows(still)
    with still.context() as portal, pytest.raises(Invalid) as told:
        instances.create(portal, SYSTEM, NewInstance(**(GOOD | change)), key="k1", request_hash="h")
    found = {error.path: error.message for error in told.value.errors}
    assert word in found[path], found
    assert rows(still) == before


def test_everything_that_is_wrong_is_told_at_once(still: World) -> None:
    wanted = NewInstance("Bad Name", "echo", labels={"": "x"}, cluster="nowhere",
                         spec={"typo": 1, "settings": {"typo": 1}}, secrets={"typo": "x"})  # fmt: skip
    with still.context() as portal:
        paths = {error.path for error in instances.check_new(portal, SYSTEM, wanted)}
        elsewhere = {error.path for error in instances.check_new(portal, SYSTEM, replace(wanted, project="nowhere"))}
    rest = {"name", "labels.", "spec.typo", "spec.settings.typo", "secrets.typo"}
    assert paths == rest | {"cluster"}
    assert elsewhere == rest | {"project"}, "which clusters there are follows from the project"


def test_a_taken_name(still: World) -> None:
    still.create("same")
    with pytest.raises(Invalid) as told:
        still.create("same")
    assert told.value.errors[0].code == "taken"


def test_a_bad_update_changes_nothing(still: World) -> None:
    one = still.create(settings={"greeting": "Hello"})
    before = rows(still)
    with pytest.raises(Invalid) as told:
        still.update(one, settings={"greeting": 5}, secrets={"typo": "x"})
    assert {error.path for error in told.value.errors} == {"spec.settings.greeting", "secrets.typo"}
    with still.context() as portal:
        with pytest.raises(PreconditionRequired):
            instances.update(portal, SYSTEM, one, InstanceChange(), generation=None)
        with pytest.raises(PreconditionFailed):
            instances.update(portal, SYSTEM, one, InstanceChange(), generation=7)
    assert rows(still) == before and still.see(one).generation == 1


def test_the_same_key_gets_the_same_instance(still: World) -> None:
    with still.context() as portal:
        first = instances.create(portal, SYSTEM, NewInstance(**GOOD), key="k", request_hash="h").id
        assert instances.create(portal, SYSTEM, NewInstance(**GOOD), key="k", request_hash="h").id == first
        with pytest.raises(Conflict, match="different request"):
            instances.create(portal, SYSTEM, NewInstance("other", "echo"), key="k", request_hash="other")
    assert rows(still)["Instance"] == 1


def _two_free_ports() -> int:
    """The first of them; below those that the system gives to connections that go out."""
    for port in random.sample(range(20_000, 30_000, 2), 200):
        with ExitStack() as stack, suppress(OSError):
            for number in (port, port + 1):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", number))
            return port
    raise AssertionError("no two ports are free")


def test_no_free_port(make_world: Callable[..., World]) -> None:
    """Two ports, three claws: the third says so, and runs as soon as one is free."""
    port = _two_free_ports()
    world = make_world(port_range=f"{port}-{port + 1}")
    one, two = world.create("one"), world.create("two")
    for each in (one, two):
        world.until(each, "running")
    three = world.create("three")
    seen = world.until(three, "failed")
    assert seen.reason == "NoFreePort" and str(port) in seen.message and "CLAWPORTAL_PORT_RANGE" in seen.next_action
    assert [row.state for row in world.ops(three)] == ["failed"]
    world.press("delete", one)
    world.until(one, lambda s: s.destroyed_at)
    world.press("start", three)
    world.until(three, "running")


@pytest.mark.parametrize("given", ["80-90", "30000-20000", "x", "1024-70000"])
def test_a_wrong_port_range_stops_the_start(make_world: Callable[..., World], given: str) -> None:
    with pytest.raises(ValueError, match="two ports"):
        make_world(port_range=given)


def test_a_port_that_a_stranger_took(make_world: Callable[..., World]) -> None:
    import socket

    world = make_world()
    one = world.create()
    workload = world.until(one, "running").workload
    assert workload
    port = workload["ports"]["http"]
    world.press("stop", one)
    world.until(one, "stopped")
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        world.press("start", one)
        seen = world.until(one, "running")
    assert seen.workload and seen.workload["ports"]["http"] != port
    assert any(row.reason == "PortTaken" and str(port) in row.message for row in world.events(one))
