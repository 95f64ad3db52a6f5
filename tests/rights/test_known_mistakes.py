"""Mistakes that others made in products like this one, each as a test. Those that have a file of their own are named here.

- a refresh token accepted as access token: `test_wrong_proofs`, `tests/realtime/test_socket_walk`, `tests/sign_in/test_clients`
- a backup code that works twice, a code of the app that works twice: `tests/sign_in/test_second_factor`
- default credentials: `tests/sign_in/test_clients`; a session kept after a new password: `tests/sign_in/test_browser_sessions`
- names that can be found out by time: `tests/core/test_identity` (the same work is done); by text: below
- being led to another site after signing in: `tests/web/test_sign_in`, `tests/sign_in/test_second_factor`
"""

from __future__ import annotations

import html
import re
import typing
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import BaseModel

from clawportal.api._layer import Page
from clawportal.contracts.permissions import Permission
from tests.api_operations import OPERATIONS
from tests.conftest import PASSWORD, People
from tests.rights.test_isolation import METHODS, example, make_ids
from tests.rights.test_wrong_proofs import page_path

NAMES = ("tenant", "tenant_id", "organisation", "project", "project_id", "inside", "user_id")
HIDDEN = re.compile(r"secret-(name|project|role|note)")
"""Names of what is in the other tenant. Providers to sign in with are for everybody to see."""


def hints(ids: dict[str, str]) -> dict[str, str]:
    """Everything that could pass for a hint which tenant is meant."""
    return {name: ids.get(name.removesuffix("_id") + "_id", ids["tenant_id"]) for name in NAMES}


# ---- the id of a tenant decides nothing


def test_no_hint_from_outside_widens_what_a_list_shows(people: People) -> None:
    """Neither a query string, nor a header, nor a cookie says in whose name somebody asks."""
    ids = make_ids(people)
    headers = {
        "X-Tenant-ID": ids["tenant_id"],
        "X-Tenant": "default",
        "Cookie": f"tenant={ids['tenant_id']}; inside={ids['tenant_id']}",
    }
    for operation in OPERATIONS:
        if operation.method != "GET" or operation.path_names or operation.permission is None:
            continue
        path = f"/api/v1{operation.path}"
        plain = people.stranger.get(path)
        for query in [{}, *({name: value} for name, value in hints(ids).items())]:
            answer = people.stranger.get(path, query_string=query, headers=headers)
            text = answer.get_data(as_text=True)
            assert answer.status_code in (plain.status_code, 404, 422), (path, query, answer.status_code)
            assert not HIDDEN.search(text) and f'"{ids["instance_id"]}"' not in text, (path, query)


def test_no_hint_widens_a_page(people: People) -> None:
    ids, browser = make_ids(people), people.stranger.browser()
    browser.set_cookie("tenant", ids["tenant_id"])
    browser.set_cookie("inside", ids["tenant_id"])
    walked = 0
    for rule in people.owner.app.url_map.iter_rules():
        if not rule.endpoint.startswith("web.") or rule.arguments or "GET" not in (rule.methods or ()):
            continue
        answer = browser.get(rule.rule, query_string=hints(ids), headers={"X-Tenant-ID": ids["tenant_id"]})
        assert answer.status_code < 500 and not HIDDEN.search(answer.get_data(as_text=True)), rule.rule
        walked += 1
    assert walked > 10


def test_no_hint_in_a_body_makes_anything_elsewhere(people: People) -> None:
    """What is created goes where the maker may create."""
    ids = make_ids(people)
    for hint in ({"tenant": ids["tenant_id"]}, {"tenant_id": ids["tenant_id"]}, {"project": ids["project_id"]}):
        answer = people.stranger.post("instances", {"name": "smuggled", "adapter": "echo", **hint})
        assert answer.status_code in (404, 422), hint
    assert people.stranger.post("projects", {"tenant": ids["tenant_id"], "name": "smuggled"}).status_code == 404
    found = people.owner.get("instances").get_json()["items"]
    assert [item["name"] for item in found] == ["secret-name"]


