"""`claw files` against a portal that listens: what the plugin adds to it."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.conftest import Person
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
