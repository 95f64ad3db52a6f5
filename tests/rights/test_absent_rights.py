"""Permissions are declared by features: roles follow from those that are loaded, and custom roles keep those of absent ones."""

from __future__ import annotations

import pytest
from flask import Flask

from clawportal import declarations
from clawportal.contracts.features import Feature
from clawportal.contracts.permissions import ALL, SELF, Actor, Grant, PermissionRegistry, Scope, permission
from clawportal.db import db, transaction
from clawportal.features import register_features
from clawportal.models import CustomRole, User
from clawportal.services.identity import identity
from tests.conftest import People, make_person, portal_of
from tests.core_roles import CORE

WRITE = permission("notes.write", "Write notes", roles=("developer",))
READ = permission("notes.read", "Read notes", roles=("auditor",))
WITH_NOTES = PermissionRegistry((*CORE, WRITE, READ))
WITHOUT = CORE


def test_two_sets_of_features_live_side_by_side() -> None:
    assert WRITE in WITH_NOTES.roles["developer"] and WRITE not in WITHOUT.roles["developer"]
    assert READ in WITH_NOTES.roles["portal-auditor"], "what an auditor reads in a tenant, the portal's auditor reads everywhere"
    assert WITHOUT.custom(["notes.write", "instance.read"]) == {"instance.read", SELF}
    assert WITH_NOTES.custom(["notes.write", "portal.admin"]) == {WRITE, SELF}
    assert WITHOUT.absent(["notes.write", "instance.read"]) == ("notes.write",) and WITH_NOTES.absent(["notes.write"]) == ()
    assert WRITE in WITH_NOTES.givable and WRITE not in WITHOUT.givable


def test_administrators_hold_what_is_declared_later() -> None:
    administrator = Actor("a", "a", grants=(Grant(ALL),))
    assert administrator.allows(WRITE, Scope("t")) and WITH_NOTES.roles["portal-admin"] is ALL
    assert WITHOUT.enumerate(ALL) == WITHOUT.declared and WRITE in WITH_NOTES.enumerate(ALL)


def test_a_name_is_declared_once() -> None:
    with pytest.raises(ValueError, match=r"notes\.write is declared twice"):
        PermissionRegistry((*CORE, WRITE, permission("notes.write", "Something else")))


@pytest.mark.parametrize(
    "name, roles, portal_only, says",
    [
        ("Notes Write", (), False, "no name"),
        ("notes.write", ("emperor",), False, "emperor"),
        ("notes.write", ("portal-admin",), False, "portal-admin"),
        ("notes.admin", ("developer",), True, "developer"),
    ],
)
def test_what_cannot_be_declared(name: str, roles: tuple[str, ...], portal_only: bool, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        permission(name, "Write notes", roles=roles, portal_only=portal_only)


def test_a_role_keeps_the_rights_of_an_absent_plugin(portal_app: Flask, people: People) -> None:
    tenant = people.owner.get("tenants").get_json()["items"][0]["id"]
    with portal_app.app_context(), transaction():
        db.session.add(CustomRole(tenant_id=tenant, name="scribe", permissions=["instance.read", "notes.write"]))
    shown = next(role for role in people.owner.get(f"tenants/{tenant}/roles").get_json()["items"] if role["name"] == "scribe")
    assert shown["absent"] == ["notes.write"] and shown["permissions"] == ["instance.read", "self"]

    page = people.owner.browser().get(f"/tenants/{tenant}/rights").get_data(as_text=True)
    assert "belong to a plugin that is not loaded" in page and "notes.write" in page

    body = {"permissions": ["instance.read", "instance.logs"], "description": ""}
    changed = people.owner.put(f"tenants/{tenant}/roles/{shown['id']}", body)
    assert changed.status_code == 200 and changed.get_json()["absent"] == ["notes.write"]

    kim = make_person(portal_app, "kim", "viewer", "default")
    refused = people.owner.patch(f"tenants/{tenant}/members/{kim.actor.id}", {"role": "scribe"})
    assert refused.status_code == 403 and "notes.write" in refused.get_json()["detail"], "it would be theirs when it is back"
    assert people.admin.patch(f"tenants/{tenant}/members/{kim.actor.id}", {"role": "scribe"}).status_code == 200

    registry = portal_of(portal_app).registry
    assert not _now(portal_app, kim.actor.id).has(WRITE)
    registry.permissions = WITH_NOTES
    assert _now(portal_app, kim.actor.id).allows(WRITE, Scope(tenant))
    unknown = {"permissions": ["instance.read", "notes.burn"], "description": ""}
    assert people.admin.put(f"tenants/{tenant}/roles/{shown['id']}", unknown).status_code == 422


def _now(app: Flask, user_id: str) -> Actor:
    with app.app_context():
        return identity.actor_of(portal_of(app), db.session.get_one(User, user_id))


def test_features_declare_each_permission_once() -> None:
    notes = Feature(name="notes", title="Notes", permissions=(WRITE,), requires=("instances",))
    core = tuple(register_features())
    found = declarations.permissions((*core, notes))
    assert found.find("notes.write") is WRITE and list(found) != list(CORE)
    again = Feature(name="more_notes", title="More notes", permissions=(permission("notes.write", "Scribble"),))
    with pytest.raises(declarations.Broken, match=r"more_notes.*notes\.write.*'notes'") as caught:
        declarations.permissions((*core, notes, again))
    assert caught.value.feature == "more_notes"
    with pytest.raises(declarations.Broken, match="declare it with permission"):
        declarations.check(Feature(name="notes", title="Notes", permissions=("notes.write",)))
