"""Testing a model over the API, on pages and from a terminal: with a stored key, and before anything is stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db
from clawportal.errors import Conflict
from clawportal.models import Tenant
from clawportal_practice.server import PracticeModel
from clawportal_providers import probe, services, testing_models
from clawportal_providers.calling import Step, Target
from clawportal_providers.checking import Wanted
from clawportal_providers.models import Credential
from clawportal_providers.probe import Report
from clawportal_providers.testing_models import Asked
from tests.conftest import People, Person
from tests.core.world import World
from tests.providers.test_probe import said, serving
from tests.rights.test_people_cli import Run, claw
from tests.rights.test_rights_pages import Browser
from tests.web.conftest import Browser as PageBrowser

__all__ = ["claw"]

KEY = "sk-the-key-0123456789"


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator lets tests reach what listens on this machine."""
    monkeypatch.setenv("CLAWPORTAL_CREDENTIALS_TEST_NETWORKS", "127.0.0.1")


@pytest.fixture
def model() -> Iterator[PracticeModel]:
    with PracticeModel(api_key=KEY, delay=0) as server:
        yield server


@pytest.fixture
def home(people: People) -> str:
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


def stored(people: People, home: str, model: PracticeModel) -> str:
    body = {"tenant": home, "name": "ours", "provider": "openai-compatible", "base_url": model.url, "key": KEY}
    return str(people.owner.post("credentials", body).get_json()["id"])


def test_a_stored_key_is_tested_and_the_outcome_kept(people: People, home: str, model: PracticeModel) -> None:
    one = stored(people, home, model)
    report = people.owner.post("credentials/test", {"credential": one, "model": "practice"}).get_json()
    assert report["ok"] and report["message"] == "The model answers." and report["output_tokens"] > 0
    after = people.owner.get(f"credentials/{one}").get_json()
    assert after["tested"]["ok"] and after["tested"]["model"] == "practice" and after["last_used_at"]
    found = people.owner.post("credentials/models", {"credential": one, "search": "PRACT"}).get_json()["items"]
    assert [item["id"] for item in found] == ["practice"]
    assert people.owner.post("credentials/models", {"credential": one, "search": "gpt"}).get_json()["items"] == []


def test_the_stored_key_is_sent_nowhere_else(people: People, home: str, model: PracticeModel) -> None:
    one = stored(people, home, model)
    with PracticeModel(delay=0) as thief:
        for path in ("credentials/test", "credentials/models"):
            body = {"credential": one, "provider": "openai-compatible", "base_url": thief.url, "model": "m"}
            answer = people.owner.post(path, body)
            assert answer.status_code == 422 and answer.get_json()["errors"][0]["path"] == "key"
        assert not thief.requests
        typed = people.owner.post("credentials/test", {**body, "key": "sk-typed-0123456789"}).get_json()
        assert typed["ok"] and all(KEY not in str(request.headers) for request in thief.requests)
    assert people.owner.get(f"credentials/{one}").get_json()["tested"] is None, "it was not this key that was tested"


