"""Accounts at a provider that are linked to accounts here, by their owner or by a confirmed address."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select
from werkzeug.test import TestResponse

from clawportal.db import db
from clawportal.models import User
from clawportal_sso.models import OidcIdentity
from tests.conftest import PASSWORD, make_person
from tests.sign_in.conftest import ELSEWHERE, Browser
from tests.single_sign_on.oidc_provider import CLIENT
from tests.single_sign_on.scene import Make, Scene

pytestmark = [pytest.mark.oidc, pytest.mark.xdist_group("oidc")]


def link(scene: Scene, browser: Browser, account: str = "anna", password: str = PASSWORD) -> TestResponse:
    answer = browser.post("/profile/oidc", {"provider": "test", "link_password": password})
    if answer.status_code != 200:
        return answer
    found = re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', answer.get_data(as_text=True))
    assert found
    return scene.back(scene.there.sign_in(found[1].replace("&amp;", "&"), account), browser)


def test_an_account_is_linked_and_unlinked(scene: Scene, make_browser: Make) -> None:
    mine = make_browser(ELSEWHERE)
    mine.sign_in("admin")
    assert link(scene, mine, password="wrong").status_code == 422
    assert link(scene, mine).headers["Location"] == "/profile"
    scene.come()
    assert "admin" in scene.browser.page("/profile") and scene.user() is None
    found = re.search(r'action="(/profile/oidc/\w+/unlink)"', mine.page("/profile"))
    assert found and mine.post(found[1]).status_code == 303
    scene.browser.post("/logout")
    scene.come()
    assert scene.user() is not None  # somebody new now


def test_an_account_of_somebody_else_is_not_linked(scene: Scene, make_browser: Make) -> None:
    scene.come()
    mine = make_browser(ELSEWHERE)
    mine.sign_in("admin")
    assert link(scene, mine).headers["Location"] == "/profile"
    assert "belongs to somebody else" in mine.page("/profile")


def test_linking_is_finished_by_who_began_it(scene: Scene, make_browser: Make) -> None:
    make_person(scene.app, "mallory", "viewer", "default")
    mine = make_browser(ELSEWHERE)
    mine.sign_in("mallory")
    answer = mine.post("/profile/oidc", {"provider": "test", "link_password": PASSWORD}).get_data(as_text=True)
    url = re.findall(r'content="0;url=([^"]+)"', answer)[0].replace("&amp;", "&")
    back = scene.there.sign_in(url)
    mine.client.delete_cookie("clawportal")
    mine.sign_in("admin")
    assert scene.back(back, mine).status_code == 303
    with scene.app.app_context():
        assert not db.session.scalars(select(OidcIdentity)).all()


def test_the_only_way_in_is_not_unlinked(scene: Scene) -> None:
    scene.come()
    found = re.search(r'action="(/profile/oidc/\w+/unlink)"', scene.browser.page("/profile"))
    assert found and scene.browser.post(found[1]).status_code == 409


def test_a_confirmed_address_links_only_where_allowed(scene: Scene) -> None:
    for number, (allowed, verified, linked) in enumerate(((True, True, True), (True, False, False), (False, True, False))):
        email = f"anna-{number}@example.com"
        make_person(scene.app, email, "operator", "default")
        scene.change(link_by_email=allowed)
        scene.there.account(f"a{number}", email=email, email_verified=verified)
        scene.come(f"a{number}")
        with scene.app.app_context():
            mine = (OidcIdentity.subject == f"a{number}", OidcIdentity.user_id == User.id)
            assert db.session.scalars(select(User.name).where(*mine)).one() == (email if linked else f"a{number}")


def test_who_took_an_address_as_name_beforehand_gets_nothing_of_its_owner(scene: Scene) -> None:
    """Anybody with an invitation may choose a name; the owner of the address is led into that account, alone."""
    thief = make_person(scene.app, "anna@example.com", "guest", "default")
    watching = thief.browser()
    scene.change(link_by_email=True)
    scene.give("ops", "tenant-admin", "default")
    scene.there.account("anna", email="anna@example.com", email_verified=True, groups=["ops"])
    assert thief.get("auth/me").status_code == 200 and watching.get("/profile").status_code == 200
    scene.come()
    assert scene.browser.get("/profile").status_code == 200
    assert thief.get("auth/me").status_code == 401 and watching.get("/profile").status_code == 302
    login = {"name": "anna@example.com", "password": PASSWORD}
    assert scene.app.test_client().post("/api/v1/auth/login", json=login).status_code == 401


def test_an_administrator_is_never_linked_by_an_address(scene: Scene) -> None:
    make_person(scene.app, "anna@example.com", "portal-admin")
    scene.change(link_by_email=True)
    scene.come()
    assert scene.roles("anna@example.com") == {"": "portal-admin"} and scene.user() is not None


def test_the_audit_tells_of_it_in_words(scene: Scene, make_browser: Make) -> None:
    mine = make_browser(ELSEWHERE)
    mine.sign_in("admin")
    assert link(scene, mine, password="wrong").status_code == 422
    body = {"title": "Test SSO", "issuer": scene.there.url, "client_id": CLIENT, "scopes": "openid email"}
    assert make_person(scene.app, "chief", "portal-admin").put(f"oidc/providers/{scene.id}", body).status_code == 200
    page = " ".join(re.sub("<[^>]+>", "", mine.page("/audit")).split())
    assert "Link an account elsewhere This is not your present password." in page and "user.oidc" not in page
    assert "Scopes: openid" in page, "and not Rights, as for tokens"
