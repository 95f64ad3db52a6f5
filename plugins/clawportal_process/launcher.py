"""Brings an instance to run as planned, keeps its files up to date, and has it judge a candidate for its configuration."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import Conflict, GiveUp, Retry
from clawportal.sdk.runtimes import Observed, Process, Ref, Workload, secret_env
from clawportal_process import cgroups, folders, launch, planned_files, proc, record, safefiles
from clawportal_process.errors import map_errors
from clawportal_process.folders import Folders
from clawportal_process.observer import Observer
from clawportal_process.record import Record
from clawportal_process.sandbox import Sandbox
from clawportal_process.terminator import Terminator


class Launcher:
    def __init__(
        self, instance_folders: Folders, *, sandbox: Sandbox, groups: cgroups.Groups, observer: Observer, terminator: Terminator
    ) -> None:
        self.folders, self.sandbox, self.groups, self.observer, self.terminator = (
            instance_folders,
            sandbox,
            groups,
            observer,
            terminator,
        )

    def apply(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> Observed:
        """A claw that runs something else is not touched: whoever asks has to stop it first, because only they know its grace."""
        folder = self.folders.of(ref)
        with map_errors(ref):
            uid = self.folders.make(ref, folder)
            with self.folders.locked(folder):
                last = record.read(folder / "run")
                if last is not None and last.running():
                    return self._already(ref, last, workload)
                if last is not None and last.end is not None:
                    proc.wait_gone(last.pid, last.start, 1.0)  # it has written its end, and is about to go
                self.terminator.leftovers(ref, last)
                self.folders.hand_over(folder, uid, final=True)
                planned_files.write(folder, workload.files)
                folders.empty(folder / "tmp")
                for path in folder.glob("check-*"):  # of a portal that was killed meanwhile
                    if folders.old(path):
                        safefiles.remove_tree(path)
                return self._launch(ref, folder, workload, secrets)

    def _already(self, ref: Ref, last: Record, workload: Workload) -> Observed:
        if last.stopping:
            raise Retry(_n("Stopping"), _m("%(ref)s is still being stopped.", ref=ref), timedelta(seconds=1))
        if last.digest != workload.digest():
            raise Conflict(_m("%(ref)s runs an earlier description of itself. Stop it first, then apply the new one.", ref=ref))
        return record.seen(ref, last, running=True)

    def _launch(self, ref: Ref, folder: Path, workload: Workload, secrets: Mapping[str, str]) -> Observed:
        if not workload.processes:
            raise GiveUp(_n("NothingToRun"), _m("The workload of %(ref)s names no process.", ref=ref))
        settings = self.sandbox.settings
        spec = {
            "processes": [self._process(ref, folder, workload, process, secrets) for process in workload.processes],
            "wall": self.sandbox.wall(ref, folder, workload), "separation": self.folders.separator.measure().level.value,
            "digest": workload.digest(), "memory_bytes": workload.memory_bytes, "grace": float(workload.stop_grace),
            "boot": proc.boot_id(), "open_files": settings.open_files, "log_bytes": settings.log_file_mb * 1_000_000,
            "log_files": settings.log_files, "log_rate": settings.log_lines_per_second,
        }  # fmt: skip
        spec["cgroup"] = self.groups.make(ref.instance_id, self.sandbox.limits(workload))
        answer = launch.start(folder / "run", spec)
        if "errno" in answer:
            self._refuse(ref, answer["errno"], answer["error"])
        self.observer.wake()
        return self.observer.inspect(ref)

    def _refuse(self, ref: Ref, number: int, words: str) -> None:
        if number == errno.EAGAIN:
            raise Retry(_n("Busy"), _m("Another supervisor of %(ref)s is just ending.", ref=ref), timedelta(seconds=1))
        raise OSError(number, words)

    def _process(
        self, ref: Ref, folder: Path, workload: Workload, process: Process, secrets: Mapping[str, str]
    ) -> dict[str, Any]:
        own = self.sandbox.environment(ref, folder, workload.artifacts)
        environment = {**own, **process.env, **secret_env(process.secret_env, secrets, ref)}
        _no_nul(process.name, [*process.argv, *environment.values()])
        return {"name": process.name, "argv": list(process.argv), "env": environment, "cwd": str(folder / process.cwd)}

    def write_files(self, ref: Ref, workload: Workload) -> None:
        folder = self.folders.of(ref)
        with map_errors(ref):
            self.folders.make(ref, folder)
            with self.folders.locked(folder):
                planned_files.write(folder, workload.files)
                last = record.read(folder / "run")
                if last is not None and last.running():
                    note = {"incarnation": last.incarnation, "digest": workload.digest(), "memory_bytes": workload.memory_bytes}
                    safefiles.write(folder / "run", "applied.json", json.dumps(note).encode())
                    self.groups.limit(ref.instance_id, self.sandbox.limits(workload))

    def check(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> None:
        from clawportal_process import candidate  # late: it is needed when something is started

        if workload.check is None:
            return
        folder = self.folders.of(ref)
        with map_errors(ref):
            uid = self.folders.make(ref, folder)
            last = record.read(folder / "run")
            self.folders.hand_over(folder, uid, final=last is None or not last.running())
            values = secret_env(workload.check.secret_env, secrets, ref)
            environment = self.sandbox.environment(ref, folder, workload.artifacts)
            with candidate.scratch(folder, uid) as scratch:
                wall = self.sandbox.wall(ref, folder, workload, scratch.name)
                candidate.judge(workload.check, workload.files, scratch, {**environment, **values}, wall, secrets)


def _no_nul(name: str, texts: Iterable[str]) -> None:
    if any("\0" in text for text in texts):
        raise GiveUp(
            _n("InvalidValue"),
            _m("A command or variable of %(name)s holds a NUL character, which no process can be given.", name=name),
        )
