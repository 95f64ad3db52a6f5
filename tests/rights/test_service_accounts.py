"""Service accounts: what they may do, who may make them and their tokens, and that they come by no other way."""

from __future__ import annotations

from typing import Any

import pytest

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db
from clawportal.errors import Unauthenticated
from clawportal.models import ApiToken, AuditEntry, User
from clawportal.services.identity import identity, otp, sessions
from tests.conftest import People, Person, make_person, portal_of
from tests.rights.test_people_cli import Run, claw
from tests.rights.test_rights_pages import Browser

__all__ = ["claw"]


@pytest.fixture
def home(people: People) -> str:
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


def make(by: Person, tenant: str, name: str = "ci", role: str = "developer", **token: Any) -> tuple[str, Person]:
    """An account with one token: its path, and somebody who comes with that token."""
    made = by.post(f"tenants/{tenant}/service-accounts", {"name": name, "role": role, "description": "The build server"})
    assert made.status_code == 201, made.get_json()
    found = made.get_json()
    path = f"tenants/{tenant}/service-accounts/{found['id']}"
    answer = by.post(f"{path}/tokens", {"name": "runner", **token})
    assert answer.status_code == 201, answer.get_json()
    with by.app.app_context():
        actor = identity.actor_of(portal_of(by.app), db.session.get_one(User, found["id"]))
    return path, Person(by.app, found["name"], actor, answer.get_json()["token"])


def test_an_account_acts_by_its_role_and_the_audit_names_it(people: People, home: str) -> None:
    path, robot = make(people.owner, home)
    me = robot.get("auth/me").get_json()
    assert (me["name"], me["kind"], me["display_name"]) == ("default/ci", "service", "The build server")
    one = robot.create("by-robot")["id"]
    assert robot.delete(f"instances/{one}").status_code == 403, "a developer does not delete"
    with people.owner.app.app_context():
        entry = db.session.query(AuditEntry).filter_by(action="instance.create").one()
        assert (entry.actor_name, entry.actor_kind, entry.actor_id) == ("default/ci", "service", robot.actor.id)
        made = db.session.query(AuditEntry).filter_by(action="service_account.create").one()
        assert (made.object_name, made.object_id, made.actor_name) == ("default/ci", robot.actor.id, "owner")
        token = db.session.query(AuditEntry).filter_by(action="token.create", actor_name="owner").order_by(AuditEntry.seq.desc())
        assert token[0].summary == "API token runner was created for default/ci." and token[0].tenant_id == home
    listed = people.owner.get(path).get_json()
    assert (listed["tokens"], listed["role"], listed["active"]) == (1, "developer", True) and listed["last_used_at"]
    assert people.owner.get(f"tenants/{home}/members").get_json()["total"] == 4, "it is no member among people"
    assert any(right["user"] == "default/ci" for right in people.owner.get(f"tenants/{home}/rights").get_json()["items"])


def test_it_comes_by_a_token_and_by_nothing_else(people: People, home: str) -> None:
    _path, robot = make(people.owner, home)
    app, portal = people.owner.app, portal_of(people.owner.app)
    with app.app_context():
        row = db.session.get_one(User, robot.actor.id)
        with pytest.raises(Unauthenticated):
            sessions.begin(portal, row, sessions.BROWSER, sessions.Place())
        for password in ("", "!", "correct horse battery"):
            with pytest.raises(Unauthenticated, match="The name or the password is wrong"):
                identity.authenticate(portal, "default/ci", password)
        with pytest.raises(Exception, match="no such user"):
            identity.set_password(portal, SYSTEM, row.id, "correct horse battery")
        with pytest.raises(Exception, match="no user named"):
            otp.reset(portal, SYSTEM, "default/ci")
    answer = app.test_client().post("/api/v1/auth/login", json={"name": "default/ci", "password": "correct horse battery"})
    assert answer.status_code == 401
    assert robot.post("auth/otp/generate").status_code == 403
    assert robot.post("tokens", {"name": "another"}).status_code == 403, "those who manage members make its tokens"
    own = robot.get("tokens").get_json()["items"][0]["id"]
    assert robot.delete(f"tokens/{own}").status_code == 403
    assert people.admin.get(f"users/{robot.actor.id}").status_code == 404
    assert people.admin.patch(f"users/{robot.actor.id}", {"portal_role": "portal-admin"}).status_code == 404
    assert "default/ci" not in people.admin.get("users?limit=200").get_data(as_text=True)
    link = people.stranger.post(f"tenants/{people.acme}/invitations", {"role": "viewer"}).get_json()["path"]
    assert robot.post(link).status_code == 403, "it belongs to one organisation"
    added = people.admin.post(f"tenants/{people.acme}/members", {"name": "default/ci", "role": "viewer", "existing": True})
    assert added.status_code == 422
    assert robot.delete(f"tenants/{home}/members/{robot.actor.id}").status_code == 404, "it cannot leave"


