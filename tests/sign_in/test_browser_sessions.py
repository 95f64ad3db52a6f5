"""Browser sessions: seen, ended, and over when they have to be."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask

from clawportal.db import db
from clawportal.http import security
from clawportal.models import User
from clawportal.services.identity import sessions
from tests.conftest import PASSWORD, Person, make_person, portal_of
from tests.sign_in.conftest import ELSEWHERE, Browser, Program

NEW = "a password of my own"
Make = Callable[..., Browser]
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def cookie(browser: Browser) -> str:
    found = browser.client.get_cookie("clawportal")
    assert found
    return found.value


def ids(browser: Browser) -> list[str]:
    return re.findall(r'action="/profile/sessions/(\w{26})/end"', browser.page("/profile"))


def test_sessions_are_listed(admin: Person, make_browser: Make) -> None:
    one, two = make_browser(), make_browser(ELSEWHERE)
    one.client.environ_base["HTTP_USER_AGENT"] = FIREFOX
    assert one.sign_in().status_code == 303 and two.sign_in().status_code == 303
    page = one.page("/profile")
    assert "Firefox on Linux" in page and ELSEWHERE in page and page.count("this one") == 1
    assert len(ids(one)) == 2


@pytest.mark.parametrize("htmx", [True, False])
def test_an_ended_session_is_refused_at_once(admin: Person, make_browser: Make, htmx: bool) -> None:
    one, two = make_browser(), make_browser()
    one.sign_in(), two.sign_in()
    mine, other = ids(one)
    answer = one.post(f"/profile/sessions/{other}/end", htmx=htmx)
    assert answer.status_code == (200 if htmx else 303)
    assert one.signed_in and not two.signed_in
    assert one.post(f"/profile/sessions/{other}/end").status_code == 404  # ended already
    assert one.post(f"/profile/sessions/{mine}/end").headers["Location"] == "/login"
    assert not one.signed_in


def test_all_others_are_ended(admin: Person, make_browser: Make, program: Program) -> None:
    one, others = make_browser(), [make_browser() for _ in range(3)]
    for browser in (one, *others):
        browser.sign_in()
    program.sign_in()
    assert one.post("/profile/sessions/end-others").status_code == 303
    assert one.signed_in and not any(other.signed_in for other in others) and program.me() == 401
    assert admin.get("auth/me").status_code == 200  # API tokens go on working


def test_nobody_ends_sessions_of_others(admin: Person, people_session: str, make_browser: Make) -> None:
    browser = make_browser()
    browser.sign_in()
    assert browser.post(f"/profile/sessions/{people_session}/end").status_code == 404
    assert browser.post("/profile/sessions/01234567890123456789012345/end").status_code == 404


@pytest.fixture
def people_session(admin: Person, make_browser: Make) -> str:
    other = make_person(admin.app, "other", "portal-admin")
    with admin.app.app_context():
        user = db.session.get_one(User, other.actor.id)
        return sessions.begin(portal_of(admin.app), user, sessions.BROWSER, sessions.Place()).id


def test_signing_out_ends_it_for_a_copied_cookie_too(admin: Person, make_browser: Make) -> None:
    browser, thief = make_browser(), make_browser(ELSEWHERE)
    browser.sign_in()
    copied = cookie(browser)
    thief.client.set_cookie("clawportal", copied)
    assert thief.signed_in
    assert browser.post("/logout").status_code == 303
    thief.client.set_cookie("clawportal", copied)
    assert not thief.signed_in and not browser.signed_in


def test_a_new_password_ends_every_session(admin: Person, make_browser: Make, program: Program) -> None:
    one, two = make_browser(), make_browser()
    one.sign_in(), two.sign_in(), program.sign_in()
    before = cookie(one)
    form = {"current": PASSWORD, "password": NEW, "password_again": NEW}
    assert one.post("/profile/password", form).status_code == 303
    assert one.signed_in and not two.signed_in
    assert program.me() == 401 and program.renew().status_code == 401
    two.client.set_cookie("clawportal", before)
    assert not two.signed_in  # nor does the cookie from before the change


def test_it_ends_after_hours_without_use(admin: Person, make_browser: Make, travel: Callable[[timedelta], None]) -> None:
    browser = make_browser()
    browser.sign_in()
    for _ in range(3):
        travel(timedelta(hours=8))
        assert browser.signed_in  # each use moves the end
    travel(timedelta(hours=13))
    assert not browser.signed_in
    assert admin.get("auth/sessions").get_json()["items"] == []


def test_what_pages_ask_by_themselves_keeps_nobody_signed_in(
    admin: Person, make_browser: Make, travel: Callable[[timedelta], None]
) -> None:
    views = admin.app.view_functions
    view = views["web.profile"]
    views["web.profile"] = security.background(lambda **given: view(**given))
    browser = make_browser()
    browser.sign_in()
    travel(timedelta(hours=8))
    assert browser.signed_in
    travel(timedelta(hours=5))
    assert not browser.signed_in, "nobody used it for 13 hours"


def test_cookies_of_the_former_release_are_refused(admin: Person, make_browser: Make) -> None:
    browser = make_browser()
    browser.get("/login")
    with browser.client.session_transaction() as session:
        session["_user_id"], session["_fresh"] = f"{admin.actor.id}.1", True
    assert browser.get("/profile").status_code == 302


def test_api(admin: Person, program: Program, make_browser: Make) -> None:
    browser = make_browser()
    browser.sign_in(), program.sign_in()
    items = program.call("GET", "auth/sessions").get_json()["items"]
    assert [item["kind"] for item in items] == ["client", "browser"] and items[0]["current"] and not items[1]["current"]
    assert admin.delete(f"auth/sessions/{items[1]['id']}").status_code == 403  # a stolen token must not shut its owner out
    assert admin.delete("auth/sessions").status_code == 403
    assert program.call("DELETE", f"auth/sessions/{items[1]['id']}").status_code == 204
    assert not browser.signed_in and program.call("DELETE", f"auth/sessions/{items[1]['id']}").status_code == 404
    browser.sign_in()
    assert program.call("DELETE", "auth/sessions").get_json() == {"ended": 1}
    assert not browser.signed_in and program.me() == 200


def test_the_list_stays_short(admin: Person, portal_app: Flask) -> None:
    with portal_app.app_context():
        portal, user = portal_of(portal_app), db.session.get_one(User, admin.actor.id)
        begun = [sessions.begin(portal, user, sessions.CLIENT, sessions.Place()).id for _ in range(sessions.MOST + 2)]
        listed = {info.id for info in sessions.listing(user.id, None)}
        assert len(listed) == sessions.MOST and set(begun) - listed == set(begun[:2])


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/125.0 Safari/537.36 Edg/125.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Mobile/15E148 Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/125.0 Mobile Safari/537.36", "Chrome on Android"),
        ("claw/0.1.0", "claw"), ("python-httpx/0.28", "python-httpx"),
        ("", "an unknown program"), ("<script>", "an unknown program"),
    ],
)  # fmt: skip
def test_devices(agent: str, words: str) -> None:
    assert sessions.device(agent) == words
