"""The practice model as a capability: its switch, and the portal without it."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from flask import Flask

from clawportal import pluginmanager
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.specs import InstanceSpec
from clawportal.services.fleet import instances, plans
from clawportal.services.fleet.instances import NewInstance
from clawportal.testing.places import MemoryRuntime, QuietAdapter
from clawportal_practice import service
from tests.conftest import Person, make_person, portal_of
from tests.core.world import World
from tests.web.conftest import Browser

WITHOUT = ",".join(name for name in pluginmanager.BUNDLED if name != "clawportal_practice")


@pytest.fixture
def without(make_app: Callable[..., Flask]) -> Flask:
    return make_app(plugins=WITHOUT)


def test_its_card_says_what_it_can_do_and_its_switch_works(admin: Person) -> None:
    browser, portal = Browser(admin.browser()), portal_of(admin.app)
    assert "error 429" in browser.page("/about") and "It is switched off." in browser.page("/about")
    assert browser.post("/about/practice", {"practice": "true"}).status_code in (200, 204, 303)
    with admin.app.app_context():
        assert service.enabled() and "It listens at" in service.findings(portal)[0].message
    text = browser.page("/about")
    assert service.listening(portal).url in text and "No provider is asked" in browser.page("/")
    browser.post("/about/practice", {"practice": "false"})
    assert not service.listening(portal).url and "No provider is asked" not in browser.page("/")


def test_left_out_nothing_of_it_is_left(without: Flask) -> None:
    registry = portal_of(without).registry
    assert "practice" not in registry.providers and registry.providers.usual == ""
    assert registry.feature("practice_model") is None and registry.event_kind("portal.practice_model") is None
    assert not any("practice" in rule.rule for rule in without.url_map.iter_rules())


def test_left_out_the_pages_do_not_speak_of_it(without: Flask) -> None:
    browser = Browser(make_person(without, "admin", "portal-admin").browser())
    for path in ("/", "/about", "/instances", "/instances/new?adapter=nanobot", "/plugins"):
        assert "ractice model" not in browser.page(path), path


def test_left_out_a_claw_needs_a_provider_and_works(make_world: Callable[..., World]) -> None:
    world = make_world(start=False, plugins=WITHOUT)
    key = {"model_api_key": "sk-1234"}
    with world.context() as portal:
        [error] = instances.check_new(portal, SYSTEM, NewInstance("one", "nanobot"))
        assert error.path == "spec.model.provider" and "openai" in error.message and "practice" not in error.message
        spec = {"model": {"provider": "openai", "name": "gpt-5-mini"}}
        assert instances.create(portal, SYSTEM, NewInstance("one", "nanobot", spec=spec, secrets=key, start=False)).id
        assert instances.create(portal, SYSTEM, NewInstance("two", "echo", start=False)).spec["model"]["provider"] == ""


def test_the_practice_model_has_one_address_whether_it_listens_or_not(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claw is not restarted because the portal came up a moment before its practice model."""
    monkeypatch.setenv("CLAWPORTAL_PRACTICE_MODEL_PORT", "18799")
    world = make_world(start=False)
    with world.context() as portal:
        about = InstanceSpec(), QuietAdapter(), MemoryRuntime(), ""
        before = plans._model(portal, *about)
        service.listening(portal).url = "http://127.0.0.1:18799/v1"
        assert plans._model(portal, *about) == before


def test_a_practice_port_that_is_taken_is_replaced_for_good(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one is chosen, told, and chosen again at the next start: claws know it by then."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("CLAWPORTAL_PRACTICE_MODEL_PORT", str(other.getsockname()[1]))
        world = make_world(start=False)
        with world.context() as portal:
            service.start(portal)
            first = service.listening(portal).url
            assert first and service.moved(portal) and service.expected_url(portal) == first
            service.stop(portal)
            assert service.expected_url(portal) == first
            service.start(portal)
            assert service.listening(portal).url == first
            service.stop(portal)
