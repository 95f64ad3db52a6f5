"""What a claw is given besides its own plan: its environment, its wall and its limits."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clawportal.sdk.runtimes import Artifact, Ref, Workload
from clawportal_process import cgroups, launch, views
from clawportal_process.installers import Installer
from clawportal_process.methods import ROOTS, Own
from clawportal_process.separation import Separator

if TYPE_CHECKING:
    from clawportal_process.settings import ProcessSettings


class Sandbox:
    def __init__(self, settings: ProcessSettings, mark: str, installer: Installer, separator: Separator) -> None:
        self.settings, self.mark, self.installer, self.separator = settings, mark, installer, separator

    def environment(self, ref: Ref, folder: Path, artifacts: Iterable[Artifact]) -> dict[str, str]:
        """All that a claw gets from its surroundings: nothing of the portal's."""
        method = self.separator.method()
        user = views.NAME if method.view or method.user else views.name_of(os.getuid())
        bins = [str(self.installer.folder(artifact) / "bin") for artifact in artifacts]
        return {
            "PATH": ":".join([*bins, launch.DEFAULT_PATH]), "HOME": str(folder / "home"), "USER": user, "LOGNAME": user,
            "LANG": "C.UTF-8", "TMPDIR": str(folder / "tmp"), "TZ": self.settings.timezone, "TERM": "dumb",
            "CLAWPORTAL_INSTANCE": ref.instance_id, "CLAWPORTAL_PLACE": self.mark,
        }  # fmt: skip

    def wall(self, ref: Ref, folder: Path, workload: Workload, *more: str) -> dict[str, Any]:
        software = tuple(self.installer.shared(artifact) for artifact in workload.artifacts)
        own = Own(
            folder, (*ROOTS, *more), str(folder / "home"), ref.instance_id, software, ports=tuple(workload.ports.values()),
            hidden=("run",),
        )  # fmt: skip
        return self.separator.wall(own)

    def limits(self, workload: Workload) -> cgroups.Limits:
        return cgroups.Limits(workload.memory_bytes, workload.cpu_cores, self.settings.processes)
