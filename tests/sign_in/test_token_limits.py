"""API tokens that may do less than their owner, and only from where they belong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from clawportal.contracts.permissions import SYSTEM
from clawportal.services.rights import token_limits
from tests.conftest import People
from tests.sign_in.conftest import ELSEWHERE, HERE, Browser, Program

READ = ["instance.read", "self"]


def token(person: Any, **limits: Any) -> Program:
    answer = person.post("tokens", {"name": "limited", **limits})
    assert answer.status_code == 201, answer.get_data(as_text=True)
    return Program(person.app, access=answer.get_json()["token"])


def test_scopes_narrow(people: People) -> None:
    made = people.owner.create("guarded")["id"]
    limited = token(people.owner, scopes=READ)
    assert limited.call("GET", f"instances/{made}").status_code == 200
    assert limited.call("POST", f"instances/{made}/stop").status_code == 403
    assert limited.call("DELETE", f"instances/{made}").status_code in (403, 428)
    assert limited.call("GET", "operations").status_code == 403
    me = limited.call("GET", "auth/me").get_json()
    assert me["permissions"] == READ and me["kind"] == "token"
    shown = next(item for item in people.owner.get("tokens").get_json()["items"] if item["name"] == "limited")
    assert shown["scopes"] == READ and shown["addresses"] is None and shown["last_used_at"]


def test_scopes_are_of_the_owner(people: People) -> None:
    for scopes in (["instance.delete"], ["portal.admin", "instance.read"], ["nonsense"], []):
        answer = people.viewer.post("tokens", {"name": "x", "scopes": scopes})
        assert answer.status_code == 422 and answer.get_json()["errors"][0]["path"] == "scopes", scopes


def test_scopes_do_not_outlive_the_rights_of_the_owner(people: People, portal_app: Flask) -> None:
    from clawportal.db import db, transaction
    from clawportal.models import Membership

    limited = token(people.operator, scopes=["instance.read", "instance.operate", "self"])
    assert "instance.operate" in limited.call("GET", "auth/me").get_json()["permissions"]
    with portal_app.app_context(), transaction():
        db.session.query(Membership).filter_by(user_id=people.operator.actor.id).one().role = "viewer"
    assert limited.call("GET", "auth/me").get_json()["permissions"] == READ


def test_a_limited_token_makes_no_tokens(people: People) -> None:
    for limits in ({"scopes": READ}, {"addresses": [HERE]}):
        limited = token(people.owner, **limits)
        for body in ({"name": "y"}, {"name": "y", **limits}):
            assert limited.call("POST", "tokens", body).status_code == 403
    whole = token(people.owner)
    assert whole.call("POST", "tokens", {"name": "y"}).status_code == 201


@pytest.mark.parametrize(
    ("networks", "address", "good"),
    [
        (["192.0.2.0/24"], HERE, True), (["192.0.2.0/24"], ELSEWHERE, False), ([HERE], HERE, True),
        (["198.51.100.0/24", HERE], HERE, True), (["2001:db8::/32"], "2001:db8::7", True), (["2001:db8::/32"], HERE, False),
        (["192.0.2.0/24"], "::ffff:192.0.2.9", True), (["0.0.0.0/0"], ELSEWHERE, True), ([], ELSEWHERE, True),
    ],
)  # fmt: skip
def test_addresses(people: People, networks: list[str], address: str, good: bool) -> None:
    limited = token(people.viewer, addresses=networks)
    limited.address = address
    assert limited.me() == (200 if good else 401)


@pytest.mark.parametrize("wrong", [["home"], ["192.0.2.7/24"], ["192.0.2.0/33"], [""], [f"10.0.{n}.0/24" for n in range(60)]])
def test_addresses_that_are_none(people: People, wrong: list[str]) -> None:
    answer = people.viewer.post("tokens", {"name": "x", "addresses": wrong})
    assert answer.status_code == 422 and answer.get_json()["errors"][0]["path"] == "addresses"


def test_an_unknown_address_is_not_allowed() -> None:
    assert not token_limits.address_allowed(["0.0.0.0/0"], "") and token_limits.address_allowed(None, "")
    assert token_limits.narrowed(SYSTEM, []).grants == ()


def test_the_page(people: People, make_browser: Callable[..., Browser]) -> None:
    browser = make_browser()
    browser.sign_in("viewer")
    assert 'value="instance.read"' in browser.page("/profile") and 'value="instance.delete"' not in browser.page("/profile")
    form = {"name": "ci", "expires_days": "365", "scopes": READ, "addresses": f"{HERE}\n198.51.100.0/24"}
    answer = browser.post("/profile/tokens", form | {"addresses": "home"}, htmx=True)
    text = answer.get_data(as_text=True)
    assert answer.status_code == 422 and "is no address" in text and ">home</textarea>" in text
    assert 'value="instance.read" checked' in text and 'value="365" selected' in text  # nothing typed is lost
    text = browser.post("/profile/tokens", form, htmx=True).get_data(as_text=True)
    made = Program(people.viewer.app, access=text.split('id="new-token">')[1].split("<")[0])
    assert made.me() == 200 and made.call("GET", "events").status_code == 403
    assert "instance.read, self" in text and "198.51.100.0/24" in text
    made.address = "203.0.113.1"
    assert made.me() == 401
