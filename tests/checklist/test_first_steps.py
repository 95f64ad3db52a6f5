"""First steps: found out from facts, put aside by somebody, gone when they are done, and each for whom they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from clawportal import clock, pluginmanager
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.errors import NotFound
from clawportal.models import ApiToken, Cluster, Tenant
from clawportal.models.sign_in import Otp
from clawportal.services.backup.making import LAST_BACKUP
from clawportal.services.fleet import instances
from clawportal.services.fleet.instances import NewInstance
from clawportal.services.identity import identity
from clawportal.services.system import portal_settings
from clawportal_checklist import services
from clawportal_checklist.models import Mark
from clawportal_providers import services as keys
from clawportal_providers.services import Wanted
from tests.conftest import People, Person, counted_sql, make_person, portal_of
from tests.core.world import World
from tests.rights.test_people_cli import Run, claw
from tests.rights.test_rights_pages import Browser

__all__ = ["claw"]

KIM = replace(SYSTEM, kind="user", name="kim")


def open_steps(portal: Any) -> set[str]:
    return {item.step.name for item in services.of(portal, KIM).items if item.open}


def test_each_step_follows_from_what_is_there(both: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with both.context() as portal:
        steps = ["system.address", "identity.second_admin", "identity.second_factor", "backup.made", "tenancy.organisation",
                 "credentials.first", "instances.first", "notices.route", "system.metrics"]  # fmt: skip
        for row in db.session.scalars(db.select(Cluster)):
            row.health = "unreachable"
        db.session.commit()
        assert open_steps(portal) == {*steps, "clusters.place"}
        portal.settings = portal.settings.model_copy(update={"public_url": "https://claws.example.com"})
        assert "system.address" not in open_steps(portal)
        people = [
            identity.create_user(portal, SYSTEM, name, "correct horse battery", role="portal-admin") for name in ("a1", "b1")
        ]
        assert "identity.second_admin" not in open_steps(portal)
        for person in people:
            assert "identity.second_factor" in open_steps(portal), "one of two is not enough"
            with transaction():
                db.session.add(Otp(user_id=person.id, sealed=b"x", enabled_at=clock.now()))
        assert "identity.second_factor" not in open_steps(portal)
        last = {"at": clock.now().isoformat(), "file": "/b", "bytes": 1, "gaps": 0}
        portal_settings.write(LAST_BACKUP, last | {"at": "2020-01-01T00:00:00+00:00"})
        assert "backup.made" in open_steps(portal), "an old one is none"
        portal_settings.write(LAST_BACKUP, last)
        with transaction():
            db.session.scalars(db.select(Tenant)).one().title = "Acme"
            db.session.scalars(db.select(Cluster)).first().health = "healthy"
            db.session.add(ApiToken(user_id=people[0].id, name="p", prefix="p", token_hash="h", scopes=["portal.read"],
                                    last_used_at=clock.now()))  # fmt: skip
        keys.create(
            portal, SYSTEM, str(db.session.scalars(db.select(Tenant.id)).one()), Wanted("k", "openrouter", key="sk-or-12345")
        )
        instances.create(portal, SYSTEM, NewInstance("one", "echo", start=False))
        assert open_steps(portal) == {"notices.route"}
        services.put_aside(portal, KIM, "notices.route", True)
        assert services.on_home(portal, KIM) is None, "nothing is left to do"


def test_putting_aside_says_who_and_can_be_taken_back(both: World) -> None:
    with both.context() as portal:
        for _ in range(2):
            services.put_aside(portal, KIM, "backup.made", True)
        item = next(one for one in services.of(portal, KIM).items if one.step.name == "backup.made")
        assert item.mark and item.mark.marked_by == "kim" and not item.open and not item.step.done
        services.put_aside(portal, KIM, "*", True)
        found = services.of(portal, KIM)
        assert found.put_aside and found.put_aside.marked_by == "kim" and services.on_home(portal, KIM) is None
        services.put_aside(portal, KIM, "*", False)
        services.put_aside(portal, KIM, "backup.made", False)
        assert services.on_home(portal, KIM) and not db.session.scalars(db.select(Mark)).all()
        with pytest.raises(NotFound, match="no first step"):
            services.put_aside(portal, KIM, "nonsense", True)


def test_over_the_api_each_sees_their_own(people: People) -> None:
    found = people.admin.get("checklist").get_json()
    assert found["audience"] == "portal" and found["shown"] and "backup.made" in {one["name"] for one in found["items"]}
    team = people.owner.get("checklist").get_json()
    assert team["audience"] == "team" and [one["name"] for one in team["items"]] == ["instances.own", "conversations.first"]
    made = people.owner.create("mine", start=False)
    people.owner.post("conversations", {"instance": made["id"]})
    assert not people.owner.get("checklist").get_json()["shown"]
    assert [one["done"] for one in people.stranger.get("checklist").get_json()["items"]] == [False, False], "of another team"
    aside = people.admin.request("PUT", "checklist/backup.made", json={"put_aside": True}).get_json()
    assert {one["name"]: one["put_aside_by"] for one in aside["items"]}["backup.made"] == "admin"
    assert people.admin.request("PUT", "checklist/none", json={"put_aside": True}).status_code == 404
    assert people.admin.request("PUT", "checklist", json={"put_aside": True}).get_json()["put_aside_by"] == "admin"
    for person in (people.owner, people.viewer):
        assert person.request("PUT", "checklist", json={"put_aside": False}).status_code == 403


def test_on_the_home_page_until_it_is_put_aside(people: People) -> None:
    admin, owner = Browser(people.admin), Browser(people.owner)
    assert "A second administrator" in admin.page("/") and "Not for us" in admin.page("/")
    text = owner.page("/")
    assert "Talk to it" in text and "A second administrator" not in text and "Not for us" not in text
    people.owner.create("mine", start=False)
    assert "First steps" in admin.page("/"), "also beside claws"
    admin.done("/first-steps", name="backup.made", aside="true")
    assert "clawportal backup FILE" not in admin.page("/") and "not for us, says admin" in admin.page("/first-steps")
    admin.done("/first-steps", name="*", aside="true", **{"from": "home"})
    assert "First steps" not in admin.page("/") and "Put aside by admin" in admin.page("/first-steps")
    assert "Talk to it" in owner.page("/"), "a team has its own"
    assert owner.post("/first-steps", name="*", aside="false").status_code == 403


def test_home_costs_the_same_however_many_claws_there_are(people: People) -> None:
    def statements() -> int:
        browser = Browser(people.admin)
        browser.page("/")
        with counted_sql(people.admin.app) as told:
            browser.page("/")
        return len(told)

    people.owner.create("first", start=False)
    one = statements()
    for number in range(12):
        people.owner.create(f"more-{number}", start=False)
    assert statements() == one


def test_first_steps_from_a_terminal(people: People, claw: Callable[[Person], Run]) -> None:
    admin = claw(people.admin)
    assert "clawportal backup FILE" in admin("checklist", "list").output
    found = json.loads(admin("checklist", "skip", "backup.made", "-o", "json").output)
    assert next(one for one in found["items"] if one["name"] == "backup.made")["put_aside_by"] == "admin"
    assert "not for us (admin)" in admin("checklist", "list").output
    admin("checklist", "skip", "backup.made", "--again")
    admin("checklist", "skip")
    assert json.loads(admin("checklist", "list", "-o", "json").output)["put_aside_by"] == "admin"


def test_without_the_plugin_nothing_is_left(make_app: Callable[..., Flask]) -> None:
    app = make_app(plugins=",".join(name for name in pluginmanager.BUNDLED if name != "clawportal_checklist"))
    admin = make_person(app, "admin", "portal-admin")
    assert admin.get("checklist").status_code == 404 and portal_of(app).registry.feature("checklist") is None
    assert "First steps" not in Browser(admin).page("/")
