"""`claw settings` and `clawportal settings` against a portal that listens."""

from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import CliRunner
from pytest import MonkeyPatch

from clawportal.cli.server import cli
from tests.conftest import People, Person, portal_of
from tests.rights.test_people_cli import Run, claw

__all__ = ["claw"]


def test_settings_from_a_terminal(people: People, claw: Callable[[Person], Run], monkeypatch: MonkeyPatch) -> None:
    admin, owner = claw(people.admin), claw(people.owner)
    assert "session_hours" in admin("settings", "list").output and "audit_days" not in admin("settings", "list").output
    every = json.loads(admin("settings", "list", "--all", "-o", "json").output)
    assert {"audit_days", "session_hours"} <= {one["name"] for one in every}
    assert "session_hours is 8.0 now; it was 12.0." in admin("settings", "set", "session_hours", "8").output
    assert json.loads(admin("settings", "set", "docs_public", "true", "-o", "json").output)["value"] is True
    assert "Before:       12" in admin("settings", "get", "session_hours").output
    assert "value" in admin("settings", "set", "session_hours", "soon", code=6).output
    owner("settings", "list", code=4)
    monkeypatch.setenv("CLAWPORTAL_DATA_DIR", str(portal_of(people.admin.app).settings.data_dir))
    shown = CliRunner().invoke(cli, ["settings", "-o", "json"])
    found = {one["name"]: one for one in json.loads(shown.stdout)}
    assert (found["session_hours"]["source"], found["session_hours"]["value"]) == ("page", 8.0)
    assert json.loads(admin("settings", "reset", "session_hours", "-o", "json").output) == {
        "name": "session_hours",
        "reset": True,
    }
    admin("settings", "reset", "session_hours", code=6)
