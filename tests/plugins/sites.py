"""Environments of their own, with the portal and plugins installed from wheels as people install them, and without a network."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

from tests.browser.portal import ROOT, PortalProcess

_PIP = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check")
_OFFLINE = ("--no-index", "--no-deps")


def wheel_of(project: Path, folder: Path) -> Path:
    """Built with what is installed here."""
    into = folder / project.name
    _run(*_PIP, "wheel", *_OFFLINE, "--no-build-isolation", "-w", str(into), str(project))
    return next(into.glob("*.whl"))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Site:
    """A fresh environment. What the portal needs from others is that of the tests; the portal itself is not, nor are plugins."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Site:
        venv.create(folder, symlinks=True, with_pip=False)
        made = cls(folder)
        packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
        # only this folder: what is installed for development is named by .pth files in it, and those of a .pth are not read
        (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        return made

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def install(self, *wheels: Path) -> None:
        _run(*_PIP, "--python", self.python, "install", *_OFFLINE, *map(str, wheels))

    def uninstall(self, name: str) -> None:
        _run(*_PIP, "--python", self.python, "uninstall", "-y", name)

    def run(self, program: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """A console script of this environment, in its folder."""
        command = [str(self.folder / "bin" / program), *arguments]
        environment = self.environment() | settings
        return subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False)

    def environment(self) -> dict[str, str]:
        left_out = ("PYTEST_", "CLAWPORTAL_", "CLAW_", "PYTHON")
        return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}


class InstalledPortal(PortalProcess):
    """The portal of a site, started by the command that was installed there."""

    def __init__(self, site: Site, data: Path, **settings: str) -> None:
        super().__init__(data, **settings)
        self.site = site
        self.home = site.folder  # not the checkout, whose modules would be found first
        self.program = (str(site.folder / "bin" / "clawportal"),)

    def _environment(self) -> dict[str, str]:
        found = self.site.environment() | {f"CLAWPORTAL_{name}": value for name, value in self.settings.items()}
        return found | {"PYTHONUNBUFFERED": "1"}

    @property
    def token(self) -> str:
        return self._token

    def command(self, *arguments: str) -> str:
        """What `clawportal` says on this data folder."""
        settings = {f"CLAWPORTAL_{name}": value for name, value in self.settings.items()}
        done = self.site.run("clawportal", "--data-dir", str(self.folder), *arguments, **settings)
        return done.stdout + done.stderr

    def claw(self, *arguments: str) -> str:
        """What `claw` says to the portal."""
        done = self.site.run("claw", *arguments, CLAW_URL=self.url, CLAW_TOKEN=self._token)
        return done.stdout + done.stderr


def portal_wheel(folder: Path) -> Path:
    return wheel_of(ROOT, folder)
