"""The second factor: set up, asked for, used once, taken away."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

import pytest
from flask import Flask

from clawportal import keyring
from clawportal.app import KEYRING_FILE
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db
from clawportal.models import BackupCode, EventRow, Otp
from clawportal.services.identity import otp
from tests.conftest import PASSWORD, Person, portal_of
from tests.sign_in.conftest import ELSEWHERE, HERE, App, Browser, Program, set_up_otp

Make = Callable[..., Browser]
Travel = Callable[[timedelta], None]
STEP = timedelta(seconds=30)


def test_setting_up_by_api(program: Program) -> None:
    program.sign_in()
    assert program.call("GET", "auth/otp/status").get_json() == {
        "enabled": False, "enabled_at": None, "backup_codes_left": 0, "required_by": [],
    }  # fmt: skip
    assert program.call("POST", "auth/otp/enable", {"code": "123456"}).status_code == 409  # nothing offered yet
    offer = program.call("POST", "auth/otp/generate").get_json()
    told = urlsplit(offer["uri"])
    assert told.scheme == "otpauth" and parse_qs(told.query)["secret"] == [offer["secret"]] and "admin" in unquote(told.path)
    assert len(offer["secret"]) == 32
    assert "style" not in ElementTree.fromstring(offer["qr_svg"]).attrib and "<script" not in offer["qr_svg"]
    assert program.call("POST", "auth/otp/enable", {"code": "000000"}).status_code == 422
    assert not program.call("GET", "auth/otp/status").get_json()["enabled"]
    Program(program.app).sign_in()  # what is only offered is not asked for
    codes = program.call("POST", "auth/otp/enable", {"code": App(offer["secret"]).code()}).get_json()["backup_codes"]
    assert len(set(codes)) == 10
    status = program.call("GET", "auth/otp/status").get_json()
    assert status["enabled"] and status["enabled_at"] and status["backup_codes_left"] == 10
    assert program.call("POST", "auth/otp/generate").status_code == 409
    with program.app.app_context():
        stored = db.session.query(BackupCode).all()
        assert not {row.code_hash for row in stored} & {code.replace("-", "") for code in codes}
        assert offer["secret"].encode() not in db.session.query(Otp).one().sealed
        assert db.session.query(EventRow).filter_by(kind="otp.enabled").count() == 1


def test_an_api_token_cannot_shut_its_owner_out(admin: Person) -> None:
    assert admin.get("auth/otp/status").status_code == 200
    code = {"code": "123456"}
    for path, body in (("generate", None), ("enable", code), ("backup", code), ("disable", code | {"password": PASSWORD})):
        assert admin.post(f"auth/otp/{path}", body).status_code == 403, path


def test_two_steps_by_api(program: Program, travel: Travel) -> None:
    program.sign_in()
    app, _codes = set_up_otp(program)
    travel(STEP)
    other = Program(program.app)
    refused = other.sign_in()
    told = refused.get_json()
    assert refused.status_code == 401 and told["code"] == "otp_required" and not other.access
    assert other.sign_in(password="wrong password").get_json()["code"] == "unauthenticated"  # says nothing of the second factor
    verify = {"challenge": told["challenge"], "code": "000000"}
    assert other.call("POST", "auth/otp/verify", verify).get_json()["code"] == "otp_wrong"
    assert other.me(token=told["challenge"]) == 401 and other.renew(told["challenge"]).status_code == 401
    assert other.keep(other.call("POST", "auth/otp/verify", verify | {"code": app.code()})).status_code == 200
    assert other.me() == 200
    travel(STEP)
    assert Program(program.app).sign_in(otp=app.code()).status_code == 200  # both at once
    assert Program(program.app).sign_in(otp="000000").get_json()["code"] == "otp_wrong"


def test_the_proof_of_the_first_step_ends(program: Program, travel: Travel) -> None:
    program.sign_in()
    app, _codes = set_up_otp(program)
    told = Program(program.app).sign_in().get_json()
    travel(timedelta(minutes=6))
    answer = program.call("POST", "auth/otp/verify", {"challenge": told["challenge"], "code": app.code()}, token="")
    assert answer.status_code == 401 and "Begin again" in answer.get_json()["detail"]
    for wrong in ("", "x", program.access, program.refresh):
        assert program.call("POST", "auth/otp/verify", {"challenge": wrong, "code": app.code()}, token="").status_code == 401


def test_a_code_works_once(program: Program, travel: Travel) -> None:
    """Not twice within its window, nor the one with which it was switched on, nor an older one after a newer one."""
    program.sign_in()
    app, _codes = set_up_otp(program)
    used = app.code()
    assert Program(program.app).sign_in(otp=used).status_code == 401
    travel(2 * STEP)
    older, newer = app.code(-1), app.code()
    assert Program(program.app).sign_in(otp=newer).status_code == 200
    assert Program(program.app).sign_in(otp=newer).status_code == 401
    assert Program(program.app).sign_in(otp=older).status_code == 401
    assert Program(program.app).sign_in(otp=app.code(1)).status_code == 200  # the clock of a phone may be ahead
    assert Program(program.app).sign_in(otp=app.code(3)).status_code == 401


def test_a_backup_code_works_once(program: Program) -> None:
    program.sign_in()
    _app, codes = set_up_otp(program)
    assert Program(program.app).sign_in(otp=codes[0]).status_code == 200
    assert Program(program.app).sign_in(otp=codes[0]).status_code == 401
    assert Program(program.app).sign_in(otp=codes[1].lower().replace("-", " ")).status_code == 200  # as people type it
    assert program.call("GET", "auth/otp/status").get_json()["backup_codes_left"] == 8


def test_new_backup_codes_replace_the_former(program: Program, travel: Travel) -> None:
    program.sign_in()
    app, codes = set_up_otp(program)
    travel(STEP)
    assert program.call("POST", "auth/otp/backup", {"code": "000000"}).status_code == 422
    fresh = program.call("POST", "auth/otp/backup", {"code": app.code()}).get_json()["backup_codes"]
    assert not set(fresh) & set(codes) and len(fresh) == 10
    assert Program(program.app).sign_in(otp=codes[0]).status_code == 401
    assert Program(program.app).sign_in(otp=fresh[0]).status_code == 200


def test_switching_off_needs_password_and_code(program: Program, travel: Travel) -> None:
    program.sign_in()
    app, codes = set_up_otp(program)
    travel(STEP)

    def disable(password: str, code: str) -> tuple[int, str]:
        answer = program.call("POST", "auth/otp/disable", {"password": password, "code": code})
        return answer.status_code, ",".join(item["path"] for item in (answer.get_json(silent=True) or {}).get("errors", ()))

    assert disable("wrong password", app.code()) == (422, "password")
    assert disable(PASSWORD, "000000") == (422, "code")
    assert disable(PASSWORD, codes[3])[0] == 204
    assert Program(program.app).sign_in().status_code == 200
    assert disable(PASSWORD, codes[4])[0] == 409
    set_up_otp(program)  # and again from the beginning


def test_guessing_codes_is_slowed_down(program: Program, travel: Travel) -> None:
    program.sign_in()
    app, _codes = set_up_otp(program)
    travel(STEP)
    guesser = Program(program.app, address=ELSEWHERE)
    answers = [guesser.sign_in(otp=f"{n:06}").status_code for n in range(7)]
    assert answers == [401] * 5 + [429] * 2
    refused = guesser.sign_in(otp=app.code())
    assert refused.status_code == 429 and 0 < int(refused.headers["Retry-After"]) <= 60  # the right one too
    assert Program(program.app).sign_in(otp=app.code()).status_code == 200  # where the owner is, nothing is locked


def test_two_requests_with_one_code(program: Program, travel: Travel) -> None:
    """Whatever the order of their statements, one is let in."""
    from concurrent.futures import ThreadPoolExecutor

    program.sign_in()
    app, codes = set_up_otp(program)
    travel(STEP)
    for code in (app.code(), codes[0]):
        with ThreadPoolExecutor(4) as pool:
            answers = [
                answer.status_code for answer in pool.map(lambda typed: Program(program.app).sign_in(otp=typed), [code] * 4)
            ]
        assert answers.count(200) == 1, answers


def test_reset_by_the_administrator(program: Program) -> None:
    program.sign_in()
    set_up_otp(program)
    with program.app.app_context():
        assert otp.reset(portal_of(program.app), SYSTEM, "admin") is True
        assert otp.reset(portal_of(program.app), SYSTEM, "admin") is False
    assert program.me() == 401  # who took the phone may be signed in
    assert Program(program.app).sign_in().status_code == 200


def test_a_rotated_key(program: Program, portal_app: Flask, travel: Travel) -> None:
    program.sign_in()
    app, _codes = set_up_otp(program)
    portal = portal_of(portal_app)
    portal.keyring = keyring.rotate(portal.settings.data_dir / KEYRING_FILE)
    assert program.me() == 200 and program.renew().status_code == 200  # signed with the former key
    with portal_app.app_context():
        assert otp.reseal(portal) == 1 and otp.reseal(portal) == 0
    travel(STEP)
    assert Program(program.app).sign_in(otp=app.code()).status_code == 200


# ---- pages


def test_pages(admin: Person, make_browser: Make, travel: Travel) -> None:
    browser = make_browser()
    browser.sign_in()
    assert "Set up an authenticator app" in browser.page("/profile")
    assert browser.get("/profile/otp").status_code == 302  # nothing offered yet, and looking makes nothing
    assert browser.post("/profile/otp").headers["Location"] == "/profile/otp"
    answer = browser.get("/profile/otp")
    page = answer.get_data(as_text=True)
    assert 'src="data:image/svg+xml' in page and "style=" not in page
    assert "img-src 'self' data:" in answer.headers["Content-Security-Policy"]
    secret = re.search(r'id="otp-secret">([A-Z2-7 ]+)<', page)
    assert secret and secret[1] in browser.page("/profile/otp")  # the same again
    app = App(secret[1].replace(" ", ""))
    wrong = browser.post("/profile/otp/enable", {"code": "000000"})
    assert wrong.status_code == 422 and secret[1] in wrong.get_data(as_text=True)
    shown = browser.post("/profile/otp/enable", {"code": f" {app.code()[:3]} {app.code()[3:]}"}).get_data(as_text=True)
    codes = html.unescape(shown.split('id="backup-codes">')[1].split("<")[0]).split()
    assert len(codes) == 10 and codes[0] not in browser.page("/profile")
    assert "10 backup codes are left" in browser.page("/profile")

    travel(STEP)
    other = make_browser(ELSEWHERE)
    answer = other.sign_in(wanted="/operations")
    assert answer.status_code == 303 and answer.headers["Location"] == "/login/code?next=/operations"
    assert not other.signed_in
    assert "admin" in other.page("/login/code?next=/operations")
    wrong = other.post("/login/code", {"code": "000000", "next": "/operations"})
    assert wrong.status_code == 401 and "The code is wrong" in wrong.get_data(as_text=True)
    answer = other.post("/login/code", {"code": app.code(), "next": "/operations"})
    assert answer.status_code == 303 and answer.headers["Location"] == "/operations" and other.signed_in
    assert other.get("/login/code").status_code == 302

    travel(STEP)
    assert browser.post("/profile/otp/backup", {"backup_code": "000000"}).status_code == 422
    again = browser.post("/profile/otp/backup", {"backup_code": app.code()}).get_data(as_text=True)
    fresh = html.unescape(again.split('id="backup-codes">')[1].split("<")[0]).split()
    refused = browser.post("/profile/otp/disable", {"otp_password": "wrong", "otp_code": fresh[0]})
    assert refused.status_code == 422 and "not your present password" in refused.get_data(as_text=True)
    assert browser.post("/profile/otp/disable", {"otp_password": PASSWORD, "otp_code": fresh[0]}).status_code == 303
    assert "Set up an authenticator app" in browser.page("/profile")


def test_the_code_page_needs_the_first_step(program: Program, make_browser: Make) -> None:
    program.sign_in()
    app, _codes = set_up_otp(program)
    browser = make_browser()
    assert browser.get("/login/code").headers["Location"] == "/login"
    assert browser.post("/login/code", {"code": app.code()}).headers["Location"] == "/login"
    assert not browser.signed_in


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"])
def test_nobody_is_led_elsewhere(program: Program, make_browser: Make, target: str, travel: Travel) -> None:
    program.sign_in()
    app, _codes = set_up_otp(program)
    travel(STEP)
    browser = make_browser()
    assert browser.sign_in(wanted=target).headers["Location"] == "/login/code"
    assert browser.post("/login/code", {"code": app.code(), "next": target}).headers["Location"] == "/"
    assert browser.get(f"/login/code?next={target}").headers["Location"] == "/"


def test_a_password_alone_gives_no_token(program: Program, travel: Travel) -> None:
    """`/auth/token`, by which the command line signs in, asks for the code too."""
    program.sign_in()
    app, _codes = set_up_otp(program)
    travel(STEP)
    body = {"name": "admin", "password": PASSWORD, "token_name": "laptop"}
    assert program.call("POST", "auth/token", body, token="").get_json()["code"] == "otp_required"
    assert program.call("POST", "auth/token", body | {"otp": app.code()}, token="").status_code == 201
    assert program.address == HERE
