"""`claw note`: shown and written in a terminal."""

from __future__ import annotations

from pathlib import Path

from tests.cli.test_claw import Terminal, nowhere, quiet, quiet_server
from tests.conftest import Server

__all__ = ["nowhere", "quiet", "quiet_server"]


def test_a_note_in_a_terminal(quiet_server: Server, quiet: Terminal, tmp_path: Path) -> None:
    quiet_server.admin.create("helper")
    assert "There is no note." in quiet("note", "helper").stderr
    assert "revision 1" in quiet("note", "helper", "Ask **Kim**.").stdout
    shown = quiet("note", "helper")
    assert shown.stdout == "Ask **Kim**.\n" and shown.stderr.startswith("admin, ")
    assert quiet.json("note", "helper")["revision"] == 1
    file = tmp_path / "note.md"
    file.write_text("From a file.")
    assert quiet.json("note", "helper", "-f", str(file))["text"] == "From a file."
    old = quiet("note", "helper", "mine", "--revision", "1")
    assert old.exit_code == 6 and "was changed meanwhile" in old.stderr
    assert quiet("note", "helper", "--clear").exit_code == 0 and quiet.json("note", "helper")["text"] == ""
    assert quiet("note", "helper", "x", "--clear").exit_code == 2
    assert quiet("note", "absent").exit_code == 3
