"""`claw login` with a second factor, and `claw token`, against a real server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flask import Flask

from clawportal.cli.claw import cli
from tests.conftest import PASSWORD, Person, serving
from tests.sign_in.conftest import Program, set_up_otp

Claw = Callable[..., Result]


@pytest.fixture
def claw(portal_app: Flask, admin: Person, tmp_path: Path) -> Iterator[Claw]:
    with serving(portal_app) as (url, _port):
        environment = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "CLAW_URL": url, "CLAW_TOKEN": ""}

        def run(*arguments: str, stdin: str | None = None, token: str = "") -> Result:
            return CliRunner(env=environment | {"CLAW_TOKEN": token}).invoke(cli, arguments, input=stdin, prog_name="claw")

        yield run


def test_login_asks_for_the_code(program: Program, claw: Claw, travel: Callable[[timedelta], None]) -> None:
    program.sign_in()
    app, codes = set_up_otp(program)
    travel(timedelta(seconds=30))
    done = claw("login", "--name", "admin", stdin=f"{PASSWORD}\n{app.code()}\n")
    assert done.exit_code == 0 and "authenticator app" in done.output and "Signed in" in done.output
    assert claw("whoami").exit_code == 0
    done = claw("login", "--name", "admin", "--password-stdin", "--otp", codes[0], stdin=f"{PASSWORD}\n")
    assert done.exit_code == 0
    done = claw("login", "--name", "admin", "--password-stdin", "--otp", codes[0], stdin=f"{PASSWORD}\n")
    assert done.exit_code == 4 and "was used already" in done.stderr
    done = claw("login", "--name", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert done.exit_code == 4 and "authenticator app" in done.stderr  # a script is told, not asked


def test_tokens(admin: Person, claw: Claw) -> None:
    def mine(*arguments: str) -> Result:
        return claw("token", *arguments, token=admin.token)

    made = mine("create", "ci", "--days", "7", "--scope", "instance.read", "--scope", "self", "--from", "127.0.0.0/8")
    assert made.exit_code == 0
    text = made.stdout.strip()
    assert text.startswith("clp_") and claw("list", token=text).exit_code == 0
    assert claw("operations", token=text).exit_code == 4
    listed = mine("list")
    assert "instance.read, self" in listed.output and "127.0.0.0/8" in listed.output and text not in listed.output
    shown = json.loads(mine("list", "-o", "json").stdout)["items"]
    assert {item["name"] for item in shown} == {"tests", "ci"}
    assert json.loads(mine("create", "ci", "--forever", "-o", "json").stdout)["expires_at"] is None
    assert mine("revoke", "ci").exit_code == 6  # two have this name
    assert mine("revoke", text[:12]).exit_code == 0
    assert claw("list", token=text).exit_code == 4
    assert mine("revoke", "ci").exit_code == 0 and mine("revoke", "ci").exit_code == 3
    refused = mine("create", "x", "--scope", "nonsense")
    assert refused.exit_code == 6 and "scopes" in refused.stderr
