"""What stands in an entry: who, what, from where, before and after; for everything that people do through services and pages."""

from __future__ import annotations

import importlib
import json
import re
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from clawportal import clock, pluginmanager
from clawportal.contracts.permissions import ALL, SYSTEM, Actor, Grant
from clawportal.db import Base, db, transaction
from clawportal.models import AuditEntry
from clawportal.services.audit import row_changes, trail
from clawportal.services.fleet import instances, operations
from clawportal.services.fleet.instances import InstanceChange, NewInstance
from clawportal.services.identity import identity
from clawportal.services.tenancy import tenancy
from clawportal_practice import service as practice
from tests.audit.conftest import asked, entries
from tests.conftest import People
from tests.core.world import World

SECRET = "sk-verysecretvalue-0123456789"
EVERYTHING = ALL


def kim() -> Actor:
    return Actor(id="kim", name="kim", kind="user", grants=(Grant(EVERYTHING),))


def last(world: Any) -> AuditEntry:
    return entries(world)[-1]


def dump(app: Flask) -> str:
    """Everything that the database holds, as text."""
    with app.app_context(), db.engine.connect() as connection:
        return "\n".join(
            str(row) for table in db.metadata.sorted_tables for row in connection.execute(text(f"SELECT * FROM {table.name}"))
        )


# ---- services


def test_a_create(both: World) -> None:
    with asked(both) as portal:
        wanted = NewInstance(
            name="q1", adapter="echo", labels={"team": "x"}, spec={"settings": {"greeting": "Hello"}}, secrets={}
        )
        row = instances.create(portal, kim(), wanted)
        one, tenant = row.id, row.tenant_id
    entry = last(both)
    assert (entry.actor_id, entry.actor_name, entry.actor_kind, entry.token_id) == ("kim", "kim", "user", "")
    assert (entry.action, entry.object_type, entry.object_id, entry.object_name) == ("instance.create", "instance", one, "q1")
    assert (entry.address, entry.agent, entry.request_id, entry.via) == ("192.0.2.7", "tests/1", "request-1", "api")
    assert (entry.result, entry.status, entry.tenant_id, entry.instance_id) == ("ok", 0, tenant, one)
    assert entry.before == {} and entry.after["spec.settings.greeting"] == "Hello" and entry.after["labels.team"] == "x"


def test_an_update_tells_only_what_changed(both: World) -> None:
    one = both.create("q1", settings={"greeting": "Hello"})
    with asked(both) as portal:
        row = instances.get(SYSTEM, one)
        spec = {**row.spec, "settings": {**row.spec["settings"], "greeting": "Good day"}}
        instances.update(portal, kim(), one, InstanceChange(spec=spec, labels={"a": "b"}), generation=1)
    entry = last(both)
    assert entry.action == "instance.update"
    assert entry.before == {"spec.settings.greeting": "Hello"}
    assert entry.after == {"spec.settings.greeting": "Good day", "labels.a": "b"}


@pytest.mark.parametrize("action", ["start", "stop", "restart", "kill", "delete"])
def test_every_button(both: World, action: str) -> None:
    one = both.create("q1", start=action != "start")
    with both.context(), transaction():
        if action == "start":
            instances.get(SYSTEM, one).phase = "stopped"
    with asked(both) as portal:
        instances.ACTIONS[action](portal, kim(), one)
    entry = last(both)
    assert (entry.action, entry.object_name, entry.result) == (f"instance.{action}", "q1", "ok")
    wanted = {"start": "running", "stop": "stopped", "kill": "stopped", "delete": "deleted"}.get(action)
    assert entry.after.get("desired") == wanted


def test_rekey_names_secrets_and_never_shows_them(both: World) -> None:
    from clawportal.services.configuration import secrets

    one = both.create("q1")
    with both.context() as portal:
        secrets.generate_missing(portal, one, ["gateway_token"])
        former = secrets.open_all(portal, one)["gateway_token"]
    with asked(both) as portal:
        instances.rekey(portal, kim(), one)
        latter = secrets.open_all(portal, one)["gateway_token"]
    entry = last(both)
    assert entry.after["secrets.gateway_token"].startswith(row_changes.HIDDEN)
    assert former not in dump(both.app) and latter not in dump(both.app)


def test_operations(both: World) -> None:
    with both.context() as portal:
        from clawportal.models import Cluster

        cluster = db.session.query(Cluster).first()
        assert cluster is not None
        row = operations.ensure_install(portal, cluster.id, "x:1", "Echo 1", {"adapter": "echo"}, clock.now())
        operation_id = row.id
    assert entries(both) == []
    with asked(both) as portal:
        operations.cancel(portal, kim(), operation_id)
    with asked(both) as portal:
        operations.retry(portal, kim(), operation_id)
    assert [(row.action, row.actor_name) for row in entries(both)] == [("operation.cancel", "kim"), ("operation.retry", "kim")]


