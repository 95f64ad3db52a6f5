"""The runtime of this machine: one folder, one supervisor and one process tree for each instance.

Everything that has to be known stands in the folder of the instance, so that any portal that opens it, also the next one
after a crash, sees the same. Locks are file locks: two portals on one folder do not start a claw twice. Put together from
parts that each know one subject.
"""

from __future__ import annotations

import itertools
import os
import secrets as random_bytes
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from clawportal.sdk import _m, file_scripts
from clawportal.sdk.errors import Conflict
from clawportal.sdk.runtimes import (
    Artifact,
    Capacity,
    DoctorResult,
    ExecSession,
    FileEntry,
    FoundFiles,
    Image,
    Layout,
    LogLine,
    Observed,
    Progress,
    Ref,
    RuntimeEvent,
    Sample,
    Separation,
    Without,
    Workload,
)
from clawportal_process import cgroups, control, history, launch, logs, machine, record, safefiles
from clawportal_process.errors import map_errors
from clawportal_process.folders import Folders
from clawportal_process.installers import Installer
from clawportal_process.launcher import Launcher
from clawportal_process.meter import Meter
from clawportal_process.methods import ROOTS
from clawportal_process.observer import Observer
from clawportal_process.sandbox import Sandbox
from clawportal_process.separation import Separator
from clawportal_process.terminator import Terminator
from clawportal_process.walls import Walls

if TYPE_CHECKING:
    from clawportal.sdk.runtimes import Place
    from clawportal_process.settings import ProcessSettings

_CAPABILITIES = frozenset(
    {
        "artifacts", "allocated-ports", "processes", "logs", "logs.streams", "logs.kept", "logs.previous",
        "metrics", "metrics.disk", "limits.memory", "exec", "files", "files.change", "events",
    }
)  # fmt: skip
_BY_KERNEL = frozenset({"limits.cpu", "limits.kernel", "limits.processes"})


