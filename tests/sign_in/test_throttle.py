"""Guessing gets slow, and nobody can lock out anybody else; requests are counted and told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import bcrypt
import pytest
from argon2 import PasswordHasher, extract_parameters
from click.testing import CliRunner
from flask import Flask

from clawportal.cli.server import cli
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.models import EventRow, User, WrongTries
from clawportal.services.identity import identity, throttle
from clawportal.settings import Settings
from tests.conftest import PASSWORD, Person, portal_of
from tests.sign_in.conftest import ELSEWHERE, HERE, Browser, Program

Travel = Callable[[timedelta], None]


def guess(program: Program, times: int, name: str = "admin") -> list[int]:
    return [program.sign_in(name, f"guess {number}").status_code for number in range(times)]


def attack(app: Flask, name: str, addresses: int) -> None:
    """Wrong tries from many addresses, without the cost of hashing."""
    with app.app_context():
        for number in range(addresses):
            for _ in range(9):
                with pytest.raises(ZeroDivisionError), throttle.guarded(portal_of(app), "password", name, f"203.0.113.{number}"):
                    _ = 1 / 0


def test_a_guesser_has_to_wait_and_the_owner_has_not(program: Program, travel: Travel) -> None:
    guesser, owner = Program(program.app, address=ELSEWHERE), program
    assert guess(guesser, 12) == [401] * 10 + [429] * 2
    refused = guesser.sign_in()
    assert refused.status_code == 429 and refused.get_json()["code"] == "too_many_requests"  # with the right password too
    assert 50 <= int(refused.headers["Retry-After"]) <= 60
    assert owner.sign_in().status_code == 200
    travel(timedelta(seconds=61))
    assert guess(guesser, 2) == [401, 429]  # one more try, then twice as long
    assert 110 <= int(guesser.sign_in().headers["Retry-After"]) <= 120
    travel(timedelta(seconds=121))
    assert guesser.sign_in().status_code == 200  # right at last: forgotten
    assert guess(guesser, 9) == [401] * 9
    with program.app.app_context():
        assert db.session.query(EventRow).filter_by(kind="user.sign_in_slowed").count() == 1


def test_an_attack_from_everywhere_does_not_lock_the_owner_out(program: Program, travel: Travel) -> None:
    assert program.sign_in().status_code == 200  # from here, some day
    attack(program.app, "admin", 11)
    with program.app.app_context(), pytest.raises(Exception, match="Too many") as told:
        attack(program.app, "admin", 1)
    assert 1 <= int(told.value.headers["Retry-After"]) <= 60  # type: ignore[attr-defined]  # a Problem has headers
    newcomer = Program(program.app, address=ELSEWHERE)
    assert newcomer.sign_in().status_code == 429
    assert program.sign_in().status_code == 200  # a known address never waits for what others did
    travel(timedelta(seconds=61))
    assert newcomer.sign_in().status_code == 200  # and a new one a minute at most


def test_names_that_do_not_exist_are_slowed_down_alike(program: Program) -> None:
    program.sign_in()
    other = Program(program.app, address=ELSEWHERE)
    assert guess(other, 12, "nobody") == guess(other, 12, "admin")
    one, two = (other.sign_in(name, "x").get_json()["detail"] for name in ("nobody", "admin"))
    assert one.split("Wait")[0] == two.split("Wait")[0]
    with program.app.app_context():
        assert not [row for row in db.session.query(WrongTries) if "nobody" in (row.subject, row.address)]
        assert not db.session.query(EventRow).filter(EventRow.message.contains("nobody")).count()


def test_one_address_with_many_names(program: Program) -> None:
    program.sign_in()
    with program.app.app_context():
        for number in range(100):
            with pytest.raises(ZeroDivisionError), throttle.guarded(portal_of(program.app), "password", f"u{number}", HERE):
                _ = 1 / 0
    assert program.sign_in("somebody", "x").status_code == 429
    assert program.sign_in().status_code == 200  # who has been here before goes on
    assert Program(program.app, address=ELSEWHERE).sign_in("somebody", "x").status_code == 401


def test_a_hundred_at_once_are_a_hundred(program: Program) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: Program(program.app).sign_in("admin", f"guess {n}").status_code, range(16)))
    assert answers.count(401) <= 10 and answers.count(429) >= 6 and not set(answers) - {401, 429}


def test_what_is_old_is_forgotten(program: Program, travel: Travel) -> None:
    guess(program, 10)
    travel(timedelta(hours=2))
    assert guess(program, 5) == [401] * 5
    travel(timedelta(days=2))
    with program.app.app_context():
        throttle.forget_old()
        assert db.session.query(WrongTries).count() == 0


def test_waits_stay_within_bounds() -> None:
    for pace in (throttle.HERE, throttle.NAME, throttle.ADDRESS, throttle.CODE_HERE):
        waits = [pace.wait(failures) for failures in range(5000)]
        assert not any(waits[: pace.free]) and waits == sorted(waits) and waits[-1] == pace.most


def test_the_password_is_asked_for_slowly_on_the_account_page_too(admin: Person, make_browser: Callable[..., Browser]) -> None:
    browser = make_browser()
    browser.sign_in()
    form = {"current": "wrong", "password": "another password", "password_again": "another password"}
    assert [browser.post("/profile/password", form).status_code for _ in range(11)] == [422] * 10 + [429]


# ---- commands


@pytest.fixture
def command(portal_app: Flask) -> Callable[..., str]:
    folder = str(portal_of(portal_app).settings.data_dir)

    def run(*arguments: str, stdin: str | None = None, status: int = 0) -> str:
        done = CliRunner(env={"CLAWPORTAL_DATA_DIR": folder}).invoke(cli, arguments, input=stdin)
        assert done.exit_code == status, done.output
        return done.output

    return run


def test_unlock(program: Program, command: Callable[..., str]) -> None:
    assert guess(program, 11)[-1] == 429
    assert "can try again" in command("user", "unlock", "admin")
    assert program.sign_in().status_code == 200
    assert "did not have to wait" in command("user", "unlock", "admin")
    assert "no user named" in command("user", "unlock", "nobody", status=1)


def test_reset_otp(program: Program, command: Callable[..., str]) -> None:
    from tests.sign_in.conftest import set_up_otp

    program.sign_in()
    set_up_otp(program)
    assert Program(program.app).sign_in().status_code == 401
    assert "password alone" in command("user", "reset-otp", "admin")
    assert Program(program.app).sign_in().status_code == 200
    assert "no second factor" in command("user", "reset-otp", "admin")


# ---- hashes of other systems


@pytest.mark.parametrize("mark", [b"2b", b"2a"])
def test_bcrypt_is_taken_over_and_upgraded(program: Program, command: Callable[..., str], mark: bytes) -> None:
    old = bcrypt.hashpw(b"words of long ago", bcrypt.gensalt(4, mark)).decode()
    command("user", "create", "ann", "--role", "viewer", "--hash-stdin", stdin=f"{old}\n")
    assert program.sign_in("ann", "words of long agO").status_code == 401
    assert program.sign_in("ann", "words of long ago").status_code == 200
    with program.app.app_context():
        assert db.session.query(User).filter_by(name="ann").one().password_hash.startswith("$argon2id$")
    assert program.sign_in("ann", "words of long ago").status_code == 200


def test_bcrypt_beyond_its_length(program: Program) -> None:
    """It does not see what comes after 72 bytes, so whoever knows those must not get in with anything behind them."""
    with program.app.app_context(), transaction():
        user = db.session.query(User).filter_by(name="admin").one()
        user.password_hash = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    assert program.sign_in(password="x" * 73).status_code == 401
    assert program.sign_in(password="x" * 71 + "é").status_code == 401
    assert program.sign_in(password="x" * 72).status_code == 200


def test_hashes_that_are_none(portal_app: Flask, command: Callable[..., str]) -> None:
    other = "$argon2i$v=19$m=16,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"
    for wrong in ("", "words", "$2b$04$short", "$argon2id$", other, "$6$salt$hash"):
        assert "not a hash" in command("user", "create", "ann", "--hash-stdin", stdin=f"{wrong}\n", status=1)
    with portal_app.app_context():
        made = identity.create_user(
            portal_of(portal_app), SYSTEM, "bob", PasswordHasher(1, 8, 1).hash(PASSWORD), role="portal-admin", hashed=True
        )
        before = made.password_hash
        assert identity.authenticate(portal_of(portal_app), "bob", PASSWORD).password_hash != before  # too weak: made anew


# ---- all requests


def test_requests_are_counted_and_told(make_app: Callable[..., Flask]) -> None:
    from tests.conftest import make_person

    app = make_app(rate_limit="5 per minute")
    ann, bob = make_person(app, "ann", "portal-admin"), make_person(app, "bob", "portal-admin")
    answers = [ann.get("auth/me") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    told = answers[0].headers
    assert told["RateLimit-Limit"] == "5" and told["RateLimit-Remaining"] == "4" and told["RateLimit-Policy"] == "5;w=60"
    assert 1 <= int(told["RateLimit-Reset"]) <= 60
    refused = answers[-1]
    assert refused.headers["RateLimit-Remaining"] == "0" and 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.content_type == "application/problem+json" and refused.get_json()["code"] == "too_many_requests"
    assert bob.get("auth/me").status_code == 200  # others are not touched
    nobody = app.test_client()
    assert [nobody.get("/login").status_code for _ in range(6)] == [200] * 5 + [429]
    assert nobody.get("/healthz").status_code == 200 and "RateLimit-Limit" not in nobody.get("/healthz").headers
    assert nobody.get("/login", environ_base={"REMOTE_ADDR": ELSEWHERE}).status_code == 200


def test_without_limit(make_app: Callable[..., Flask]) -> None:
    assert "RateLimit-Limit" not in make_app(rate_limit="").test_client().get("/login").headers


@pytest.mark.filterwarnings("ignore")
def test_while_redis_does_not_answer(make_app: Callable[..., Flask]) -> None:
    client = make_app(rate_limit="3 per minute", rate_limit_storage="redis://127.0.0.1:1").test_client()
    assert [client.get("/login").status_code for _ in range(4)] == [200] * 3 + [429]


@pytest.mark.parametrize("wrong", ["many", "0 per", "10 per fortnight"])
def test_limits_that_cannot_be_read(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="6000 per minute"):
        Settings(data_dir=tmp_path, rate_limit=wrong)


def test_a_name_that_nobody_has_is_looked_at_for_as_long_as_any_other() -> None:
    """The hash in its place costs the same work: as many passes over as much memory."""
    assert extract_parameters(identity._NOBODY) == extract_parameters(identity._hasher.hash(PASSWORD))
    assert not identity._matches(identity._NOBODY, PASSWORD)
