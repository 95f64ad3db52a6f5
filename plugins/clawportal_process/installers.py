"""Installs software once for all instances of this machine; a half-done installation never looks like a whole one."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp, Retry
from clawportal.sdk.runtimes import Artifact, Progress
from clawportal_process import identity, install_errors, install_npm, install_pip, launch, mirrors, safefiles, views
from clawportal_process.folders import try_lock
from clawportal_process.install_job import Job
from clawportal_process.methods import Own
from clawportal_process.separation import Separator

MARKER = "installed.json"
"""Written last. Without it a folder counts for nothing and is wiped before the next attempt."""
_SPARE = 50_000_000


class Installer:
    """The artifact folders of one machine."""

    def __init__(self, base: Path, environment: Mapping[str, str], separator: Separator) -> None:
        self.base = base
        self.separator = separator
        if separator.walls.root:  # the users of claws and of installers pass to what is theirs, and cannot list it
            base.chmod(0o711)
        self.given = dict(environment)
        self._known: dict[str, Artifact] = {}

    def folder(self, artifact: Artifact) -> Path:
        self._known[artifact.name] = artifact
        return self.base / artifact.key

    def prepared(self, artifact: Artifact) -> bool:
        """The marker is there, speaks of this artifact, and the interpreter behind it has not been removed since."""
        folder = self.folder(artifact)
        try:
            marker = json.loads((folder / MARKER).read_bytes())
        except (OSError, ValueError):
            return False
        return marker.get("key") == artifact.key and (artifact.kind == "npm" or (folder / "bin" / "python").exists())

    def prepare(self, artifact: Artifact, progress: Progress) -> None:
        if self.prepared(artifact):
            return
        title = f"{artifact.name} {artifact.version}"
        try:
            with self._alone(artifact, progress) as lock:
                if not self.prepared(artifact):
                    self._install(artifact, progress, lock)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise install_errors.disk_full(title, error.strerror or "") from error
            raise Retry(_n("MachineError"), _m("%(title)s cannot be installed: %(error)s", title=title, error=error)) from error
        progress(1.0, _m("%(title)s is installed", title=title))

    @contextmanager
    def _alone(self, artifact: Artifact, progress: Progress) -> Iterator[int]:
        """One installation of an artifact at a time, over threads and portals; a tool still dying holds the lock."""
        locks = self.base / ".locks"
        locks.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(locks / artifact.key, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not try_lock(handle):
                progress(None, _m("Another installation of this is running; waiting for it to end"))
                time.sleep(0.3)
            yield handle
        finally:
            os.close(handle)

    def _install(self, artifact: Artifact, progress: Progress, lock: int) -> None:
        folder = self.folder(artifact)
        self._enough_space(artifact)
        safefiles.remove_tree(folder)
        folder.mkdir(mode=0o700)
        steps = {"pip": install_pip.install, "node": install_pip.install_node, "npm": install_npm.install}
        owner = f"artifact:{artifact.key}"
        try:
            with self._tools(artifact) as tools:
                uid = self.separator.user(owner)
                if uid is not None:
                    for path in (folder, *tools.iterdir(), tools):
                        os.chown(path, uid, uid)
                umask = 0o022 if self.separator.walls.root else 0o077
                environment, wall = self.environment(artifact, tools), self.wall(artifact, owner)
                job = Job(artifact, folder, environment=environment, wall=wall, umask=umask, progress=progress, lock=lock)
                steps[artifact.kind](job)
            self._take_back(folder, uid)
            safefiles.write(folder, MARKER, _marker(artifact), mode=0o644)
        except BaseException:
            safefiles.remove_tree(folder)
            raise
        self.separator.walls.release(owner)

    @contextmanager
    def _tools(self, artifact: Artifact) -> Iterator[Path]:
        """Home, caches and temporary folder of one installation: what one package leaves there must not get into another."""
        (self.base / ".tools").mkdir(mode=0o711, exist_ok=True)
        tools = self.base / ".tools" / artifact.key
        safefiles.remove_tree(tools)
        for name in ("home", "pip", "npm", "tmp"):
            (tools / name).mkdir(mode=0o700, parents=True)
        safefiles.write(tools, mirrors.NPMRC, mirrors.npmrc(_translated(self.given)).encode())
        try:
            yield tools
        finally:
            safefiles.remove_tree(tools)

    def _take_back(self, folder: Path, uid: int | None) -> None:
        """From now on it is the portal's, and nobody else can change it."""
        if uid is not None:
            left = identity.hand_over(self.base, (folder.name,), 0)
            if left:
                raise GiveUp(
                    _n("InstallBroken"),
                    _m("%(name)s: %(left)s has a second name elsewhere.", name=folder.name, left=left[0]),
                    _m("Choose another version."),
                )
            share(folder)

    def shared(self, artifact: Artifact) -> Path:
        """Its folder, readable for the users of claws, also when an earlier version of the portal installed it."""
        folder = self.folder(artifact)
        if self.separator.method().user and folder.is_dir() and folder.stat().st_mode & 0o055 != 0o055:
            share(folder)
        return folder

    def wall(self, artifact: Artifact, owner: str) -> dict[str, Any]:
        """Of its installers, which run what the package brings."""
        tools, temporary = f".tools/{artifact.key}", f".tools/{artifact.key}/tmp"  # noqa: S108  # its own one
        needed = tuple(self.needed(name) for name in artifact.needs)
        return self.separator.wall(
            Own(
                self.base,
                (artifact.key, tools),
                str(self.base / tools / "home"),
                owner,
                needed,
                readable=_paths((*self.given.values(), *artifact.packages), self.separator.walls.private),
                temporary=temporary,
            )
        )

    def _enough_space(self, artifact: Artifact) -> None:
        found = os.statvfs(self.base)
        free, needed = found.f_bavail * found.f_frsize, int(artifact.expected_bytes * 1.1) + _SPARE
        if free < needed:
            raise install_errors.disk_full(
                f"{artifact.name} {artifact.version}", f"it takes about {needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free"
            )

    def needed(self, name: str) -> Path:
        """Folder of an installed artifact by its name: the one that was asked for last, else the newest of that name."""
        known = self._known.get(name)
        if known is not None and self.prepared(known):
            return self.folder(known)
        found = [
            (marker["at"], path.parent) for path in self.base.glob(f"*/{MARKER}") if (marker := _read(path)).get("name") == name
        ]
        if not found:
            raise Retry(_n("ArtifactMissing"), _m("%(name)s has to be installed before.", name=name), timedelta(seconds=5))
        return max(found)[1]

    def environment(self, artifact: Artifact, tools: Path) -> dict[str, str]:
        """Of installers: a home and caches of their own, and what the portal's administrator set for them."""
        bins = [str(self.needed(name) / "bin") for name in artifact.needs]
        return {
            "PATH": ":".join([*bins, launch.DEFAULT_PATH]), "HOME": str(tools / "home"), "TMPDIR": str(tools / "tmp"),
            "LANG": "C.UTF-8",
            "PIP_CACHE_DIR": str(tools / "pip"), "npm_config_cache": str(tools / "npm"), "npm_config_update_notifier": "false",
            **mirrors.for_npm(_translated(self.given), tools / mirrors.NPMRC),
        }  # fmt: skip