def test_switched_off_or_deleted_every_token_dies_at_once(people: People, home: str) -> None:
    path, robot = make(people.owner, home)
    assert robot.get("instances").status_code == 200
    assert people.owner.patch(path, {"active": False}).get_json()["active"] is False
    assert robot.get("instances").status_code == 401
    assert people.owner.post(f"{path}/tokens", {"name": "more"}).status_code == 409
    people.owner.patch(path, {"active": True})
    assert robot.get("instances").status_code == 200
    assert people.owner.delete(path).status_code == 204
    assert robot.get("instances").status_code == 401
    assert people.owner.get(path).status_code == 404
    with people.owner.app.app_context():
        assert db.session.query(ApiToken).filter_by(user_id=robot.actor.id).count() == 0
        assert db.session.query(AuditEntry).filter_by(action="service_account.delete").one().object_name == "default/ci"


def test_tokens_are_limited_expire_and_are_revoked(people: People, home: str) -> None:
    path, robot = make(people.owner, home, scopes=["instance.read"], addresses=["127.0.0.0/8"])
    assert robot.get("instances").status_code == 200
    assert robot.post("instances", {"name": "x", "adapter": "echo"}).status_code == 403
    beyond = people.owner.post(f"{path}/tokens", {"name": "x", "scopes": ["instance.delete"]})
    assert beyond.status_code == 422 and "does not have instance.delete" in beyond.get_json()["errors"][0]["message"]
    elsewhere = people.owner.post(f"{path}/tokens", {"name": "far", "addresses": ["192.0.2.0/24"]}).get_json()
    headers = {"Authorization": f"Bearer {elsewhere['token']}"}
    assert people.owner.app.test_client().get("/api/v1/instances", headers=headers).status_code == 401
    rows = people.owner.get(f"{path}/tokens").get_json()["items"]
    assert len(rows) == 2 and all(row["prefix"].startswith("clp_") and "token" not in row for row in rows)
    mine = next(row for row in rows if row["name"] == "runner")
    assert people.owner.delete(f"{path}/tokens/{mine['id']}").status_code == 204
    assert robot.get("instances").status_code == 401
    assert people.owner.delete(f"{path}/tokens/{mine['id']}").status_code == 409


def test_it_is_no_way_to_more_than_ones_own(people: People, home: str) -> None:
    path, _robot = make(people.owner, home, role="tenant-admin")
    rights = ["tenant.read", "member.read", "member.manage", "instance.read"]
    assert people.owner.post(f"tenants/{home}/roles", {"name": "clerk", "permissions": rights}).status_code == 201
    clerk = make_person(people.owner.app, "clerk", "clerk", "default")
    for answer in (
        clerk.post(f"{path}/tokens", {"name": "mine"}),
        clerk.patch(path, {"active": False}),
        clerk.patch(path, {"role": "clerk"}),
        clerk.delete(path),
        clerk.post(f"tenants/{home}/service-accounts", {"name": "big", "role": "tenant-admin"}),
    ):
        assert answer.status_code == 403, answer.get_json()
    low, _ = make(people.owner, home, "low", "guest")
    one = people.owner.create("one")["id"]
    given = people.owner.post(f"instances/{one}/shares", {"member": "default/low", "role": "operator"})
    assert given.status_code == 201, "roles on single instances, as members have them"
    assert clerk.post(f"{low}/tokens", {"name": "mine"}).status_code == 403, "a right on one instance counts too"
    for person in (people.viewer, people.developer, people.operator):
        assert person.get(f"tenants/{home}/service-accounts").status_code == 403
        assert person.post(f"tenants/{home}/service-accounts", {"name": "x", "role": "viewer"}).status_code == 403
    for person in (people.owner, people.admin):
        assert person.post(f"tenants/{home}/service-accounts", {"name": "x", "role": "portal-admin"}).status_code == 422
    managing, robot = make(people.owner, home, "boss", "tenant-admin")
    assert robot.patch(managing, {"role": "viewer"}).status_code == 403, "not itself"
    limited = people.owner.post("tokens", {"name": "limited", "scopes": ["member.manage", "tenant.read"]}).get_json()["token"]
    headers = {"Authorization": f"Bearer {limited}"}
    answer = people.owner.app.test_client().post(f"/api/v1/{low}/tokens", json={"name": "x"}, headers=headers)
    assert answer.status_code == 403, "a limited token makes no unlimited one"


