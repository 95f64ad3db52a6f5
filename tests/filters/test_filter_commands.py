"""`claw filter` and `claw ls --filter`: saved and used in a terminal."""

from __future__ import annotations

from tests.cli.test_claw import Terminal, nowhere, quiet, quiet_server
from tests.conftest import Server

__all__ = ["nowhere", "quiet", "quiet_server"]


def test_filters_in_a_terminal(quiet_server: Server, quiet: Terminal) -> None:
    quiet_server.admin.create("claw-a", labels={"team": "support"})
    quiet_server.admin.create("claw-b")
    assert quiet("filter", "save", "support", "-l", "team=support", "--default").stdout == "support is saved.\n"
    assert quiet("ls", "--filter", "support", "-o", "name").stdout == "claw-a\n"
    assert quiet.json("list", "--filter", "support", "-l", "!team")["items"][0]["name"] == "claw-b"
    assert quiet.json("filter", "rename", "support", "help")["name"] == "help"
    made = quiet.json("filter", "save", "shared", "--state", "failed", "--share", "default")
    assert made["tenant_name"] == "default"
    listed = quiet("filter", "list")
    assert "labels=team=support" in listed.stdout and "state=failed" in listed.stdout
    assert quiet.json("filter", "delete", "help")["name"] == "help"
    assert quiet.json("filter", "list")["total"] == 1
    gone = quiet("ls", "--filter", "help")
    assert gone.exit_code == 6 and "There is no saved filter 'help'" in gone.stderr
    assert quiet("filter", "delete", "help").exit_code == 3
    empty = quiet("filter", "save", "nothing")
    assert empty.exit_code == 6 and "says nothing" in empty.stderr
