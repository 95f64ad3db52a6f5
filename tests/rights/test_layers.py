"""What an organisation says about every claw in it: set, shown beforehand, laid over instances, and never lost to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from clawportal.db import db
from clawportal.models import AuditEntry, Instance, TenantSecret
from clawportal.services.configuration import layers, secrets
from tests.conftest import People, Person, make_person, portal_of
from tests.rights.test_people_cli import claw
from tests.rights.test_rights_pages import Browser

__all__ = ["claw"]
OURS = {"provider": "openai-compatible", "base_url": "https://llm.example/v1", "name": "big"}
KEY = "sk-shared-0123456789"


@pytest.fixture
def home(people: People) -> str:
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


def put(by: Person, tenant: str, **layer: Any) -> Any:
    answer = by.put(f"tenants/{tenant}/layer", layer)
    assert answer.status_code == 200, answer.get_json()
    return answer.get_json()


def test_defaults_fill_and_enforced_wins_and_the_instance_keeps_what_it_said(people: People, home: str) -> None:
    one = people.owner.create("one", start=False, spec={"settings": {"greeting": "Mine"}, "resources": {"cpu": "1"}})["id"]
    parts = {
        "defaults": {"resources": {"memory": "96Mi", "cpu": "250m"}, "settings": {"echo": {"greeting": "Ours"}}},
        "enforced": {"settings": {"echo": {"log_every": 7.0}, "nanobot": {}}, "labels": {"cost": "42"}},
    }
    before = people.owner.get(f"instances/{one}").get_json()
    assert people.owner.post(f"tenants/{home}/layer/preview", parts).get_json()["changes"] == 1
    assert people.owner.get(f"tenants/{home}/layer").get_json()["defaults"]["settings"] == {}, "a preview sets nothing"
    assert put(people.owner, home, **parts)["named"] == ["one"]
    after = people.owner.get(f"instances/{one}").get_json()
    assert after["spec"] == before["spec"] and after["generation"] == before["generation"] + 1
    found = people.viewer.get(f"instances/{one}/effective").get_json()
    assert found["spec"]["resources"] == {"memory": "96Mi", "cpu": "1"} | {
        name: "" for name in found["spec"]["resources"] if name not in ("memory", "cpu")
    }
    assert found["spec"]["settings"]["greeting"] == "Mine" and found["spec"]["settings"]["log_every"] == 7
    assert found["labels"] == {"cost": "42"}
    assert found["sources"] == {
        "resources.memory": "default", "settings.log_every": "enforced", "labels.cost": "enforced",
    }  # fmt: skip
    put(people.owner, home)
    assert people.owner.get(f"instances/{one}/effective").get_json()["spec"]["settings"] == {"greeting": "Mine"}
    with people.owner.app.app_context():
        entry = db.session.query(AuditEntry).filter_by(action="tenant.layer_change").order_by(AuditEntry.seq).first()
        assert entry is not None and entry.after["layer.enforced.settings.echo.log_every"] == 7


@pytest.mark.parametrize(
    ("layer", "path"),
    [
        ({"enforced": {"settings": {"echo": {"greetng": "x"}}}}, "enforced.settings.echo.greetng"),
        ({"enforced": {"settings": {"unicorn": {"a": 1}}}}, "enforced.settings.unicorn"),
        ({"defaults": {"resources": {"memory": "lots"}}}, "defaults.resources.memory"),
        ({"defaults": {"model": {"provider": "openai-compatible", "name": "x"}}}, "defaults.model.base_url"),
        ({"defaults": {"labels": {"no good": "x"}}}, "defaults.labels.no good"),
        ({"defaults": {"persona": "x"}}, "defaults.persona"),
        ({"model_api_key": "sk-without-a-model"}, "model_api_key"),
    ],
)
def test_bad_input_names_the_field(people: People, home: str, layer: dict[str, Any], path: str) -> None:
    answer = people.owner.put(f"tenants/{home}/layer", layer)
    assert answer.status_code == 422 and [item["path"] for item in answer.get_json()["errors"]] == [path], answer.get_json()


def test_who_may(people: People, home: str) -> None:
    assert people.viewer.get(f"tenants/{home}/layer").status_code == 200
    assert people.developer.put(f"tenants/{home}/layer", {}).status_code == 403
    assert people.stranger.get(f"tenants/{home}/layer").status_code == 404


def test_the_key_is_sealed_and_goes_with_the_model_only(people: People, home: str) -> None:
    put(people.owner, home, defaults={"model": OURS}, model_api_key=KEY)
    plain = people.owner.create("plain", "nanobot", start=False)["id"]
    own = {"provider": "openai-compatible", "base_url": "https://elsewhere.example/v1", "name": "x"}
    other = people.owner.create("other", "nanobot", start=False, spec={"model": own}, secrets={"model_api_key": "own-key"})["id"]
    shown = people.owner.get(f"tenants/{home}/layer").get_json()
    assert shown["has_model_api_key"] is True and KEY not in json.dumps(shown)
    app, portal = people.owner.app, portal_of(people.owner.app)

    def given(instance_id: str) -> str:
        with app.app_context():
            return layers.open_secrets(portal, db.session.get_one(Instance, instance_id)).get("model_api_key", "")

    assert given(plain) == KEY and given(other) == "own-key"
    thief = {**own, "name": "y"}
    document = people.developer.get(f"instances/{plain}").get_json()
    body = {"version": document["version"], "spec": {**document["spec"], "model": thief}, "secrets": {"model_api_key": ""}}
    headers = {"If-Match": f'"{document["generation"]}"'}
    assert people.developer.put(f"instances/{plain}", body, headers=headers).status_code in (200, 422)
    assert given(plain) != KEY, "an address of one's own never gets the shared key"
    put(people.owner, home, enforced={"model": OURS})
    assert given(plain) == given(other) == KEY, "enforced: for everybody"
    with app.app_context():
        hidden = layers.open_secrets(portal, db.session.query(Instance).filter_by(id=other).one()).values()
        assert {KEY, "own-key"} <= set(hidden), "what it said with its own key is still there to read"
    with app.app_context():
        row = db.session.query(TenantSecret).one()
        assert KEY.encode() not in row.sealed
        assert layers.reseal(portal) == 0 and secrets.reseal(portal) == 0
        assert not db.session.query(AuditEntry).filter(AuditEntry.after.cast(db.String).contains(KEY)).count()
    put(people.owner, home)
    assert given(plain) == "", "without its model the key goes too"


def test_quotas_count_what_holds(people: People, home: str) -> None:
    people.owner.create("one", spec={"resources": {"memory": "1Gi", "cpu": "1"}})
    put(people.owner, home, enforced={"resources": {"memory": "256Mi"}}, defaults={"resources": {"cpu": "8"}})
    used = people.owner.get(f"tenants/{home}/quota").get_json()["used"]
    assert (used["memory"], used["cpu"]) == ("256Mi", "1")
    put(people.owner, home, defaults={"resources": {"storage": "3Gi", "cpu": "8"}})
    assert people.owner.get(f"tenants/{home}/quota").get_json()["used"]["storage"] == "3Gi"
    assert people.admin.put(f"tenants/{home}/quota", {"cpu": "4"}).status_code == 200
    assert people.owner.post("instances", {"name": "two", "adapter": "echo"}).status_code == 409, "8 by default"


def test_a_new_claw_may_lean_on_the_organisation(people: People, home: str) -> None:
    wanted = {"name": "a", "adapter": "nanobot", "start": False, "spec": {"model": {"provider": "openai"}}}
    bad = people.owner.post("instances", wanted)
    assert bad.status_code == 422
    put(people.owner, home, enforced={"model": OURS})
    good = people.owner.post("instances", wanted)
    assert good.status_code == 201, good.get_json()


def test_running_claws_follow(running_app: Flask) -> None:
    admin = make_person(running_app, "admin", "portal-admin")
    tenant = admin.get("tenants").get_json()["items"][0]["id"]
    one = admin.create("one")["id"]
    admin.reaches(one, "running")
    layer = {"enforced": {"settings": {"echo": {"greeting": "From the office"}}}}
    told = admin.post(f"tenants/{tenant}/layer/preview", layer).get_json()
    assert told["changes"] == 1 and told["restarts"] in (0, 1)
    put(admin, tenant, **layer)

    def arrived() -> bool:
        with running_app.app_context():
            row = db.session.get_one(Instance, one)
            return "From the office" in json.dumps(row.workload) and row.phase == "running" and row.sync == "synced"

    from tests.conftest import wait_for

    wait_for(arrived, 30, "the claw has the greeting of its organisation")


def test_the_pages(people: People, home: str) -> None:
    browser = Browser(people.owner)
    one = people.owner.create("one", start=False)["id"]
    page = browser.page(f"/tenants/{home}/layer")
    assert "Holds for every claw" in page
    form = {"enforced.settings": "echo:\n  greeting: Office\n", "defaults.resources.memory": "96Mi", "enforced.labels": "a=b"}
    told = browser.post(f"/tenants/{home}/layer", preview="1", **form).get_data(as_text=True)
    assert "Saving this changes 1 claw." in told and "greeting: Office" in told
    browser.done(f"/tenants/{home}/layer", **form)
    assert "greeting: Office" in browser.page(f"/tenants/{home}/layer")
    bad = browser.post(f"/tenants/{home}/layer", **{"enforced.settings": "echo: ["})
    assert bad.status_code == 422 and "This is no YAML" in bad.get_data(as_text=True)
    config = browser.page(f"/instances/{one}/config")
    assert "From your organisation" in config and "settings.greeting" in config and "Set by your organisation" in config
    edit = browser.page(f"/instances/{one}/edit")
    assert "Set by your organisation" in edit and 'name="spec.settings.greeting"' not in edit
    assert 'placeholder="96Mi"' in edit


def test_the_create_form_offers_only_what_is_allowed(people: People, home: str) -> None:
    browser = Browser(people.owner)
    assert 'value="nanobot"' in browser.page("/instances/new")
    version = people.owner.get("adapters").get_json()["items"]
    newest = next(item for item in version if item["kind"] == "nanobot")["versions"][0]["version"]
    people.owner.patch(f"tenants/{home}", {"allowed_adapters": {"nanobot": [newest]}})
    page = browser.page("/instances/new")
    assert 'type="radio" name="adapter" value="echo"' not in page
    assert page.count("<option value=") >= 1 and 'value="nanobot"' in page


def test_from_a_terminal(people: People, home: str, claw: Any, tmp_path: Path) -> None:
    owner = claw(people.owner)
    file = tmp_path / "layer.yaml"
    file.write_text("enforced:\n  resources: {memory: 64Mi}\n")
    people.owner.create("one", start=False)
    assert "1 claws would change" in owner("tenant", "layer", "-f", str(file), "--preview").output
    assert "1 claws change" in owner("tenant", "layer", "-f", str(file)).output
    assert "64Mi" in owner("tenant", "layer").output
    claw(people.viewer)("tenant", "layer", "-f", str(file), code=4)


def test_a_corrected_address_is_told_after_saving(people: People, home: str) -> None:
    """As in the form of a claw: what was typed was meant otherwise, and somebody should know."""
    browser = Browser(people.owner)
    typed = {"defaults.model.provider": "openai-compatible", "defaults.model.name": "big", "model_api_key": f" {KEY} "}
    where = browser.done(
        f"/tenants/{home}/layer", **typed, **{"defaults.model.base_url": "https://llm.example/v1/chat/completions"}
    )
    page = browser.page(where)
    assert "The address of the model was taken as https://llm.example/v1: a claw adds" in page and "Saved." in page
    assert KEY not in page, "the note about the key does not have it"
    where = browser.done(f"/tenants/{home}/layer", **typed, **{"defaults.model.base_url": "https://llm.example/v1"})
    assert "was taken as" not in browser.page(where)
