"""What lets a claw run commands or leave its work tree is set only by those who may open a console, by whatever way they come."""

from __future__ import annotations

from typing import Any

import pytest

from clawportal.contracts.core_permissions import (
    CATALOG_READ,
    CLUSTER_READ,
    INSTANCE_CONSOLE,
    INSTANCE_CREATE,
    INSTANCE_READ,
    INSTANCE_UPDATE,
    TENANT_READ,
    TENANT_UPDATE,
)
from clawportal.contracts.permissions import SYSTEM, Permission, Scope
from clawportal.db import db, transaction
from clawportal.models import Instance
from clawportal.services.configuration import console_settings
from clawportal.services.configuration.console_settings import NEEDS_CONSOLE
from clawportal.services.fleet import instances
from tests.conftest import People, Person, make_person, portal_of
from tests.rights.test_people_cli import claw
from tests.rights.test_rights_pages import Browser

__all__ = ["claw"]
MODEL = {"provider": "openai-compatible", "base_url": "http://127.0.0.1:9/v1", "name": "x"}
BEYOND = [
    ("nanobot", "exec_enabled", True, False),
    ("nanobot", "exec_enabled", "yes", False),
    ("nanobot", "restrict_to_workspace", False, True),
    ("nanobot", "restrict_to_workspace", 0, True),
    ("openclaw", "exec_mode", "allowlist", "deny"),
    ("openclaw", "exec_mode", "full", "deny"),
    ("openclaw", "workspace_only", False, True),
]
"""Kind, setting, a value that needs the right, and the harmless one."""


def spec(**settings: Any) -> dict[str, Any]:
    return {"model": MODEL, "settings": settings}


def with_role(owner: Person, name: str, *rights: Permission) -> Person:
    home = owner.get("tenants").get_json()["items"][0]["id"]
    answer = owner.post(f"tenants/{home}/roles", {"name": name, "permissions": [str(right) for right in rights]})
    assert answer.status_code == 201, answer.get_json()
    return make_person(owner.app, name, name, "default")


@pytest.fixture
def cast(people: People) -> dict[str, tuple[Person, bool]]:
    """Everybody who may configure, and whether they may open a console, too."""
    base = (
        INSTANCE_READ, INSTANCE_CREATE, INSTANCE_UPDATE, TENANT_READ,
        TENANT_UPDATE, CATALOG_READ, CLUSTER_READ,
    )  # fmt: skip
    return {
        "admin": (people.admin, True), "owner": (people.owner, True), "developer": (people.developer, False),
        "clerk": (with_role(people.owner, "clerk", *base), False),
        "engineer": (with_role(people.owner, "engineer", *base, INSTANCE_CONSOLE), True),
    }  # fmt: skip


def test_every_way_of_setting_it(people: People, cast: dict[str, tuple[Person, bool]]) -> None:
    for who, (person, may) in cast.items():
        for number, (kind, name, beyond, harmless) in enumerate(BEYOND):
            case = (who, kind, name, beyond)
            path = f"spec.settings.{name}"
            body = {"name": f"{who}-{number}", "adapter": kind, "start": False, "spec": spec(**{name: beyond})}
            refused(person.post("instances", body), may, path, 201, case)
            checked = person.post("instances/check", {key: body[key] for key in ("name", "adapter", "spec")} | {"name": "free"})
            assert [item["path"] for item in checked.get_json()["errors"]] == ([] if may else [path]), case
            made = people.owner.create(f"{who}-{number}-b", kind, start=False, spec=spec(**{name: harmless}))
            etag = {"If-Match": f'"{made["generation"]}"'}
            put = {"version": made["version"], "spec": spec(**{name: beyond}), "labels": {}}
            refused(person.put(f"instances/{made['id']}", put, headers=etag), may, path, 200, case)
            made = people.owner.create(f"{who}-{number}-c", kind, start=False, spec=spec())
            patch = {"spec": {"settings": {name: beyond}}}
            refused(person.patch(f"instances/{made['id']}", patch, headers=etag), may, path, 200, case)


def refused(answer: Any, may: bool, path: str, good: int, case: Any) -> None:
    found = answer.get_json()
    assert answer.status_code == (good if may else 403), (case, found)
    if not may:
        assert [item["path"] for item in found["errors"]] == [path], case
        assert found["errors"][0]["message"] == NEEDS_CONSOLE and found["errors"][0]["code"] == "forbidden", case


def test_what_is_set_stays_when_others_change_the_rest(people: People) -> None:
    made = people.owner.create("kept", "openclaw", start=False, spec=spec(exec_mode="full"))
    url, developer = f"instances/{made['id']}", people.developer
    assert developer.patch(url, {"spec": {"persona": "Kim", "settings": {"timezone": "Europe/Berlin"}}},
                           headers={"If-Match": '"1"'}).status_code == 200  # fmt: skip
    other = developer.patch(url, {"spec": {"settings": {"exec_mode": "allowlist"}}}, headers={"If-Match": '"2"'})
    assert other.status_code == 403, "another value is set by whoever sets it"
    assert developer.patch(url, {"spec": {"settings": {"exec_mode": "deny"}}}, headers={"If-Match": '"2"'}).status_code == 200
    assert developer.patch(url, {"spec": {"settings": {"exec_mode": "full"}}}, headers={"If-Match": '"3"'}).status_code == 403