def test_switches_settings_and_what_nobody_told(both: World) -> None:
    with asked(both) as portal:
        practice.switch(portal, kim(), True)
        practice.stop(portal)
    entry = last(both)
    assert entry.action == "portal.practice_model" and entry.after == {"setting[practice_model].value": True}
    with asked(both):
        tenancy.rename_default("Acme & Co")
    entry = last(both)
    assert (entry.action, entry.object_name, entry.actor_name) == ("tenant.change", "default", "clawportal")
    assert entry.before == {"title": "My organisation"} and entry.after == {"title": "Acme & Co"}


def test_people_and_tokens(both: World) -> None:
    with asked(both) as portal:
        user = identity.create_user(portal, kim(), "lee", "correct horse battery", role="portal-admin")
        entry = last(both)
        assert (entry.action, entry.object_id, entry.object_name) == ("user.create", user.id, "lee")
        assert entry.after["password_hash"] == row_changes.HIDDEN and entry.after["member[lee].role"] == "portal-admin"
        made = identity.create_token(portal, kim(), user.id, "laptop", 30)
        assert (last(both).action, last(both).object_name) == ("token.create", "laptop")
        identity.revoke_token(portal, kim(), user.id, made.row.id)
        assert last(both).action == "token.revoke" and last(both).after.keys() == {"revoked_at"}
        identity.set_password(portal, kim(), user.id, "another horse battery")
        assert last(both).action == "user.password_change" and last(both).before == {"password_hash": row_changes.HIDDEN}
        assert last(both).after == {"password_hash": row_changes.REPLACED}
        identity.set_preferences(user.id, theme="dark")
        assert last(both).action == "user.change" and last(both).after == {"theme": "dark"}
        count = len(entries(both))
        identity.actor_from_token(portal, identity.create_token(portal, kim(), user.id, "other", 30).text)
        assert len(entries(both)) == count + 1, "using a token is no change"
    assert made.text not in dump(both.app)


def test_two_changes_in_one_transaction(both: World) -> None:
    with asked(both) as portal, transaction():
        one = identity.create_user(portal, kim(), "ann", "correct horse battery", role="portal-admin")
        two = identity.create_user(portal, kim(), "bob", "correct horse battery", role="portal-admin")
        ids = {one.id, two.id}
    found = entries(both)
    made = [row for row in found if row.action == "user.create"]
    assert len(found) == len(made) == 2 and {row.object_id for row in made} == ids
    assert [sum("role" in path for path in row.after) for row in found] == [1, 1], "each with its own rows"


def test_long_and_odd_values(both: World) -> None:
    with asked(both):
        entry = trail.Pending(
            "thing.change", Actor("x" * 300, "n\x00\nam\ud800e" * 100), "thing", "i" * 300, "o" * 900,
            summary="s" * 3000, reason="Authorization: Bearer abcdefgh12345678",
            after={"a\x00": "b\x00\ud800c", "n": [1, "\x00"]},
        )  # fmt: skip
        trail.note(entry)
    row = last(both)
    assert len(row.actor_id) == 80 and len(row.object_name) == 200 and "\x00" not in row.actor_name
    assert row.after == {"a?": "b??c", "n": [1, "?"]} and "abcdefgh" not in row.reason
    with both.context():
        from clawportal.services.audit import chain

        assert chain.verify().broken is None


DIFFERENCES: list[tuple[Any, Any, Any, Any]] = [
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"a.c": 2}, {"a.c": 3}),
    ({"a": [1, 2]}, {"a": [1]}, {"a": [1, 2]}, {"a": [1]}),
    ({"a": {}}, {"a": {"b": None}}, {}, {}),
    ({"a": {}}, {"a": {"b": 1}}, {}, {"a.b": 1}),
    ({"x": {"api_key": "one"}}, {"x": {"api_key": "two"}}, {"x.api_key": "********"}, {"x.api_key": "******** (changed)"}),
    ({"token": "abc"}, {"token": ""}, {"token": "********"}, {"token": ""}),
    ({"url": "https://me:pass@h/"}, {"url": "https://h/"}, {"url": "https://********@h/"}, {"url": "https://h/"}),
    ({"max_tokens": 1}, {"max_tokens": 2}, {"max_tokens": 1}, {"max_tokens": 2}),
    ({"a": 1}, {"a": 1}, {}, {}),
]


@pytest.mark.parametrize(("before", "after", "told_before", "told_after"), DIFFERENCES)
def test_differences(before: Any, after: Any, told_before: Any, told_after: Any) -> None:
    assert row_changes.difference(before, after) == (told_before, told_after)


def test_differences_are_bounded() -> None:
    before, after = row_changes.difference({}, {str(number): "x" * 5000 for number in range(500)})
    assert before == {} and len(after) == 201 and len(json.dumps(after)) < 250_000


