"""One installation: its tools behind a wall, its progress, and the proof that the software works."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp
from clawportal.sdk.runtimes import Artifact, Progress
from clawportal_process import guarded, install_errors, mirrors

_CHECK_SECONDS = 180.0


class Job:
    """The tools of one installation, with a progress that every line and every quiet moment moves on."""

    def __init__(
        self, artifact: Artifact, folder: Path, *, environment: Mapping[str, str], wall: Mapping[str, Any], umask: int,
        progress: Progress, lock: int,
    ) -> None:  # fmt: skip
        """`lock`: the handle that says that somebody is at it; the tools inherit it."""
        self.artifact, self.folder, self.lock = artifact, folder, lock
        self.title = f"{artifact.name} {artifact.version}"
        self.environment, self.wall, self.umask = dict(environment), dict(wall), umask
        self._progress = progress
        self._said: tuple[float, str] = (0.0, _m("Installing %(title)s", title=self.title))

    def say(self, fraction: float, text: str) -> None:
        """Progress never goes back."""
        self._said = (max(fraction, self._said[0]), install_errors.clean((text,))[0])

    def tell(self) -> None:
        self._progress(*self._said)

    def run(
        self, argv: list[str], *, on_line: Callable[[str], None] = lambda line: None, on_tick: Callable[[], None] = lambda: None
    ) -> None:
        def tick() -> None:
            on_tick()
            self.tell()

        outcome = guarded.run(
            argv, env=self.environment, cwd=self.folder, wall=self.wall, umask=self.umask, on_line=on_line, on_tick=tick,
            lock=self.lock,
        )  # fmt: skip
        if outcome.code != 0:
            raise install_errors.verdict(
                self.title, replace(outcome, lines=mirrors.hidden(outcome.lines, self.environment.values()))
            )

    def look_again(self, argv: list[str]) -> None:
        """Whether the index refused the sign-in: of itself pip only says that there is no such package."""
        said: list[str] = []

        def listen(line: str) -> None:
            if install_errors.REFUSED.search(line):
                said.append(line)

        guarded.run(
            argv, env=self.environment, cwd=self.folder, wall=self.wall, umask=self.umask, timeout=_CHECK_SECONDS,
            on_line=listen, on_tick=self.tell, lock=self.lock,
        )  # fmt: skip
        if said:
            raise install_errors.refused(self.title, install_errors.clean(mirrors.hidden(said[-3:], self.environment.values())))

    def check(self) -> None:
        """The software has to show that it works before it counts."""
        self.say(0.97, _m("Trying %(title)s", title=self.title))
        if not self.artifact.check:
            return
        command, *rest = self.artifact.check
        environment = {**self.environment, "PATH": f"{self.folder / 'bin'}:{self.environment['PATH']}"}
        outcome = guarded.run(
            [str(self.folder / command), *rest],
            env=environment,
            cwd=self.folder,
            wall=self.wall,
            umask=self.umask,
            timeout=_CHECK_SECONDS,
            on_tick=self.tell,
            lock=self.lock,
        )
        if outcome.code != 0:
            how = (
                f"did not end within {_CHECK_SECONDS:g} s"
                if outcome.code is None
                else _m("ended with code %(code)s", code=outcome.code)
            )
            command = " ".join(self.artifact.check)
            words = f"{self.title} was installed but does not work: {command} {how}. {' '.join(outcome.lines[-1:])}"
            raise GiveUp(
                _n("InstallBroken"), mirrors.hidden((words.strip(),), self.environment.values())[0],
                _m("Choose another version, or read the tool's words."),
                mirrors.hidden(install_errors.clean(outcome.lines), self.environment.values()),
            )  # fmt: skip


def link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)
