"""The bus of one process does what every bus does, and a plugin's takes its place."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest

from clawportal import hookimpl
from clawportal.contracts.bus import DUE, FACTS, EventBus, News
from clawportal.contracts.extensions import EVENT_BUS
from clawportal.contracts.features import Feature
from clawportal.engine.event_bus import InProcessBus, chosen
from clawportal.testing.buses import EventBusConformance
from tests.core.world import World


class TestInProcess(EventBusConformance):
    replicas = False

    @pytest.fixture
    def connect(self) -> Callable[[], EventBus]:
        return InProcessBus


class Recording(InProcessBus):
    """A plugin's bus that keeps what was published."""

    def __init__(self, portal: Any) -> None:
        super().__init__()
        self.portal, self.published = portal, []

    def publish(self, subject: str, news: News) -> None:
        self.published.append((subject, news))
        super().publish(subject, news)


def test_a_plugin_brings_another(still: World) -> None:
    plugin = types.ModuleType("wires")
    feature = Feature("wires", "Wires", package="tests", extra={EVENT_BUS: (f"{__name__}:Recording",)})
    plugin.register_features = hookimpl(lambda: [feature])  # type: ignore[attr-defined]
    registry = still.portal.registry
    registry.features = (*registry.features, feature)
    bus = chosen(registry, still.portal)
    assert isinstance(bus, Recording) and bus.portal is still.portal


def test_what_is_asked_of_an_instance_is_told(still: World) -> None:
    told: list[tuple[str, News]] = []
    for subject in (DUE, FACTS):
        still.portal.bus.subscribe(subject, lambda news, subject=subject: told.append((subject, news)))
    one = still.create("one")
    assert [news["instance"] for subject, news in told if subject == DUE] == [one]
    facts = [news for subject, news in told if subject == FACTS]
    assert {news["instance_id"] for news in facts} == {one} and "instance.created" in {news["kind"] for news in facts}
    assert len(still.portal.dispatcher) == 1, "the worker of this process is told by it"
