"""Signing in through a real OpenID provider: who comes in, as whom, with which rights, and what is refused."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner
from flask import Flask
from sqlalchemy import select
from werkzeug.test import TestResponse

from clawportal.cli import server
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.models import AuditEntry, Membership, OidcIdentity, OidcProvider, RoleGrant, Tenant, User, UserSession
from clawportal.services import oidc_providers
from clawportal.services.identity import accounts, sessions
from clawportal.services.oidc_providers import Wanted
from clawportal.services.tenancy import members
from tests.conftest import PASSWORD, Person, make_person, make_tenant, portal_of
from tests.core.conftest import postgres
from tests.sign_in import oidc_provider
from tests.sign_in.conftest import ELSEWHERE, Browser
from tests.sign_in.oidc_provider import CLIENT, SECRET, OpenIdProvider

__all__ = ["postgres"]
pytestmark = [pytest.mark.oidc, pytest.mark.xdist_group("oidc")]
Make = Callable[..., Browser]
BACK = "http://localhost/login/oidc/test/callback"


@pytest.fixture(scope="module")
def process() -> Iterator[OpenIdProvider]:
    if why := oidc_provider.missing():
        pytest.skip(why)
    with oidc_provider.running() as found:
        yield found


@pytest.fixture
def there(process: OpenIdProvider) -> OpenIdProvider:
    """The provider, with Anna as its only account."""
    process.reset(BACK)
    return process


@dataclass
class Scene:
    """A portal with the provider set up, and a browser in front of it."""

    app: Flask
    there: OpenIdProvider
    browser: Browser
    id: str

    def begin(self, wanted: str = "", browser: Browser | None = None) -> str:
        answer = (browser or self.browser).client.get(
            "/login/oidc/test", query_string={"next": wanted}, environ_base={"REMOTE_ADDR": self.browser.address}
        )
        assert answer.status_code == 302, answer.get_data(as_text=True)
        return str(answer.headers["Location"])

    def back(self, url: str, browser: Browser | None = None) -> TestResponse:
        parts = urlsplit(url)
        assert url.startswith(BACK), url
        return (browser or self.browser).get(f"{parts.path}?{parts.query}")

    def come(self, account: str = "anna", wanted: str = "", answer: str = "yes") -> TestResponse:
        """The whole way, in a browser where nobody is signed in."""
        self.browser.client.delete_cookie("clawportal")
        return self.back(self.there.sign_in(self.begin(wanted), account, answer=answer))

    def refused(self, answer: TestResponse) -> str:
        """What the sign-in page says afterwards."""
        assert answer.status_code == 303 and answer.headers["Location"].startswith("/login"), answer.headers
        assert not self.browser.signed_in
        found = re.search(r'role="alert".*?<div class="body">(.*?)</div>\s*<button', self.browser.page("/login"), re.DOTALL)
        # the message was shown by the look at the profile, which leads to the sign-in page
        return re.sub("<[^>]+>", "", found[1]) if found else ""

    def change(self, **more: Any) -> None:
        with self.app.app_context(), transaction():
            row = db.session.get_one(OidcProvider, self.id)
            for name, value in more.items():
                setattr(row, name, value)

    def save(self, **more: Any) -> None:
        """As somebody who changes it on its page."""
        with self.app.app_context():
            known = oidc_providers.get(SYSTEM, self.id)
            kept = {field.name: getattr(known, field.name) for field in fields(Wanted) if field.name != "secret"}
            oidc_providers.change(portal_of(self.app), SYSTEM, self.id, Wanted(**(kept | more)))

    def give(self, group: str, role: str, tenant: str = "", project: str = "") -> str:
        with self.app.app_context():
            return oidc_providers.map_named(portal_of(self.app), SYSTEM, self.id, group, role, tenant=tenant, project=project).id

    def roles(self, name: str = "anna") -> dict[str, str]:
        """Role by tenant; the whole portal is the empty name."""
        with self.app.app_context():
            query = select(Tenant.name, Membership.role).select_from(Membership).join(User, User.id == Membership.user_id)
            query = query.outerjoin(Tenant, Tenant.id == Membership.tenant_id).where(User.name == name)
            return {tenant or "": role for tenant, role in db.session.execute(query)}

    def refusals(self) -> list[str]:
        with self.app.app_context():
            query = select(AuditEntry.reason).where(AuditEntry.action == "sign_in", AuditEntry.result == "refused")
            return list(db.session.scalars(query.order_by(AuditEntry.seq)))

    def user(self, name: str = "anna") -> User | None:
        with self.app.app_context():
            return db.session.scalar(select(User).where(User.name == name))


@pytest.fixture
def scene(portal_app: Flask, there: OpenIdProvider) -> Scene:
    return set_up(portal_app, there)


def set_up(app: Flask, there: OpenIdProvider) -> Scene:
    make_person(app, "admin", "portal-admin")
    with app.app_context():
        tenant = db.session.scalars(select(Tenant.id).where(Tenant.name == "default")).one()
        wanted = Wanted(
            "test", "Test SSO", there.url, CLIENT, SECRET, "openid profile email groups", create_users=True, tenant_id=tenant
        )
        known = oidc_providers.create(portal_of(app), SYSTEM, wanted)
    return Scene(app, there, Browser(app.test_client()), known.id)


# ---- in and out


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
        return oidc_providers.examine(portal_of(scene.app), SYSTEM, wanted, BACK)


def test_a_signed_account_of_another_client_is_refused() -> None:
    from joserfc import jwt
    from joserfc.jwk import KeySet, RSAKey

    from clawportal.services.oidc_calls import Discovery, NotProved, ProviderCalls, ProviderDown, Setup

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
    from clawportal.services.oidc_calls import claim

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
        findings = oidc_providers.examine(portal_of(scene.app), SYSTEM, wanted, BACK)
    told = next(found for found in findings if found.name == "Claims of the last sign-in")
    assert not told.ok and "no resource_access.claws.example.com.roles" in told.message
    scene.there.account("anna", resource_access={"claws.example.com": {"roles": ["claw-users"]}})
    scene.come()
    assert scene.roles() == {"default": "developer"}


def test_two_tabs(scene: Scene) -> None:
    one, two = scene.begin("/operations"), scene.begin("/instances")
    assert scene.back(scene.there.sign_in(one)).headers["Location"] == "/operations"
    assert scene.browser.signed_in and two


# ---- attacks


def test_a_state_that_is_not_ours(scene: Scene, make_browser: Make) -> None:
    url = scene.there.sign_in(scene.begin())
    other = make_browser(ELSEWHERE)
    assert scene.back(url, other).headers["Location"] == "/login" and not other.signed_in  # login CSRF: it began elsewhere
    assert "did not begin in this browser" in scene.refused(scene.back(re.sub("state=[^&]+", "state=made-up", url)))
    assert scene.refusals() and "did not begin" in scene.refusals()[0]


def test_an_answer_works_once(scene: Scene) -> None:
    url = scene.there.sign_in(scene.begin())
    cookie = scene.browser.client.get_cookie("clawportal")
    assert cookie and scene.back(url).status_code == 303 and scene.browser.signed_in
    scene.browser.post("/logout")
    assert "did not begin in this browser" in scene.refused(scene.back(url))
    # even with the cookie of back then the provider does not take the code again
    scene.browser.client.set_cookie("clawportal", cookie.value)
    assert "used already" in scene.refused(scene.back(url))


def test_a_code_of_somebody_else_does_not_fit(scene: Scene, make_browser: Make) -> None:
    """PKCE: the code of one sign-in cannot be put into another."""
    other = make_browser(ELSEWHERE)
    stolen = parse_qs(urlsplit(scene.there.sign_in(scene.begin(browser=other))).query)["code"][0]
    mine = scene.there.sign_in(scene.begin())
    assert "used already" in scene.refused(scene.back(re.sub("code=[^&]+", f"code={stolen}", mine)))


WRONG: dict[str, dict[str, Any]] = {
    "nonce": {"claims": {"nonce": "of another sign-in"}},
    "no nonce": {"without": ["nonce"]},
    "audience": {"claims": {"aud": "another-client"}},
    "two audiences without azp": {"claims": {"aud": [CLIENT, "another-client"]}},
    "issuer": {"claims": {"iss": "https://evil.example"}},
    "expired": {"claims": {"exp": 1_000_000_000}},
    "no expiry": {"without": ["exp"]},
    "of the future": {"claims": {"iat": 4_000_000_000}},
    "subject": {"claims": {"sub": ""}},
    "unsigned": {"alg": "none"},
    "signed with the client secret": {"alg": "HS256"},
    "unknown key": {"kid": "nobody-knows"},
}


def test_a_wrong_id_token_is_refused(scene: Scene) -> None:
    for name, how in WRONG.items():
        scene.there.mangle(**how)
        told = scene.refused(scene.come())
        assert "not good" in told or "whose account" in told, name
        assert scene.user() is None, name
    assert scene.refusals()
    scene.there.mangle(claims={})
    assert scene.come().status_code == 303 and scene.browser.signed_in


def test_clocks_may_differ_a_little(scene: Scene) -> None:
    now = int(time.time())
    scene.there.mangle(claims={"exp": now - 20, "iat": now + 20})
    scene.come()
    assert scene.browser.signed_in


def test_an_answer_that_names_another_issuer(scene: Scene) -> None:
    url = scene.there.sign_in(scene.begin())
    assert "another provider" in scene.refused(scene.back(re.sub("iss=[^&]+", "iss=https%3A%2F%2Fevil.example", url)))


def test_a_new_key_of_the_provider_is_picked_up(scene: Scene) -> None:
    scene.come()
    scene.there.rotate()
    scene.browser.post("/logout")
    scene.come()
    assert scene.browser.signed_in


def test_it_took_too_long(scene: Scene, travel: Callable[[timedelta], None]) -> None:
    url = scene.there.sign_in(scene.begin())
    travel(timedelta(minutes=16))
    assert "took too long" in scene.refused(scene.back(url))


def test_the_cookie_shows_nothing_and_cannot_be_made(scene: Scene) -> None:
    scene.begin()
    with scene.browser.client.session_transaction() as session:
        sealed = next(iter(session["oidc"].values()))
        session["oidc"] = {"state-of-mine": sealed}
    assert "verifier" not in sealed
    answer = scene.browser.get("/login/oidc/test/callback?state=state-of-mine&code=x")
    assert "did not begin" in scene.refused(answer)


def test_guessing_is_slowed_down(scene: Scene) -> None:
    for _ in range(100):
        scene.browser.get("/login/oidc/test/callback?state=x&code=y")
    url = scene.there.sign_in(scene.begin())
    assert "Too many wrong sign-ins" in scene.refused(scene.back(url))
    scene.browser.address = ELSEWHERE
    assert scene.come().status_code == 303 and scene.browser.signed_in  # nobody elsewhere is locked out


# ---- who is not let in


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
        known = oidc_providers.get(SYSTEM, scene.id)
        wanted = Wanted("test", "Test SSO", known.issuer, CLIENT, None, known.scopes, create_users=True, enabled=False)
        oidc_providers.change(portal_of(scene.app), SYSTEM, scene.id, wanted)
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


# ---- linking


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


# ---- groups


def test_rights_follow_the_groups(scene: Scene) -> None:
    make_tenant(scene.app, "acme")
    scene.give("ops", "operator", "acme"), scene.give("everybody", "viewer", "acme")
    scene.there.account("anna", groups=["everybody", "ops", "others"])
    scene.come()
    assert scene.roles() == {"default": "viewer", "acme": "operator"}  # the stronger of two
    scene.there.account("anna", groups=["everybody"])
    scene.come()
    assert scene.roles() == {"default": "viewer", "acme": "viewer"}
    scene.there.account("anna", groups=None)
    scene.come()
    assert scene.roles() == {"default": "viewer"}


def test_what_was_given_by_hand_stays(scene: Scene) -> None:
    acme = make_tenant(scene.app, "acme")
    scene.give("ops", "operator", "acme"), scene.give("ops", "developer", "default")
    scene.come()
    user = scene.user()
    assert user is not None
    with scene.app.app_context():
        members.add(portal_of(scene.app), SYSTEM, acme, "anna", "auditor")
    scene.there.account("anna", groups=["ops"])
    scene.come()
    assert scene.roles() == {"default": "developer", "acme": "auditor"}
    with scene.app.app_context():
        tenant = db.session.scalars(select(Tenant.id).where(Tenant.name == "default")).one()
        members.change_role(portal_of(scene.app), SYSTEM, tenant, user.id, "tenant-admin")
    scene.there.account("anna", groups=[])
    scene.come()
    assert scene.roles() == {"default": "tenant-admin", "acme": "auditor"}


def test_a_role_in_one_project(scene: Scene) -> None:
    make_tenant(scene.app, "acme")
    scene.give("team", "developer", "acme", "default")
    scene.there.account("anna", groups=["team"])
    scene.come()
    assert scene.roles()["acme"] == "guest"
    with scene.app.app_context():
        assert [(row.role, row.source_group) for row in db.session.scalars(select(RoleGrant))] == [("developer", "team")]
    scene.there.account("anna", groups=[])
    scene.come()
    with scene.app.app_context():
        assert not db.session.scalars(select(RoleGrant)).all()
    assert "acme" not in scene.roles()


def test_the_page_says_why(scene: Scene) -> None:
    scene.give("ops", "tenant-admin", "default"), scene.give("lead", "portal-auditor")
    scene.there.account("anna", groups=["ops", "lead"])
    scene.come()
    with scene.app.app_context():
        tenant = db.session.scalars(select(Tenant.id).where(Tenant.name == "default")).one()
    page = scene.browser.page(f"/tenants/{tenant}/rights")
    assert "Member with the role tenant-admin, through the group ops of Test SSO" in page
    assert "Role portal-auditor in the whole portal, through the group lead of Test SSO" in page


def test_the_last_administrator_stays(scene: Scene, admin_gone: Callable[[], None]) -> None:
    scene.give("admins", "portal-admin")
    scene.there.account("anna", groups=["admins"])
    scene.come()
    assert scene.roles()[""] == "portal-admin"
    admin_gone()
    scene.there.account("anna", groups=[])
    scene.come()
    assert scene.roles()[""] == "portal-admin"
    make_person(scene.app, "other-admin", "portal-admin")
    scene.come()
    assert "" not in scene.roles()


@pytest.fixture
def admin_gone(portal_app: Flask) -> Callable[[], None]:
    def close() -> None:
        with portal_app.app_context():
            user = db.session.scalars(select(User).where(User.name == "admin")).one()
            accounts.set_active(portal_of(portal_app), SYSTEM, user.id, False)

    return close


def test_a_group_that_gives_no_more_and_a_provider_that_goes(scene: Scene) -> None:
    make_tenant(scene.app, "acme")
    first = scene.give("ops", "operator", "acme")
    scene.give("team", "developer", "default")
    scene.there.account("anna", groups=["ops", "team"])
    scene.come()
    with scene.app.app_context():
        oidc_providers.unmap(portal_of(scene.app), SYSTEM, scene.id, first)
    assert scene.roles() == {"default": "developer"}
    with scene.app.app_context():
        oidc_providers.remove(portal_of(scene.app), SYSTEM, scene.id)
    assert scene.roles() == {} and not scene.browser.signed_in and scene.user() is not None


def test_too_many_groups_are_not_taken_for_none(scene: Scene) -> None:
    scene.there.mangle(claims={"_claim_names": {"groups": "src1"}})
    scene.come()
    assert scene.browser.signed_in  # nothing depends on them yet
    scene.browser.post("/logout")
    scene.give("ops", "operator", "default")
    assert "too many" in scene.refused(scene.come())


@pytest.mark.postgres
def test_on_postgresql(make_app: Callable[..., Flask], postgres: Callable[[], str], there: OpenIdProvider) -> None:
    scene = set_up(make_app(database_url=postgres()), there)
    acme = make_tenant(scene.app, "acme")
    mapped = scene.give("ops", "tenant-admin", "acme")
    scene.give("team", "developer", "default", "default"), scene.give("lead", "portal-auditor")
    there.account("anna", groups=["ops", "team", "lead"])
    scene.come(wanted="/operations")
    assert scene.roles() == {"default": "guest", "acme": "tenant-admin", "": "portal-auditor"}
    assert "through the group ops of Test SSO" in scene.browser.page(f"/tenants/{acme}/rights")
    there.account("anna", groups=["team"])
    scene.come()
    assert scene.roles() == {"default": "guest"} and scene.browser.page("/profile")
    with scene.app.app_context():
        oidc_providers.unmap(portal_of(scene.app), SYSTEM, scene.id, mapped)
        assert oidc_providers.listing(SYSTEM)[0].people == 1
        oidc_providers.remove(portal_of(scene.app), SYSTEM, scene.id)
    assert scene.roles() == {}


def test_first_sign_ins_at_once_make_one_account(scene: Scene) -> None:
    browsers = [Browser(scene.app.test_client()) for _ in range(4)]
    urls = [scene.there.sign_in(scene.begin(browser=browser)) for browser in browsers]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(scene.back, urls, browsers))
    assert [answer.headers["Location"] for answer in answers] == ["/"] * 4
    with scene.app.app_context():
        assert len(db.session.scalars(select(OidcIdentity)).all()) == 1
        assert sorted(db.session.scalars(select(User.name))) == ["admin", "anna"]


def test_a_role_that_a_group_gives_is_in_use(scene: Scene) -> None:
    owner = make_person(scene.app, "owner", "tenant-admin", "default")
    tenant = owner.get("tenants").get_json()["items"][0]["id"]
    role = owner.post(f"tenants/{tenant}/roles", {"name": "reader", "permissions": ["instance.read"]}).get_json()["id"]
    scene.give("team", "reader", "default")
    assert owner.delete(f"tenants/{tenant}/roles/{role}").status_code == 409


# ---- second factor


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

    from clawportal.services.identity import identity, otp

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


# ---- passwords for administrators only


def test_passwords_can_be_for_administrators_only(make_app: Callable[..., Flask], there: OpenIdProvider) -> None:
    app = make_app(password_sign_in=False)
    make_person(app, "admin", "portal-admin"), make_person(app, "kim", "viewer", "default")
    browser = Browser(app.test_client())
    assert 'name="password"' in browser.page("/login")  # no provider yet: nobody is shut out
    assert browser.sign_in("kim").status_code == 303
    browser.post("/logout")
    with app.app_context():
        oidc_providers.create(portal_of(app), SYSTEM, Wanted("test", "Test SSO", there.url, CLIENT, SECRET))
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


# ---- setting up


def provider_body(there: OpenIdProvider, **more: Any) -> dict[str, Any]:
    body = {"slug": "sso", "title": "SSO", "issuer": there.url, "client_id": CLIENT, "secret": SECRET}
    return body | {"scopes": "openid profile email groups"} | more


def test_by_api(admin: Person, there: OpenIdProvider) -> None:
    there.reset("http://localhost/login/oidc/sso/callback")
    made = admin.post("oidc/providers", provider_body(there, tenant="default", role="viewer", email_domains=["@Example.com"]))
    assert made.status_code == 201, made.get_json()
    known = made.get_json()
    assert known["has_secret"] and known["email_domains"] == ["example.com"] and SECRET not in made.get_data(as_text=True)
    path = f"oidc/providers/{known['id']}"
    changed = provider_body(there, title="Single sign-on", secret=None, tenant="default")
    del changed["slug"]
    assert admin.put(path, changed).get_json()["title"] == "Single sign-on"
    checked = admin.post("oidc/check", provider_body(there, secret=None, provider_id=known["id"])).get_json()
    assert checked["ok"], checked
    group = admin.post(f"{path}/groups", {"group": "ops", "role": "operator", "tenant": "default"})
    assert group.status_code == 201 and group.get_json()["tenant"]
    assert admin.post(f"{path}/groups", {"group": "ops", "role": "viewer", "tenant": "default"}).status_code == 422
    assert [item["group"] for item in admin.get(f"{path}/groups").get_json()["items"]] == ["ops"]
    assert admin.delete(f"{path}/groups/{group.get_json()['id']}").status_code == 204
    entries = admin.get("audit?action=provider").get_json()["items"]
    assert entries and SECRET not in str(entries)
    assert admin.delete(path).status_code == 204 and admin.get("oidc/providers").get_json() == {"items": []}


WRONG_FIELDS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"slug": "Wrong Name"}, "slug"),
    ({"title": " "}, "title"),
    ({"issuer": "http://sso.example.com"}, "issuer"),
    ({"issuer": "ftp://x"}, "issuer"),
    ({"issuer": "https://user:word@sso.example.com"}, "issuer"),
    ({"issuer": "https://sso.example.com:99999"}, "issuer"),
    ({"issuer": "https://sso.example.com?x=1"}, "issuer"),
    ({"client_id": ""}, "client_id"),
    ({"scopes": "profile email"}, "scopes"),
    ({"email_domains": ["no domain"]}, "email_domains"),
    ({"groups_claim": "with space"}, "groups_claim"),
    ({"tenant": "nowhere"}, "tenant"),
    ({"tenant": "default", "role": "portal-admin"}, "role"),
)


def test_what_is_wrong_is_named(admin: Person) -> None:
    good = {"slug": "sso", "title": "SSO", "issuer": "https://sso.example.com", "client_id": "x"}
    for wrong, field in WRONG_FIELDS:
        answer = admin.post("oidc/providers", good | wrong)
        assert answer.status_code == 422 and [item["path"] for item in answer.get_json()["errors"]] == [field], wrong


def test_the_test_of_the_connection_says_what_is_missing(admin: Person, there: OpenIdProvider) -> None:
    def found(**more: Any) -> dict[str, str]:
        answer = admin.post("oidc/check", provider_body(there, **more)).get_json()
        return {item["name"]: item["message"] for item in answer["items"] if not item["ok"]}

    assert found() == {}
    assert "refuses the client id or the secret" in found(secret="wrong")["Client"]
    assert "does not list offline" in found(scopes="openid offline")["Scopes"]
    assert "calls itself" in found(issuer=f"{there.url}/")["Provider"]
    assert "does not answer" in found(issuer="http://127.0.0.1:9")["Provider"]
    assert "https" in found(issuer="http://sso.example.com")["Provider"]


def test_by_page(scene: Scene, make_browser: Make) -> None:
    browser = make_browser(ELSEWHERE)
    browser.sign_in("admin")
    assert "Test SSO" in browser.page("/providers")
    form = {"slug": "second", "title": "Second", "issuer": scene.there.url, "client_id": CLIENT, "secret": SECRET,
            "scopes": "openid", "username_claim": "preferred_username", "email_claim": "email", "name_claim": "name",
            "groups_claim": "groups", "role": "viewer", "enabled": "true", "tenant": "default"}  # fmt: skip
    answer = browser.post("/providers/new", form | {"issuer": "nonsense"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and 'value="nonsense"' in page and SECRET not in page
    answer = browser.post("/providers/new", form)
    assert answer.status_code == 303
    path = answer.headers["Location"]
    assert "http://localhost/login/oidc/second/callback" in browser.page(path)
    findings = browser.post("/providers/check", form | {"secret": "", "provider_id": path.rsplit("/", 1)[-1]}, htmx=True)
    assert "All is well" in findings.get_data(as_text=True) and "<html" not in findings.get_data(as_text=True)
    sent = {"group": "ops", "group_role": "operator", "group_tenant": "default", "group_project": ""}
    assert browser.post(f"{path}/groups", sent | {"group_role": "nonsense"}).status_code == 422
    assert browser.post(f"{path}/groups", sent).status_code == 303
    page = browser.page(path)
    removal = re.search(r'action="(/providers/\w+/groups/\w+/remove)"', page)
    assert "ops" in page and removal and browser.post(removal[1]).status_code == 303
    assert browser.post(path, form | {"title": "Renamed", "secret": ""}).status_code == 303
    assert "Sign in with Renamed" in make_browser().page("/login")
    assert browser.post(f"{path}/remove").headers["Location"] == "/providers"


def test_only_administrators_of_the_portal_set_it_up(scene: Scene) -> None:
    owner = make_person(scene.app, "owner", "tenant-admin", "default")
    auditor = make_person(scene.app, "auditor", "portal-auditor")
    for person in (owner, auditor):
        assert person.get("oidc/providers").status_code == 403
        assert person.post("oidc/providers", provider_body(scene.there)).status_code == 403
        assert person.browser().get("/providers").status_code == 403


# ---- by command


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("CLAWPORTAL_DATA_DIR", str(tmp_path / "commands"))

    def run(*arguments: str, code: int = 0, typed: str = "") -> str:
        found = CliRunner(env={"CLAWPORTAL_LOG_LEVEL": "error"}).invoke(server.cli, arguments, input=typed)
        assert found.exit_code == code, (found.output, found.exception)
        return str(found.output)

    run("db", "upgrade", "--first-start")
    return run


def test_by_command(command: Callable[..., str], there: OpenIdProvider) -> None:
    there.reset("http://127.0.0.1:8800/login/oidc/sso/callback")
    given = ("--issuer", there.url, "--client-id", CLIENT, "--scopes", "openid profile email groups", "--domain", "example.com")
    command("oidc", "add", "sso", *given, "--tenant", "default", "--create-users", "--secret-stdin", typed=f"{SECRET}\n")
    assert "no organisation named" in command("oidc", "add", "two", *given, "--tenant", "nowhere", "--public", code=1)
    assert "accepts client id and secret" in command("oidc", "test", "sso")
    command("oidc", "map", "sso", "ops", "operator", "--tenant", "default")
    command("oidc", "map", "sso", "admins", "portal-admin")
    listed = command("oidc", "list")
    assert "ops -> operator in" in listed and "admins -> portal-admin in the whole portal" in listed and SECRET not in listed
    command("keys", "rotate")
    assert "accepts client id and secret" in command("oidc", "test", "sso")  # the secret went along to the new key
    command("oidc", "unmap", "sso", "ops")
    assert "ops" not in command("oidc", "list")
    command("oidc", "unmap", "sso", "ops", code=1)
    command("oidc", "remove", "sso", "--yes")
    assert "sso" not in command("oidc", "list")
    command("oidc", "test", "sso", code=1)


def test_a_test_by_command_fails_when_something_is_missing(command: Callable[..., str], there: OpenIdProvider) -> None:
    command("oidc", "add", "sso", "--issuer", there.url, "--client-id", CLIENT, "--secret-stdin", typed="wrong\n")
    assert "refuses the client id or the secret" in command("oidc", "test", "sso", code=1)
