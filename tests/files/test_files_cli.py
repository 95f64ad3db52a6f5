"""`claw files` against a portal that listens: what the plugin adds to it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clawportal.cli.remote import UNREACHABLE, Failure, Remote
from clawportal_files import sending
from tests.conftest import Person, portal_of
from tests.files.conftest import Claw
from tests.rights.test_people_cli import Run
from tests.rights.test_people_cli import claw as terminal

__all__ = ["terminal"]


def test_files_from_a_terminal(claw: Claw, terminal: Callable[[Person], Run]) -> None:
    run = terminal(claw.people.owner)
    run("files", "mkdir", "helper", "work/reports/may")
    run("files", "mv", "helper", "work/notes/plan.md", "work/reports/")
    run("files", "cp", "helper", "work/reports/plan.md", "work")
    assert claw.tree() == ["SOUL.md", "deep", "deep/owned.md", "notes", "plan.md", "reports", "reports/may", "reports/plan.md"]
    run("files", "cp", "helper", "work/SOUL.md", "work/plan.md", "--keep-both")
    assert (claw.folder / "work/plan (2).md").exists()
    run("files", "mv", "helper", "work/SOUL.md", "work/plan.md", "--yes")
    found = run("files", "find", "helper", "PLAN").output.splitlines()
    assert found == ["work/plan (2).md", "work/plan.md", "work/reports/plan.md"]
    run("files", "rm", "helper", "work/reports", "work/plan (2).md")
    listed = json.loads(run("files", "trash", "ls", "helper", "-o", "json").output)["items"]
    items = {item["path"]: item["id"] for item in listed}
    assert set(items) == {"work/reports", "work/plan (2).md", "work/plan.md"}
    assert "work/reports" in run("files", "trash", "ls", "helper").output
    run("files", "trash", "restore", "helper", items["work/plan.md"], "--keep-both")
    run("files", "trash", "empty", "helper", items["work/plan (2).md"], "--yes")
    assert "1 were deleted" in run("files", "trash", "empty", "helper", "--yes").output
    assert claw.tree() == ["deep", "deep/owned.md", "notes", "plan (2).md", "plan.md"]
    run("files", "mkdir", "helper", "work/../x", code=6)


# ---- putting a file there in parts


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the machine of the user keeps what is unfinished; parts are small, and nobody waits."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sending, "PART", 1000)
    monkeypatch.setattr(sending, "WAITS", (0.0, 0.0))
    return tmp_path / "state" / "claw" / "uploads"


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Offsets of the parts that are sent; a negative one put first cuts the connection after so many."""
    offsets: list[int] = []
    real = Remote.send

    def sent(self: Remote, method: str, path: str, content: bytes = b"", **more: dict[str, str]) -> object:
        if method == "PATCH":
            if offsets and offsets[0] < 0 and len(offsets) > -offsets[0]:
                raise Failure("The portal cannot be reached.", UNREACHABLE)
            offsets.append(int(more["headers"]["Upload-Offset"]))
        return real(self, method, path, content, **more)

    monkeypatch.setattr(Remote, "send", sent)
    return offsets


def test_a_file_is_put_in_parts(
    claw: Claw, terminal: Callable[[Person], Run], kept: Path, wire: list[int], tmp_path: Path
) -> None:
    run, file = terminal(claw.people.owner), tmp_path / "größe.bin"
    file.write_bytes(bytes(range(250)) * 10)
    assert json.loads(run("files", "put", "helper", str(file), "-o", "json").output) == {"path": "work/größe.bin", "size": 2500}
    assert wire == [0, 1000, 2000] and (claw.folder / "work/größe.bin").read_bytes() == file.read_bytes()
    assert list(kept.iterdir()) == []
    run("files", "put", "helper", str(file), input="n\n", code=6)
    run("files", "put", "helper", str(file), input="y\n")
    file.write_bytes(b"")
    run("files", "put", "helper", str(file), "--yes")
    assert (claw.folder / "work/größe.bin").read_bytes() == b""
    run("files", "put", "helper", "-", "work/piped", input="x" * 1500)
    assert (claw.folder / "work/piped").read_text() == "x" * 1500


def test_what_was_cut_goes_on_where_it_ended(
    claw: Claw, terminal: Callable[[Person], Run], kept: Path, wire: list[int], tmp_path: Path
) -> None:
    run, file = terminal(claw.people.owner), tmp_path / "a.bin"
    file.write_bytes(os.urandom(3500))
    wire.append(-2)
    cut = run("files", "put", "helper", str(file), code=UNREACHABLE)
    assert "goes on where it ended" in cut.output and wire == [-2, 0, 1000] and "a.bin" not in claw.tree()
    [note] = kept.iterdir()
    assert claw.people.owner.token not in note.read_text()
    wire.clear()
    again = run("files", "put", "helper", str(file))
    assert "Going on at 2000 of 3500 bytes" in again.output and wire == [2000, 3000]
    assert (claw.folder / "work/a.bin").read_bytes() == file.read_bytes() and list(kept.iterdir()) == []


def test_a_file_that_was_changed_begins_anew(
    claw: Claw, terminal: Callable[[Person], Run], kept: Path, wire: list[int], tmp_path: Path
) -> None:
    run, file = terminal(claw.people.owner), tmp_path / "a.bin"
    file.write_bytes(b"a" * 3500)
    wire.append(-2)
    run("files", "put", "helper", str(file), code=UNREACHABLE)
    file.write_bytes(b"b" * 3500)
    os.utime(file, (1, 1))
    wire.clear()
    run("files", "put", "helper", str(file))
    assert wire[0] == 0 and (claw.folder / "work/a.bin").read_bytes() == b"b" * 3500


def test_a_file_that_changes_on_the_way_is_given_up(
    claw: Claw, terminal: Callable[[Person], Run], kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, file = terminal(claw.people.owner), tmp_path / "a.bin"
    file.write_bytes(b"a" * 3500)
    real = Remote.send

    def sent(self: Remote, method: str, path: str, content: bytes = b"", **more: dict[str, str]) -> object:
        os.utime(file, (1, 1))
        return real(self, method, path, content, **more)

    monkeypatch.setattr(Remote, "send", sent)
    assert "was changed while it was sent" in run("files", "put", "helper", str(file), code=1).output
    assert "a.bin" not in claw.tree()
    folder = Path(portal_of(claw.people.owner.app).settings.data_dir) / "files-uploads"
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_an_upload_that_the_portal_forgot_begins_anew(
    claw: Claw, terminal: Callable[[Person], Run], kept: Path, wire: list[int], tmp_path: Path
) -> None:
    run, file = terminal(claw.people.owner), tmp_path / "a.bin"
    file.write_bytes(b"a" * 1500)
    wire.append(-1)
    run("files", "put", "helper", str(file), code=UNREACHABLE)
    for path in (Path(portal_of(claw.people.owner.app).settings.data_dir) / "files-uploads").iterdir():
        path.unlink()
    wire.clear()
    run("files", "put", "helper", str(file))
    assert wire == [0, 1000]
    [note] = [*kept.iterdir()] or [kept / "x"]
    note.write_text("../../tenants")
    assert sending.Memory().get(note.name) == ""
