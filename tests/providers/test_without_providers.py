"""The portal without the plugin of providers: no keys, no list of providers but what is left, and the rest works."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask

from clawportal import pluginmanager
from tests.conftest import make_person, portal_of
from tests.web.conftest import Browser

WITHOUT = ",".join(name for name in pluginmanager.BUNDLED if name != "clawportal_providers")


def test_left_out_nothing_of_it_is_left(make_app: Callable[..., Flask]) -> None:
    app = make_app(plugins=WITHOUT)
    registry = portal_of(app).registry
    assert list(registry.providers) == ["practice"] and registry.feature("credentials") is None
    assert not any("credential" in rule.rule or "model-keys" in rule.rule for rule in app.url_map.iter_rules())
    admin = make_person(app, "admin", "portal-admin")
    assert admin.get("credentials").status_code == 404
    home = admin.get("tenants").get_json()["items"][0]["id"]
    browser = Browser(admin.browser())
    assert "Model keys" not in browser.page(f"/tenants/{home}")
    form = browser.page("/instances/new?adapter=nanobot")
    assert "Stored key" not in form and "OpenAI" not in form and "Practice model" in form
    assert admin.create("one", start=False)["spec"]["model"]["provider"] == "practice"
    named = {"name": "two", "adapter": "echo", "start": False, "spec": {"model": {"credential": "01h2xcejqtf2nbrexx3vqjhp41"}}}
    answer = admin.post("instances", named)
    assert answer.status_code == 422 and answer.get_json()["errors"][0]["path"] == "spec.model.credential"