def _translated(given: Mapping[str, str]) -> dict[str, str]:
    """The portal's own settings in the words of pip and npm."""
    words = {"CLAWPORTAL_PIP_INDEX_URL": "PIP_INDEX_URL", "CLAWPORTAL_NPM_REGISTRY": "npm_config_registry"}
    return {words.get(name, name): value for name, value in given.items() if value}


def _paths(given: Iterable[str], private: Iterable[str]) -> tuple[str, ...]:
    """Certificates, indexes and packages that lie on this machine: who named them wants installers to read them."""
    words = [re.sub(r"^file:(//)?", "", word) for value in given for word in value.split()]
    found = [word for word in words if word.startswith("/") and len(Path(word).parts) > 1 and os.path.exists(word)]
    return tuple(word for word in found if views.without(real := os.path.realpath(word), private) == [real])


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _marker(artifact: Artifact) -> bytes:
    content = {
        "key": artifact.key, "name": artifact.name, "version": artifact.version, "kind": artifact.kind,
        "packages": artifact.packages, "at": datetime.now(UTC).isoformat(),
    }  # fmt: skip
    return json.dumps(content, indent=1).encode()


def share(folder: Path) -> None:
    """Let everybody read it and run its programs. The folder itself last: by it one sees that all below is done."""
    for _, folders, files, handle in os.fwalk(folder, topdown=False, follow_symlinks=False):
        for name in (*folders, *files):
            mode = stat.S_IMODE(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode)
            wanted = mode | (0o055 if mode & 0o100 else 0o044)
            if mode != wanted and not stat.S_ISLNK(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode):
                os.chmod(name, wanted, dir_fd=handle)
    folder.chmod(0o755)