@pytest.mark.parametrize("strength", ["defaults", "enforced"])
def test_shared_configuration(people: People, cast: dict[str, tuple[Person, bool]], strength: str) -> None:
    home = people.owner.get("tenants").get_json()["items"][0]["id"]
    for who, (person, may) in cast.items():
        if who == "developer":
            continue  # may not set the shared configuration at all
        for kind, name, beyond, harmless in BEYOND:
            layer, case = {strength: {"settings": {kind: {name: beyond}}}}, (who, kind, name)
            refused(person.post(f"tenants/{home}/layer/preview", layer), may, f"{strength}.settings.{kind}.{name}", 200, case)
            refused(person.put(f"tenants/{home}/layer", layer), may, f"{strength}.settings.{kind}.{name}", 200, case)
            layer = {strength: {"settings": {kind: {name: harmless}}}}
            assert person.put(f"tenants/{home}/layer", layer).status_code == 200, case
    clerk = cast["clerk"][0]
    people.owner.put(f"tenants/{home}/layer", {strength: {"settings": {"nanobot": {"exec_enabled": True}}}})
    kept = {strength: {"settings": {"nanobot": {"exec_enabled": True, "timezone": "Asia/Shanghai"}}}}
    assert clerk.put(f"tenants/{home}/layer", kept).status_code == 200, "what stood there stays"
    page = Browser(clerk).post(f"/tenants/{home}/layer", **{f"{strength}.settings": "openclaw: {exec_mode: full}"})
    assert page.status_code == 403 and "needs the right to open a console" in page.text and "exec_mode: full" in page.text


def test_a_right_in_one_project_is_none_in_another(people: People) -> None:
    """The scope of a console is that of the instance: a grant for one claw lets nobody make another."""
    made = people.owner.create("shared", "nanobot", start=False, spec=spec())
    with people.admin.app.app_context():
        row = db.session.get_one(Instance, made["id"])
        model = portal_of(people.admin.app).registry.adapter("nanobot").settings_model(row.version)
        for scope, may in ((Scope(row.tenant_id), True), (Scope(people.acme), False)):
            found = console_settings.refused(people.owner.actor, scope, model, {"exec_enabled": True})
            assert bool(found) is not may


def test_what_somebody_else_made_takes_no_settings(people: People) -> None:
    """An import brings no settings along, and an adopted one keeps what its maker gave it: there is nothing to be set."""
    made = people.owner.create("foreign", "nanobot", start=False, spec=spec())
    app = people.admin.app
    with app.app_context():
        with transaction():
            db.session.get_one(Instance, made["id"]).foreign_id = "c0ffee"
        row = db.session.get_one(Instance, made["id"])
        change = instances.InstanceChange(spec={**row.spec, "settings": {"exec_enabled": True}})
        for actor in (people.developer.actor, people.owner.actor, SYSTEM):
            errors = instances.check_change_by(portal_of(app), actor, row, change)
            assert [(item.path, item.code) for item in errors] == [("spec.settings", "adopted")]


def test_the_form_says_why_and_a_forged_one_is_refused(people: People) -> None:
    browser = Browser(people.developer)
    page = browser.page("/instances/new?adapter=nanobot")
    assert page.count("Changing it needs the right to open a console here") == 2
    assert 'id="f-spec.settings.exec_enabled" value="true" disabled' in page
    assert "needs the right to open a console" not in Browser(people.owner).page("/instances/new?adapter=nanobot")
    form = {
        "adapter": "openclaw", "name": "forged", "spec.model.provider": "openai-compatible", "spec.model.name": "x",
        "spec.model.base_url": MODEL["base_url"], "spec.settings.exec_mode": "full",
    }  # fmt: skip
    answer = browser.post("/instances/new", **form)
    assert answer.status_code == 403 and "needs the right to open a console" in answer.text and 'value="forged"' in answer.text
    assert browser.post("/instances/new", **(form | {"spec.settings.exec_mode": "deny"})).status_code == 303


def test_the_form_of_one_that_may_already(people: People) -> None:
    """Its value can be taken back by anybody who may configure it, and an untouched form changes nothing."""
    made = people.owner.create("open", "nanobot", start=False, spec=spec(exec_enabled=True, restrict_to_workspace=True))
    page = Browser(people.developer).page(f"/instances/{made['id']}/edit")
    assert 'id="f-spec.settings.exec_enabled" value="true" checked aria' in page, "not disabled"
    assert 'id="f-spec.settings.restrict_to_workspace" value="true" checked disabled' in page
    assert '<input type="hidden" name="spec.settings.restrict_to_workspace" value="true">' in page


def test_the_command_says_it(people: People, claw: Any) -> None:
    done = claw(people.developer)(
        "create", "byhand", "--type", "nanobot", "--set", "model.provider=openai-compatible",
        "--set", "model.base_url=http://127.0.0.1:9/v1", "--set", "model.name=x",
        "--set", "exec_enabled=true", code=4,
    )  # fmt: skip
    assert "spec.settings.exec_enabled" in done.output and "needs the right to open a console" in done.output


def test_bundled_adapters_mark_what_needs_it(people: People) -> None:
    registry = portal_of(people.admin.app).registry
    found = {
        kind: dict(console_settings.marked(adapter.settings_model(adapter.versions()[0].version)))
        for kind, adapter in registry.adapters.items()
    }
    assert found["nanobot"] == {"restrict_to_workspace": (True,), "exec_enabled": (False,)}
    assert found["openclaw"] == {"exec_mode": ("deny",), "workspace_only": (True,)}
