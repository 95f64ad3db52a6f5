"""A portal whose plugin for single sign-on was left out: nothing of it is there, the rest works, and back in, all is there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from clawportal.cli import server
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.models import Membership, User
from clawportal.pluginmanager import BUNDLED
from clawportal.services.identity import sessions
from clawportal.services.tenancy import members
from clawportal_sso import group_roles
from tests.conftest import PASSWORD, People, Person, make_people, portal_of
from tests.rights.test_rights_pages import Browser
from tests.sign_in.conftest import Browser as SignIn
from tests.single_sign_on.rows import make_provider

REST = ",".join(name for name in BUNDLED if name != "clawportal_sso")
TABLES = ("oidc_provider", "oidc_identity", "oidc_group_role")


@pytest.fixture
def known(make_app: Callable[..., Flask]) -> tuple[People, str]:
    """A portal with all plugins and a provider that somebody came through, with the id of the organisation."""
    people = make_people(make_app())
    home = str(people.owner.get("tenants").get_json()["items"][0]["id"])
    make_provider(people.owner, home)
    return people, home


def again(make_app: Callable[..., Flask], person: Person, **settings: Any) -> Person:
    """The same person at the next portal on the same folder."""
    return replace(person, app=make_app(**settings))


def rows(app: Flask) -> list[int]:
    with app.app_context():
        return [db.session.scalar(text(f"SELECT count(*) FROM {table}")) or 0 for table in TABLES]


def came_through(person: Person) -> FlaskClient:
    """A browser whose session the provider began, and a membership that it gave."""
    client = person.app.test_client()
    with person.app.app_context(), transaction():
        provider = db.session.scalar(text("SELECT id FROM oidc_provider"))
        user = db.session.get_one(User, person.actor.id)
        source = sessions.Source(f"oidc:{provider}", "secret-sso")
        session = sessions.begin(portal_of(person.app), user, sessions.BROWSER, sessions.Place(), source=source).id
        given = db.session.query(Membership).filter_by(user_id=user.id).one()
        given.source, given.source_group, given.source_title = source.name, "secret-group", source.title
    with client.session_transaction() as kept:
        kept["_user_id"], kept["_fresh"] = session, True
    return client


def test_nothing_of_single_sign_on_is_there(known: tuple[People, str], make_app: Callable[..., Flask]) -> None:
    people, _home = known
    owner, admin = again(make_app, people.owner, plugins=REST), again(make_app, people.admin, plugins=REST)
    rules = [str(rule) for rule in owner.app.url_map.iter_rules()]
    assert [rule for rule in rules if "oidc" in rule or rule.startswith("/providers")] == []
    for path in ("oidc/providers", "auth/identities", "oidc/check"):
        assert admin.get(path).status_code == 404, path
    document = owner.get("openapi.json").get_json()
    assert "Sign-in providers" not in {tag["name"] for tag in document["tags"]}
    assert not any("oidc" in path or "identities" in path for path in document["paths"])
    with owner.app.app_context():
        portal = portal_of(owner.app)
        assert portal.registry.feature("single_sign_on") is None and not {"provider", "identity"} & set(portal.registry.nouns)
    said = "Let people sign in with the account that they have at your OpenID provider."
    there = [one.app.extensions["clawportal_catalogues"].label(said, "zh_Hans") for one in (people.owner, owner)]
    assert there[0] != said and there[1] == said, "words come and go with it"
    assert "secret-sso" in people.admin.app.test_client().get("/login").text
    assert "secret-sso" not in owner.app.test_client().get("/login").text
    assert "secret-sso" in Browser(people.owner).page("/profile") and "secret-sso" not in Browser(owner).page("/profile")
    assert "/providers" in Browser(people.admin).page("/") and "/providers" not in Browser(admin).page("/")
    assert admin.app.test_client().get("/login/oidc/secret-sso").status_code == 404


def test_the_others_work_and_the_data_stays(known: tuple[People, str], make_app: Callable[..., Flask]) -> None:
    people, home = known
    browser = came_through(people.viewer)
    before = rows(people.owner.app)
    owner = again(make_app, people.owner, plugins=REST)
    later = owner.app.test_client()
    with browser.session_transaction() as kept, later.session_transaction() as now:
        now.update(kept)
    assert later.get("/profile").status_code == 200, "who came through it is signed in until the session ends"
    rights = Browser(owner).page(f"/tenants/{home}/rights")
    assert "through the group secret-group of secret-sso" in rights, "where a right came from is still told"
    with owner.app.app_context():
        assert "secret-sso" in {right.provider for right in members.rights(portal_of(owner.app), SYSTEM, home)}
    signed_in = SignIn(owner.app.test_client())
    with signed_in.client.session_transaction() as now, later.session_transaction() as kept:
        now.update(kept)
    assert signed_in.post("/logout").headers["Location"] == "/login", "there is nowhere else to sign out"
    assert "provider.created" in {row["kind"] for row in again(make_app, people.admin).get("events").get_json()["items"]}
    assert rows(owner.app) == before == [1, 1, 1]


def test_everybody_may_use_a_password_again(known: tuple[People, str], make_app: Callable[..., Flask]) -> None:
    with_it, without = make_app(password_sign_in=False), make_app(password_sign_in=False, plugins=REST)
    assert SignIn(with_it.test_client()).sign_in("viewer", PASSWORD).status_code == 401
    assert 'name="password"' in without.test_client().get("/login").text
    assert SignIn(without.test_client()).sign_in("viewer", PASSWORD).status_code == 303


def test_a_role_can_be_deleted_and_then_gives_nothing(known: tuple[People, str], make_app: Callable[..., Flask]) -> None:
    people, home = known
    role = people.owner.post(f"tenants/{home}/roles", {"name": "reader", "permissions": ["instance.read"]}).get_json()["id"]
    provider = people.admin.get("oidc/providers").get_json()["items"][0]["id"]
    with people.owner.app.app_context():
        group_roles.map_group(portal_of(people.owner.app), SYSTEM, provider, "readers", "reader", tenant_id=home)
    assert people.owner.delete(f"tenants/{home}/roles/{role}").status_code == 409
    assert again(make_app, people.owner, plugins=REST).delete(f"tenants/{home}/roles/{role}").status_code == 204
    listed = again(make_app, people.admin).get(f"oidc/providers/{provider}/groups").get_json()["items"]
    assert "reader" in {one["role"] for one in listed}, "it is shown, and whoever comes through that group gets no right by it"


def test_rows_go_with_the_account_that_they_belong_to(known: tuple[People, str], make_app: Callable[..., Flask]) -> None:
    people, _home = known
    without = make_app(plugins=REST)
    with without.app_context(), transaction():
        db.session.execute(text("DELETE FROM user_account WHERE id = :id"), {"id": people.owner.actor.id})
    assert rows(without) == [1, 0, 1]


def test_back_in_all_of_it_is_there_again(known: tuple[People, str], make_app: Callable[..., Flask]) -> None:
    people, _home = known
    again(make_app, people.owner, plugins=REST)
    admin, owner = again(make_app, people.admin), again(make_app, people.owner)
    listed = admin.get("oidc/providers").get_json()["items"]
    assert [(one["slug"], one["people"]) for one in listed] == [("secret-sso", 1)]
    assert [one["slug"] for one in owner.get("auth/identities").get_json()["items"]] == ["secret-sso"]
    assert 'href="/login/oidc/secret-sso"' in admin.app.test_client().get("/login").text
    assert "secret-sso" in Browser(owner).page("/profile") and "/providers" in Browser(admin).page("/")
    assert again(make_app, people.viewer).get("oidc/providers").status_code == 403


@pytest.mark.parametrize(("plugins", "there"), [("", True), (REST, False)])
def test_the_command_of_the_server_comes_and_goes(plugins: str, there: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clawportal.cli.server", "oidc", "--help"],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "CLAWPORTAL_PLUGINS": plugins},
    )  # fmt: skip
    assert (done.returncode == 0) is there, done.stdout + done.stderr
    assert there or "No such command" in done.stderr


def test_keys_that_are_changed_meanwhile(tmp_path: Path) -> None:
    """The usual change loses nothing; after a theft the secret has to be entered again, and that is said."""

    def run(*arguments: str, plugins: str = "", code: int = 0, typed: str = "") -> str:
        given = {"CLAWPORTAL_DATA_DIR": str(tmp_path), "CLAWPORTAL_LOG_LEVEL": "error", "CLAWPORTAL_PLUGINS": plugins}
        found = CliRunner(env=given).invoke(server.cli, arguments, input=typed)
        assert found.exit_code == code, (found.output, found.exception)
        return str(found.output)

    run("db", "upgrade", "--first-start")
    provider = ("--issuer", "http://127.0.0.1:9", "--client-id", "portal", "--secret-stdin")
    run("oidc", "add", "sso", *provider, typed="the-client-secret\n")
    run("db", "upgrade", plugins=REST)
    assert "single_sign_on" not in run("keys", "rotate", plugins=REST)
    assert "127.0.0.1:9" in run("oidc", "test", "sso", code=1), "the secret opens, and nobody answers"
    assert "1 secrets" in run("keys", "rotate")
    assert "Not loaded just now: single_sign_on" in run("keys", "rotate", "--compromised", plugins=REST)
    assert "does not open any more. Enter it again" in run("oidc", "test", "sso", code=1)
    run("db", "check")


def test_the_library_is_known_to_the_plugin_alone() -> None:
    """A portal without it starts without the client for providers."""
    program = (
        "import sys, clawportal.app, clawportal.pluginmanager as p; "
        f"r = p.load({REST.split(',')!r}); "
        "print(*(one for one in sys.modules if one.startswith(('clawportal_sso', 'authlib'))))"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    assert found.stdout.split() == []