class ProcessRuntime(Without):
    """See `contracts.runtimes.Runtime`, which says what each method does; the part that does it is named in its line."""

    title = _m("This machine")

    def __init__(self, place: Place, settings: ProcessSettings) -> None:
        self.settings = settings
        self.base = Path(place.data_dir)
        for folder in (self.base, self.base / "instances", self.base / "artifacts"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(self.base.stat().st_mode) != 0o711:  # unless others have to pass, see Walls.open_ways
            self.base.chmod(0o700)
        self.mark = self._mark()
        self.groups = cgroups.find(self.mark, settings.control_group)
        self.capabilities = _CAPABILITIES | (_BY_KERNEL if self.groups else frozenset())
        walls = Walls(self.base, private=place.private, users=settings.users, readable=settings.readable, shared=settings.shared)
        self.separator = Separator(walls, settings.separation)
        self.installer = Installer(self.base / "artifacts", place.environment, self.separator)
        self.folders = Folders(self.base, self.separator)
        self.observer = Observer(self.folders)
        self.meter = Meter(self.observer, self.groups)
        self.terminator = Terminator(self.folders, mark=self.mark, groups=self.groups, observer=self.observer, meter=self.meter)
        sandbox = Sandbox(settings, self.mark, self.installer, self.separator)
        self.launcher = Launcher(
            self.folders, sandbox=sandbox, groups=self.groups, observer=self.observer, terminator=self.terminator
        )

    def _mark(self) -> str:
        """A word by which the processes of this place are found again, whatever portal asks."""
        path = self.base / "mark"
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(random_bytes.token_hex(8))
        except FileExistsError:
            pass
        return path.read_text(encoding="ascii").strip()

    def close(self) -> None:
        """Nothing is held open between calls; claws and their supervisors stay."""

    # ---- what is there

    def inspect(self, ref: Ref) -> Observed:
        return self.observer.inspect(ref)

    def observe(self) -> list[Observed]:
        return self.observer.observe()

    def watch(self, stop: Callable[[], bool]) -> Iterator[Observed | None]:
        return self.observer.watch(stop)

    def sample(self) -> list[Sample]:
        return self.meter.sample()

    # ---- software

    def prepared(self, artifact: Artifact) -> bool:
        return self.installer.prepared(artifact)

    def prepare(self, artifact: Artifact, progress: Progress) -> None:
        self.installer.prepare(artifact, progress)

    # ---- its life

    def layout(self, ref: Ref, artifacts: Iterable[Artifact], image: Image | None = None) -> Layout:
        folder = self.folders.of(ref)
        home, state, work, tmp = (str(folder / name) for name in ROOTS[:4])
        return Layout(home, state, work, tmp, {artifact.name: str(self.installer.folder(artifact)) for artifact in artifacts})

    def check(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> None:
        self.launcher.check(ref, workload, secrets)

    def apply(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> Observed:
        return self.launcher.apply(ref, workload, secrets)

    def write_files(self, ref: Ref, workload: Workload) -> None:
        self.launcher.write_files(ref, workload)

    def stop(self, ref: Ref, grace: float) -> None:
        self.terminator.stop(ref, grace)

    def kill(self, ref: Ref) -> None:
        self.terminator.kill(ref)

    def remove(self, ref: Ref, *, keep_data: bool) -> None:
        self.terminator.remove(ref, keep_data=keep_data)

    # ---- its words, commands and files

    def read_file(self, ref: Ref, root: str, path: str, limit: int) -> bytes:
        return safefiles.read(self.folders.root(ref, root), path, limit)

    def logs(
        self, ref: Ref, *, tail: int | None = None, since: datetime | None = None, follow: bool = False,
        previous: bool = False, stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[LogLine | None]:  # fmt: skip
        run = self.folders.of(ref) / "run"
        if previous:
            return history.lines_before(run, tail=tail, since=since)
        return logs.read_lines(run, tail=tail, since=since, follow=follow, stop=stop)

    def events(self, ref: Ref) -> list[RuntimeEvent]:
        self.observer.inspect(ref)  # a supervisor that was lost could not write its end; this does
        return history.events(self.folders.of(ref) / "run")

    def exec(self, ref: Ref, argv: Sequence[str], *, tty: bool = False, columns: int = 80, rows: int = 24) -> ExecSession:
        from clawportal_process import commands

        run = self.folders.of(ref) / "run"
        last = record.read(run)
        if last is None or not last.running() or last.stopping:
            raise Conflict(_m("%(ref)s does not run, so that no command can be run in it. Start it first.", ref=ref))
        master = commands.Master(run, lambda line: control.command(run, line), last.running)
        return commands.start(master, argv, tty=tty, size=(columns, rows))

    def shell(self, ref: Ref) -> tuple[str, ...]:
        return (shutil.which("bash", path=launch.DEFAULT_PATH) or "/bin/sh",)

    def list_files(self, ref: Ref, root: str, path: str = "") -> list[FileEntry]:
        from clawportal_process import transfer

        return transfer.listing(self.folders.root(ref, root), path)

    def pull(self, ref: Ref, root: str, path: str = "") -> Iterator[bytes]:
        from clawportal_process import transfer

        pieces = transfer.pull(self.folders.root(ref, root), path)
        first = next(pieces)  # what is wrong with the path is said here, not when somebody begins to read
        return itertools.chain([first], pieces)

    def push(self, ref: Ref, root: str, path: str, chunks: Iterable[bytes]) -> None:
        from clawportal_process import transfer

        folder = self.folders.root(ref, root)
        if not folder.is_dir():
            raise Conflict(_m("%(ref)s has no folders yet. Start it once.", ref=ref))
        with map_errors(ref):
            transfer.push(folder, path, chunks)

    def move_file(self, ref: Ref, root: str, path: str, target_root: str, target: str) -> None:
        from clawportal_process import changes

        changes.move(self.folders.root(ref, root), path, self.folders.root(ref, target_root), target)

    def remove_file(self, ref: Ref, root: str, path: str) -> None:
        from clawportal_process import changes

        away = self.folders.base / "trash" / f"{ref.instance_id}.{random_bytes.token_hex(4)}"
        changes.remove(self.folders.root(ref, root), path, away)

    def find_files(self, ref: Ref, root: str, path: str, text: str, limit: int) -> FoundFiles:
        from clawportal_process import changes

        return changes.find(self.folders.root(ref, root), path, text, limit, file_scripts.passed_over(root, path))

    # ---- the machine

    def open_port(self, ref: Ref, port: int) -> tuple[str, int]:
        return "127.0.0.1", port

    def port_free(self, port: int) -> bool:
        return all(machine.can_bind(family, host, port) for family, host in machine.addresses())

    def capacity(self) -> Capacity:
        return machine.capacity(self.base)

    def separation(self) -> Separation:
        return self.separator.measure()

    def version(self) -> str:
        return machine.version()

    def diagnose(self) -> list[DoctorResult]:
        from clawportal_process.doctor import place_checks

        return [*place_checks(self.base), self.groups.finding(), *self.separation().findings, *self._without_wall()]

    def _without_wall(self) -> Iterator[DoctorResult]:
        """Claws that were adopted from an earlier version of the portal go on as they were started."""
        found = [name for name, _, last in self.observer.all() if last is not None and not last.walled and last.running()]
        if found:
            yield DoctorResult(
                _m("separation: older claws"),
                False,
                _m("%(len)s claws run without a wall: they were started before that.", len=len(found)),
                _m("Restart them once."),
            )
