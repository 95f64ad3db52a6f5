"""The runtime of this machine: one folder, one supervisor and one process tree for each instance.

Everything that has to be known stands in the folder of the instance, so that any portal that opens it, also the next one
after a crash, sees the same. Locks are file locks: two portals on one folder do not start a claw twice.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import logging
import os
import re
import secrets as random_bytes
import shutil
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clawportal.sdk.errors import Conflict, GiveUp, Retry
from clawportal.sdk.runtimes import (
    Artifact,
    Capacity,
    DoctorResult,
    ExecSession,
    File,
    FileEntry,
    Image,
    Layout,
    LogLine,
    Observed,
    Process,
    Progress,
    Ref,
    RunState,
    RuntimeEvent,
    Sample,
    Separation,
    Without,
    Workload,
    secret_env,
)
from clawportal_process import cgroups, history, identity, launch, logs, machine, proc, safefiles, views
from clawportal_process.disk import DiskUse
from clawportal_process.installers import Installer
from clawportal_process.methods import ROOTS, Own
from clawportal_process.separation import Separator
from clawportal_process.walls import Walls

if TYPE_CHECKING:
    from clawportal.sdk.runtimes import Place
    from clawportal_process.settings import ProcessSettings

log = logging.getLogger(__name__)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ROOTS = (*ROOTS, "run")
_FRESH = 50_000_000
"""Nanoseconds within which two changes of a folder may carry the same time; such a time is not trusted as a cache key."""
_FORGOTTEN = 600.0
"""Seconds after which something in the trash is taken for the rest of a removal that was interrupted."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class _Record:
    """What the files of one instance say about its last start."""

    pid: int
    start: int
    boot: str
    digest: str
    memory_bytes: int | None
    at: float
    processes: tuple[tuple[str, int, int], ...]
    end: Mapping[str, Any] | None
    stopping: bool
    walled: bool
    """Not by versions that had no walls."""

    @property
    def incarnation(self) -> str:
        return f"{self.pid}-{self.start}"

    def running(self) -> bool:
        return self.end is None and self.boot == proc.boot_id() and proc.alive(self.pid, self.start)


