"""`claw session` against a real server: where somebody is signed in, and ending that with the password alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

from click.testing import Result

from tests.conftest import PASSWORD, Person
from tests.sign_in.conftest import Browser, Program, set_up_otp
from tests.sign_in.test_claw_tokens import Claw, claw

__all__ = ["claw"]


def test_sessions_are_listed_and_ended(admin: Person, claw: Claw, make_browser: Callable[..., Browser]) -> None:
    def mine(*arguments: str, typed: str | None = None) -> Result:
        return claw("session", *arguments, token=admin.token, stdin=typed)

    assert mine("list").exit_code == 0 and "No open sessions" in mine("list").stderr
    one, two, three = (make_browser(f"192.0.2.{number}") for number in (1, 2, 3))
    for browser in (one, two, three):
        browser.sign_in("admin")
    shown = mine("list").stdout.splitlines()
    assert shown[0].split() == ["ID", "KIND", "DEVICE", "ADDRESS", "THROUGH", "SINCE", "USED"] and len(shown) == 4
    assert all("browser" in line and "password" in line for line in shown[1:])
    found = {item["address"]: item["id"] for item in json.loads(mine("list", "-o", "json").stdout)}
    refused = mine("end", found["192.0.2.1"], "--password-stdin", typed="not-the-password\n")
    assert refused.exit_code == 4 and one.signed_in
    ended = mine("end", found["192.0.2.1"], typed=f"{PASSWORD}\n")
    assert (
        ended.exit_code == 0 and f"The session {found['192.0.2.1']} was ended." in ended.stdout and PASSWORD not in ended.output
    )
    assert not one.signed_in and two.signed_in
    assert mine("end", found["192.0.2.1"], "--password-stdin", typed=f"{PASSWORD}\n").exit_code == 3
    assert "2 sessions were ended." in mine("end-all", "--password-stdin", typed=f"{PASSWORD}\n").stdout
    assert not two.signed_in and not three.signed_in
    assert json.loads(mine("list", "-o", "json").stdout) == [], "that of the command itself is over, too"
    assert claw("whoami", token=admin.token).exit_code == 0, "API tokens go on working"


def test_a_code_is_asked_for_as_when_signing_in(
    admin: Person, program: Program, claw: Claw, travel: Callable[[timedelta], None]
) -> None:
    program.sign_in()
    app, codes = set_up_otp(program)
    travel(timedelta(seconds=30))
    without = claw("session", "end-all", "--password-stdin", token=admin.token, stdin=f"{PASSWORD}\n")
    assert without.exit_code == 4 and program.me() == 200
    done = claw("session", "end-all", token=admin.token, stdin=f"{PASSWORD}\n{app.code()}\n")
    assert done.exit_code == 0 and "One session was ended." in done.stdout and program.me() == 401
    done = claw("session", "end-all", "--password-stdin", "--otp", codes[0], token=admin.token, stdin=f"{PASSWORD}\n")
    assert done.exit_code == 0 and "0 sessions were ended." in done.stdout
