"""What instances use, and what the engine's machine has."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from clawportal.sdk.runtimes import Capacity, Sample
from clawportal_docker import naming
from clawportal_docker.containers import Containers, is_previous
from clawportal_docker.engine import Engine
from clawportal_docker.errors import BROKEN, map_errors

_DISK_EVERY = 600.0


class Meter:
    def __init__(self, engine: Engine, containers: Containers) -> None:
        self.engine, self.containers = engine, containers
        self._disk: tuple[float, dict[str, int]] = (0.0, {})

    def sample(self) -> list[Sample]:
        """The engine has no call for all: one for each that runs, several at a time, none of which waits for a second reading."""
        with map_errors():
            running = [entry for entry in self.containers.mine(everywhere=False) if not is_previous(entry)]
            others = self.containers.recognised
            running += self.containers.unmanaged(others, everywhere=False)
        disk = self._disk_used()
        found: dict[str, Sample] = {}
        for entry, stats in zip(running, self.engine.pool.map(self._stats, running), strict=True):
            if not stats.get("memory_stats"):
                continue
            ref = others.get(entry["Id"]) or naming.ref(entry["Labels"])
            memory = stats["memory_stats"]
            cache = memory.get("stats", {}).get("total_inactive_file", memory.get("stats", {}).get("inactive_file", 0))
            one = Sample(
                ref, stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9, max(0, int(memory.get("usage", 0)) - int(cache)),
                int(stats.get("pids_stats", {}).get("current") or 0), datetime.now(UTC), disk.get(ref.instance_id),
            )  # fmt: skip
            found[ref.instance_id] = _sum(found.get(ref.instance_id), one)
        return list(found.values())

    def _stats(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self.engine.client.stats(entry["Id"], stream=False, one_shot=True)  # type: ignore[no-any-return]  # untyped client
        except BROKEN:
            return {}

    def _disk_used(self) -> dict[str, int]:
        """Measuring volumes is dear for the engine: what was found is good for ten minutes."""
        at, found = self._disk
        if time.monotonic() - at > _DISK_EVERY or not at:
            self._disk = (time.monotonic(), found)
            with suppress(*BROKEN):
                mine = self.engine.client.volumes(filters={"label": f"{naming.PLACE}={self.engine.place}"}).get("Volumes") or []
                of = {volume["Name"]: volume["Labels"][naming.INSTANCE] for volume in mine}  # Podman's sizes have no labels
                volumes = self.engine.slow.df().get("Volumes") or []
                found = {
                    of[volume["Name"]]: int(volume["UsageData"]["Size"])
                    for volume in volumes
                    if volume["Name"] in of and volume.get("UsageData")
                }
                self._disk = (time.monotonic(), found)
        return found

    def capacity(self) -> Capacity:
        with map_errors():
            info = self.engine.client.info()
        total = int(info.get("MemTotal", 0))
        disk = (0, 0)
        with suppress(OSError, ValueError):  # of another machine: nobody tells
            if self.engine.settings.url.startswith("unix:"):
                usage = shutil.disk_usage(info.get("DockerRootDir") or "/")
                disk = (usage.total, usage.free)
        used = sum(sample.memory_bytes for sample in self.sample())
        return Capacity(float(info.get("NCPU", 0)), total, max(0, total - used), *disk)


def _sum(before: Sample | None, one: Sample) -> Sample:
    if before is None:
        return one
    return replace(
        one, cpu_seconds=before.cpu_seconds + one.cpu_seconds, memory_bytes=before.memory_bytes + one.memory_bytes,
        processes=before.processes + one.processes,
    )  # fmt: skip
