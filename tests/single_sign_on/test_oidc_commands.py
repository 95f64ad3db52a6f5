"""`claw oidc` and `claw identity` against a portal that listens, and a real OpenID provider."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import PASSWORD, People, Person
from tests.rights.test_people_cli import Run, claw
from tests.single_sign_on.oidc_provider import CLIENT, SECRET, OpenIdProvider
from tests.single_sign_on.rows import make_provider
from tests.single_sign_on.test_without_single_sign_on import REST

__all__ = ["claw"]
Claw = Callable[[Person], Run]


@pytest.mark.oidc
@pytest.mark.xdist_group("oidc")
def test_a_provider_from_a_terminal(people: People, claw: Claw, there: OpenIdProvider) -> None:
    admin = claw(people.admin)
    assert "No sign-in providers." in admin("oidc", "list").output
    given = ("--issuer", there.url, "--client-id", CLIENT, "--scopes", "openid profile email groups")
    more = ("--domain", "example.com", "--domain", "example.org", "--tenant", "default", "--create-users", "--secret-stdin")
    assert "is set up" in admin("oidc", "add", "test", *given, *more, "--title", "Test SSO", input=f"{SECRET}\n").output
    listed = admin("oidc", "list").stdout.splitlines()
    assert listed[0].split() == ["NAME", "TITLE", "STATE", "PEOPLE", "ISSUER"]
    assert listed[1].split() == ["test", "Test", "SSO", "on", "0", there.url]
    admin("oidc", "map", "test", "ops", "operator", "--tenant", "default")
    assert "in the whole portal now" in admin("oidc", "map", "test", "admins", "portal-admin").output
    shown = admin("oidc", "show", "test").output
    assert "example.com, example.org" in shown and "group ops" in shown and "portal-admin in the whole portal" in shown
    assert SECRET not in shown and json.loads(admin("oidc", "show", "test", "-o", "json").stdout)["has_secret"]
    assert "accepts client id and secret" in admin("oidc", "test", "test").output, "with the stored secret"
    admin("oidc", "add", "wrong", *given, "--secret-stdin", input="wrong\n")
    failed = admin("oidc", "test", "wrong", code=6).output
    assert "FAIL" in failed and "refuses the client id or the secret" in failed and "Copy both" in failed
    admin("oidc", "unmap", "test", "ops")
    assert "ops" not in admin("oidc", "show", "test").output
    assert "gives nothing here" in admin("oidc", "unmap", "test", "ops", code=3).output
    admin("oidc", "delete", "wrong", code=1, input="n\n")
    assert "Delete it?" in admin("oidc", "delete", "wrong", input="y\n").output
    admin("oidc", "delete", "test", "--yes")
    assert json.loads(admin("oidc", "list", "-o", "json").stdout) == []
    assert "There is no sign-in provider 'test'" in admin("oidc", "show", "test", code=3).output


def test_mistakes_name_the_field_and_others_may_not(people: People, claw: Claw) -> None:
    admin, owner = claw(people.admin), claw(people.owner)
    refused = admin("oidc", "add", "sso", "--issuer", "http://sso.example", "--client-id", "portal", "--public", code=6).output
    assert "issuer: The address must begin with https://" in refused
    admin("oidc", "add", "sso", "--issuer", "https://sso.example", "--client-id", "portal", "--public", "-t", "nowhere", code=6)
    for words in (("list",), ("show", "sso"), ("map", "sso", "ops", "viewer"), ("delete", "sso", "--yes")):
        owner("oidc", *words, code=4)


def test_ones_own_linked_accounts(people: People, claw: Claw) -> None:
    owner, viewer = claw(people.owner), claw(people.viewer)
    home = people.owner.get("tenants").get_json()["items"][0]["id"]
    provider, _group, linked = make_provider(people.owner, home)
    assert "No linked accounts." in viewer("identity", "list").output
    shown = owner("identity", "list").stdout.splitlines()
    assert shown[0].split() == ["NAME", "PROVIDER", "EMAIL", "LINKED", "USED", "ID"]
    assert "secret-sso" in shown[1] and "never" in shown[1] and linked in shown[1]
    viewer("identity", "unlink", "secret-sso", "--password-stdin", code=3, input=f"{PASSWORD}\n")
    owner("identity", "unlink", "secret-sso", "--password-stdin", code=4, input="not-the-password\n")
    assert [one["id"] for one in json.loads(owner("identity", "list", "-o", "json").stdout)] == [linked]
    assert "is linked no more" in owner("identity", "unlink", "secret-sso", "--password-stdin", input=f"{PASSWORD}\n").output
    assert json.loads(owner("identity", "list", "-o", "json").stdout) == []
    assert people.admin.get(f"oidc/providers/{provider}").get_json()["people"] == 0


@pytest.mark.parametrize(("plugins", "there"), [("", True), (REST, False)])
@pytest.mark.parametrize("command", ["oidc", "identity"])
def test_the_commands_of_the_client_come_and_go(command: str, plugins: str, there: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clawportal.cli.claw", command, "--help"],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "CLAWPORTAL_PLUGINS": plugins},
    )  # fmt: skip
    assert (done.returncode == 0) is there, done.stdout + done.stderr
    assert there or "No such command" in done.stderr
