"""A browser that somebody has signed in with before is not shut out by who guesses beside it; a new password ends tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from clawportal.cli.server import cli
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db
from clawportal.http.security import DEVICE_COOKIE
from clawportal.models import ApiToken
from clawportal.services.identity import devices, identity
from tests.conftest import PASSWORD, Person, portal_of
from tests.sign_in.conftest import Browser, Program
from tests.sign_in.test_throttle import guess

Make = Callable[..., Browser]


def test_one_address_guessing_never_locks_the_owner_out_of_a_known_browser(admin: Person, make_browser: Make) -> None:
    owner, stranger = make_browser(), make_browser()
    assert owner.sign_in().status_code == 303
    owner.post("/logout")
    assert guess(Program(admin.app), 12)[-1] == 429, "somebody at the same address, as behind one router"
    assert stranger.sign_in().status_code == 429
    assert owner.sign_in().status_code == 303, "its own budget"


def test_a_known_browser_has_no_endless_budget_either(admin: Person, make_browser: Make) -> None:
    owner = make_browser()
    owner.sign_in()
    owner.post("/logout")
    assert [owner.sign_in(password=f"guess {n}").status_code for n in range(11)][-1] == 429


def test_what_a_browser_keeps_cannot_be_made_or_lent(admin: Person) -> None:
    portal = portal_of(admin.app)
    with admin.app.app_context():
        identity.create_user(portal, SYSTEM, "kim", PASSWORD, role="portal-admin")
        kept = devices.made_for(portal, admin.actor.id)
        assert devices.known(portal, kept, "admin") and devices.known(portal, kept, "ADMIN")
        assert not devices.known(portal, kept, "kim")
        for wrong in ("", "1.2.3", kept[:-1] + ("0" if kept[-1] != "0" else "1"), kept.replace(admin.actor.id, "x"), "9" * 400):
            assert not devices.known(portal, wrong, "admin")


def test_the_cookie_is_for_the_browser_alone(admin: Person, make_browser: Make) -> None:
    answer = make_browser().sign_in()
    found = next(line for line in answer.headers.getlist("Set-Cookie") if line.startswith(f"{DEVICE_COOKIE}="))
    assert "HttpOnly" in found and "SameSite=Lax" in found


def live(admin: Person) -> int:
    with admin.app.app_context():
        return db.session.query(ApiToken).filter(ApiToken.user_id == admin.actor.id, ApiToken.revoked_at.is_(None)).count()


@pytest.mark.parametrize("too", [True, False])
def test_a_new_password_ends_tokens_where_that_is_wanted(admin: Person, make_browser: Make, too: bool) -> None:
    browser = make_browser()
    browser.sign_in()
    assert "End all my API tokens too" in browser.page("/profile") and live(admin) == 1
    new = {"current": PASSWORD, "password": "a fresh new password", "password_again": "a fresh new password"}
    assert browser.post("/profile/password", new | ({"end_tokens": "true"} if too else {})).status_code == 303
    assert live(admin) == (0 if too else 1)
    assert admin.get("auth/me").status_code == (401 if too else 200)


def test_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAWPORTAL_DATA_DIR", "unused")

    def run(*arguments: str) -> str:
        found = CliRunner(env={"CLAWPORTAL_LOG_LEVEL": "error"}).invoke(
            cli, ("--data-dir", str(tmp_path / "data"), *arguments), input="a fresh new password\n"
        )
        assert found.exit_code == 0, found.output
        return found.output

    run("db", "upgrade", "--first-start")
    assert "was changed" in run("user", "set-password", "admin", "--password-stdin", "--end-tokens")
