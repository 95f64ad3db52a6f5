"""Signing in and out through a real OpenID provider: who comes in, and as whom."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from sqlalchemy import select

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.models import AuditEntry, Tenant, User, UserSession
from clawportal.services.identity import identity, otp, sessions
from clawportal.services.tenancy import members
from clawportal_sso import providers
from clawportal_sso.models import OidcIdentity
from clawportal_sso.wanted import Wanted
from tests.conftest import PASSWORD, make_person, make_tenant, portal_of
from tests.sign_in.conftest import Browser
from tests.single_sign_on.oidc_provider import CLIENT, SECRET, OpenIdProvider
from tests.single_sign_on.scene import Make, Scene

pytestmark = [pytest.mark.oidc, pytest.mark.xdist_group("oidc")]


def test_a_new_person_comes_in_and_is_led_on(scene: Scene) -> None:
    assert 'href="/login/oidc/test?next=/operations?state%3Dfailed"' in scene.browser.page("/login?next=/operations?state=failed")
    answer = scene.come(wanted="/operations?state=failed")
    assert answer.status_code == 303 and answer.headers["Location"] == "/operations?state=failed"
    assert scene.browser.signed_in
    user = scene.user()
    assert user is not None and user.display_name == "Anna Example" and user.password_hash == ""
    assert scene.roles() == {"default": "viewer"}
    with scene.app.app_context():
        row = db.session.scalars(select(UserSession).where(UserSession.user_id == user.id)).one()
        assert row.source == f"oidc:{scene.id}" and row.kind == "browser"
        entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "sign_in", AuditEntry.result == "ok")).one()
        assert "through Test SSO" in entry.summary and entry.actor_name == "anna"
    page = scene.browser.page("/profile")
    assert "Test SSO" in page and "anna@example.com" in page and "You have no password here" in page


def test_the_same_account_is_the_same_person_whatever_its_name(scene: Scene) -> None:
    scene.come()
    scene.there.account("anna", preferred_username="anna-married", email="new@example.com")
    scene.come()
    with scene.app.app_context():
        assert db.session.scalars(select(User.name).where(User.name != "admin")).all() == ["anna"]
        assert db.session.scalars(select(OidcIdentity.email)).one() == "new@example.com"


def test_a_name_that_is_taken_is_not_taken_over(scene: Scene) -> None:
    scene.there.account("x1", preferred_username="Admin", email="admin@example.com", email_verified=True)
    scene.come("x1")
    assert scene.roles("admin") == {"": "portal-admin"} and scene.roles("Admin-2") == {"default": "viewer"}


def test_without_a_password_no_password_fits(scene: Scene, make_browser: Make) -> None:
    scene.come()
    for typed in ("", "anna", PASSWORD):
        assert make_browser().sign_in("anna", typed).status_code == 401


def test_signing_out_ends_the_session_and_offers_the_other_end(scene: Scene) -> None:
    scene.come()
    answer = scene.browser.post("/logout")
    assert answer.headers["Location"] == "/login?out=test" and not scene.browser.signed_in
    assert 'href="/login/oidc/test/sign-out"' in scene.browser.page("/login?out=test")
    there = scene.browser.get("/login/oidc/test/sign-out").headers["Location"]
    assert there.startswith(f"{scene.there.url}/session/end?")
    assert parse_qs(urlsplit(there).query) == {"client_id": [CLIENT], "post_logout_redirect_uri": ["http://localhost/login"]}


def test_the_session_is_a_new_one(scene: Scene) -> None:
    url = scene.there.sign_in(scene.begin())
    with scene.browser.client.session_transaction() as session:
        session["planted"] = "by somebody else"
    scene.back(url)
    with scene.browser.client.session_transaction() as session:
        assert "planted" not in session and "oidc" not in session


def test_nobody_is_led_elsewhere(scene: Scene) -> None:
    for target in ("//evil.example", "https://evil.example/", "/\\evil.example", "/\t/evil.example"):
        assert scene.come(wanted=target).headers["Location"] == "/", target


def test_two_tabs(scene: Scene) -> None:
    one, two = scene.begin("/operations"), scene.begin("/instances")
    assert scene.back(scene.there.sign_in(one)).headers["Location"] == "/operations"
    assert scene.browser.signed_in and two


def test_the_code_is_asked_for_unless_the_provider_is_enough(scene: Scene, app_code: Callable[[str], str]) -> None:
    scene.come()
    code = app_code("anna")
    scene.browser.post("/logout")
    answer = scene.come(wanted="/operations")
    assert answer.headers["Location"] == "/login/code?next=/operations" and not scene.browser.signed_in
    answer = scene.browser.post("/login/code", {"code": code, "next": "/operations"})
    assert answer.headers["Location"] == "/operations" and "Test SSO" in scene.browser.page("/profile")
    scene.browser.post("/logout")
    scene.save(second_factor=True)
    assert scene.come().headers["Location"] == "/" and scene.browser.signed_in


@pytest.fixture
def app_code(scene: Scene) -> Callable[[str], str]:
    """Switches codes on for somebody, and returns a backup code."""
    from pyotp import TOTP

    def switch_on(name: str) -> str:
        portal = portal_of(scene.app)
        with scene.app.app_context():
            user = db.session.scalars(select(User).where(User.name == name)).one()
            actor = identity.actor_of(portal, user)
            return otp.enable(portal, actor, TOTP(otp.generate(portal, actor).secret).now(), "")[0]

    return switch_on


def test_a_second_factor_there_is_enough_for_an_organisation_that_asks_for_one(scene: Scene) -> None:
    scene.come()
    with scene.app.app_context(), transaction():
        db.session.scalars(select(Tenant).where(Tenant.name == "default")).one().require_totp = True
    assert scene.browser.get("/instances").status_code != 200
    scene.save(second_factor=True)
    assert scene.browser.get("/instances").status_code == 200
    scene.save(second_factor=False)
    assert scene.browser.get("/instances").status_code != 200


def test_what_came_from_a_provider_says_its_name_of_today(scene: Scene) -> None:
    acme = make_tenant(scene.app, "acme")
    scene.give("ops", "tenant-admin", tenant="acme")
    scene.there.account("anna", groups=["ops"])
    scene.come()
    scene.save(title="New SSO")
    with scene.app.app_context():
        anna = db.session.scalars(select(User.id).where(User.name == "anna")).one()
        assert [info.through for info in sessions.listing(anna, None)] == ["New SSO"]
        assert "New SSO" in {right.provider for right in members.rights(portal_of(scene.app), SYSTEM, acme)}


def test_passwords_can_be_for_administrators_only(make_app: Callable[..., Flask], there: OpenIdProvider) -> None:
    app = make_app(password_sign_in=False)
    make_person(app, "admin", "portal-admin"), make_person(app, "kim", "viewer", "default")
    browser = Browser(app.test_client())
    assert 'name="password"' in browser.page("/login")  # no provider yet: nobody is shut out
    assert browser.sign_in("kim").status_code == 303
    browser.post("/logout")
    with app.app_context():
        providers.create(portal_of(app), SYSTEM, Wanted("test", "Test SSO", there.url, CLIENT, SECRET))
    page = browser.page("/login")
    assert 'name="password"' not in page and "/login?password=1" in page and "Sign in with Test SSO" in page
    assert 'name="password"' in browser.page("/login?password=1")
    refused, wrong = browser.sign_in("kim"), browser.sign_in("kim", "a wrong password")
    assert refused.status_code == wrong.status_code == 401
    assert "you are no administrator" in refused.get_data(as_text=True) and "you are no administrator" in wrong.get_data(
        as_text=True
    )
    for path in ("auth/login", "auth/token"):
        answer = app.test_client().post(f"/api/v1/{path}", json={"name": "kim", "password": PASSWORD})
        assert answer.status_code == 401, path
    assert browser.sign_in("admin").status_code == 303 and browser.signed_in
