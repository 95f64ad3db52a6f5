"""What an attacker tries around signing in: each was possible once, here or elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import socketio
from flask import Flask

from clawportal.client_addresses import network_of
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db
from clawportal.errors import Invalid
from clawportal.ids import new_id
from clawportal.models import ApiToken, KnownAddress
from clawportal.services.identity import identity, throttle
from clawportal.services.rights import token_limits
from tests.api_operations import OPERATIONS
from tests.conftest import PASSWORD, People, Person, make_person, portal_of, serving
from tests.sign_in.conftest import Browser, Program

Make = Callable[..., Flask]
NEW = "another long password"


# ---- tokens


def test_a_token_that_ends_makes_none_that_lives_longer(people: People) -> None:
    """Whoever stole one for a day must not have one for ever."""
    short = people.owner.post("tokens", {"name": "one day", "days": 1}).get_json()["token"]
    thief = replace(people.owner, token=short)
    end = next(item["expires_at"] for item in people.owner.get("tokens").get_json()["items"] if item["name"] == "one day")
    for days in (None, 1, 2, 3650):
        made = thief.post("tokens", {"name": "for ever", "days": days})
        assert made.status_code == 201 and made.get_json()["expires_at"] == end, days
    assert people.owner.post("tokens", {"name": "for ever", "days": None}).get_json()["expires_at"] is None


def test_nobody_fills_the_table_with_tokens(people: People) -> None:
    """Nor gets around the limit of requests, which is counted for each token."""
    with people.owner.app.app_context():
        db.session.add_all(
            ApiToken(user_id=people.viewer.actor.id, name=f"t{n}", prefix="clp_x", token_hash=f"{n:064d}")
            for n in range(token_limits.MOST)
        )
        db.session.commit()
    answer = people.viewer.post("tokens", {"name": "one more"})
    assert answer.status_code == 403 and "Revoke" in answer.get_json()["detail"]


# ---- names


@pytest.mark.parametrize("name", ["Admin", "ADMIN", "ａｄｍｉｎ", "aﬀair", "STRASSE"])
def test_names_that_look_like_another(people: People, name: str) -> None:
    with people.owner.app.app_context():
        portal = portal_of(people.owner.app)
        identity.create_user(portal, SYSTEM, "strasse", PASSWORD, role="portal-auditor")
        with pytest.raises(Invalid):
            identity.create_user(portal, SYSTEM, name, PASSWORD, role="portal-admin")


def test_nobody_is_named_like_an_id(people: People) -> None:
    """A member may be named by id or by name: who takes another one's id as name would be given their rights."""
    tenant = people.owner.get("tenants").get_json()["items"][0]["id"]
    invitation = people.owner.post(f"tenants/{tenant}/invitations", {"role": "viewer"})
    assert invitation.status_code == 201
    for name in (people.viewer.actor.id, people.viewer.actor.id.upper(), new_id()):
        refused = people.owner.post(f"tenants/{tenant}/members", {"name": name, "role": "viewer"})
        assert refused.status_code == 422 and "looks like an id" in refused.get_json()["detail"]


def test_no_thing_is_named_like_an_id(people: People) -> None:
    """Whoever stops an instance by its id must not stop the one that somebody named so."""
    instance = people.owner.create("real")["id"]
    tenant = people.owner.get("tenants").get_json()["items"][0]["id"]
    for name in (instance, new_id()):
        for answer in (
            people.developer.post("instances", {"name": name, "adapter": "echo"}),
            people.owner.post("projects", {"tenant": tenant, "name": name}),
            people.admin.post("tenants", {"name": name}),
        ):
            assert answer.status_code == 422 and "looks like an id" in answer.get_data(as_text=True)


# ---- passwords that were given


@pytest.fixture
def newcomer(portal_app: Flask) -> Program:
    """Somebody whose password was made by an administrator, who knows it too."""
    with portal_app.app_context():
        identity.create_user(portal_of(portal_app), SYSTEM, "newcomer", PASSWORD, role="portal-admin", must_change=True)
    return Program(portal_app)


def test_a_given_password_opens_nothing_for_programs(newcomer: Program) -> None:
    """An administrator could else make tokens of the new account that outlive the first password."""
    refused = newcomer.sign_in("newcomer")
    assert refused.status_code == 403 and refused.get_json()["code"] == "password_change_required"
    body = {"name": "newcomer", "password": PASSWORD}
    assert newcomer.call("POST", "auth/token", body).status_code == 403
    browser = Browser(newcomer.app.test_client())
    assert browser.sign_in("newcomer").status_code == 303
    csrf = re.search(r'name="csrf-token" content="([^"]+)"', browser.page("/profile"))
    assert csrf
    for operation in OPERATIONS:
        if operation.permission is None or operation.name in ("get_me", "log_out"):
            continue
        path = f"/api/v1{re.sub(r'{[^}]+}', 'x', operation.path)}"
        answer = browser.client.open(path, method=operation.method, headers={"X-CSRFToken": csrf[1]})
        assert answer.status_code == 403 and answer.get_json()["code"] == "password_change_required", operation.path
    form = {"current": PASSWORD, "password": NEW, "password_again": NEW}
    assert browser.post("/profile/password", form).status_code == 303
    assert newcomer.sign_in("newcomer", NEW).status_code == 200 and newcomer.me() == 200


def test_the_given_password_is_no_password_of_ones_own(newcomer: Program) -> None:
    browser = Browser(newcomer.app.test_client())
    browser.sign_in("newcomer")
    form = {"current": PASSWORD, "password": PASSWORD, "password_again": PASSWORD}
    answer = browser.post("/profile/password", form)
    assert answer.status_code == 422 and "nobody else knows" in answer.get_data(as_text=True)
    assert browser.get("/instances").headers["Location"] == "/profile"


