"""What a real OpenID provider says about people: in the ID token, on its account page, with claims that lie inside others."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.models import AuditEntry
from clawportal_sso import providers
from clawportal_sso.models import OidcProvider
from clawportal_sso.wanted import Wanted
from tests.conftest import portal_of
from tests.single_sign_on.oidc_provider import CLIENT, SECRET
from tests.single_sign_on.scene import BACK, Scene

pytestmark = [pytest.mark.oidc, pytest.mark.xdist_group("oidc")]


def test_claims_in_the_id_token_are_enough(scene: Scene) -> None:
    scene.there.reset(BACK, in_id_token=True)
    scene.come()
    assert scene.user() is not None


@pytest.mark.parametrize("secret", ["p+q-secret-of-the-portal", "50%off-secret-of-the-portal", "a%zz:secret-of-the-portal"])
def test_a_secret_with_unusual_letters(scene: Scene, secret: str) -> None:
    """RFC 6749, 2.3.1: the provider decodes what is in the header."""
    scene.there.reset(BACK, secret=secret)
    portal = portal_of(scene.app)
    with scene.app.app_context(), transaction():
        row = db.session.get_one(OidcProvider, scene.id)
        row.sealed = portal.keyring.seal(secret, f"oidc:{row.id}/client-secret")
    assert scene.come().status_code == 303 and scene.browser.signed_in


def test_an_account_page_that_answers_with_a_signed_token(scene: Scene) -> None:
    scene.there.reset(BACK, signed=True)
    scene.there.account("anna", groups=["team"])
    scene.give("team", "developer", "default")
    scene.come()
    assert scene.browser.signed_in and scene.roles() == {"default": "developer"}


@pytest.mark.parametrize("answer", [{"status": 200}, {"status": 403}, {"status": 500}, {"status": 200, "body": "<html>"}])
def test_an_account_page_that_cannot_be_used(scene: Scene, answer: dict[str, Any]) -> None:
    """Where the ID token has what is needed, that is enough; where it has not, it says what is missing."""
    scene.there.reset(BACK, userinfo=answer)
    scene.come()
    assert not scene.browser.signed_in and "does not say preferred_username" in scene.refusals()[-1]
    scene.there.reset(BACK, userinfo=answer, in_id_token=True)
    scene.there.forget("anna", "name")  # so that the account page is asked
    scene.come()
    assert scene.browser.signed_in
    findings = {found.name: found for found in _tested(scene)}
    assert not findings["Account page at the last sign-in"].ok, findings
    assert "preferred_username" in findings["Claims of the last sign-in"].message


def _tested(scene: Scene) -> list[Any]:
    with scene.app.app_context():
        wanted = Wanted("test", "Test SSO", scene.there.url, CLIENT, SECRET)
        return providers.examine(portal_of(scene.app), SYSTEM, wanted, BACK)


def test_a_signed_account_of_another_client_is_refused() -> None:
    from joserfc import jwt
    from joserfc.jwk import KeySet, RSAKey

    from clawportal_sso.calls import ProviderCalls
    from clawportal_sso.documents import Discovery, NotProved, ProviderDown, Setup

    key = RSAKey.generate_key(2048, parameters={"kid": "one", "use": "sig"})
    calls = ProviderCalls()
    found = Discovery("https://sso.example", "", "", "http://127.0.0.1:9/keys", "https://sso.example/me")
    calls._keep("keys", found.issuer, lambda: KeySet([key]))
    setup = Setup(found.issuer, "portal")

    def signed(**claims: Any) -> bytes:
        return jwt.encode({"alg": "RS256", "kid": "one"}, {"sub": "anna", **claims}, key).encode()

    assert calls._account(setup, found, signed(iss=found.issuer, aud=["portal"]))["sub"] == "anna"
    for wrong in ({"aud": "other"}, {"iss": "https://thief.example"}):
        with pytest.raises(NotProved):
            calls._account(setup, found, signed(**wrong))
    with pytest.raises((NotProved, ProviderDown)):  # the keys are read once more, and nobody answers
        calls._account(setup, found, signed()[:-6] + b"AAAAAA")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("resource_access.claws.example.com.roles", ["a"]), ("/resource_access/claws.example.com/roles", ["a"]),
        ("realm_access.roles", ["b"]), ("/realm_access/roles", ["b"]), ("a.b", "whole"), ("/https:~1~1x~1y", 1),
        ("https://x/y", 1), ("resource_access.claws.example.org.roles", None), ("/realm_access/none", None),
    ],
)  # fmt: skip
def test_claims_whose_keys_hold_dots(name: str, found: Any) -> None:
    from clawportal_sso.documents import claim

    claims = {
        "resource_access": {"claws.example.com": {"roles": ["a"]}, "claws": {"example": {}}}, "realm_access": {"roles": ["b"]},
        "a.b": "whole", "a": {"b": "part"}, "https://x/y": 1,
    }  # fmt: skip
    assert claim(claims, name) == found


def test_a_rule_without_its_claim_says_so(scene: Scene) -> None:
    scene.give("claw-users", "developer", "default")
    scene.change(groups_claim="resource_access.claws.example.com.roles")
    scene.come()
    with scene.app.app_context():
        entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "user.groups_missing")).one()
        assert "sent no resource_access.claws.example.com.roles for anna" in entry.summary
        wanted = Wanted("test", "T", scene.there.url, CLIENT, SECRET, groups_claim="resource_access.claws.example.com.roles")
        findings = providers.examine(portal_of(scene.app), SYSTEM, wanted, BACK)
    told = next(found for found in findings if found.name == "Claims of the last sign-in")
    assert not told.ok and "no resource_access.claws.example.com.roles" in told.message
    scene.there.account("anna", resource_access={"claws.example.com": {"roles": ["claw-users"]}})
    scene.come()
    assert scene.roles() == {"default": "developer"}
