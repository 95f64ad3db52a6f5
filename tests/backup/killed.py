"""Runs a command again and again, and kills it with SIGKILL each time at another line of the portal's own code for backups.

    python -m tests.backup.killed backup|restore SPEC     SPEC: JSON with the paths; prints one JSON line for each kill

Each try is a fork, so that nothing is loaded twice. A line counts when it is reached for the first time.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from clawportal import paths
from clawportal.cli.server import cli
from clawportal.db import db
from clawportal.services.audit import chain
from clawportal.services.backup import claw_files, making, postgres_copy, restoring, sqlite_copy
from clawportal.services.backup.archive import BackupError, Reader
from tests.backup.conftest import migrated

WATCHED = {module.__file__ for module in (making, restoring, sqlite_copy, postgres_copy, claw_files)}


def forked(work: Callable[[], int]) -> int:
    """Exit code of what runs in a child; negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def command(*words: str) -> int:
    try:
        cli.main(list(words), standalone_mode=False)
        return 0
    except SystemExit as end:
        return int(end.code or 0)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def killed_at(number: int, words: tuple[str, ...], log: Path) -> int:
    """Run until the line with this number in the order in which lines are reached."""
    seen: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line" and (place := (frame.f_code.co_filename, frame.f_lineno)) not in seen:
            seen.add(place)
            if len(seen) == number:
                log.write_text(f"{Path(place[0]).name}:{place[1]}")
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    return command(*words)


def told(**found: Any) -> None:
    print(json.dumps(found), flush=True)


def backups(spec: dict[str, Any]) -> None:
    """After each kill: the former backup or the new one is there, whole, and the next backup leaves nothing behind."""
    target = Path(spec["target"])
    words, log = ("backup", str(target), "--quiet"), Path(spec["log"])
    assert forked(lambda: command(*words)) == 0
    for number in range(spec["first"], 10_000, spec["step"]):
        before = Reader(target).header.id
        code = forked(lambda number=number: killed_at(number, words, log))
        if code != -signal.SIGKILL:
            return told(done=True, code=code)
        whole = forked(lambda: opens(target, spec["secret"]))
        same = Reader(target).header.id == before
        again = forked(lambda: command(*words))
        left = sorted(path.name for path in target.parent.iterdir() if path.name.endswith(".part"))
        work = sorted(path.name for path in (Path(spec["data"]) / making.WORK).iterdir())
        told(line=log.read_text(), whole=whole, same=same, again=again, left=left, work=work)


def opens(target: Path, secret: str) -> int:
    try:
        reader = Reader(target)
        reader.unlock(secret)
        reader.verify()
        return 0
    except BackupError:
        return 1


def restores(spec: dict[str, Any]) -> None:
    """After each kill: no portal starts in the half of it, and the next restore makes a whole one. Then all is cleared."""
    folder, log = Path(spec["data"]), Path(spec["log"])
    words = ("restore", spec["target"], "--recovery-key-file", spec["secret_file"])
    for number in range(spec["first"], 10_000, spec["step"]):
        code = forked(lambda number=number: killed_at(number, words, log))
        if code != -signal.SIGKILL:
            return told(done=True, code=code)
        untouched = not (folder / "keys").exists()
        refused = bool(paths.unfinished_restore(folder))
        again = forked(lambda: command(*words))
        right = forked(lambda: verifies(folder, spec["url"]))
        told(line=log.read_text(), untouched=untouched, refused=refused, again=again, right=right)
        shutil.rmtree(folder)
        if spec["url"]:
            from clawportal.settings import Settings

            with postgres_copy.connected(Settings(database_url=spec["url"]).database_address) as connection:
                postgres_copy.clear(connection)
    return None


def verifies(folder: Path, url: str) -> int:
    with migrated(folder, url).app_context():
        people = db.session.execute(db.text("SELECT count(*) FROM user_account")).scalar()
        left = db.session.execute(db.text("SELECT count(*) FROM portal_setting WHERE name = 'restoring'")).scalar()
        return 0 if people and not left and chain.verify().broken is None else 1


if __name__ == "__main__":
    {"backup": backups, "restore": restores}[sys.argv[1]](json.loads(sys.argv[2]))
