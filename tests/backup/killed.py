"""Runs a command again and again, and kills it with SIGKILL each time at another line of the portal's own code for backups.

    python -m tests.backup.killed backup|restore SPEC     SPEC: JSON with the paths; prints one JSON line for each kill

Each try is a fork, so that nothing is loaded twice. A line counts when it is reached for the first time. What opens a portal is
done before, or is not looked at: none of these lines is in it, and looked at it would take several times as long.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import click

from clawportal import origin, paths
from clawportal.app import create_app
from clawportal.cli import backup, restoring
from clawportal.db import db
from clawportal.services.audit import chain
from clawportal.services.backup import claw_files, making, postgres_copy, sqlite_copy
from clawportal.services.backup import restoring as putting_back
from clawportal.services.backup.archive import BackupError, Reader
from clawportal.settings import Settings
from tests.backup.conftest import migrated
from tests.commands import import_all

WATCHED = {module.__file__ for module in (making, putting_back, sqlite_copy, postgres_copy, claw_files)}


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


@dataclass
class Lines:
    """Counts the lines that are reached, and ends at the one with this number."""

    number: int
    log: Path
    seen: set[tuple[str, int]] = field(default_factory=set)

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line" and (place := (frame.f_code.co_filename, frame.f_lineno)) not in self.seen:
            self.seen.add(place)
            if len(self.seen) == self.number:
                self.log.write_text(f"{Path(place[0]).name}:{place[1]}")
                os.kill(os.getpid(), signal.SIGKILL)
        return self


@contextmanager
def not_looked_at() -> Iterator[None]:
    looking = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(looking)


@contextmanager
def restored(settings: Settings) -> Iterator[Any]:
    with ExitStack() as opened:
        with not_looked_at():
            portal = opened.enter_context(restoring._restored(settings))
        yield portal


def command(group: click.Command, *words: str) -> int:
    try:
        group.main(list(words), standalone_mode=False)
        return 0
    except SystemExit as end:
        return int(end.code or 0)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def killed_at(number: int, group: click.Command, words: tuple[str, ...], log: Path) -> int:
    """Run until the line with this number in the order in which lines are reached."""
    sys.settrace(Lines(number, log))
    return command(group, *words)


def told(**found: Any) -> None:
    print(json.dumps(found), flush=True)


def backups(spec: dict[str, Any]) -> None:
    """After each kill: the former backup or the new one is there, whole, and the next backup leaves nothing behind."""
    target, app = Path(spec["target"]), create_app(Settings())
    with app.app_context():
        db.engine.dispose()  # each fork has connections of its own

    @contextmanager
    def opened() -> Iterator[Any]:
        with app.app_context(), origin.during(origin.Origin("command")):
            yield app.extensions["clawportal"]

    group = backup.commands(opened, lambda: Path(spec["data"]))
    words, log = (str(target), "--quiet"), Path(spec["log"])
    assert forked(lambda: command(group, *words)) == 0
    for number in range(spec["first"], 10_000, spec["step"]):
        before = Reader(target).header.id
        code = forked(lambda number=number: killed_at(number, group, words, log))
        if code != -signal.SIGKILL:
            return told(done=True, code=code)
        whole = opens(target, spec["secret"])
        same = Reader(target).header.id == before
        again = forked(lambda: command(group, *words))
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
    group = backup.restore_command(Settings, restored, restoring._known_revisions)
    words = (spec["target"], "--recovery-key-file", spec["secret_file"])
    for number in range(spec["first"], 10_000, spec["step"]):
        code = forked(lambda number=number: killed_at(number, group, words, log))
        if code != -signal.SIGKILL:
            return told(done=True, code=code)
        untouched = not (folder / "keys").exists()
        refused = bool(paths.unfinished_restore(folder))
        again = forked(lambda: command(group, *words))
        right = forked(lambda: verifies(folder, spec["url"]))
        told(line=log.read_text(), untouched=untouched, refused=refused, again=again, right=right)
        shutil.rmtree(folder)
        if spec["url"]:
            with postgres_copy.connected(Settings(database_url=spec["url"]).database_address) as connection:
                postgres_copy.clear(connection)
    return None


def verifies(folder: Path, url: str) -> int:
    with migrated(folder, url).app_context():
        people = db.session.execute(db.text("SELECT count(*) FROM user_account")).scalar()
        left = db.session.execute(db.text("SELECT count(*) FROM portal_setting WHERE name = 'restoring'")).scalar()
        return 0 if people and not left and chain.verify().broken is None else 1


if __name__ == "__main__":
    import_all()
    {"backup": backups, "restore": restores}[sys.argv[1]](json.loads(sys.argv[2]))
