"""A stored secret goes only to the address that it was entered for, whichever way somebody tries to turn it elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import update

from clawportal import addresses, redact
from clawportal.db import db, transaction
from clawportal.models import Instance, InstanceSecret, TenantSecret
from clawportal.services.configuration import layers
from tests.conftest import People, Person, portal_of
from tests.rights.test_rights_pages import Browser

MODEL = {"provider": "openai-compatible", "base_url": "https://llm.example/v1", "name": "big"}
THIEF = {**MODEL, "base_url": "https://thief.example/v1"}
KEY = "sk-own-0123456789"


@pytest.fixture
def home(people: People) -> str:
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


@pytest.fixture
def claw(people: People) -> str:
    made = people.owner.create("one", "nanobot", start=False, spec={"model": MODEL}, secrets={"model_api_key": KEY})
    return str(made["id"])


def put(by: Person, instance_id: str, spec: dict[str, Any], **secrets: str) -> Any:
    found = by.get(f"instances/{instance_id}").get_json()
    body = {"version": found["version"], "spec": {**found["spec"], **spec}, "secrets": secrets}
    return by.put(f"instances/{instance_id}", body, headers={"If-Match": f'"{found["generation"]}"'})


def patch(by: Person, instance_id: str, spec: dict[str, Any]) -> Any:
    found = by.get(f"instances/{instance_id}").get_json()
    headers = {"If-Match": f'"{found["generation"]}"', "Content-Type": "application/merge-patch+json"}
    return by.request("PATCH", f"instances/{instance_id}", data=json.dumps({"spec": spec}), headers=headers)


def given(by: Person, instance_id: str) -> dict[str, str]:
    """What the claw gets."""
    with by.app.app_context():
        return layers.secrets_for(portal_of(by.app), db.session.get_one(Instance, instance_id))


def paths(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.get_json()
    return [item["path"] for item in answer.get_json()["errors"]]


@pytest.mark.parametrize(
    "elsewhere",
    [
        THIEF, {**MODEL, "base_url": "http://llm.example/v1"}, {**MODEL, "base_url": "https://llm.example:8443/v1"},
        {"provider": "openai", "base_url": "", "name": "gpt"}, {**MODEL, "provider": "anthropic"},
    ],
)  # fmt: skip
def test_another_provider_or_host_asks_for_the_key_again(people: People, claw: str, elsewhere: dict[str, Any]) -> None:
    answer = put(people.developer, claw, {"model": elsewhere})
    assert paths(answer) == ["secrets.model_api_key"]
    assert "was entered for https://llm.example:443" in answer.get_json()["errors"][0]["message"]
    assert paths(patch(people.developer, claw, {"model": elsewhere})) == ["secrets.model_api_key"]
    assert put(people.developer, claw, {"model": elsewhere}, model_api_key="sk-new-key-for-there").status_code == 200
    assert given(people.owner, claw)["model_api_key"] == "sk-new-key-for-there"
    assert paths(put(people.developer, claw, {"model": MODEL})) == ["secrets.model_api_key"], "and not back either"


def test_the_same_host_keeps_it_and_no_key_is_a_choice(people: People, claw: str) -> None:
    same = {**MODEL, "base_url": "https://LLM.example:443/v2", "name": "small"}
    assert put(people.developer, claw, {"model": same}).status_code == 200
    assert given(people.owner, claw)["model_api_key"] == KEY
    assert put(people.developer, claw, {"model": THIEF}, model_api_key="").status_code == 200, "without any key"
    assert "model_api_key" not in given(people.owner, claw)


def test_practice_gets_no_key_and_the_way_back_needs_none(people: People, claw: str) -> None:
    with people.owner.app.app_context(), transaction():
        row = db.session.get_one(Instance, claw)
        row.spec = {**row.spec, "model": {"provider": "practice", "base_url": "", "name": ""}}
    assert "model_api_key" not in given(people.owner, claw)
    assert put(people.developer, claw, {"model": MODEL}).status_code == 200
    assert given(people.owner, claw)["model_api_key"] == KEY


def test_a_layer_does_not_turn_an_own_key_elsewhere(people: People, claw: str, home: str) -> None:
    people.owner.put(f"tenants/{home}/layer", {"enforced": {"model": THIEF}})
    assert "model_api_key" not in given(people.owner, claw), "the address of the layer, the key of the claw: never together"
    people.owner.put(f"tenants/{home}/layer", {})
    assert given(people.owner, claw)["model_api_key"] == KEY


def test_a_default_does_not_turn_it_either(people: People, home: str) -> None:
    people.owner.put(f"tenants/{home}/layer", {"defaults": {"model": MODEL}})
    made = people.developer.create("leans", "nanobot", start=False, secrets={"model_api_key": KEY})["id"]
    assert given(people.owner, made)["model_api_key"] == KEY
    people.owner.put(f"tenants/{home}/layer", {"defaults": {"model": THIEF}})
    assert "model_api_key" not in given(people.owner, made)


def test_a_shared_key_stays_with_its_address(people: People, home: str) -> None:
    path = f"tenants/{home}/layer"
    assert people.owner.put(path, {"defaults": {"model": MODEL}, "model_api_key": KEY}).status_code == 200
    plain = people.owner.create("plain", "nanobot", start=False)["id"]
    for layer in ({"defaults": {"model": THIEF}}, {"defaults": {"model": MODEL}, "enforced": {"model": THIEF}}):
        for answer in (people.owner.put(path, layer), people.owner.post(f"{path}/preview", layer)):
            assert paths(answer) == ["model_api_key"]
    with people.owner.app.app_context(), transaction():
        assert db.session.query(TenantSecret).one().goes_to == "openai-compatible https://llm.example:443"
        db.session.execute(update(TenantSecret).values(goes_to="openai-compatible https://elsewhere.example:443"))
    assert "model_api_key" not in given(people.owner, plain), "whatever rows say: not to an address that it was not entered for"


def test_keys_from_before_the_note_are_bound_at_the_next_start(people: People, claw: str, home: str) -> None:
    app = people.owner.app
    with app.app_context(), transaction():
        db.session.execute(update(InstanceSecret).values(goes_to=None))
    assert paths(put(people.developer, claw, {"model": THIEF})) == ["secrets.model_api_key"]
    with app.app_context():
        layers.note_all_destinations(portal_of(app))
        assert db.session.query(InstanceSecret.goes_to).filter_by(name="model_api_key").scalar() is not None
    people.owner.put(f"tenants/{home}/layer", {"enforced": {"model": THIEF}})
    assert "model_api_key" not in given(people.owner, claw)


def test_a_search_key_stays_with_its_service(people: People) -> None:
    settings = {"web_enabled": True, "web_search_provider": "brave"}
    spec, key = {"model": MODEL, "settings": settings}, {"web_search_key": "search-key-1"}
    made = people.owner.create("seeks", "nanobot", start=False, spec=spec, secrets=key)["id"]
    for other in ({"web_search_provider": "tavily"}, {"web_search_provider": "searxng", "web_search_url": "https://x.example"}):
        assert paths(put(people.developer, made, {"settings": settings | other})) == ["secrets.web_search_key"]


def test_the_form_says_why(people: People, claw: str) -> None:
    found = people.developer.get(f"instances/{claw}").get_json()
    model = {f"spec.model.{name}": value for name, value in THIEF.items()}
    form = {"generation": str(found["generation"]), "version": found["version"], **model}
    answer = Browser(people.developer).post(f"/instances/{claw}/edit", **form)
    assert answer.status_code == 422
    assert "was entered for https://llm.example:443" in answer.get_data(as_text=True)


# ---- clusters


TLS = {"tls_cert": "-----BEGIN CERTIFICATE-----", "tls_key": "-----BEGIN PRIVATE KEY-----"}


def test_a_client_key_stays_with_its_engine(people: People) -> None:
    given = {"name": "lab", "runtime": "docker", "settings": {"url": "tcp://engine.example:2376"}, "secrets": TLS}
    made = people.admin.post("clusters", given).get_json()["id"]
    moved = {"settings": {"url": "tcp://thief.example:2376"}}
    headers = {"If-Match": people.admin.get(f"clusters/{made}").headers["ETag"]}
    changed = people.admin.request("PATCH", f"clusters/{made}", json=moved, headers=headers)
    assert paths(changed) == paths(people.admin.post(f"clusters/{made}/test", moved)) == ["secrets.tls_key"]
    again = {**moved, "secrets": {"tls_key": "-----BEGIN PRIVATE KEY----- another"}}
    assert people.admin.request("PATCH", f"clusters/{made}", json=again, headers=headers).status_code == 200


def test_registry_credentials_stay_with_their_cluster() -> None:
    from clawportal_kubernetes.settings import KubernetesSettings

    def config(server: str) -> str:
        cluster = {"name": "c", "cluster": {"server": server}}
        context = {"name": "a", "context": {"cluster": "c", "user": "u"}}
        users = [{"name": "u", "user": {"token": "x"}}]
        return json.dumps({"current-context": "a", "contexts": [context], "clusters": [cluster], "users": users})

    def there(**settings: str) -> dict[str, str]:
        return KubernetesSettings.model_validate(settings).secrets_go_to()

    assert there(kubeconfig=config("https://one:6443")) == {"image_pull_secret": "https://one:6443"}
    assert there(kubeconfig=config("https://two:6443")) != there(kubeconfig=config("https://one:6443")) != there()
    stored = [KubernetesSettings.model_construct(kubeconfig=text, context="") for text in ("nonsense: [", "more")]
    assert stored[0].secrets_go_to() != stored[1].secrets_go_to(), "also of what was stored before it was looked at"


# ---- credentials inside addresses


@pytest.mark.parametrize("address", ["https://me:pa55@llm.example/v1", "https://sk-pa55@llm.example/v1", "http://u:pa55@s@h/v1"])
def test_credentials_in_an_address_are_refused_in_words(people: People, claw: str, home: str, address: str) -> None:
    model = {**MODEL, "base_url": address}
    created = people.owner.post("instances", {"name": "two", "adapter": "nanobot", "start": False, "spec": {"model": model}})
    layer = people.owner.put(f"tenants/{home}/layer", {"defaults": {"model": model}})
    settings = {"web_enabled": True, "web_search_provider": "searxng", "web_search_url": address}
    changed = put(people.owner, claw, {"settings": settings})
    wanted = ("spec.model.base_url", "defaults.model.base_url", "spec.settings.web_search_url")
    for answer, path in zip((created, layer, changed), wanted, strict=True):
        assert path in paths(answer)
        assert "must not have a user or a password inside" in answer.get_data(as_text=True)
        assert "pa55" not in answer.get_data(as_text=True)


def test_what_was_stored_before_is_not_shown(people: People, claw: str) -> None:
    with people.owner.app.app_context(), transaction():
        row = db.session.get_one(Instance, claw)
        row.spec = {**row.spec, "model": {**MODEL, "base_url": "https://user:hunter22@llm.example/v1"}}
    browser = Browser(people.owner)
    shown = [people.owner.get(f"instances/{claw}").get_data(as_text=True)]
    shown += [browser.page(f"/instances/{claw}/{tab}") for tab in ("edit", "config")]
    assert not any("hunter22" in text for text in shown) and "https://********@llm.example/v1" in shown[0]
    assert redact.text("asks https://user:hunter22@llm.example/v1 now") == "asks https://********@llm.example/v1 now"


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("https://LLM.Example/v1", "https://llm.example:443"), ("http://[::1]:8080/x", "http://[::1]:8080"),
        ("https://llm.example.:443", "https://llm.example:443"), ("unix:///run/docker.sock", "unix:///run/docker.sock"),
        ("https://h:99999/", "https://h:99999/"),
        ("https://h:99999/sesame?key=1", "https://h:99999/"), ("http://[x/sesame", "http://[x/"), ("http://[x?sesame", "http://[x"),
        ("http://kim:pw@[x/sesame", "http://********@[x/"),
    ],
)  # fmt: skip
def test_endpoints(address: str, endpoint: str) -> None:
    assert addresses.endpoint(address) == endpoint


def test_the_user_of_an_ssh_address_may_stand_there() -> None:
    assert not addresses.carries_credentials("ssh://me@engine.example:2222")
    assert addresses.carries_credentials("ssh://me:secret@engine.example")
    assert not addresses.carries_credentials("https://llm.example/v1/@me")
