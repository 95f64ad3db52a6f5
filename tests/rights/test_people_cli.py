"""`claw tenant`, `project` and `member` against a portal that listens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from clawportal.cli.claw import cli
from tests.conftest import People, Person, serving

Run = Callable[..., Result]


@pytest.fixture
def claw(people: People) -> Iterator[Callable[[Person], Run]]:
    """`claw(person)("tenant", "list")`: a command as somebody."""
    with serving(people.admin.app) as (url, _port):

        def of(person: Person) -> Run:
            def run(*arguments: str, code: int = 0, **options: str) -> Result:
                found = CliRunner().invoke(cli, arguments, env={"CLAW_URL": url, "CLAW_TOKEN": person.token}, **options)
                assert found.exit_code == code, (found.exit_code, found.output, found.exception)
                return found

            return run

        yield of


def test_an_organisation_from_a_terminal(people: People, claw: Callable[[Person], Run]) -> None:
    admin, owner = claw(people.admin), claw(people.owner)
    admin("tenant", "create", "globex", "--title", "Globex Ltd.")
    assert "Globex Ltd." in admin("tenant", "list").output
    assert [t["name"] for t in json.loads(owner("tenant", "list", "-o", "json").output)] == ["default"]
    owner("tenant", "create", "mine", code=4)
    admin("project", "create", "shop", code=6)
    admin("project", "create", "shop", "--tenant", "globex")
    admin("project", "create", "shop", "--tenant", "moon", code=3)
    assert "globex" in admin("project", "list").output
    assert "2Gi" in admin("tenant", "quota", "globex", "--memory", "2Gi", "--instances", "5").output
    kept = json.loads(admin("tenant", "quota", "globex", "--instances", "none", "-o", "json").output)
    assert kept["limits"] == {"instances": None, "cpu": None, "memory": "2Gi", "storage": None}
    assert "100Gi" in admin("tenant", "quota", "globex", "--storage", "100Gi").output
    admin("tenant", "quota", "globex", "--instances", "many", code=2)
    owner("tenant", "quota", "--memory", "1Ti", code=4)
    admin("project", "quota", "shop", "--cpu", "500m")
    assert "50Gi" in admin("project", "quota", "shop", "--storage", "50Gi").output
    admin("project", "delete", "shop", "--yes", "wrong", code=6)
    assert "was deleted" in admin("project", "delete", "shop", input="shop\n").output
    people.owner.create("one")
    owner("project", "create", "lab")
    owner("project", "delete", "default", "--yes", "default", code=6)
    owner("project", "delete", "lab", "--yes", "lab")
    admin("tenant", "delete", "default", "--yes", "default", code=6)
    assert "was deleted" in admin("tenant", "delete", "globex", "--yes", "globex").output


def test_members_from_a_terminal(people: People, claw: Callable[[Person], Run]) -> None:
    owner, viewer = claw(people.owner), claw(people.viewer)
    made = owner("member", "add", "kim", "--role", "operator", "--full-name", "Kim Lee")
    assert len(made.stdout.strip()) > 10 and "shown this once" in made.stderr
    assert "Kim Lee" in owner("member", "list").output
    assert "it was operator" in owner("member", "role", "kim", "viewer").output
    assert "/invitations/cli_" in owner("member", "invite", "--note", "Lou").output
    told = owner("member", "rights", "--permission", "instance.kill").output
    assert "the whole portal" in told and "kim" not in told
    owner("member", "remove", "kim")
    owner("member", "remove", "kim", code=3)
    owner("member", "add", "eve", "--role", "portal-admin", code=6)
    viewer("member", "list", code=4)
    viewer("member", "add", "eve", code=4)
    assert "role tenant-admin in default" in owner("whoami").output


def test_scripts_read_what_a_change_answered(people: People, claw: Callable[[Person], Run]) -> None:
    def read(person: Person, *arguments: str) -> dict[str, Any]:
        return dict(json.loads(claw(person)(*arguments, "-o", "json").stdout))

    admin, owner = people.admin, people.owner
    made = read(admin, "tenant", "create", "globex", "--title", "Globex Ltd.")
    shop = read(admin, "project", "create", "shop", "--tenant", made["id"])
    assert (made["name"], made["title"]) == ("globex", "Globex Ltd.") and shop["tenant_id"] == made["id"]
    kim = read(owner, "member", "add", "kim", "--role", "operator")
    assert kim["name"] == "kim" and len(kim["password"]) > 10
    changed = read(owner, "member", "role", "kim", "viewer")
    assert (changed["user_id"], changed["role"]) == (kim["user_id"], "viewer")
    invited = read(owner, "member", "invite", "--note", "Lou")
    assert invited["note"] == "Lou" and invited["url"].startswith("http") and invited["url"].endswith(invited["path"])
    assert read(admin, "project", "delete", shop["id"], "--yes", "shop") == {"state": "deleted"}
    assert read(admin, "tenant", "delete", "globex", "--yes", "globex") == {"state": "deleted"}


def test_help_imports_nothing_heavy() -> None:
    command = [sys.executable, "-c", "from clawportal.cli.claw import cli; cli()", "--help"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ, timeout=60)
    assert all(name in answer.stdout for name in ("tenant", "project", "member", "whoami"))
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, clawportal.cli.claw; print(*sys.modules)"],
        capture_output=True, text=True, check=True, env=os.environ, timeout=60,
    )  # fmt: skip
    assert not {"flask", "sqlalchemy", "pydantic", "httpx", "yaml"} & set(loaded.stdout.split())
