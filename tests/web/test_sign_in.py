"""Signing in and out, first run, language and theme."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask

from clawportal.contracts.permissions import SYSTEM
from clawportal.services.identity import identity
from clawportal.services.system import portal_settings
from clawportal.services.tenancy import tenancy
from clawportal_practice import service as practice
from tests.conftest import PASSWORD, People, Person, make_person, portal_of
from tests.web.conftest import Browser

Browse = Callable[[Person], Browser]
NEW = "a password of my own"


def sign_in(browser: Browser, name: str, password: str, wanted: str = "") -> int:
    return browser.post("/login", {"username": name, "password": password, "next": wanted}).status_code


def cookie(browser: Browser, name: str = "clawportal") -> str:
    found = browser.client.get_cookie(name)
    return found.value if found else ""


def test_sign_in_and_out(admin: Person, nobody: Browser) -> None:
    assert sign_in(nobody, "admin", "wrong") == 401
    answer = nobody.post("/login", {"username": "admin", "password": PASSWORD, "next": "/operations?state=failed"})
    assert answer.status_code == 303 and answer.headers["Location"] == "/operations?state=failed"
    assert nobody.get("/login").status_code == 302  # nothing to do there any more
    assert nobody.post("/logout").headers["Location"] == "/login"
    assert nobody.get("/").status_code == 302


def test_what_was_typed_stays_but_the_password(admin: Person, nobody: Browser) -> None:
    answer = nobody.post("/login", {"username": "admin", "password": "a wrong secret", "next": "/profile"})
    text = answer.get_data(as_text=True)
    assert 'value="admin"' in text and 'value="/profile"' in text and "a wrong secret" not in text
    assert "The name or the password is wrong." in text


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example/", "/\\evil.example", "/\t/evil.example", "javascript:alert(1)", "evil"]
)
def test_nobody_is_led_elsewhere(admin: Person, nobody: Browser, target: str) -> None:
    answer = nobody.post("/login", {"username": "admin", "password": PASSWORD, "next": target})
    assert answer.status_code == 303 and answer.headers["Location"] == "/"
    answer = nobody.post("/language", {"language": "en", "next": target})
    assert answer.headers["Location"] == "/"
    assert nobody.client.get("/login", query_string={"next": target}).headers["Location"] == "/"


def test_the_session_is_a_new_one(admin: Person, nobody: Browser) -> None:
    nobody.get("/login")
    before = cookie(nobody)
    with nobody.client.session_transaction() as session:
        session["planted"] = "by somebody else"
    assert sign_in(nobody, "admin", PASSWORD) == 303
    assert cookie(nobody) != before
    with nobody.client.session_transaction() as session:
        assert "planted" not in session


def test_guessing_is_slowed_down(admin: Person, nobody: Browser, portal_app: Flask) -> None:
    answers = [nobody.post("/login", {"username": "admin", "password": f"guess {n}"}) for n in range(12)]
    assert answers[0].status_code == 401 and answers[-1].status_code == 429
    assert answers[-1].headers["Retry-After"] and "Wait a minute" in answers[-1].get_data(as_text=True)
    other = Browser(portal_app.test_client())
    assert sign_in(other, "somebody", PASSWORD) == 401  # another name is not locked


def test_a_change_without_token_is_refused(people: People, browse: Browse) -> None:
    made = people.owner.create("guarded")["id"]
    client = people.admin.browser()
    for path in (f"/instances/{made}/stop", "/instances/new", "/logout", "/profile/tokens", "/language", "/login", "/setup"):
        answer = client.post(path, data={"username": "admin", "password": PASSWORD})
        assert answer.status_code == 400, path
        assert "Reload" in answer.get_data(as_text=True) or "reload" in answer.get_data(as_text=True)
    answer = client.post("/logout", data={"csrf_token": browse(people.admin).token()}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 303), ({"Sec-Fetch-Site": "same-site"}, 403), ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://localhost"}, 303), ({"Origin": "http://localhost:8801"}, 403),
        ({"Origin": "http://a.localhost"}, 403),
        ({"Origin": "null"}, 403), ({"Origin": "http://a.localhost", "Sec-Fetch-Site": "same-origin"}, 303),
    ],
)  # fmt: skip
def test_a_change_comes_from_the_portals_own_pages(people: People, browse: Browse, sent: dict[str, str], status: int) -> None:
    """Also where the other page is of the same domain, and whoever sits there knows the token of the form."""
    browser = browse(people.admin)
    answer = browser.client.post("/logout", data={"csrf_token": browser.token()}, headers=sent)
    assert answer.status_code == status


def test_over_tls_no_other_host_can_set_the_session(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    admin = make_person(app, "admin", "portal-admin")
    for base, name in (("https://localhost", "__Host-clawportal"), ("http://localhost", "clawportal")):
        client = app.test_client()
        page = client.get("/login", base_url=base)
        token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
        assert token
        form = {"username": admin.name, "password": PASSWORD, "csrf_token": token[1]}
        answer = client.post("/login", data=form, base_url=base, headers={"Referer": f"{base}/login"})
        assert answer.status_code == 303
        given = [line for line in answer.headers.getlist("Set-Cookie") if line.startswith(f"{name}=")]
        assert given and "Domain=" not in given[0] and "Path=/" in given[0]
        assert ("Secure" in given[0]) is (base == "https://localhost")
        planted = app.test_client()
        planted.set_cookie("clawportal", given[0].partition("=")[2].partition(";")[0])
        assert (planted.get("/profile", base_url=base).status_code == 200) is (name == "clawportal")


# ---- first run


def test_first_run(make_app: Callable[..., Flask]) -> None:
    app = make_app(first_run=True)
    with app.app_context():
        password = identity.first_start(portal_of(app))
    assert password
    browser = Browser(app.test_client())
    assert "First start" in browser.page("/login")
    assert sign_in(browser, "admin", password, "/instances") == 303
    for path in ("/", "/instances", "/about", "/profile"):
        answer = browser.get(path)
        assert answer.status_code == 303 and answer.headers["Location"] == "/setup", path
    assert browser.get("/instances", htmx=True).headers["HX-Redirect"] == "/setup"

    def setup(**form: str) -> tuple[int, str]:
        answer = browser.post(
            "/setup", {"organization": "Acme", "password": NEW, "password_again": NEW, "practice": "true"} | form
        )
        return answer.status_code, answer.get_data(as_text=True)

    status, text = setup(password="tooshort", password_again="tooshort", organization="Keep this")
    assert status == 422 and "at least 10 characters" in text and 'value="Keep this"' in text and "tooshort" not in text
    status, text = setup(password_again="another one")
    assert status == 422 and "not the same" in text
    status, text = setup(organization=" ")
    assert status == 422 and "name of 1 to 80" in text
    assert setup()[0] == 303
    assert "Acme" in browser.page("/") and "Practice model" in browser.page("/")
    assert browser.get("/setup").headers["Location"] == "/"
    with app.app_context():
        assert portal_settings.read(portal_settings.SETUP_DONE) and practice.enabled() and practice.listening(portal_of(app)).url
        assert tenancy.projects(SYSTEM)[0].tenant_title == "Acme"
    again = Browser(app.test_client())
    assert sign_in(again, "admin", password) == 401 and sign_in(again, "admin", NEW) == 303
    assert again.get("/").status_code == 200


def test_a_given_password_has_to_be_changed(portal_app: Flask) -> None:
    with portal_app.app_context():
        identity.create_user(portal_of(portal_app), SYSTEM, "newcomer", PASSWORD, role="portal-admin", must_change=True)
    browser = Browser(portal_app.test_client())
    assert sign_in(browser, "newcomer", PASSWORD) == 303
    assert browser.get("/instances").headers["Location"] == "/profile"
    assert "password of your own" in browser.page("/profile")
    form = {"current": PASSWORD, "password": NEW, "password_again": NEW}
    assert browser.post("/profile/password", form).status_code == 303
    browser.page("/instances")


# ---- language and theme


def test_language_before_and_after_signing_in(people: People, nobody: Browser, browse: Browse) -> None:
    assert nobody.post("/language", {"language": "zh_Hans", "next": "/login"}).headers["Location"] == "/login"
    assert 'lang="zh-Hans"' in nobody.page("/login")
    assert nobody.post("/language", {"language": "tlh"}).status_code == 422
    browser = browse(people.viewer)
    browser.post("/language", {"language": "zh_Hans", "next": "/profile"})
    assert 'lang="zh-Hans"' in browse(people.viewer).page("/")  # kept with the account
    assert 'lang="en"' in browse(people.operator).page("/")


def test_theme_before_and_after_signing_in(people: People, nobody: Browser, browse: Browse) -> None:
    assert nobody.post("/theme", {"theme": "dark"}).status_code == 303
    assert 'data-bs-theme="dark"' in nobody.page("/login")
    assert nobody.post("/theme", {"theme": "pink"}).status_code == 422
    assert browse(people.viewer).post("/theme", {"theme": "dark"}, htmx=True).status_code == 204
    assert 'data-bs-theme="dark"' in browse(people.viewer).page("/")


def test_going_back_stays_in_the_portal(people: People) -> None:
    client = people.viewer.browser()
    token = Browser(client).token()
    for referrer, expected in (
        ("http://localhost/plugins?x=1", "/plugins?x=1"),
        ("http://evil.example/x", "/"),
        ("http://[", "/"),
    ):
        answer = client.post("/theme", data={"theme": "dark", "csrf_token": token}, headers={"Referer": referrer})
        assert answer.headers["Location"] == expected


# ---- the account


def test_password(people: People, browse: Browse) -> None:
    browser, other = browse(people.viewer), browse(people.viewer)
    form = {"current": PASSWORD, "password": NEW, "password_again": NEW}
    answer = browser.post("/profile/password", form | {"current": "not mine at all"})
    assert answer.status_code == 422 and "not your present password" in answer.get_data(as_text=True)
    answer = browser.post("/profile/password", form | {"password_again": "x"})
    assert answer.status_code == 422 and NEW not in answer.get_data(as_text=True)
    assert browser.post("/profile/password", form).status_code == 303
    browser.page("/profile")
    assert other.get("/profile").status_code == 302  # other devices are signed out


@pytest.mark.parametrize("htmx", [True, False])
def test_tokens_are_shown_once(people: People, browse: Browse, htmx: bool) -> None:
    browser = browse(people.viewer)
    answer = browser.post("/profile/tokens", {"name": "my laptop", "expires_days": "30"}, htmx=htmx)
    text = answer.get_data(as_text=True)
    assert answer.status_code == 200 and ("<html" in text) is not htmx
    token = text.split('id="new-token">')[1].split("<")[0]
    assert people.viewer.app.test_client().get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    page = browser.page("/profile")
    assert token not in page and "my laptop" in page
    token_id = page.split("/profile/tokens/")[1].split("/revoke")[0]
    assert browse(people.operator).post(f"/profile/tokens/{token_id}/revoke", htmx=htmx).status_code == 404
    assert browser.post(f"/profile/tokens/{token_id}/revoke", htmx=htmx).status_code == (200 if htmx else 303)
    assert people.viewer.app.test_client().get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_a_token_needs_a_name_and_an_end(people: People, browse: Browse) -> None:
    browser = browse(people.viewer)
    answer = browser.post("/profile/tokens", {"name": "", "expires_days": "30"}, htmx=True)
    assert answer.status_code == 422 and "Give the token a name" in answer.get_data(as_text=True)
    assert browser.post("/profile/tokens", {"name": "x", "expires_days": "9999"}, htmx=True).status_code == 422
