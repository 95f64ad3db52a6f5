"""What instances use, and the limit of memory where the kernel does not hold it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from clawportal.sdk import _m, as_json
from clawportal.sdk.runtimes import Ref, Sample
from clawportal_process import cgroups, control, proc
from clawportal_process.disk import DiskUse
from clawportal_process.observer import Observer
from clawportal_process.record import Record


class Meter:
    def __init__(self, observer: Observer, groups: cgroups.Groups) -> None:
        self.observer, self.groups = observer, groups
        self._cpu: dict[str, tuple[str, float]] = {}
        self._disk = DiskUse()

    def sample(self) -> list[Sample]:
        """Also ends what uses more memory than it may: nobody else can, where no control group is ours."""
        rows = proc.table()
        below = proc.by_parent(rows)
        at = datetime.now(UTC)
        found = []
        for name, folder, last in self.observer.all():
            top = rows.get(last.pid) if last is not None and last.end is None else None
            if last is None or top is None or top.start != last.start or last.boot != proc.boot_id():
                continue
            pids = [pid for pid in proc.descendants(last.pid, below) if rows[pid].state != b"Z"]
            used = sum(rows[pid].rss_bytes for pid in pids)
            self._limit_memory(folder, last, pids, used)
            seconds = self._cpu_seconds(name, last, top, pids, rows)
            found.append(Sample(Ref(name), seconds, used, len(pids), at, self._disk.known(name, folder, last.incarnation)))
        self._disk.go_on()
        return found

    def _cpu_seconds(self, name: str, last: Record, top: proc.Row, pids: list[int], rows: Mapping[int, proc.Row]) -> float:
        """Of all that live and, through the supervisor, of all that was reaped. Never falls, although one may be in between."""
        ticks = top.ticks - top.own_ticks + sum(rows[pid].ticks for pid in pids)
        incarnation, before = self._cpu.get(name, ("", 0.0))
        seconds = max(ticks / proc.TICKS, before if incarnation == last.incarnation else 0.0)
        self._cpu[name] = (last.incarnation, seconds)
        return seconds

    def _limit_memory(self, folder: Path, last: Record, pids: list[int], used: int) -> None:
        limit = last.memory_bytes
        if not limit or used <= limit or self.groups.holds(folder.name, pids[0]):
            return
        shared_once = proc.proportional_bytes(pids)
        if shared_once > limit:
            used_mib, limit_mib = shared_once >> 20, limit >> 20
            said = _m("It used %(used)s MiB of memory, more than its limit of %(limit)s MiB.", used=used_mib, limit=limit_mib)
            control.command(folder / "run", f"kill OutOfMemory {json.dumps(as_json(said))}\n")

    def forget(self, name: str) -> None:
        self._cpu.pop(name, None)
        self._disk.forget(name)
