"""Whom the portal does not let in, whatever the provider says."""

from __future__ import annotations

import pytest

from clawportal.contracts.permissions import SYSTEM
from clawportal.services.identity import accounts
from clawportal_sso import providers
from clawportal_sso.wanted import Wanted
from tests.conftest import portal_of
from tests.single_sign_on.oidc_provider import CLIENT
from tests.single_sign_on.scene import Scene

pytestmark = [pytest.mark.oidc, pytest.mark.xdist_group("oidc")]


def test_somebody_who_refuses_there(scene: Scene) -> None:
    assert "Test SSO did not let you in" in scene.refused(scene.come(answer="no"))


def test_no_account(scene: Scene) -> None:
    scene.change(create_users=False)
    assert "There is no account for you here" in scene.refused(scene.come())
    assert scene.user() is None


def test_a_closed_account(scene: Scene) -> None:
    scene.come()
    user = scene.user()
    assert user is not None
    with scene.app.app_context():
        accounts.set_active(portal_of(scene.app), SYSTEM, user.id, False)
    assert not scene.browser.signed_in
    assert "is closed" in scene.refused(scene.come())


def test_domains(scene: Scene) -> None:
    scene.change(email_domains=["example.com"])
    for email, verified, words in (
        ("anna@elsewhere.example", True, "cannot sign in here"),
        ("anna@example.com", False, "has not confirmed"),
        ("anna@example.com", None, "has not confirmed"),
        ("anna@example.com@evil.example", True, "cannot sign in here"),
        ("", True, "cannot sign in here"),
    ):
        scene.there.account("anna", email=email, email_verified=verified)
        assert words in scene.refused(scene.come()), email
    scene.there.account("anna", email="Anna@Example.COM", email_verified=True)
    assert scene.come().status_code == 303 and scene.browser.signed_in


def test_a_provider_that_is_switched_off_ends_its_sessions(scene: Scene) -> None:
    scene.come()
    with scene.app.app_context():
        known = providers.get(SYSTEM, scene.id)
        wanted = Wanted("test", "Test SSO", known.issuer, CLIENT, None, known.scopes, create_users=True, enabled=False)
        providers.change(portal_of(scene.app), SYSTEM, scene.id, wanted)
    assert not scene.browser.signed_in
    assert scene.browser.get("/login/oidc/test").status_code == 404
    assert "Sign in with Test SSO" not in scene.browser.page("/login")


def test_a_provider_that_is_down(scene: Scene) -> None:
    scene.change(issuer="http://127.0.0.1:9")
    answer = scene.browser.get("/login/oidc/test?next=/operations")
    assert answer.headers["Location"].startswith("/login")
    page = scene.browser.page("/login")
    assert "Test SSO does not answer right now" in page and "127.0.0.1:9" not in page
    assert any("127.0.0.1:9" in reason for reason in scene.refusals())