def models(kind: Any) -> list[type[BaseModel]]:
    """A model and all that are inside it."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind, *(inner for part in kind.model_fields.values() for inner in models(part.annotation))]
    return [inner for part in typing.get_args(kind) for inner in models(part)]


def test_no_body_takes_fields_that_it_does_not_name() -> None:
    """Mass assignment: `"role": "portal-admin"` beside what a form asks for is an error, not an attribute."""
    bodies = [
        (operation.name, operation.parameters[part])
        for operation in OPERATIONS
        for part in ("body", "query")
        if part in operation.parameters
    ]
    found = [(name, model) for name, body in bodies for model in models(body)]
    loose = [(name, model.__name__) for name, model in found if model.model_config.get("extra") != "forbid"]
    assert len(bodies) > 30 and not loose


# ---- lists


def pages() -> list[Any]:
    return [operation for operation in OPERATIONS if isinstance(operation.returns, type) and issubclass(operation.returns, Page)]


def test_a_total_is_no_length_of_a_page(people: People) -> None:
    ids = make_ids(people)
    for number in range(3):
        people.owner.create(f"more-{number}")
        people.admin.post("tenants", {"name": f"more-{number}"})
    assert len(pages()) >= 5
    for operation in pages():
        path = f"/api/v1{operation.path.format(**ids)}"
        whole = people.admin.get(f"{path}?limit=200").get_json()
        one = people.admin.get(f"{path}?limit=1").get_json()
        last = people.admin.get(f"{path}?limit=1&offset={max(whole['total'] - 1, 0)}").get_json()
        beyond = people.admin.get(f"{path}?limit=1&offset=1000").get_json()
        assert whole["total"] == len(whole["items"]) == one["total"] == last["total"] == beyond["total"], operation.path
        assert len(one["items"]) == min(1, whole["total"]) and beyond["items"] == [], operation.path


def test_every_list_is_walked_by_its_cursor(people: People) -> None:
    ids = make_ids(people)
    for number in range(3):
        people.owner.create(f"more-{number}")
        people.admin.post("tenants", {"name": f"more-{number}"})
    for operation in pages():
        path = f"/api/v1{operation.path.format(**ids)}"
        whole = people.admin.get(f"{path}?limit=200").get_json()
        found, cursor = [], ""
        while cursor is not None:
            page = people.admin.get(f"{path}?limit=1&cursor={cursor}").get_json()
            found, cursor = found + page["items"], page["next"]
        assert found == whole["items"] and len(found) == whole["total"], operation.path
        broken = people.admin.get(f"{path}?cursor=broken")
        assert broken.status_code == 422 and broken.get_json()["errors"][0]["path"] == "cursor", operation.path


# ---- names of accounts


@pytest.mark.parametrize("path", ["auth/login", "auth/token"])
def test_wrong_names_and_wrong_passwords_look_alike(people: People, portal_app: Flask, path: str) -> None:
    """Status, words and headers; a name that is known, one that is not, one that is closed, and a service's."""
    people.admin.patch(f"users/{people.viewer.actor.id}", {"active": False})
    told = []
    for name, password in (("owner", "wrong"), ("nobody", PASSWORD), ("viewer", PASSWORD), ("", ""), ("x" * 200, PASSWORD)):
        answer = portal_app.test_client().post(f"/api/v1/{path}", json={"name": name, "password": password})
        document = answer.get_json()
        del document["request_id"]
        kept = {key: value for key, value in answer.headers if not key.startswith(("X-Request-ID", "RateLimit-"))}
        told.append((answer.status_code, document, kept))
    assert all(one == told[0] for one in told), told
    assert told[0][0] == 401


def test_the_sign_in_page_says_the_same_of_every_name(people: People, portal_app: Flask) -> None:
    said = set()
    for name, password in (("owner", "wrong"), ("nobody", PASSWORD)):
        client = portal_app.test_client()
        sent = {"csrf_token": csrf_of(client, "/login"), "username": name, "password": password}
        answer = client.post("/login", data=sent)
        text = answer.get_data(as_text=True).replace(name, "NAME")
        said.add((answer.status_code, re.sub(r'content="[^"]+"|value="[^"]+"', "", text)))
    assert len(said) == 1


# ---- forms


def csrf_of(client: FlaskClient, path: str) -> str:
    found = re.search(r'<meta name="csrf-token" content="([^"]+)">', client.get(path).get_data(as_text=True))
    assert found
    return html.unescape(found[1])


def test_no_form_works_without_the_token_of_the_page(people: People, portal_app: Flask) -> None:
    """Every page and operation that changes something, asked by a browser that is signed in; new ones join by themselves."""
    ids, browser, other = make_ids(people), people.admin.browser(), people.stranger.browser()
    of_another = csrf_of(other, "/profile")
    walked = 0
    for rule in portal_app.url_map.iter_rules():
        changing = sorted((METHODS - {"GET"}) & (rule.methods or set()))
        if rule.endpoint in portal_app.config["CSRF_FREE"] or not rule.endpoint.startswith(("web.", "api.")):
            continue
        for method in changing:
            for token in (None, of_another):
                sent: dict[str, Any] = {"headers": {"X-CSRFToken": token} if token else {}}
                answer = browser.open(page_path(rule.rule, ids), method=method, json={}, **sent)
                assert answer.status_code == 400, (method, rule.rule, answer.status_code)
            elsewhere = browser.open(
                page_path(rule.rule, ids), method=method, json={},
                headers={"X-CSRFToken": csrf_of(browser, "/profile") if walked == 0 else "", "Sec-Fetch-Site": "cross-site"},
            )  # fmt: skip
            assert elsewhere.status_code == 403, (method, rule.rule)
            walked += 1
    assert walked > 100
    assert people.owner.get(f"instances/{ids['instance_id']}").get_json()["generation"] == 1


def test_only_signing_in_works_without_token(portal_app: Flask) -> None:
    """What proves who asks stands in the body there, and a browser adds none by itself."""
    free = portal_app.config["CSRF_FREE"]
    assert free == {"api.trade_password", "api.log_in", "api.refresh_tokens", "api.verify_otp"}
    assert all(not isinstance(portal_app.view_functions[name].clawportal_requires, Permission) for name in free)  # type: ignore[attr-defined]


def test_no_reading_changes_anything(people: People) -> None:
    """GET is sent by links and pictures of other sites, with the session and without any token."""
    ids, browser = make_ids(people), people.admin.browser()

    def counted() -> Any:
        found = people.owner.get(f"instances/{ids['instance_id']}").get_json()
        members = people.owner.get(f"tenants/{ids['tenant_id']}/members").get_json()["total"]
        return found["generation"], found["desired"], members, len(people.admin.get("tokens").get_json()["items"])

    before = counted()
    for rule in people.owner.app.url_map.iter_rules():
        if rule.endpoint.startswith("web.") and "GET" in (rule.methods or ()):
            assert browser.get(page_path(rule.rule, ids)).status_code < 500, rule.rule
    assert counted() == before and browser.get("/profile").status_code == 200, "nor signs it out"


def test_examples_are_given_for_every_body() -> None:
    """The walks send what `example` makes up: a body that it cannot make would walk past."""
    for operation in OPERATIONS:
        if "body" in operation.parameters:
            assert isinstance(example(operation.parameters["body"]), dict), operation.name
