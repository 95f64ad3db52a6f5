"""`claw notes`: shown and written in a terminal."""

from __future__ import annotations

from pathlib import Path

from tests.cli.test_claw import Terminal, nowhere, quiet, quiet_server
from tests.conftest import Server

__all__ = ["nowhere", "quiet", "quiet_server"]


def test_a_note_in_a_terminal(quiet_server: Server, quiet: Terminal, tmp_path: Path) -> None:
    quiet_server.admin.create("helper")
    assert "There is no note." in quiet("notes", "helper").stderr
    assert "revision 1" in quiet("notes", "helper", "Ask **Kim**.").stdout
    shown = quiet("notes", "helper")
    assert shown.stdout == "Ask **Kim**.\n" and shown.stderr.startswith("admin, ")
    assert quiet.json("notes", "helper")["revision"] == 1
    file = tmp_path / "note.md"
    file.write_text("From a file.")
    assert quiet.json("notes", "helper", "-f", str(file))["text"] == "From a file."
    old = quiet("notes", "helper", "mine", "--revision", "1")
    assert old.exit_code == 6 and "was changed meanwhile" in old.stderr
    assert quiet("notes", "helper", "--clear").exit_code == 0 and quiet.json("notes", "helper")["text"] == ""
    assert quiet("notes", "helper", "x", "--clear").exit_code == 2
    assert quiet("notes", "absent").exit_code == 3
