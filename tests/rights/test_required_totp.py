"""An organisation that asks for a second factor: nobody reaches it without one, and everybody finds the way in."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from clawportal.contracts.core_permissions import INSTANCE_READ
from clawportal.contracts.permissions import SELF, SYSTEM, Actor, Grant, Scope, narrowed, without_second_factor
from clawportal.db import db, transaction
from clawportal.models import Tenant, User
from clawportal.services.configuration import layers
from clawportal.services.fleet import layer_changes
from clawportal.services.identity import identity, otp
from clawportal.services.live import audience
from clawportal.services.tenancy import service_accounts
from tests.conftest import PASSWORD, People, Person, make_person, portal_of
from tests.core.world import World
from tests.rights.test_people_cli import claw
from tests.rights.test_rights_pages import Browser
from tests.sign_in.conftest import App, Program

__all__ = ["claw"]


@pytest.fixture
def home(people: People) -> str:
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


def set_up(person: Person) -> App:
    """A second factor for somebody, without signing in."""
    with person.app.app_context():
        actor = Actor(person.actor.id, person.name)
        app = App(otp.generate(portal_of(person.app), actor).secret)
        otp.enable(portal_of(person.app), actor, app.code(), "192.0.2.7")
    return app


def demand(app: Flask, tenant_id: str) -> None:
    with app.app_context(), transaction():
        db.session.get_one(Tenant, tenant_id).require_totp = True


def test_from_then_on_every_way_in_is_closed_to_who_has_none(people: People, home: str) -> None:
    one = people.owner.create("one")["id"]
    program, browser = Program(people.owner.app), Browser(people.viewer)
    program.sign_in("developer")
    assert program.call("GET", f"instances/{one}").status_code == 200
    browser.page("/")
    first = people.owner.patch(f"tenants/{home}", {"require_totp": True})
    assert first.status_code == 422 and first.get_json()["errors"][0]["path"] == "require_totp", "not without an own one"
    set_up(people.owner)
    assert people.owner.patch(f"tenants/{home}", {"require_totp": True}).get_json()["require_totp"] is True
    assert people.owner.get(f"instances/{one}").status_code == 200
    for answer in (
        program.call("GET", f"instances/{one}"),
        program.call("GET", "instances"),
        people.viewer.get(f"instances/{one}"),
        people.viewer.get(f"tenants/{home}"),
        people.operator.post(f"instances/{one}/start"),
        people.developer.post("instances", {"name": "two", "adapter": "echo"}),
    ):
        told = answer.get_json()
        assert (answer.status_code, told["code"]) == (403, "totp_required"), told
        assert "/auth/otp/generate" in told["remedy"]
    assert people.stranger.get(f"instances/{one}").status_code == 404, "others learn nothing"
    assert people.viewer.get("auth/me").get_json()["totp_required_by"] == [home]
    answer = browser.client.get("/")
    assert answer.status_code == 303 and answer.headers["Location"] == "/second-factor"
    assert browser.client.get(f"/instances/{one}").headers["Location"] == "/second-factor"
    page = browser.page("/second-factor")
    assert "Scan the picture on the next page" in page
    browser.page("/profile")


def test_setting_it_up_opens_the_way_again_and_it_stays_on(people: People, home: str) -> None:
    demand(people.admin.app, home)
    program = Program(people.owner.app)
    program.sign_in("developer")
    secret = program.call("POST", "auth/otp/generate").get_json()["secret"]
    app = App(secret)
    assert program.call("POST", "auth/otp/enable", {"code": app.code()}).status_code == 200
    assert program.call("GET", "instances").status_code == 200
    assert people.developer.get("instances").status_code == 200, "and its API tokens work again"
    refused = program.call("POST", "auth/otp/disable", {"password": PASSWORD, "code": "123456"})
    assert refused.status_code == 409 and "asks everybody for a second factor" in refused.get_json()["detail"]
    assert program.call("GET", "auth/otp/status").get_json()["required_by"]
    with people.admin.app.app_context():
        assert otp.reset(portal_of(people.admin.app), SYSTEM, "developer"), "whoever lost app and codes gets a new start"
    again = Program(people.owner.app)
    again.sign_in("developer")
    assert again.call("GET", "instances").get_json()["code"] == "totp_required"
    assert again.call("POST", "auth/otp/generate").status_code == 200


def test_service_accounts_need_none(people: People, home: str) -> None:
    made = people.owner.post(f"tenants/{home}/service-accounts", {"name": "ci", "role": "developer"}).get_json()
    token = people.owner.post(f"tenants/{home}/service-accounts/{made['id']}/tokens", {"name": "x"}).get_json()["token"]
    demand(people.admin.app, home)
    assert Person(people.owner.app, "ci", people.owner.actor, token).get("instances").status_code == 200


def test_administrators_of_the_portal_are_asked_as_well_but_only_there(people: People, home: str) -> None:
    here, there = people.owner.create("here")["id"], people.stranger.create("there")["id"]
    browser = Browser(people.admin)
    browser.done(f"/tenants/{home}/enter")
    demand(people.admin.app, home)
    assert people.admin.get(f"instances/{here}").get_json()["code"] == "totp_required"
    assert people.admin.patch(f"tenants/{home}", {"require_totp": False}).get_json()["code"] == "totp_required"
    assert people.admin.get(f"instances/{there}").status_code == 200
    assert [item["name"] for item in people.admin.get("instances").get_json()["items"]] == ["there"]
    assert home not in people.admin.get("tenants").get_data(as_text=True)
    assert people.admin.get("users").status_code == 200
    assert browser.client.get("/").headers["Location"] == "/second-factor", "who is inside at that time"
    assert "Leave the organisation for now" in browser.page("/second-factor")
    browser.done("/tenants/leave")
    assert "there" in browser.page("/instances") and "asks you for a second factor" in browser.page("/")
    set_up(people.admin)
    assert people.admin.get(f"instances/{here}").status_code == 200
    browser.done(f"/tenants/{home}/enter")


def test_a_member_of_two_organisations_loses_only_the_one(people: People, home: str) -> None:
    both = make_person(people.admin.app, "both", "developer", "default")
    added = people.admin.post(f"tenants/{people.acme}/members", {"name": "both", "role": "developer", "existing": True})
    assert added.status_code == 201
    here, there = people.owner.create("here")["id"], people.stranger.create("there")["id"]
    demand(people.admin.app, home)
    assert [item["id"] for item in both.get("instances").get_json()["items"]] == [there]
    assert both.get(f"instances/{here}").get_json()["code"] == "totp_required"
    assert Browser(both).client.get(f"/instances/{here}").headers["Location"] == "/second-factor"


def test_the_settings_page_and_the_terminal(people: People, home: str, claw: Any) -> None:
    browser = Browser(people.owner)
    assert "4 members have none yet" in browser.page(f"/tenants/{home}/settings")
    refused = browser.post(f"/tenants/{home}/settings", title="Default", require_totp="true")
    assert refused.status_code == 422 and "kept out yourself" in refused.get_data(as_text=True)
    set_up(people.owner)
    browser.done(f"/tenants/{home}/settings", title="Default", require_totp="true")
    assert people.owner.get(f"tenants/{home}").get_json()["require_totp"] is True
    assert "It stays on" in browser.page("/profile")
    owner = claw(people.owner)
    owner("tenant", "change", "--no-require-totp")
    assert people.viewer.get("instances").status_code == 200
    owner("tenant", "change", "--require-totp")
    claw(people.viewer)("whoami")
    told = claw(people.viewer)("list", code=4).output
    assert "second factor" in told


def test_what_is_withheld_follows_from_the_grants_alone() -> None:
    read = frozenset({INSTANCE_READ, SELF})
    grants = (Grant(read, "a"), Grant(read, "b", "p"), Grant(read), Grant(frozenset({SELF})))
    actor = without_second_factor(Actor("x", "x", grants=grants), frozenset({"a", "c"}))
    allowed = {tenant: actor.allows(INSTANCE_READ, Scope(tenant)) for tenant in ("a", "b", "c", "d")}
    assert allowed == {"a": False, "b": True, "c": False, "d": True}
    assert actor.allows(SELF, Scope()) and actor.asking == ("a", "c")
    assert all(actor.with_second_factor().allows(INSTANCE_READ, Scope(tenant)) for tenant in "abcd")
    inside = narrowed(actor, "a")
    assert not inside.allows(INSTANCE_READ, Scope("a")) and inside.asking == ("a",)
    assert narrowed(actor, "d").allows(INSTANCE_READ, Scope("d"))
    seen = audience.told(audience.of(actor), [audience.Changed(tenant, f"i-{tenant}") for tenant in ("a", "d")], {})
    assert seen["instances"] == ["i-d"]


def test_on_both_databases(both: World) -> None:
    with both.context():
        tenant = db.session.query(Tenant).filter_by(name="default").one()
        user = identity.create_user(both.portal, SYSTEM, "kim", PASSWORD, role="viewer", tenant=tenant)
        root = identity.create_user(both.portal, SYSTEM, "root", PASSWORD, role="portal-admin")
        robot = service_accounts.create(both.portal, SYSTEM, tenant.id, "ci", "viewer")
        with transaction():
            db.session.get_one(Tenant, tenant.id).require_totp = True
        for row in (user, root):
            actor = identity.actor_of(both.portal, row)
            assert not actor.allows(INSTANCE_READ, Scope(tenant.id)) and actor.asking == (tenant.id,)
        assert identity.actor_of(both.portal, db.session.get_one(User, robot.id)).allows(INSTANCE_READ, Scope(tenant.id))
        offer = otp.generate(both.portal, Actor(user.id, user.name))
        otp.enable(both.portal, Actor(user.id, user.name), App(offer.secret).code(), "192.0.2.7")
        assert identity.actor_of(both.portal, user).allows(INSTANCE_READ, Scope(tenant.id))
        layer = {"enforced": {"resources": {"memory": "64Mi"}, "model": {"provider": "openai", "name": "big"}}}
        assert layer_changes.put(both.portal, SYSTEM, tenant.id, layer, "sk-shared-key").changes == 0
        assert layers.of(tenant.id).enforced.resources.memory == "64Mi" and layers.keeps_key(tenant.id)