def _load(path: Path) -> dict[str, Any]:
    """Empty for what is missing or no JSON object."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _record(run: Path) -> _Record | None:
    state = _load(run / "state.json")
    if not {"pid", "start", "boot", "digest", "at"} <= state.keys():
        return None
    name = f"{state['pid']}-{state['start']}"
    end, applied = _load(run / "exit.json"), _load(run / "applied.json")
    changed = applied if applied.get("incarnation") == name else state
    try:
        stopping = (run / "stopping").read_text() == name
    except OSError:
        stopping = False
    return _Record(
        pid=state["pid"], start=state["start"], boot=state["boot"], digest=changed["digest"], at=state["at"],
        memory_bytes=changed.get("memory_bytes"),
        processes=tuple((item["name"], item["pid"], item["start"]) for item in state.get("processes", ())),
        end=end if end.get("incarnation") == name else None, stopping=stopping, walled="separation" in state,
    )  # fmt: skip


def _time(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None


def _observed(ref: Ref, record: _Record, *, running: bool) -> Observed:
    seen = Observed(
        ref, RunState.RUNNING, digest=record.digest, incarnation=record.incarnation, started_at=_time(record.at),
        pid=record.processes[0][1] if record.processes else None,
    )  # fmt: skip
    if running or record.end is None:
        return seen
    end = record.end
    return replace(
        seen, state=RunState.EXITED, pid=None, exited_at=_time(end.get("at")), exit_code=end.get("code"),
        exit_signal=end.get("signal"), reason=end.get("reason") or "", message=end.get("message") or "",
    )  # fmt: skip


_CAPABILITIES = frozenset(
    {
        "artifacts", "allocated-ports", "processes", "logs", "logs.streams", "logs.kept", "logs.previous",
        "metrics", "metrics.disk", "limits.memory", "exec", "files", "events",
    }
)  # fmt: skip
_BY_KERNEL = frozenset({"limits.cpu", "limits.kernel", "limits.processes"})


class ProcessRuntime(Without):
    """See `clawportal.contracts.runtimes.Runtime`."""

    title = "This machine"

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
        self._cache: dict[str, tuple[int, _Record | None]] = {}
        self._cpu: dict[str, tuple[str, float]] = {}
        self._watchers: set[int] = set()
        self._guard = threading.Lock()
        self._disk = DiskUse()

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

    # ---- folders

    def _folder(self, ref: Ref) -> Path:
        if not _ID.fullmatch(ref.instance_id):
            raise GiveUp(
                "InvalidId",
                f"{ref.instance_id!r} cannot be the id of an instance.",
                "Use letters, digits, dot, dash and underscore.",
            )
        return self.base / "instances" / ref.instance_id

    def _make(self, ref: Ref, folder: Path) -> int | None:
        """The folders of an instance; answers whose they are where that is not the portal."""
        uid = self.separator.user(ref.instance_id)
        folder.mkdir(mode=0o700, exist_ok=True)
        if uid is not None:  # its user may pass to what is below
            os.chown(folder, 0, uid)
            folder.chmod(0o710)
        for name in _ROOTS:
            if _mkdir(folder / name) and uid is not None and name in ROOTS:
                os.chown(folder / name, uid, uid)
        return uid

    def _hand_over(self, folder: Path, uid: int | None, *, final: bool) -> None:
        """Once for each instance: what an earlier version ran as the portal's own user. Not `final` while that still runs."""
        if uid is None or _text(folder / "user") == str(uid):
            return
        for name in identity.hand_over(folder, ROOTS, uid):
            log.warning("%s of instance %s stays the portal's: it has another name outside of the instance", name, folder.name)
        if final:
            safefiles.write(folder, "user", str(uid).encode())

    def _wall(self, ref: Ref, folder: Path, workload: Workload, *more: str) -> dict[str, Any]:
        software = tuple(self.installer.shared(artifact) for artifact in workload.artifacts)
        own = Own(
            folder, (*ROOTS, *more), str(folder / "home"), ref.instance_id, software, ports=tuple(workload.ports.values()),
            hidden=("run",),
        )  # fmt: skip
        return self.separator.wall(own)

    @contextmanager
    def _locked(self, folder: Path, seconds: float = 60.0) -> Iterator[None]:
        """Only one at a time, over threads and portals."""
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        until = time.monotonic() + seconds
        try:
            while not _try_lock(handle):
                if time.monotonic() > until:
                    raise Retry("Busy", "Another change of this instance is still under way.", timedelta(seconds=2))
                time.sleep(0.02)
            yield
        finally:
            os.close(handle)

    def layout(self, ref: Ref, artifacts: Iterable[Artifact], image: Image | None = None) -> Layout:
        folder = self._folder(ref)
        home, state, work, tmp = (str(folder / name) for name in _ROOTS[:4])
        return Layout(home, state, work, tmp, {artifact.name: str(self.installer.folder(artifact)) for artifact in artifacts})

    # ---- software

    def prepared(self, artifact: Artifact) -> bool:
        return self.installer.prepared(artifact)

    def prepare(self, artifact: Artifact, progress: Progress) -> None:
        self.installer.prepare(artifact, progress)

    # ---- files

    def write_files(self, ref: Ref, workload: Workload) -> None:
        folder = self._folder(ref)
        with _told(ref):
            self._make(ref, folder)
            with self._locked(folder):
                self._write(folder, workload.files)
                record = _record(folder / "run")
                if record is not None and record.running():
                    note = {"incarnation": record.incarnation, "digest": workload.digest(), "memory_bytes": workload.memory_bytes}
                    safefiles.write(folder / "run", "applied.json", json.dumps(note).encode())
                    self.groups.limit(ref.instance_id, self._limits(workload))

    def _write(self, folder: Path, files: tuple[File, ...]) -> None:
        for file in files:
            safefiles.write(
                folder / file.root, file.path, file.content.encode(), mode=file.mode, only_new=file.policy == "seed_once"
            )
        self._forget_former(folder, [[file.root, file.path] for file in files if file.policy == "always"])

    def _forget_former(self, folder: Path, owned: list[list[str]]) -> None:
        """What the portal wrote for an earlier plan, and this one no longer names, must not go on having an effect."""
        former = _load(folder / "run" / "owned.json").get("files", [])
        for root, path in former:
            if [root, path] not in owned:
                safefiles.remove(folder / root, path)
        if former != owned:
            safefiles.write(folder / "run", "owned.json", json.dumps({"files": owned}).encode())

    def read_file(self, ref: Ref, root: str, path: str, limit: int) -> bytes:
        return safefiles.read(self._root(ref, root), path, limit)

    # ---- starting

    def apply(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> Observed:
        """A claw that runs something else is not touched: whoever asks has to stop it first, because only they know its grace."""
        folder = self._folder(ref)
        with _told(ref):
            uid = self._make(ref, folder)
            with self._locked(folder):
                record = _record(folder / "run")
                if record is not None and record.running():
                    return self._already(ref, record, workload)
                if record is not None and record.end is not None:
                    proc.wait_gone(record.pid, record.start, 1.0)  # it has written its end, and is about to go
                self._end_leftovers(ref, record)
                self._hand_over(folder, uid, final=True)
                self._write(folder, workload.files)
                _empty(folder / "tmp")
                for path in folder.glob("check-*"):  # of a portal that was killed meanwhile
                    if _old(path):
                        safefiles.remove_tree(path)
                return self._launch(ref, folder, workload, secrets)

    def _already(self, ref: Ref, record: _Record, workload: Workload) -> Observed:
        if record.stopping:
            raise Retry("Stopping", f"{ref} is still being stopped.", timedelta(seconds=1))
        if record.digest != workload.digest():
            raise Conflict(f"{ref} runs an earlier description of itself. Stop it first, then apply the new one.")
        return _observed(ref, record, running=True)

    def _launch(self, ref: Ref, folder: Path, workload: Workload, secrets: Mapping[str, str]) -> Observed:
        if not workload.processes:
            raise GiveUp("NothingToRun", f"The workload of {ref} names no process.")
        spec = {
            "processes": [self._process(ref, folder, workload, process, secrets) for process in workload.processes],
            "wall": self._wall(ref, folder, workload), "separation": self.separation().level.value, "digest": workload.digest(),
            "memory_bytes": workload.memory_bytes, "grace": float(workload.stop_grace),
            "boot": proc.boot_id(), "open_files": self.settings.open_files, "log_bytes": self.settings.log_file_mb * 1_000_000,
            "log_files": self.settings.log_files, "log_rate": self.settings.log_lines_per_second,
        }  # fmt: skip
        spec["cgroup"] = self.groups.make(ref.instance_id, self._limits(workload))
        answer = launch.start(folder / "run", spec)
        if "errno" in answer:
            self._refuse(ref, answer["errno"], answer["error"])
        self._wake_watchers()
        return self.inspect(ref)

    def _limits(self, workload: Workload) -> cgroups.Limits:
        return cgroups.Limits(workload.memory_bytes, workload.cpu_cores, self.settings.processes)

    def _refuse(self, ref: Ref, number: int, words: str) -> None:
        if number == errno.EAGAIN:
            raise Retry("Busy", f"Another supervisor of {ref} is just ending.", timedelta(seconds=1))
        raise OSError(number, words)

    def _process(
        self, ref: Ref, folder: Path, workload: Workload, process: Process, secrets: Mapping[str, str]
    ) -> dict[str, Any]:
        environment = {
            **self._environment(ref, folder, workload.artifacts), **process.env, **secret_env(process.secret_env, secrets, ref),
        }  # fmt: skip
        _no_nul(process.name, [*process.argv, *environment.values()])
        return {"name": process.name, "argv": list(process.argv), "env": environment, "cwd": str(folder / process.cwd)}

    def _environment(self, ref: Ref, folder: Path, artifacts: Iterable[Artifact]) -> dict[str, str]:
        """All that a claw gets from its surroundings: nothing of the portal's."""
        method = self.separator.method()
        user = views.NAME if method.view or method.user else views.name_of(os.getuid())
        bins = [str(self.installer.folder(artifact) / "bin") for artifact in artifacts]
        return {
            "PATH": ":".join([*bins, launch.DEFAULT_PATH]), "HOME": str(folder / "home"), "USER": user, "LOGNAME": user,
            "LANG": "C.UTF-8", "TMPDIR": str(folder / "tmp"), "TZ": self.settings.timezone, "TERM": "dumb",
            "CLAWPORTAL_INSTANCE": ref.instance_id, "CLAWPORTAL_PLACE": self.mark,
        }  # fmt: skip

    # ---- judging a candidate

    def check(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> None:
        from clawportal_process import candidate

        if workload.check is None:
            return
        folder = self._folder(ref)
        with _told(ref):
            uid = self._make(ref, folder)
            record = _record(folder / "run")
            self._hand_over(folder, uid, final=record is None or not record.running())
            values = secret_env(workload.check.secret_env, secrets, ref)
            environment = self._environment(ref, folder, workload.artifacts)
            with candidate.scratch(folder, uid) as scratch:
                wall = self._wall(ref, folder, workload, scratch.name)
                candidate.judge(workload.check, workload.files, scratch, {**environment, **values}, wall, secrets)

    # ---- ending

    def stop(self, ref: Ref, grace: float) -> None:
        self._end(ref, f"stop {max(grace, 0.0):.3f}\n", "Stopped")

    def kill(self, ref: Ref) -> None:
        record = self._end(ref, "kill Killed\n", "Killed")
        if record is None or proc.wait_gone(record.pid, record.start, 3.0):
            return
        self._force(ref, record, "Killed", "its supervisor did not answer")

    def _end(self, ref: Ref, command: str, reason: str) -> _Record | None:
        """Ask the supervisor; without one, end what it left behind. Answers the record when there is somebody to wait for."""
        folder = self._folder(ref)
        if not folder.is_dir():
            return None
        with self._locked(folder, 5.0):
            record = _record(folder / "run")
            if record is None:
                return None
            if record.running():
                if reason == "Stopped":  # before the supervisor reads it, so that nobody takes it for one that goes on
                    with suppress(OSError):
                        safefiles.write(folder / "run", "stopping", record.incarnation.encode())
                if not _command(folder / "run", command):
                    self._force(ref, record, reason, "its supervisor could not be reached")
                return record
            self._end_leftovers(ref, self._settled(folder, record))
            return None

    def _force(self, ref: Ref, record: _Record, reason: str, message: str) -> None:
        """Do what the supervisor should have done, then end it too."""
        _write_end(self._folder(ref) / "run", record, reason, f"Ended by the portal: {message}.")
        if record.boot == proc.boot_id():
            below = proc.descendants(record.pid, proc.by_parent(proc.table()))
            proc.send(record.pid, record.start, signal.SIGKILL)
            _kill_all({pid: found.start for pid in below if (found := proc.row(pid)) is not None})
        self._kill_marked(ref, record)

    def _end_leftovers(self, ref: Ref, record: _Record | None) -> None:
        """A supervisor that ends in order leaves nothing; only after one that was lost something can still run."""
        lost = (
            record is not None
            and record.boot == proc.boot_id()
            and (record.end is None or record.end.get("reason") == "SupervisorLost")
        )
        if lost and record is not None:
            self._kill_marked(ref, record)

    def _kill_marked(self, ref: Ref, record: _Record) -> None:
        """By their environment, by what was written down at the start, and all below: some claws overwrite their environment."""
        marks = (f"CLAWPORTAL_INSTANCE={ref.instance_id}".encode(), f"CLAWPORTAL_PLACE={self.mark}".encode())
        for _ in range(50):
            self.groups.kill(ref.instance_id)
            seeds = {**proc.marked(marks), **{pid: start for _, pid, start in record.processes if proc.alive(pid, start)}}
            if not seeds:
                return
            rows = proc.table()
            below = proc.by_parent(rows)
            for pid in list(seeds):
                seeds.update({child: rows[child].start for child in proc.descendants(pid, below)})
            _kill_all(seeds)
        raise Retry("LeftoversRemain", f"Processes of {ref} cannot be ended; they may hang in the kernel.", timedelta(seconds=10))

    def remove(self, ref: Ref, *, keep_data: bool) -> None:
        folder = self._folder(ref)
        trash = self.base / "trash"
        moved = []
        if folder.is_dir():
            with self._locked(folder):
                record = _record(folder / "run")
                if record is not None and record.running():
                    raise Conflict(f"{ref} still runs. Stop it first.")
                self._end_leftovers(ref, record)
                trash.mkdir(mode=0o700, exist_ok=True)
                for path in (folder / "run", folder / "tmp") if keep_data else (folder,):
                    moved.append(trash / f"{ref.instance_id}.{random_bytes.token_hex(4)}")
                    _move(path, moved[-1])
        for path in (*moved, *self._forgotten(trash)):
            safefiles.remove_tree(path)
        if not keep_data and not any(trash.glob(f"{ref.instance_id}.*")):
            self.separator.walls.release(ref.instance_id)
        self._cache.pop(ref.instance_id, None)
        self._cpu.pop(ref.instance_id, None)
        self.groups.remove(ref.instance_id)
        self._disk.forget(ref.instance_id)

    def _forgotten(self, trash: Path) -> list[Path]:
        """What an earlier, interrupted removal left. Not what is fresh: another thread may be deleting that just now."""
        found: list[Path] = []
        if trash.is_dir():
            found = [path for path in trash.iterdir() if _old(path)]
        return found

    # ---- looking

    def inspect(self, ref: Ref) -> Observed:
        folder = self._folder(ref)
        record = _record(folder / "run")
        return self._look(ref, folder, record)

    def observe(self) -> list[Observed]:
        return [
            seen
            for seen in (self._look(Ref(name), folder, record) for name, folder, record in self._all())
            if seen.state is not RunState.ABSENT
        ]

    def _look(self, ref: Ref, folder: Path, record: _Record | None) -> Observed:
        if record is None:
            return Observed(ref, RunState.ABSENT)
        if record.end is None and not record.running():
            record = self._settled(folder, record)
        return _observed(ref, record, running=record.end is None)

    def _settled(self, folder: Path, record: _Record) -> _Record:
        """A supervisor is gone: what it wrote at the very end, or, where it could not write, what that means."""
        again = _record(folder / "run")
        if again is None or again.end is not None or again.incarnation != record.incarnation:
            return again or record
        if record.boot != proc.boot_id():
            return _write_end(folder / "run", record, "MachineRestarted", "The machine was restarted while the claw ran.")
        return _write_end(
            folder / "run",
            record,
            "SupervisorLost",
            "The process that watched over the claw was killed from outside; its log ends there.",
        )

    def _all(self) -> Iterator[tuple[str, Path, _Record | None]]:
        """Every instance with its record; a record is read again only when its folder has changed."""
        now = time.time_ns()
        with os.scandir(self.base / "instances") as entries:
            for entry in entries:
                run = f"{entry.path}/run"
                try:
                    changed = os.stat(run).st_mtime_ns
                except OSError:
                    continue
                known = self._cache.get(entry.name)
                if known is None or known[0] != changed:
                    known = (changed if now - changed > _FRESH else 0, _record(Path(run)))
                    self._cache[entry.name] = known
                yield entry.name, Path(entry.path), known[1]

    def watch(self, stop: Callable[[], bool]) -> Iterator[Observed | None]:
        """An exit is told by the kernel within milliseconds; a start by another portal is seen after two seconds."""
        from clawportal_process.watching import Watch

        watch = Watch(self._all_running)
        with self._guard:
            self._watchers.add(watch.wake)
        try:
            for name in watch.changes(stop):
                yield self.inspect(Ref(name)) if name else None
        finally:
            with self._guard:
                self._watchers.discard(watch.wake)
            watch.close()

    def _all_running(self) -> dict[str, tuple[int, int]]:
        return {name: (record.pid, record.start) for name, _, record in self._all() if record is not None and record.running()}

    def _wake_watchers(self) -> None:
        with self._guard:
            for handle in self._watchers:
                os.eventfd_write(handle, 1)

    # ---- measuring

    def sample(self) -> list[Sample]:
        """Also ends what uses more memory than it may: nobody else can, where no control group is ours."""
        rows = proc.table()
        below = proc.by_parent(rows)
        at = datetime.now(UTC)
        found = []
        for name, folder, record in self._all():
            top = rows.get(record.pid) if record is not None and record.end is None else None
            if record is None or top is None or top.start != record.start or record.boot != proc.boot_id():
                continue
            pids = [pid for pid in proc.descendants(record.pid, below) if rows[pid].state != b"Z"]
            used = sum(rows[pid].rss_bytes for pid in pids)
            self._limit_memory(folder, record, pids, used)
            seconds = self._cpu_seconds(name, record, top, pids, rows)
            found.append(Sample(Ref(name), seconds, used, len(pids), at, self._disk.known(name, folder, record.incarnation)))
        self._disk.go_on()
        return found

    def _cpu_seconds(self, name: str, record: _Record, top: proc.Row, pids: list[int], rows: Mapping[int, proc.Row]) -> float:
        """Of all that live and, through the supervisor, of all that was reaped. Never falls, although one may be in between."""
        ticks = top.ticks - top.own_ticks + sum(rows[pid].ticks for pid in pids)
        incarnation, before = self._cpu.get(name, ("", 0.0))
        seconds = max(ticks / proc.TICKS, before if incarnation == record.incarnation else 0.0)
        self._cpu[name] = (record.incarnation, seconds)
        return seconds

    def _limit_memory(self, folder: Path, record: _Record, pids: list[int], used: int) -> None:
        limit = record.memory_bytes
        if not limit or used <= limit or self.groups.holds(folder.name, pids[0]):
            return
        shared_once = proc.proportional_bytes(pids)
        if shared_once > limit:
            _command(
                folder / "run",
                f"kill OutOfMemory It used {shared_once >> 20} MiB of memory, more than its limit of {limit >> 20} MiB.\n",
            )

    def logs(
        self, ref: Ref, *, tail: int | None = None, since: datetime | None = None, follow: bool = False,
        previous: bool = False, stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[LogLine | None]:  # fmt: skip
        run = self._folder(ref) / "run"
        if previous:
            return history.lines_before(run, tail=tail, since=since)
        return logs.read_lines(run, tail=tail, since=since, follow=follow, stop=stop)

    def events(self, ref: Ref) -> list[RuntimeEvent]:
        self.inspect(ref)  # a supervisor that was lost could not write its end; this does
        return history.events(self._folder(ref) / "run")

    # ---- commands and files of people

    def exec(self, ref: Ref, argv: Sequence[str], *, tty: bool = False, columns: int = 80, rows: int = 24) -> ExecSession:
        from clawportal_process import commands

        run = self._folder(ref) / "run"
        record = _record(run)
        if record is None or not record.running() or record.stopping:
            raise Conflict(f"{ref} does not run, so that no command can be run in it. Start it first.")
        master = commands.Master(run, lambda line: _command(run, line), record.running)
        return commands.start(master, argv, tty=tty, size=(columns, rows))

    def shell(self, ref: Ref) -> tuple[str, ...]:
        return (shutil.which("bash", path=launch.DEFAULT_PATH) or "/bin/sh",)

    def list_files(self, ref: Ref, root: str, path: str = "") -> list[FileEntry]:
        from clawportal_process import transfer

        return transfer.listing(self._root(ref, root), path)

    def pull(self, ref: Ref, root: str, path: str = "") -> Iterator[bytes]:
        from clawportal_process import transfer

        pieces = transfer.pull(self._root(ref, root), path)
        first = next(pieces)  # what is wrong with the path is said here, not when somebody begins to read
        return itertools.chain([first], pieces)

    def push(self, ref: Ref, root: str, path: str, chunks: Iterable[bytes]) -> None:
        from clawportal_process import transfer

        folder = self._root(ref, root)
        if not folder.is_dir():
            raise Conflict(f"{ref} has no folders yet. Start it once.")
        with _told(ref):
            transfer.push(folder, path, chunks)

    def _root(self, ref: Ref, root: str) -> Path:
        if root not in _ROOTS[:3]:
            raise FileNotFoundError(errno.ENOENT, "there is no such root", root)
        return self._folder(ref) / root

    # ---- the machine

    def open_port(self, ref: Ref, port: int) -> tuple[str, int]:
        return "127.0.0.1", port

    def port_free(self, port: int) -> bool:
        return all(_can_bind(family, host, port) for family, host in machine.addresses())

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
        found = [name for name, _, record in self._all() if record is not None and not record.walled and record.running()]
        if found:
            yield DoctorResult(
                "separation: older claws", False, f"{len(found)} claws run without a wall: they were started before that.",
                "Restart them once.",
            )  # fmt: skip


# --------------------------------------------------------------------------------------------------------------------
# Small steps


@contextmanager
def _told(ref: Ref) -> Iterator[None]:
    """Errors of the system as verdicts: what may heal by itself is tried again, what cannot is given up."""
    try:
        yield
    except safefiles.UnsafePath as error:
        raise GiveUp(
            "UnsafePath",
            f"{error.filename}: {error.strerror}.",
            "Remove the link or file from the claw's folder, or correct the path in the adapter.",
        ) from error
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise Retry(
                "DiskFull", f"{ref} cannot be written: {error.strerror}. Free some space on the portal's disk."
            ) from error
        raise Retry("MachineError", f"{ref}: {error}") from error


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _no_nul(name: str, texts: Iterable[str]) -> None:
    if any("\0" in text for text in texts):
        raise GiveUp("InvalidValue", f"A command or variable of {name} holds a NUL character, which no process can be given.")


def _mkdir(path: Path) -> bool:
    """Whether it was not there before."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return False
    return True


def _old(path: Path) -> bool:
    """Nobody is at it any more."""
    try:
        return time.time() - path.lstat().st_ctime > _FORGOTTEN
    except FileNotFoundError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _empty(folder: Path) -> None:
    for path in list(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            safefiles.remove_tree(path)
        else:
            path.unlink(missing_ok=True)


def _command(run: Path, text: str) -> bool:
    """Whether a supervisor listens. The pipe cannot lead to a stranger, as a pid could."""
    try:
        handle = os.open(run / "control", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        os.write(handle, text.encode())
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _kill_all(pids: Mapping[int, int]) -> None:
    for pid, start in pids.items():
        proc.send(pid, start, signal.SIGKILL)
    for pid, start in pids.items():
        proc.wait_gone(pid, start, 1.0)


def _write_end(run: Path, record: _Record, reason: str, message: str) -> _Record:
    """Write the end that a supervisor could not write, so that its time stays the same whoever looks."""
    end = {
        "incarnation": record.incarnation, "at": time.time(), "code": None, "signal": None, "process": None,
        "reason": reason, "message": message,
    }  # fmt: skip
    try:
        safefiles.write(run, "exit.json", json.dumps(end).encode())
        history.note(run, {"what": "ended", **end})
    except OSError:
        pass  # a full disk; the next look tries again
    return replace(record, end=end)


def _move(path: Path, target: Path) -> None:
    try:
        path.rename(target)
    except FileNotFoundError:
        pass


def _can_bind(family: socket.AddressFamily, host: str, port: int) -> bool:
    """SO_REUSEADDR: connections that only linger from a claw that has ended do not count, a listener does."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRNOTAVAIL
    return True
