"""An instance that is called synced works by its new configuration: asked at once, several times, with the real claws."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clawportal.contracts.adapters import Adapter
from clawportal.contracts.permissions import SYSTEM
from clawportal.services.live import chat
from clawportal.testing.fakes import free_ports
from clawportal.testing.trial import text_of
from clawportal_nanobot.adapter import NanobotAdapter
from clawportal_openclaw.adapter import OpenClawAdapter
from clawportal_practice import service as practice
from tests.core.world import World

pytestmark = [pytest.mark.claw, pytest.mark.slow, pytest.mark.timeout(900)]

CHANGES = 5


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A whole portal; what its claws need stands in the cache that outlives a run."""
    cache = Path(os.environ.get("CLAWPORTAL_TEST_ARTIFACTS") or Path.home() / ".cache" / "clawportal-tests")
    place = tmp_path / "portal/clusters/local"
    place.mkdir(parents=True)
    (place / "artifacts").symlink_to(cache / "artifacts")
    monkeypatch.setenv("CLAWPORTAL_PRACTICE_MODEL_PORT", str(free_ports(["practice"])["practice"]))
    opened = World(tmp_path / "portal")
    with opened.context():
        practice.start(opened.portal)
    yield opened
    opened.close()
    with opened.context():
        practice.stop(opened.portal)


@pytest.mark.parametrize("adapter", [NanobotAdapter(), OpenClawAdapter()], ids=lambda adapter: adapter.kind)
def test_what_is_synced_is_read(world: World, install: Callable[[Adapter], None], adapter: Adapter) -> None:
    install(adapter)
    one = world.create(adapter=adapter.kind, model={"provider": "practice", "name": "first"})
    first = world.until(one, lambda seen: seen.sync == "synced" and seen.settled, adapter.startup_seconds)
    assert _model_of(world, one) == "first"
    for number in range(CHANGES):
        world.update(one, model={"provider": "practice", "name": f"model-{number}"})
        wanted = first.generation + number + 1
        seen = world.until(one, lambda s: (s.sync, s.observed_generation) == ("synced", wanted), 60)  # noqa: B023
        assert _model_of(world, one) == f"model-{number}"
        assert seen.incarnation == first.incarnation, "it needs no restart for that"


def _model_of(world: World, instance_id: str) -> str:
    """The model that the claw asks right now."""
    with world.context() as portal:
        text_of(chat.chat(portal, SYSTEM, instance_id, "alpha", "who are you"))
        server = practice.listening(portal).server
        assert server is not None
        return str(server.requests[-1].body["model"])