def test_every_table_belongs_to_a_resource_of_a_feature() -> None:
    features = pluginmanager.load(pluginmanager.BUNDLED).features
    for module in (name for feature in features for name in feature.models):
        importlib.import_module(module)
    declared = [resource for feature in features for resource in feature.resources]
    tables = {resource.table: resource for resource in declared if resource.table}
    assert len(tables) == len([resource for resource in declared if resource.table]), "two features name the same table"
    ours = [mapper for mapper in Base.registry.mappers if mapper.class_.__module__.startswith("clawportal")]
    assert {mapper.class_.__tablename__ for mapper in ours} == set(tables)
    for mapper in ours:
        assert mapper.class_.resource is tables[mapper.class_.__tablename__], mapper.class_
        assert set(mapper.class_.resource.audited) <= set(mapper.column_attrs.keys()), mapper.class_
    for resource in declared:
        assert resource.noun or resource.unaudited, "what the audit tells of has a name"
        assert not (resource.unaudited and resource.audited), resource


ACTIONS = {
    "instance.update_requested": "instance.update", "user.created": "user.create", "session.reuse": "session.reuse",
    "user.password_changed": "user.password_change", "session.started": "sign_in", "otp.backup_codes": "otp.backup_codes",
    "portal.practice_model": "portal.practice_model", "member.added": "member.add",
}  # fmt: skip


@pytest.mark.parametrize("kind", ACTIONS)
def test_actions(kind: str) -> None:
    assert trail.action_of(kind) == ACTIONS[kind]


# ---- through the front door


def test_no_secret_in_the_database(portal_app: Flask, people: People) -> None:
    who = people.owner
    spec = {"model": {"provider": "openai", "name": "gpt-5"}}
    made = who.create("n1", adapter="nanobot", spec=spec, secrets={"model_api_key": SECRET})
    version = made["generation"]
    answer = who.patch(
        f"instances/{made['id']}", {"secrets": {"model_api_key": SECRET + "2"}, "spec": {"model": {"name": "gpt-6"}}},
        headers={"If-Match": str(version)}, content_type="application/merge-patch+json",
    )  # fmt: skip
    assert answer.status_code == 200, answer.get_data(as_text=True)
    entry = last(portal_app)
    assert entry.before["spec.model.name"] == "gpt-5" and entry.after["spec.model.name"] == "gpt-6"
    assert entry.after["secrets.model_api_key"] == row_changes.REPLACED and entry.actor_kind == "token" and entry.token_id
    assert SECRET not in dump(portal_app)


def test_the_request_id_of_the_answer(portal_app: Flask, people: People) -> None:
    who = people.owner
    answer = who.post("instances", {"name": "q1", "adapter": "echo"}, headers={"User-Agent": "my-program/3"})
    entry = last(portal_app)
    assert entry.request_id == answer.headers["X-Request-ID"]
    assert (entry.agent, entry.address, entry.via) == ("my-program/3", "127.0.0.1", "api")


def test_the_sign_in_page(portal_app: Flask, people: People) -> None:
    client = portal_app.test_client()
    token = re.search(r'name="csrf-token" content="([^"]+)"', client.get("/login").get_data(as_text=True))
    assert token
    form = {"csrf_token": token[1], "username": "owner", "password": "wrong"}
    assert client.post("/login", data=form).status_code == 401
    entry = last(portal_app)
    assert (entry.action, entry.object_name, entry.status, entry.via) == ("sign_in", "owner", 401, "web")
    assert client.post("/login", data=form | {"csrf_token": "forged"}).status_code == 400
    assert last(portal_app).status == 400, "a request that another site made is told too"
    assert client.post("/login", data=form | {"password": people.owner.password}).status_code == 303
    entry = last(portal_app)
    assert (entry.action, entry.actor_name, entry.result, entry.via) == ("sign_in", "owner", "ok", "web")
    token = re.search(r'name="csrf-token" content="([^"]+)"', client.get("/profile").get_data(as_text=True))
    assert token and client.post("/logout", data={"csrf_token": token[1]}).status_code == 303
    assert (last(portal_app).action, last(portal_app).actor_name) == ("sign_out", "owner")


def test_signing_in_and_out(portal_app: Flask, people: People) -> None:
    who = people.owner
    client = portal_app.test_client()
    pair = client.post("/api/v1/auth/login", json={"name": "owner", "password": who.password}).get_json()
    entry = last(portal_app)
    assert (entry.action, entry.actor_name, entry.result) == ("sign_in", "owner", "ok") and entry.tenant_id is not None
    access = {"Authorization": f"Bearer {pair['access_token']}"}
    assert client.post("/api/v1/auth/logout", headers=access).status_code == 204
    assert (last(portal_app).action, last(portal_app).actor_name) == ("sign_out", "owner")
    assert client.post("/api/v1/auth/login", json={"name": "owner", "password": "wrong"}).status_code == 401
    entry = last(portal_app)
    assert (entry.action, entry.result, entry.status, entry.actor_kind) == ("sign_in", "refused", 401, "nobody")
    assert entry.object_name == "owner" and entry.tenant_id is not None
    assert client.post("/api/v1/auth/login", json={"name": "MyPassword!", "password": "x"}).status_code == 401
    assert last(portal_app).object_name == "" and "MyPassword!" not in dump(portal_app)
