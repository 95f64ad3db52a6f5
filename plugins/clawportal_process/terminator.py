"""Ends an instance: by its supervisor, without one where that is gone, and with a removal all that was made for it."""

from __future__ import annotations

import secrets as random_bytes
import signal
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import Conflict, Retry
from clawportal.sdk.runtimes import Ref
from clawportal_process import cgroups, control, folders, proc, record, safefiles
from clawportal_process.folders import Folders
from clawportal_process.meter import Meter
from clawportal_process.observer import Observer
from clawportal_process.record import Record


class Terminator:
    def __init__(self, instance_folders: Folders, *, mark: str, groups: cgroups.Groups, observer: Observer, meter: Meter) -> None:
        self.folders, self.mark, self.groups, self.observer, self.meter = instance_folders, mark, groups, observer, meter

    def stop(self, ref: Ref, grace: float) -> None:
        self._ask(ref, f"stop {max(grace, 0.0):.3f}\n", "Stopped")

    def kill(self, ref: Ref) -> None:
        last = self._ask(ref, "kill Killed\n", "Killed")
        if last is None or proc.wait_gone(last.pid, last.start, 3.0):
            return
        self._force_kill(ref, last, "Killed", "its supervisor did not answer")

    def _ask(self, ref: Ref, command: str, reason: str) -> Record | None:
        """Ask the supervisor; without one, end what it left behind. Answers the record when there is somebody to wait for."""
        folder = self.folders.of(ref)
        if not folder.is_dir():
            return None
        with self.folders.locked(folder, 5.0):
            last = record.read(folder / "run")
            if last is None:
                return None
            if last.running():
                if reason == "Stopped":  # before the supervisor reads it, so that nobody takes it for one that goes on
                    with suppress(OSError):
                        safefiles.write(folder / "run", "stopping", last.incarnation.encode())
                if not control.command(folder / "run", command):
                    self._force_kill(ref, last, reason, "its supervisor could not be reached")
                return last
            self.leftovers(ref, self.observer.settled(folder, last))
            return None

    def _force_kill(self, ref: Ref, last: Record, reason: str, message: str) -> None:
        """Do what the supervisor should have done, then end it too."""
        record.write_end(self.folders.of(ref) / "run", last, reason, _m("Ended by the portal: %(message)s.", message=message))
        if last.boot == proc.boot_id():
            below = proc.descendants(last.pid, proc.by_parent(proc.table()))
            proc.send(last.pid, last.start, signal.SIGKILL)
            control.kill_all({pid: found.start for pid in below if (found := proc.row(pid)) is not None})
        self._kill_marked(ref, last)

    def leftovers(self, ref: Ref, last: Record | None) -> None:
        """A supervisor that ends in order leaves nothing; only after one that was lost something can still run."""
        lost = (
            last is not None and last.boot == proc.boot_id() and (last.end is None or last.end.get("reason") == "SupervisorLost")
        )
        if lost and last is not None:
            self._kill_marked(ref, last)

    def _kill_marked(self, ref: Ref, last: Record) -> None:
        """By their environment, by what was written down at the start, and all below: some claws overwrite their environment."""
        marks = (f"CLAWPORTAL_INSTANCE={ref.instance_id}".encode(), f"CLAWPORTAL_PLACE={self.mark}".encode())
        for _ in range(50):
            self.groups.kill(ref.instance_id)
            seeds = {**proc.marked(marks), **{pid: start for _, pid, start in last.processes if proc.alive(pid, start)}}
            if not seeds:
                return
            rows = proc.table()
            below = proc.by_parent(rows)
            for pid in list(seeds):
                seeds.update({child: rows[child].start for child in proc.descendants(pid, below)})
            control.kill_all(seeds)
        raise Retry(
            _n("LeftoversRemain"),
            _m("Processes of %(ref)s cannot be ended; they may hang in the kernel.", ref=ref),
            timedelta(seconds=10),
        )

    def remove(self, ref: Ref, *, keep_data: bool) -> None:
        folder = self.folders.of(ref)
        trash = self.folders.base / "trash"
        moved = []
        if folder.is_dir():
            with self.folders.locked(folder):
                last = record.read(folder / "run")
                if last is not None and last.running():
                    raise Conflict(_m("%(ref)s still runs. Stop it first.", ref=ref))
                self.leftovers(ref, last)
                trash.mkdir(mode=0o700, exist_ok=True)
                for path in (folder / "run", folder / "tmp") if keep_data else (folder,):
                    moved.append(trash / f"{ref.instance_id}.{random_bytes.token_hex(4)}")
                    folders.move(path, moved[-1])
        for path in (*moved, *self._forgotten(trash)):
            safefiles.remove_tree(path)
        if not keep_data and not any(trash.glob(f"{ref.instance_id}.*")):
            self.folders.separator.walls.release(ref.instance_id)
        self.observer.forget(ref.instance_id)
        self.meter.forget(ref.instance_id)
        self.groups.remove(ref.instance_id)

    def _forgotten(self, trash: Path) -> list[Path]:
        """What an earlier, interrupted removal left. Not what is fresh: another thread may be deleting that just now."""
        found: list[Path] = []
        if trash.is_dir():
            found = [path for path in trash.iterdir() if folders.old(path)]
        return found
