"""Testing the model in the form of a claw before it is saved: with a typed key, a stored one, its own, and the shared one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from clawportal.db import db
from clawportal.models import Instance
from clawportal_practice.server import PracticeModel
from clawportal_providers.models import Credential
from tests.conftest import People, Person
from tests.providers.test_probe import serving
from tests.rights.test_rights_pages import Browser

KEY = "sk-of-the-form-0123456789"


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator lets tests reach what listens on this machine."""
    monkeypatch.setenv("CLAWPORTAL_CREDENTIALS_TEST_NETWORKS", "127.0.0.1")


@pytest.fixture
def strict() -> Iterator[PracticeModel]:
    with PracticeModel(api_key=KEY, delay=0) as server:
        yield server


@pytest.fixture
def home(people: People) -> str:
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


def fields(
    url: str = "", name: str = "practice", key: str = "", provider: str = "openai-compatible", **more: str
) -> dict[str, str]:
    model = {"spec.model.provider": provider, "spec.model.base_url": url, "spec.model.name": name}
    return {"name": "x", "adapter": "nanobot", **model, "secrets.model_api_key": key, **more}


def tried(person: Person, given: dict[str, str], instance_id: str = "", *, query: str = "", status: int = 200) -> str:
    answer = Browser(person).post("/model-trials" + (f"/{instance_id}" if instance_id else "") + query, **given)
    text = str(answer.get_data(as_text=True))
    assert answer.status_code == status, text
    return text


def made(person: Person, url: str, **more: Any) -> str:
    spec = {"model": {"provider": "openai-compatible", "base_url": url, "name": "practice"}}
    return str(person.create("one", "nanobot", start=False, spec=spec, **more)["id"])


def test_the_form_offers_it(people: People, strict: PracticeModel) -> None:
    new = Browser(people.developer).page("/instances/new?adapter=nanobot")
    assert 'hx-post="/model-trials"' in new and "Test this model" in new and "Show its models" in new
    one = made(people.developer, strict.url, secrets={"model_api_key": KEY})
    assert f'hx-post="/model-trials/{one}"' in Browser(people.developer).page(f"/instances/{one}/edit")
    assert "/model-trials" not in Browser(people.developer).page("/instances/new?adapter=echo"), "it has no model"


def test_what_is_typed_is_tested_and_nothing_stored(people: People, strict: PracticeModel) -> None:
    well = tried(people.developer, fields(strict.url, key=KEY))
    assert "The model answers." in well and "The key is accepted." in well and KEY not in well
    wrong = tried(people.developer, fields(strict.url, key="sk-wrong-0123456789"))
    assert "The key is not accepted." in wrong and "sk-wrong" not in wrong
    with people.owner.app.app_context():
        assert not db.session.query(Instance).count() and not db.session.query(Credential).count()


def test_models_are_offered_to_be_picked(people: People, strict: PracticeModel) -> None:
    listed = tried(people.developer, fields(strict.url, name="", key=KEY), query="?list=1")
    assert 'data-pick="f-spec.model.name" value="practice"' in listed
    none = tried(people.developer, fields(strict.url, name="", key=KEY, model_search="gpt"), query="?list=1")
    assert "nothing matches" in none and 'value="gpt"' in none


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (fields("http://127.0.0.1:9/v1", name=""), "spec.model.name"), (fields("", provider="ollama"), "spec.model.base_url"),
        (fields("ftp://x"), "spec.model.base_url"), (fields("https://u:p@x.example"), "spec.model.base_url"),
        (fields("https://x.example", key="sk-ключ"), "secrets.model_api_key"), (fields(provider="nobody"), "spec.model.provider"),
        (fields(**{"spec.model.credential": "nothing"}), "spec.model.credential"),
    ],
)  # fmt: skip
def test_what_is_wrong_leads_to_its_field(people: People, given: dict[str, str], word: str) -> None:
    assert f'data-goto="{word}"' in tried(people.developer, given)


def test_the_practice_model_needs_no_test(people: People) -> None:
    assert "nothing to test" in tried(people.developer, fields(provider="practice"))


def test_who_may(people: People, strict: PracticeModel) -> None:
    one = made(people.developer, strict.url, secrets={"model_api_key": KEY})
    tried(people.viewer, fields(strict.url, key=KEY), status=403)
    tried(people.viewer, fields(strict.url, key=KEY), one, status=403)
    tried(people.stranger, fields(strict.url), one, status=404)
    assert not strict.requests


def test_the_key_of_a_claw_goes_where_it_was_entered_for(people: People, strict: PracticeModel) -> None:
    one = made(people.developer, strict.url, secrets={"model_api_key": KEY})
    assert "The key is accepted." in tried(people.developer, fields(strict.url), one)
    with serving({}) as thief:
        moved = tried(people.developer, fields(thief.url), one)
        assert "was entered for" in moved and 'data-goto="secrets.model_api_key"' in moved and thief.seen == []
        tried(people.developer, fields(thief.url), one, query="?list=1")
        assert thief.seen == []
        tried(people.developer, fields(thief.url, key="sk-another-0123456789"), one)
        assert thief.seen and KEY not in json.dumps(thief.seen)


def stored(person: Person, home: str, url: str) -> str:
    body = {"tenant": home, "name": "ours", "provider": "openai-compatible", "base_url": url, "key": KEY}
    return str(person.post("credentials", body).get_json()["id"])


def test_a_stored_key_is_used_where_it_goes_and_its_outcome_not_kept(people: People, home: str, strict: PracticeModel) -> None:
    key = stored(people.owner, home, strict.url)
    given = fields("", provider="openai", **{"spec.model.credential": key})
    assert "The model answers." in tried(people.developer, given)
    document = people.owner.get(f"credentials/{key}").get_json()
    assert document["tested"] is None, "whoever may choose it may not say how well it is"
    with serving({}) as thief:
        tried(people.developer, {**given, "spec.model.base_url": thief.url, "spec.model.provider": "openai-compatible"})
        assert thief.seen == [], "its own address holds"


def test_a_stored_key_of_others_is_unknown(people: People, home: str, strict: PracticeModel) -> None:
    key = stored(people.owner, home, strict.url)
    text = tried(people.stranger, fields(**{"spec.model.credential": key}))
    assert "There is no such key here" in text and not strict.requests and strict.url not in text


def test_the_shared_key_goes_to_the_shared_model(people: People, home: str, strict: PracticeModel) -> None:
    model = {"provider": "openai-compatible", "base_url": strict.url, "name": "practice"}
    layer = {"defaults": {"model": model}, "model_api_key": KEY}
    assert people.owner.put(f"tenants/{home}/layer", layer).status_code == 200
    assert "The key is accepted." in tried(people.developer, fields(strict.url))
    with serving({}) as thief:
        tried(people.developer, fields(thief.url))
        assert thief.seen and KEY not in json.dumps(thief.seen)
    assert people.owner.put(f"tenants/{home}/layer", {"enforced": {"model": model}}).status_code == 200
    with serving({}) as thief:
        assert "The model answers." in tried(people.developer, fields(thief.url, key="sk-typed-0123456789"))
        assert thief.seen == [], "what is enforced holds"


def test_closed_addresses_are_closed_here_too(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({}) as double:
        url = double.url.replace("127.0.0.1", "127.0.0.2")
        assert "where tests do not go" in tried(people.developer, fields(url)) and double.seen == []
