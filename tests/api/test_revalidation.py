"""What has not changed is not sent again: ETag, If-None-Match and 304 in the API."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.conftest import People, Person

LISTS = ("adapters", "runtimes", "projects", "instances", "clusters", "tenants", "operations", "openapi.json")


@pytest.mark.parametrize("path", LISTS)
def test_the_same_is_told_once(admin: Person, path: str) -> None:
    first = admin.get(path)
    tag = first.headers["ETag"]
    assert first.status_code == 200 and tag.startswith('W/"')
    again = admin.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.get_data(), again.headers["ETag"]) == (304, b"", tag)
    assert "Content-Type" not in again.headers and ("Accept-Language" in again.headers["Vary"]) is (path != "openapi.json")
    for other in ('W/"another"', f'"another", {tag}x', ""):
        assert admin.get(path, headers={"If-None-Match": other}).status_code == 200
    assert admin.get(path, headers={"If-None-Match": f'"another", {tag}'}).status_code == 304, "one of several"


def test_what_changed_is_told_again(admin: Person) -> None:
    tag = admin.get("instances").headers["ETag"]
    made = admin.create("one")
    answer = admin.get("instances", headers={"If-None-Match": tag})
    assert answer.status_code == 200 and answer.get_json()["total"] == 1
    tag = answer.headers["ETag"]
    assert admin.get("instances", headers={"If-None-Match": tag}).status_code == 304
    patched = admin.patch(f"instances/{made['id']}", {"labels": {"a": "b"}}, headers={"If-Match": f'"{made["generation"]}"'})
    assert patched.status_code == 200, patched.get_json()
    assert admin.get("instances", headers={"If-None-Match": tag}).status_code == 200


def test_each_reader_has_tags_of_their_own(people: People) -> None:
    people.owner.create("one")
    mine = people.owner.get("instances").headers["ETag"]
    theirs = people.stranger.get("instances", headers={"If-None-Match": mine})
    assert theirs.status_code == 200 and theirs.get_json()["total"] == 0
    assert people.owner.app.test_client().get("/api/v1/instances", headers={"If-None-Match": mine}).status_code == 401


def test_another_language_is_another_answer(admin: Person) -> None:
    admin.post("instances", {"name": "q"})
    english = admin.get("adapters", headers={"Accept-Language": "en"})
    chinese = admin.get("adapters", headers={"Accept-Language": "zh-CN", "If-None-Match": english.headers["ETag"]})
    same = chinese.status_code == 304
    assert same == (admin.get("adapters", headers={"Accept-Language": "zh-CN"}).get_data() == english.get_data())


def test_the_generation_stays_the_tag_of_one_instance(admin: Person) -> None:
    """It is what If-Match asks for, and does not change with the state, so it never answers 304."""
    made = admin.create("one")
    answer = admin.get(f"instances/{made['id']}", headers={"If-None-Match": f'"{made["generation"]}"'})
    assert answer.status_code == 200 and answer.headers["ETag"] == f'"{made["generation"]}"'
    weak = admin.get("instances").headers["ETag"]
    refused = admin.patch(f"instances/{made['id']}", {"labels": {}}, headers={"If-Match": weak})
    assert refused.status_code == 400, "the tag of a list is no generation"


def test_only_what_is_not_private_may_be_kept(admin: Person) -> None:
    for path in ("adapters", "adapters/echo", "runtimes", "openapi.json"):
        assert admin.get(path).headers["Cache-Control"] == "private, no-cache", path
    for path in ("instances", "projects", "tenants"):
        assert admin.get(path).headers["Cache-Control"] == "no-store", path


def test_problems_have_no_tag(portal_app: Flask, admin: Person) -> None:
    assert "ETag" not in admin.get("instances?limit=0").headers
    assert "ETag" not in admin.get("adapters/nobody").headers


def test_the_document_says_so(admin: Person) -> None:
    paths = admin.get("openapi.json").get_json()["paths"]
    listed = paths["/instances"]["get"]
    assert "304" in listed["responses"] and "ETag" in listed["responses"]["200"]["headers"]
    assert any(parameter["name"] == "If-None-Match" for parameter in listed["parameters"])
    assert "304" not in paths["/instances/{instance_id}"]["get"]["responses"]
    assert "304" not in paths["/instances"]["post"]["responses"]