def test_nor_on_the_first_page(make_app: Make) -> None:
    app = make_app(first_run=True)
    with app.app_context():
        given = identity.first_start(portal_of(app))
    assert given
    browser = Browser(app.test_client())
    browser.sign_in("admin", given)
    csrf = re.search(r'name="csrf-token" content="([^"]+)"', browser.page("/setup"))
    assert csrf
    form = {"csrf_token": csrf[1], "organization": "Acme", "password": given, "password_again": given}
    answer = browser.client.post("/setup", data=form)
    assert answer.status_code == 422 and "nobody else knows" in answer.get_data(as_text=True)
    assert browser.client.post("/setup", data=form | {"password": NEW, "password_again": NEW}).status_code == 303


# ---- addresses


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""), ("unix:", "unix:"),
    ],
)  # fmt: skip
def test_whom_to_count_together(address: str, network: str) -> None:
    assert network_of(address) == network


def test_an_address_of_ones_own_for_each_guess_is_no_way_around(program: Program) -> None:
    """Every household has 2**64 addresses of IPv6."""
    guesser = Program(program.app)
    answers = []
    for number in range(throttle.HERE.free + 2):
        guesser.address = f"2001:db8::{number + 1:x}"
        answers.append(guesser.sign_in("admin", "wrong").status_code)
    assert answers == [401] * throttle.HERE.free + [429] * 2
    owner = Program(program.app, address="2001:db8:ffff::1")
    assert owner.sign_in().status_code == 200, "from elsewhere the owner comes in"
    with program.app.app_context():
        assert [row.address for row in db.session.query(KnownAddress)] == ["2001:db8:ffff::/64"]


def test_websockets_behind_a_proxy_are_judged_by_who_asks(make_app: Make) -> None:
    """A token for one network was good from everywhere, since all came from the proxy."""
    app = make_app(trusted_proxies=1)
    admin = make_person(app, "admin", "portal-admin")
    made = {
        network: admin.post("tokens", {"name": network, "addresses": [network]}).get_json()["token"]
        for network in ("127.0.0.0/8", "192.0.2.0/24")
    }
    with serving(app) as (url, _port):
        for network, came, good in (
            ("127.0.0.0/8", "198.51.100.9", False), ("192.0.2.0/24", "198.51.100.9", False), ("192.0.2.0/24", "192.0.2.7", True),
        ):  # fmt: skip
            client = socketio.Client(reconnection=False)
            try:
                client.connect(
                    url, auth={"token": made[network]}, transports=["websocket"], namespaces=["/changes"],
                    headers={"X-Forwarded-For": came}, wait_timeout=10,
                )  # fmt: skip
                came_in = True
            except socketio.exceptions.ConnectionError:
                came_in = False
            finally:
                client.disconnect()
            assert came_in is good, (network, came)


def test_without_trust_nobody_says_where_they_come_from(people: People) -> None:
    token = people.owner.post("tokens", {"name": "office", "addresses": ["192.0.2.0/24"]}).get_json()["token"]
    forged = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "192.0.2.7", "Forwarded": "for=192.0.2.7"}
    assert people.owner.app.test_client().get("/api/v1/auth/me", headers=forged).status_code == 401


# ---- cookies


def cookies(app: Flask, person: Person, url: str, **environ: Any) -> list[str]:
    """All that a sign-in, a choice of language and one of looks set."""
    client = app.test_client()
    told: list[str] = []
    page = client.get("/login", base_url=url, **environ)
    csrf = re.search(r'name="csrf-token" content="([^"]+)"', page.get_data(as_text=True))
    assert csrf
    signing_in = {"username": person.name, "password": PASSWORD}
    for path, form in (("/language", {"language": "en"}), ("/theme", {"theme": "dark"}), ("/login", signing_in)):
        answer = client.post(path, data={"csrf_token": csrf[1], **form}, base_url=url, headers={"Referer": url}, **environ)
        assert answer.status_code in (204, 303), (path, answer.status_code)
        told += answer.headers.getlist("Set-Cookie")
    return told + page.headers.getlist("Set-Cookie")


def test_cookies_are_for_this_site_and_no_script(portal_app: Flask, admin: Person) -> None:
    told = cookies(portal_app, admin, "http://localhost")
    assert len(told) >= 4
    for cookie in told:
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Domain=" not in cookie, cookie


def test_over_tls_the_session_is_for_tls_alone(make_app: Make) -> None:
    """Whether or not somebody wrote down the public address."""
    app = make_app(trusted_proxies=1)
    admin = make_person(app, "admin", "portal-admin")
    told = cookies(app, admin, "http://localhost", environ_base={"HTTP_X_FORWARDED_PROTO": "https"})
    assert all("Secure" in cookie for cookie in told if cookie.startswith("clawportal=")) and told
    said = make_app(public_url="https://claws.example.com")
    told = cookies(said, make_person(said, "other", "portal-admin"), "http://localhost")
    assert all("Secure" in cookie for cookie in told)


def test_a_planted_session_is_worth_nothing(portal_app: Flask, admin: Person) -> None:
    """Session fixation: what the attacker knows of the browser before the sign-in is void afterwards."""
    browser = Browser(portal_app.test_client())
    browser.get("/login")
    planted = browser.client.get_cookie("clawportal")
    assert planted
    browser.sign_in()
    attacker = Browser(portal_app.test_client())
    attacker.client.set_cookie("clawportal", planted.value)
    assert browser.signed_in and not attacker.signed_in