@pytest.mark.parametrize(("body", "path"), [({"name": "Ci"}, "name"), ({"name": "a/b"}, "name"), ({"name": "x" * 37}, "name")])
def test_bad_input_names_the_field(people: People, home: str, body: dict[str, str], path: str) -> None:
    answer = people.owner.post(f"tenants/{home}/service-accounts", {"role": "viewer", **body})
    assert answer.status_code == 422 and answer.get_json()["errors"][0]["path"] == path


def test_equal_names_in_two_organisations_do_not_meet(people: People, home: str) -> None:
    path, robot = make(people.owner, home)
    _, other = make(people.stranger, people.acme)
    assert {robot.get("auth/me").get_json()["name"], other.get("auth/me").get_json()["name"]} == {"default/ci", "acme/ci"}
    again = people.owner.post(f"tenants/{home}/service-accounts", {"name": "ci", "role": "viewer"})
    assert again.status_code == 422 and again.get_json()["errors"][0]["code"] == "taken"
    mixed = path.replace(home, people.acme)
    assert people.stranger.get(mixed).status_code == 404 and people.stranger.delete(mixed).status_code == 404
    losses = people.admin.get(f"tenants/{people.acme}/losses").get_json()
    assert (losses["members"], losses["service_accounts"]) == (1, 1)
    assert people.admin.delete(f"tenants/{people.acme}?confirm=acme").get_json()["state"] == "deleted"
    assert other.get("auth/me").status_code == 401, "it goes with its organisation"


def test_the_pages(people: People, home: str) -> None:
    browser = Browser(people.owner)
    assert "A program, such as a build server, should have one of its own" in browser.page(f"/tenants/{home}/members")
    bad = browser.post(f"/tenants/{home}/service-accounts", service_name="No Good", role="viewer")
    assert bad.status_code == 422 and "A name has 1 to 36" in bad.get_data(as_text=True)
    page = browser.done(f"/tenants/{home}/service-accounts", service_name="ci", role="developer", description="Builds")
    assert "Without a token this account can do nothing" in browser.page(page)
    made = browser.post(f"{page}/tokens", name="runner", expires_days="30", scopes=["instance.read"], addresses="127.0.0.1")
    text = made.get_data(as_text=True)
    assert made.status_code == 200 and 'id="new-token">clp_' in text
    assert "clp_" in browser.page(page) and 'id="new-token"' not in browser.page(page), "shown once"
    wrong = browser.post(f"{page}/tokens", name="x", expires_days="30", addresses="nowhere")
    assert wrong.status_code == 422 and "no address or network" in wrong.get_data(as_text=True)
    browser.done(page, active="off")
    assert "None of its tokens works." in browser.page(page)
    browser.done(page, active="on")
    browser.done(page, role="viewer", description="Looks")
    assert "Looks" in browser.page(f"/tenants/{home}/members")
    token = people.owner.get(f"tenants/{home}/service-accounts/{page.rsplit('/', 1)[1]}/tokens").get_json()["items"][0]["id"]
    browser.done(f"{page}/tokens/{token}/revoke")
    browser.done(f"{page}/delete")
    browser.page(page, 404)
    Browser(people.viewer).page(f"/tenants/{home}/members", 403)


def test_from_a_terminal(people: People, claw: Any) -> None:
    owner: Run = claw(people.owner)
    assert "No service accounts" in owner("service-account", "list").output
    assert "default/ci was made" in owner("service-account", "create", "ci", "--role", "operator").output
    text = owner(
        "service-account", "token", "ci", "runner", "--days", "7", "--scope", "self", "--scope", "instance.read"
    ).output.strip()
    robot = Person(people.owner.app, "default/ci", people.owner.actor, text)
    assert "default/ci" in claw(robot)("whoami").output
    assert "default/ci" in owner("service-account", "list").output
    assert "runner" in owner("service-account", "tokens", "ci").output
    owner("service-account", "role", "ci", "viewer")
    owner("service-account", "disable", "ci")
    assert robot.get("instances").status_code == 401
    owner("service-account", "enable", "default/ci")
    assert robot.get("instances").status_code == 200
    owner("service-account", "revoke", "ci", "runner")
    owner("service-account", "revoke", "ci", "runner", code=3)
    owner("service-account", "delete", "ci")
    owner("service-account", "delete", "ci", code=3)
    claw(people.viewer)("service-account", "list", code=4)
