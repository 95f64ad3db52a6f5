"""What it costs to know what somebody may do: one statement for who asks, one for the rights, none for a row."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.models import Membership, RoleGrant, User
from clawportal.services.tenancy import members, tenants
from tests.conftest import People, Person, counted_sql, make_tenant, portal_of

ABOUT_RIGHTS = ("membership", "role_grant", "custom_role")
ABOUT_WHO = ("user_account", "user_session", "api_token")
API = ("instances", "operations", "events", "audit", "tenants", "projects")
PAGES = ("/", "/instances", "/operations", "/audit")


@pytest.fixture
def busy(portal_app: Flask, people: People) -> str:
    """Some claws, and a developer whose rights come from five tenants, two projects and three single claws. The first steps are
    put aside: they ask how many administrators there are, which is no question about anybody's rights."""
    assert people.admin.put("checklist", {"put_aside": True}).status_code == 200
    claws = [people.owner.create(f"claw-{number}")["id"] for number in range(6)]
    home = people.owner.get("tenants").get_json()["items"][0]["id"]
    with portal_app.app_context():
        portal = portal_of(portal_app)
        more = [tenants.create_project(portal, SYSTEM, home, name).id for name in ("day", "night")]
        for project in more:
            members.give(portal, SYSTEM, "developer", "operator", project_id=project)
        for claw in claws[:3]:
            members.give(portal, SYSTEM, "developer", "operator", instance_id=claw)
    for number in range(4):
        other = make_tenant(portal_app, f"other-{number}")
        with portal_app.app_context(), transaction():
            db.session.add(Membership(user_id=people.developer.actor.id, tenant_id=other, role="viewer"))
    return str(claws[0])


def told(app: Flask, ask: Any) -> list[str]:
    ask()  # what is looked up once for a process is not part of a request's cost
    with counted_sql(app) as statements:
        answer = ask()
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return [" ".join(text.split()) for text in statements if not text.startswith(("BEGIN", "PRAGMA"))]


def about(names: tuple[str, ...], statements: list[str]) -> list[str]:
    return [text for text in statements if any(f"FROM {name}" in text or f"JOIN {name}" in text for name in names)]


def who_asks(people: People, who: str) -> Person:
    found: Person = getattr(people, who)
    return found


@pytest.mark.parametrize("who", ["admin", "owner", "developer"])
def test_a_request_asks_twice(portal_app: Flask, people: People, busy: str, who: str) -> None:
    person = who_asks(people, who)
    browser = person.browser()
    for path in API:
        if (path, who) != ("audit", "developer"):
            _twice(path, told(portal_app, lambda path=path: person.get(path)))
    for path in (*PAGES, f"/instances/{busy}", f"/instances/{busy}/events"):
        if (path, who) != ("/audit", "developer"):
            _twice(path, told(portal_app, lambda path=path: browser.get(path)))


def _twice(path: str, statements: list[str]) -> None:
    rights, identity = about(ABOUT_RIGHTS, statements), about(ABOUT_WHO, statements)
    if path != "tenants":  # that list tells the number of members
        assert len(rights) == 1, (path, rights)
        assert len(identity) == 1, (path, identity)
    assert statements[0] in identity and statements[1] in about(ABOUT_RIGHTS, statements), "before anything else"


@pytest.mark.parametrize("who", ["owner", "developer"])
def test_no_row_asks_for_itself(portal_app: Flask, people: People, busy: str, who: str) -> None:
    person = who_asks(people, who)
    browser = person.browser()
    paths = [*API[:3], *PAGES[:3]]

    def cost() -> dict[str, int]:
        asked = {path: browser.get if path.startswith("/") else person.get for path in paths}
        return {path: len(told(portal_app, lambda path=path, get=get: get(path))) for path, get in asked.items()}

    few = cost()
    for number in range(12):
        people.owner.create(f"more-{number}")
    assert cost() == few


def test_a_list_of_members_asks_the_same_for_five_and_for_fifty(portal_app: Flask, people: People) -> None:
    home = people.owner.get("tenants").get_json()["items"][0]["id"]
    paths = (f"/tenants/{home}/members", f"/tenants/{home}/rights")
    browser = people.owner.browser()
    few = [len(told(portal_app, lambda path=path: browser.get(path))) for path in paths]
    with portal_app.app_context(), transaction():
        for number in range(40):
            user = User(name=f"crowd-{number}", password_hash="x")
            db.session.add(user)
            db.session.flush()
            db.session.add(Membership(user_id=user.id, tenant_id=home, role="viewer"))
            db.session.add(RoleGrant(user_id=user.id, tenant_id=home, role="operator", project_id=_project(home)))
    assert [len(told(portal_app, lambda path=path: browser.get(path))) for path in paths] == few


def _project(tenant_id: str) -> str:
    return tenants.projects_of(SYSTEM, tenant_id)[0].id
