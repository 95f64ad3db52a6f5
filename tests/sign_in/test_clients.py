"""Access and refresh tokens: each good for one thing, refresh tokens once, and over as soon as the session is."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from clawportal import clock
from clawportal.db import db, transaction
from clawportal.models import EventRow, User
from tests.conftest import PASSWORD, Person, portal_of
from tests.sign_in.conftest import ELSEWHERE, Program

Travel = Callable[[timedelta], None]


def claims(text: str) -> dict[str, object]:
    body = text.split(".")[1]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


def test_signing_in_and_out(program: Program) -> None:
    answer = program.sign_in().get_json()
    assert answer["token_type"] == "Bearer" and answer["expires_in"] == 900
    me = program.call("GET", "auth/me").get_json()
    assert me["name"] == "admin" and me["kind"] == "user" and me["session_id"] == answer["session_id"]
    assert program.call("POST", "tokens", {"name": "made with it"}).status_code == 201  # changes need no CSRF token
    assert program.call("POST", "auth/logout").status_code == 204
    assert program.me() == 401 and program.renew().status_code == 401


def test_an_api_token_has_no_session(admin: Person) -> None:
    assert admin.post("auth/logout").status_code == 409 and admin.get("auth/me").get_json()["session_id"] is None


def test_wrong_credentials_are_told_in_the_same_words(program: Program) -> None:
    from tests.conftest import make_person

    make_person(program.app, "gone", "portal-admin")
    with program.app.app_context(), transaction():
        db.session.query(User).filter_by(name="gone").one().active = False
    told = []
    for name, password in (("admin", "wrong password"), ("nobody", PASSWORD), ("gone", PASSWORD), ("", ""), ("a\nb", PASSWORD)):
        answer = program.sign_in(name, password)
        assert answer.status_code == 401
        told.append({**answer.get_json(), "request_id": ""})
    assert all(document == told[0] for document in told)
    assert not {"Set-Cookie", "Retry-After"} & set(answer.headers.keys())


def test_each_token_is_good_for_one_thing(program: Program) -> None:
    program.sign_in()
    assert program.me(token=program.refresh) == 401  # a refresh token is no access token
    assert program.renew(program.access).status_code == 401  # nor the other way round
    assert program.me() == 200  # and trying it did no harm


def test_the_end_of_an_access_token(program: Program, travel: Travel) -> None:
    program.sign_in()
    travel(timedelta(minutes=14))
    assert program.me() == 200
    travel(timedelta(minutes=2))
    assert program.me() == 401
    assert program.renew().status_code == 200 and program.me() == 200
    travel(timedelta(days=29))
    assert program.renew().status_code == 200  # each refresh moves the end
    travel(timedelta(days=31))
    assert program.renew().status_code == 401


def test_reuse_of_a_refresh_token_ends_the_session(program: Program) -> None:
    program.sign_in()
    first = program.refresh
    assert program.renew().status_code == 200
    newest, thief = program.refresh, Program(program.app, address=ELSEWHERE)
    assert newest != first and program.me() == 200
    answer = thief.renew(first)
    assert answer.status_code == 401 and "used before" in answer.get_json()["detail"]
    assert program.me() == 401 and program.renew(newest).status_code == 401  # for the owner too: nobody knows who is who
    with program.app.app_context():
        told = db.session.query(EventRow).filter_by(kind="session.reuse").one()
        assert told.level == "warning" and ELSEWHERE in told.message
    assert program.sign_in().status_code == 200


def test_two_refreshes_at_once(program: Program) -> None:
    program.sign_in()
    text = program.refresh
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: Program(program.app).renew(text).status_code, range(4)))
    assert answers.count(200) == 1, answers


def test_other_sessions_do_not_suffer(program: Program) -> None:
    program.sign_in()
    other = Program(program.app)
    other.sign_in()
    first = other.refresh
    other.renew(), other.renew(first)
    assert other.me() == 401 and program.me() == 200


@pytest.mark.parametrize("ended", ["password", "inactive"])
def test_revocation_works_at_once(program: Program, ended: str) -> None:
    program.sign_in()
    with program.app.app_context(), transaction():
        user = db.session.query(User).filter_by(name="admin").one()
        if ended == "password":
            user.session_epoch += 1
        else:
            user.active = False
    assert program.me() == 401 and program.renew().status_code == 401


def test_forged_tokens(program: Program) -> None:
    program.sign_in()
    head, body, signature = program.access.split(".")
    ring = portal_of(program.app).keyring
    good = claims(program.access)
    key = ring.derived(ring.current, "jwt/access")
    assert key and key != ring.derived(ring.current, "jwt/refresh")
    past = {**good, "exp": int(clock.now().timestamp()) - 1}

    def signed(claims: dict[str, object], secret: str | bytes = key, algorithm: str = "HS256", **header: str) -> str:
        return jwt.encode({"alg": algorithm, **header}, claims, OctKey.import_key(secret), [algorithm])

    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT","kid":"1"}').rstrip(b"=").decode()
    for text in (
        f"{head}.{body}.{signature[:-2]}", f"{head}.{body}.", f"{unsigned}.{body}.", "a.b.c", "...", "x", "eyJ", "é.é.é",
        signed(good, "another key of some length, to be long enough", kid="1"),
        signed(good, kid="7"),
        signed(good, key * 2, "HS512", kid="1"),
        signed(good),
        signed(past, kid="1"),
        signed({**good, "exp": "tomorrow"}, kid="1"),
        signed({**good, "aud": "clawportal/refresh"}, kid="1"),
        signed({**good, "sid": "nothing"}, kid="1"),
        signed({name: value for name, value in good.items() if name != "exp"}, kid="1"),
    ):  # fmt: skip
        assert program.me(token=text.encode().decode("latin-1")) == 401, text
    assert program.me(token=signed(good, kid="1")) == 200


def test_no_default_credentials(make_app: Callable[..., object]) -> None:
    """A fresh portal has no user at all, and the first one gets a password that nobody can guess."""
    from flask import Flask

    from clawportal.services.identity import identity

    app = make_app(first_run=True)
    assert isinstance(app, Flask)
    guesses = ("admin", "password", "clawportal", "changeme", "admin123", "")
    made = []
    for _ in range(2):
        for guess in guesses:
            assert Program(app).sign_in("admin", guess).status_code in (401, 429)
        with app.app_context():
            made.append(identity.first_start(portal_of(app)))
    assert made[0] and len(made[0]) >= 16 and made[1] is None
    ring = portal_of(app).keyring
    assert len(ring.session_key) >= 48
