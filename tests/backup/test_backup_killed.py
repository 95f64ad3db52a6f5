"""`kill -9` at the lines of both commands: a backup is there whole or not at all, and a restore begins anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clawportal.db import db
from clawportal.services.backup import making
from tests.backup.conftest import Portal
from tests.browser.portal import ROOT
from tests.conftest import portal_of

STEP = int(os.environ.get("CLAWPORTAL_TEST_KILL_STEP", "20"))
"""Of so many lines one is tried in a run; which ones differs between the two databases. 1 tries all, which takes half an hour."""


def killed(what: str, portal: Portal, folder: Path, **spec: Any) -> list[dict[str, Any]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLAWPORTAL_")}
    given = {"CLAWPORTAL_DATA_DIR": str(folder), "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}", "CLAWPORTAL_LOG_LEVEL": "warning"}
    url = spec.get("url", portal.url)
    given |= {"CLAWPORTAL_DATABASE_URL": url} if url else {}
    told = {"data": str(folder), "url": url, "step": STEP, "first": 1 if url else 7, "secret": portal.secret, **spec}
    done = subprocess.run(
        [sys.executable, "-m", "tests.backup.killed", what, json.dumps(told)], cwd=ROOT, env=kept | given,
        capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *found, last = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert last == {"done": True, "code": 0}, (last, done.stderr)
    assert len(found) >= 5, "there were many lines to be killed at"
    return found


@pytest.mark.slow
def test_a_backup_is_killed(portal: Portal, tmp_path: Path) -> None:
    with portal.app.app_context():
        db.engine.dispose()
    found = killed("backup", portal, portal.folder, target=str(tmp_path / "x.backup"), log=str(tmp_path / "log"))
    for one in found:
        assert one["whole"] == 0 and one["again"] == 0 and one["left"] == [] and one["work"] == ["lock"], one
    assert {one["same"] for one in found} == {True, False}, "some were killed before it was there, some after that"


@pytest.mark.slow
def test_a_restore_is_killed(portal: Portal, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = str(request.getfixturevalue("postgres")()) if portal.url else ""
    with portal.app.app_context():
        making.create(portal_of(portal.app), tmp_path / "x.backup")
    (tmp_path / "key").write_text(portal.secret)
    found = killed(
        "restore", portal, tmp_path / "second", target=str(tmp_path / "x.backup"), log=str(tmp_path / "log"), url=url,
        secret_file=str(tmp_path / "key"),
    )  # fmt: skip
    for one in found:
        begun_anew = one["untouched"] or one["refused"]
        assert one["right"] == 0 and one["again"] == (0 if begun_anew else 1), one
    assert sum(one["refused"] for one in found) >= 3 and any(not one["refused"] for one in found), found