def test_the_outcome_is_not_kept_of_a_key_that_was_replaced_meanwhile(both: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with both.context() as portal:
        tenant = db.session.query(Tenant).one().id
        one = services.create(portal, SYSTEM, tenant, Wanted("ours", "openrouter", key=KEY)).id
        well = Report([Step("answer", "ok")])

        def replaced(target: Target) -> Report:
            assert target.key == KEY
            services.rotate(portal, SYSTEM, one, "sk-other-0123456789")
            return well

        monkeypatch.setattr(probe, "run", replaced)
        assert testing_models.run(portal, SYSTEM, tenant, Asked("", model="m", credential_id=one)) is well
        assert db.session.get_one(Credential, one, populate_existing=True).tested is None
        monkeypatch.setattr(probe, "run", lambda _target: well)
        testing_models.run(portal, SYSTEM, tenant, Asked("", model="m", credential_id=one))
        assert db.session.get_one(Credential, one, populate_existing=True).tested["ok"] is True  # type: ignore[index]


def test_no_snapshot_of_the_database_is_held_while_a_provider_is_asked(both: World, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    def looked(found: Any) -> Any:
        held.append(db.session().in_transaction())
        return found

    monkeypatch.setattr(probe, "run", lambda _target: looked(Report([Step("answer", "ok")])))
    monkeypatch.setattr(probe, "models", lambda _target: looked([]))
    with both.context() as portal:
        tenant = db.session.query(Tenant).one().id
        one = services.create(portal, SYSTEM, tenant, Wanted("ours", "openrouter", key=KEY)).id
        testing_models.run(portal, SYSTEM, tenant, Asked("", model="m", credential_id=one))
        testing_models.models(portal, SYSTEM, tenant, Asked("", credential_id=one))
    assert held == [False, False]


def test_listing_models_is_a_use_of_the_key_that_is_no_test(people: People, home: str, model: PracticeModel) -> None:
    one = stored(people, home, model)
    assert people.owner.get(f"credentials/{one}").get_json()["last_used_at"] is None
    typed = {"credential": one, "provider": "openai-compatible", "base_url": model.url, "key": "sk-typed-0123456789"}
    people.owner.post("credentials/models", typed)
    assert people.owner.get(f"credentials/{one}").get_json()["last_used_at"] is None, "another key was used"
    people.owner.post("credentials/models", {"credential": one})
    after = people.owner.get(f"credentials/{one}").get_json()
    assert after["last_used_at"] and after["tested"] is None


def test_before_anything_is_stored(people: People, home: str, model: PracticeModel) -> None:
    body = {"tenant": home, "provider": "openai-compatible", "base_url": model.url, "model": "practice"}
    wrong = people.owner.post("credentials/test", {**body, "key": "sk-wrong-0123456789"}).get_json()
    assert not wrong["ok"] and wrong["steps"][-1]["name"] == "key" and "wrong" in wrong["steps"][-1]["said"]
    assert people.owner.post("credentials/test", {**body, "key": KEY}).get_json()["ok"]
    assert people.owner.post("credentials/test", {**body, "model": ""}).status_code == 422
    assert people.developer.post("credentials/test", body).status_code == 403
    assert people.stranger.post("credentials/test", body).status_code in (403, 404)
    assert people.owner.get("credentials").get_json()["total"] == 0


def test_on_pages(people: People, home: str, model: PracticeModel) -> None:
    owner = Browser(people.owner)
    fields = {"name": "ours", "provider": "openai-compatible", "base_url": model.url, "model": "practice"}
    text = owner.post(f"/tenants/{home}/keys/new", **fields, key="sk-wrong-0123456789", test="1").get_data(as_text=True)
    assert "The key is not accepted." in text and "sk-wrong" not in text and 'value="ours"' in text
    where = owner.done(f"/tenants/{home}/keys/new", **fields, key=KEY)
    shown = owner.post(f"{where}/test", model="practice").get_data(as_text=True)
    assert "The model answers." in shown and "It answered in" in shown and KEY not in shown
    assert "<code>practice</code>" in owner.post(f"{where}/test", list="1", model_search="prac").get_data(as_text=True)
    assert "well" in owner.page(f"/tenants/{home}/keys")
    assert Browser(people.viewer).post(f"{where}/test", model="practice").status_code == 403


def test_a_test_in_the_form_of_a_key_leaves_the_form_as_it_is(people: People, home: str, model: PracticeModel) -> None:
    browser, where = PageBrowser(people.owner.browser()), f"/tenants/{home}/keys/new"
    fields = {"name": "ours", "provider": "openai-compatible", "base_url": model.url, "key": KEY}

    def part(**more: str) -> str:
        answer = browser.post(where, {**fields, **more}, htmx=True)
        assert answer.status_code == 200 and "<form" not in answer.get_data(as_text=True)
        return answer.get_data(as_text=True)

    assert "The model answers." in part(test="1", model="practice")
    assert 'data-pick="f-model" value="practice"' in part(test="list")
    assert 'data-goto="model"' in part(test="1")
    assert people.owner.get("credentials").get_json()["total"] == 0
    shown = browser.post(where, {**fields, "test": "list"}).get_data(as_text=True)
    assert 'value="practice"' in shown and "<form" in shown, "without scripts, too"


def test_the_outcome_is_told_in_the_language_of_the_reader(people: People, home: str) -> None:
    with serving({"models": said(401, "revoked")}) as double:
        body = {"tenant": home, "name": "ours", "provider": "openai-compatible", "base_url": double.url, "key": KEY}
        one = people.owner.post("credentials", body).get_json()["id"]
        assert not people.owner.post("credentials/test", {"credential": one, "model": "m"}).get_json()["ok"]
    kept = people.owner.get(f"credentials/{one}", headers={"Accept-Language": "zh-Hans"}).get_json()["tested"]
    assert "密钥" in kept["message"] and kept["ok"] is False


def test_a_hundred_thousand_models_are_searched_whole_and_told_in_part(people: People, home: str) -> None:
    names = [f"m-{number:06}" for number in range(100_000)]
    listed = 200, {"Content-Type": "application/json"}, json.dumps({"data": [{"id": name} for name in names]})
    with serving({"models": listed}) as double:
        body = {"tenant": home, "name": "ours", "provider": "openai-compatible", "base_url": double.url, "key": KEY}
        one = people.owner.post("credentials", body).get_json()["id"]
        every = people.owner.post("credentials/models", {"credential": one}).get_json()
        assert every["count"] == 100_000 and [item["id"] for item in every["items"]] == names[:1000]
        last = people.owner.post("credentials/models", {"credential": one, "search": "m-09999"}).get_json()
        assert last["count"] == 10 and last["items"][-1]["id"] == names[-1]
        report = people.owner.post("credentials/test", {"credential": one, "model": "m-099998"}).get_json()
        assert {step["name"]: step["state"] for step in report["steps"]}["model"] == "failed", "listed, and then not there"
        assert report["steps"][2]["message"] == "It has the model m-099998.", "the end of the list is known, too"
        page = Browser(people.owner).post(f"/model-keys/{one}/test", list="1").get_data(as_text=True)
        assert page.count("data-pick=") == 500 and "500 of 100000" in page
        double.answers["models"] = 200, {}, json.dumps({"data": [{"id": name, "about": "x" * 100} for name in names]})
        refused = people.owner.post("credentials/models", {"credential": one})
        assert refused.status_code == 409 and "too large" in refused.get_json()["detail"]


def test_one_person_does_not_hold_up_the_others() -> None:
    running = testing_models.Running()
    with running.one("slow"), running.one("slow"):
        with pytest.raises(Conflict, match="2 models already"), running.one("slow"):
            pass
        with running.one("quick"):
            pass
    with running.one("slow"):
        pass


def test_from_a_terminal(people: People, home: str, model: PracticeModel, claw: Callable[[Person], Run], tmp_path: Path) -> None:
    owner, file = claw(people.owner), tmp_path / "key"
    file.write_text(f"{KEY}\n")
    assert "No stored keys." in owner("credential", "list").output
    given = ("--provider", "openai-compatible", "--base-url", model.url)
    owner("credential", "create", "ours", *given, "--key", KEY, code=2)
    assert "is stored" in owner("credential", "create", "ours", *given, "--key", f"@{file}").output
    assert "openai-compatible" in owner("credential", "list").output
    assert "The key is accepted." in owner("credential", "test", "ours", "--model", "practice").output
    assert "practice" in owner("credential", "models", "ours").output
    file.write_text("sk-other-0123456789")
    assert "was replaced" in owner("credential", "rotate", "ours", "--key", f"@{file}").output
    refused = owner("credential", "test", "ours", "--model", "practice", code=6).output
    assert "The key is not accepted." in refused and "sk-other" not in refused
    assert "openrouter" in owner("providers").output
    assert "was deleted" in owner("credential", "delete", "ours").output
    owner("credential", "delete", "ours", code=3)
