"""What of an instance its duplicate gets, and what it never gets, by API."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from clawportal.db import db
from clawportal.models import Instance, InstanceSecret
from clawportal.secret_settings import unique_fields
from clawportal.services.configuration import secrets
from tests.conftest import People, Person, portal_of
from tests.duplicates.conftest import WHY, BotSettings

SECRETS = {"bot_key": "bot-0123", "search_key": "search-0123", "model_api_key": "sk-0123"}
SPEC = {"persona": "You are Kim.", "settings": {"greeting": "Hello", "phone": "+49 1"}}


def make_source(people: People, **more: Any) -> dict[str, Any]:
    given = {"spec": SPEC, "secrets": SECRETS, "labels": {"team": "support"}} | more
    made = people.owner.create("source", "bot", **given)
    with people.admin.app.app_context():
        secrets.generate_missing(portal_of(people.admin.app), made["id"], ["echo_token"])
    return made


def values(app: Flask, instance_id: str) -> dict[str, str]:
    with app.app_context():
        return secrets.open_all(portal_of(app), instance_id)


def duplicated(person: Person, source: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = person.post(f"instances/{source['id']}/duplicate", {"name": "second", **body})
    assert answer.status_code == 201, answer.get_data(as_text=True)
    assert answer.headers["Location"].endswith(answer.get_json()["id"]) and answer.headers["ETag"] == '"1"'
    found: dict[str, Any] = answer.get_json()
    return found


def parts(person: Person, source: dict[str, Any], **body: Any) -> dict[str, tuple[bool, str]]:
    answer = person.post(f"instances/{source['id']}/duplicate/preview", {"name": "second", **body})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert not set(SECRETS.values()) & set(answer.get_data(as_text=True).split('"'))
    return {part["path"]: (part["copied"], part["why"]) for part in answer.get_json()["parts"]}


def test_the_adapter_says_what_two_claws_must_not_share() -> None:
    assert unique_fields(BotSettings) == {"bot_key": WHY, "phone": WHY}


def test_a_duplicate_has_the_configuration_and_what_can_be_shared(people: People) -> None:
    source = make_source(people)
    made = duplicated(people.owner, source)
    assert made["name"] == "second" and made["adapter"] == "bot" and made["labels"] == {"team": "support"}
    assert made["spec"]["persona"] == "You are Kim." and made["spec"]["settings"] == {"greeting": "Hello"}
    assert made["project"] == source["project"] and made["cluster"] == source["cluster"] and made["desired"] == "running"
    assert values(people.admin.app, made["id"]) == {"search_key": "search-0123", "model_api_key": "sk-0123"}
    with people.admin.app.app_context():
        old, new = (db.session.get_one(InstanceSecret, (one["id"], "model_api_key")) for one in (source, made))
        assert old.goes_to == new.goes_to and old.sealed != new.sealed
        assert db.session.get_one(Instance, source["id"]).generation == 1
    told = parts(people.owner, source)
    assert told["secrets.bot_key"] == told["spec.settings.phone"] == (False, WHY)
    assert told["spec"][0] and told["labels"][0] and told["secrets.search_key"][0]
    assert not any(told[name][0] for name in ("secrets.generated", "files.work", "files.state", "records"))


def test_what_is_not_copied_can_be_given(people: People) -> None:
    made = duplicated(people.owner, make_source(people), secrets={"bot_key": "bot-new"}, start=False)
    assert values(people.admin.app, made["id"])["bot_key"] == "bot-new" and made["desired"] == "stopped"


def test_a_secret_for_another_address_stays(people: People) -> None:
    source = make_source(people)
    with people.admin.app.app_context():
        db.session.get_one(InstanceSecret, (source["id"], "model_api_key")).goes_to = "openai https://elsewhere.example:443"
        db.session.commit()
    made = duplicated(people.owner, source)
    assert "model_api_key" not in values(people.admin.app, made["id"])
    assert not parts(people.owner, source)["secrets.model_api_key"][0]


def project(people: People, name: str = "other") -> str:
    tenant = people.owner.get("tenants").get_json()["items"][0]["id"]
    made = people.owner.post("projects", {"tenant": tenant, "name": name})
    assert made.status_code == 201
    return str(made.get_json()["id"])


@pytest.mark.parametrize("who, carried", [("owner", True), ("developer", False)])
def test_secrets_go_to_another_project_only_for_who_could_see_them(people: People, who: str, carried: bool) -> None:
    source, other = make_source(people), project(people)
    person = getattr(people, who)
    assert parts(person, source, project=other)["secrets.search_key"][0] is carried
    made = duplicated(person, source, project=other)
    assert made["project"]["id"] == other and ("search_key" in values(people.admin.app, made["id"])) is carried
    assert "search_key" in values(people.admin.app, duplicated(person, source, name="third")["id"])


def test_secrets_never_leave_their_organisation(people: People) -> None:
    source = make_source(people)
    tenants = people.admin.get("tenants").get_json()["items"]
    acme = next(one["id"] for one in tenants if one["name"] == "acme")
    there = people.admin.get(f"projects?tenant={acme}").get_json()["items"]
    target = next(one["id"] for one in there if one.get("tenant_id", acme) == acme or one["tenant"]["id"] == acme)
    made = duplicated(people.admin, source, project=target)
    assert made["tenant"]["name"] == "acme" and values(people.admin.app, made["id"]) == {}
    assert "acme" not in people.owner.get(f"instances/{source['id']}/events").get_data(as_text=True)


def test_who_may_only_look_gets_no_duplicate_and_a_stranger_no_word(people: People) -> None:
    source = make_source(people)
    for person, status in ((people.viewer, 403), (people.operator, 403), (people.stranger, 404)):
        for path in ("duplicate", "duplicate/preview"):
            answer = person.post(f"instances/{source['id']}/{path}", {"name": "second"})
            assert answer.status_code == status, (person.name, path, answer.get_json())


def test_a_name_that_is_taken_and_what_cannot_be_copied_are_told(people: People) -> None:
    source = make_source(people)
    answer = people.owner.post(f"instances/{source['id']}/duplicate", {"name": "source"})
    assert answer.status_code == 422 and answer.get_json()["errors"][0]["path"] == "name"
    answer = people.owner.post(f"instances/{source['id']}/duplicate", {"name": "second", "stop": True})
    assert answer.status_code == 422 and answer.get_json()["errors"][0]["path"] == "stop"
    looked = people.owner.post(f"instances/{source['id']}/duplicate/preview", {"name": "source"}).get_json()
    assert not looked["ok"] and looked["errors"][0]["path"] == "name"
    assert people.owner.delete(f"instances/{source['id']}").status_code == 202
    answer = people.owner.post(f"instances/{source['id']}/duplicate", {"name": "second"})
    assert answer.status_code == 409 and "being deleted" in answer.get_json()["detail"]


def test_quotas_hold_for_a_duplicate(people: People) -> None:
    source = make_source(people)
    tenant = people.owner.get("tenants").get_json()["items"][0]["id"]
    assert people.admin.put(f"tenants/{tenant}/quota", {"instances": 1}).status_code == 200
    answer = people.owner.post(f"instances/{source['id']}/duplicate", {"name": "second"})
    assert answer.status_code == 409 and people.owner.get("instances").get_json()["total"] == 1


def test_policies_hold_for_a_duplicate(people: People) -> None:
    source = make_source(people)
    tenant = people.owner.get("tenants").get_json()["items"][0]["id"]
    rule = {"tenant": tenant, "name": "no-bots", "kind": "adapters", "parameters": {"allowed": ["echo"]}}
    assert people.owner.post("policies", rule).status_code == 201
    looked = people.owner.post(f"instances/{source['id']}/duplicate/preview", {"name": "second"}).get_json()
    assert not looked["ok"]
    answer = people.owner.post(f"instances/{source['id']}/duplicate", {"name": "second"})
    assert answer.status_code == 409 and people.owner.get("instances").get_json()["total"] == 1


def test_the_same_request_again_makes_no_second_one(people: People) -> None:
    source, key = make_source(people), {"Idempotency-Key": "once"}
    path, body = f"instances/{source['id']}/duplicate", {"name": "second"}
    first, again = (people.owner.post(path, body, headers=key) for _ in range(2))
    assert first.status_code == again.status_code == 201 and first.get_json()["id"] == again.get_json()["id"]
    kinds = [item["kind"] for item in people.owner.get(f"instances/{source['id']}/events").get_json()["items"]]
    assert kinds.count("instance.duplicated") == 1
    assert people.owner.post(path, {"name": "third"}, headers=key).status_code == 409


def test_the_audit_names_what_was_duplicated(people: People) -> None:
    duplicated(people.owner, make_source(people))
    entries = people.owner.get("audit").get_json()["items"]
    assert "instance.duplicated" in {entry["action"] for entry in entries}
    assert not any(value in people.owner.get("audit").get_data(as_text=True) for value in SECRETS.values())
