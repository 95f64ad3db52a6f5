"""Real engines for the tests: the ones that DOCKER_HOST and CONTAINER_HOST (for Podman) name, or our own from the distribution's
packages."""

from __future__ import annotations

import io
import os
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import docker
import docker.errors
import psutil
import pytest

IMAGE = "clawportal-test/python:2"
_LIBRARY = re.compile(r"(/\S+\.so\S*) \(0x|=> (/\S+) \(0x")
_SKIPPED = re.compile(
    r"site-packages|dist-packages|tests?|idlelib|tkinter|ensurepip|turtledemo|lib2to3|config-3.*|_test\w*\..*|.*\.a"
    r"|.*\.opt-.\.pyc"
)
"""The compiled modules stay: a container could not keep what it compiles, and would do it anew with each start."""
_APPLETS = (
    "cat", "chmod", "chown", "cp", "dd", "env", "false", "find", "grep", "head", "id", "kill", "ln", "ls", "mkdir", "mv", "ps",
    "readlink", "rm", "seq", "sh", "sleep", "stat", "stty", "tail", "tar", "test", "touch", "true", "tty", "wc",
)  # fmt: skip


def why_not(*, own: bool = False) -> str:
    """Why no engine (or none of our own) can be had here; empty when one can."""
    if os.environ.get("DOCKER_HOST") and not own:
        return ""
    if not shutil.which("dockerd"):
        return "no dockerd (Debian: docker.io) and no DOCKER_HOST"
    if os.geteuid() != 0:
        return "dockerd can only be started as root; set DOCKER_HOST to use one that runs"
    if not _busybox():
        return "no busybox to build a test image with (Debian: busybox-static)"
    return ""


def _busybox() -> str | None:
    return shutil.which("busybox")


def why_no_podman() -> str:
    """Why no Podman can be had here; empty when one can."""
    if os.environ.get("CONTAINER_HOST"):
        return ""
    missing = [name for name in ("podman", "conmon", "busybox") if not shutil.which(name)]
    if missing:
        packages = "podman runc catatonit netavark aardvark-dns busybox-static"
        return f"no {', '.join(missing)} (Debian: {packages}) and no CONTAINER_HOST"
    return "" if os.geteuid() == 0 else "a Podman of our own is started as root; set CONTAINER_HOST to use one that runs"


class NoEngineError(RuntimeError):
    """An engine cannot be started here, such as in a container without the rights for it."""


def reached(kind: str, why_not: str, start: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """For a fixture: the address of an engine, or a skip that says why there is none."""
    if why_not:
        pytest.skip(f"{kind}: {why_not}")
    with ExitStack() as stack:
        try:
            url = stack.enter_context(start())
        except NoEngineError as error:
            pytest.skip(f"{kind}: {error}")
        yield url


@contextmanager
def engine() -> Iterator[str]:
    """The address of an engine that has the test image."""
    given = os.environ.get("DOCKER_HOST")
    if given:
        load_image(given)
        yield given
        with connected(given) as client, suppress(docker.errors.APIError):
            client.remove_network(_MODEL_NETWORK)
        return
    with own_engine() as daemon:
        yield daemon.url


def own_engine(*, live_restore: bool = True) -> AbstractContextManager[Daemon]:
    """An engine that the test may end and start again. It has the test image."""
    return _started("dk-", lambda folder: Daemon(folder, live_restore=live_restore))


@contextmanager
def walled_engine() -> Iterator[str]:
    """An engine with its packet filter, by which it keeps bridges apart; in a network of its own, so that none of this machine's
    rules change. Nothing outside reaches what it runs."""
    with _started("dw-", Walled) as daemon:
        yield daemon.url


@contextmanager
def podman() -> Iterator[str]:
    """The address of a Podman that has the test image."""
    given = os.environ.get("CONTAINER_HOST")
    if given:
        load_image(given)
        yield given
        return
    with _started("pm-", Podman) as daemon:
        yield daemon.url


@contextmanager
def _started(prefix: str, make: Callable[[Path], Daemon]) -> Iterator[Daemon]:
    folder = Path(tempfile.mkdtemp(prefix=prefix))  # short: the path of a socket may have 107 letters
    daemon = make(folder)
    try:
        daemon.start()
        load_image(daemon.url)
        yield daemon
    finally:
        daemon.end()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def connected(url: str, timeout: int = 120) -> Iterator[docker.APIClient]:
    client = docker.APIClient(url, version="1.41", timeout=timeout)
    try:
        yield client
    finally:
        client.close()


_MODEL_NETWORK = f"clawportal-test-{os.getpid()}"  # others may use the engine at the same time


def gateway(url: str) -> str:
    """An address of this machine that containers on any bridge can reach."""
    with connected(url) as client:
        with suppress(docker.errors.APIError):
            client.create_network(_MODEL_NETWORK, driver="bridge", check_duplicate=True)
        return str(client.inspect_network(_MODEL_NETWORK)["IPAM"]["Config"][0]["Gateway"])


class Daemon:
    """One dockerd with a folder of its own."""

    program = "dockerd"

    def __init__(self, folder: Path, *, live_restore: bool = True) -> None:
        self.folder = folder
        self._more = ["--live-restore"] if live_restore else []
        self.url = f"unix://{folder}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = open(self.folder / "log", "ab")  # noqa: SIM115  # the process keeps it
        self._process = subprocess.Popen(  # in its folder: conmon may leave a file named oom where it is
            self._command(), stdout=log, stderr=log, start_new_session=True, env=self._environment(), cwd=self.folder
        )
        end = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise NoEngineError(f"{self.program} does not start: " + (self.folder / "log").read_text()[-500:])
            time.sleep(0.2)

    def _command(self) -> list[str]:
        return [
            "dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", f"--data-root={self.folder}/data",
            f"--exec-root={self.folder}/exec", f"--pidfile={self.folder}/pid", "-H", self.url, *self._more,
        ]  # fmt: skip

    def _environment(self) -> dict[str, str]:
        return dict(os.environ)

    def _answers(self) -> bool:
        try:
            with connected(self.url, 5) as client:
                client.ping()
        except (OSError, docker.errors.DockerException):
            return False
        return True

    def end(self) -> None:
        """For good: no container outlives it, and nothing stays mounted."""
        if self._process is not None and self._answers():
            with connected(self.url) as client:
                for entry in client.containers(all=True):
                    with suppress(docker.errors.APIError):
                        client.remove_container(entry["Id"], force=True, v=True)
                for network in client.networks(filters={"driver": "bridge"}):
                    with suppress(docker.errors.APIError):
                        client.remove_network(network["Id"])
        self.stop()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None


class Walled(Daemon):
    def _command(self) -> list[str]:
        usual = [part for part in super()._command() if not part.endswith("tables=false")]
        return ["unshare", "--net", "--", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", *usual]


class Podman(Daemon):
    """One Podman service with folders of its own. What it runs goes on without it."""

    program = "podman"

    def stop(self) -> None:
        """What is left are those that wait some minutes for a question about a command that has ended."""
        super().stop()
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.folder) in part for part in process.info["cmdline"] or ()):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        for mounted in ("root/overlay", "root"):
            subprocess.run(["umount", f"{self.folder}/{mounted}"], capture_output=True, check=False)

    def _command(self) -> list[str]:
        own = [f"--{name}={self.folder}/{name}" for name in ("root", "runroot", "tmpdir", "network-config-dir")]
        return ["podman", *own, "system", "service", "--time=0", self.url]

    def _environment(self) -> dict[str, str]:
        """There is no systemd in a container, and its limits cannot be raised: Podman would take both for granted."""
        kinds = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
        limits = [f'"{name}={_limit(kind)}"' for name, kind in kinds.items()]
        settings = self.folder / "containers.conf"
        settings.write_text(
            f'[containers]\nlog_driver = "k8s-file"\ndefault_ulimits = [{", ".join(limits)}]\n'
            '[network]\nnetwork_backend = "netavark"\n'
            f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nlock_type = "file"\nruntime = "{_oci_runtime()}"\n'
        )
        return {**os.environ, "CONTAINERS_CONF": str(settings)}


def _oci_runtime() -> str:
    """crun does not run where control groups of both versions are mounted."""
    return "runc" if shutil.which("runc") else "crun"


def _limit(kind: int) -> str:
    return ":".join(str(value if 0 <= value < 20_000 else 20_000) for value in resource.getrlimit(kind))


def load_image(url: str) -> None:
    with connected(url) as client:
        if not client.images(name=IMAGE):
            client.import_image_from_data(_archive(), repository=IMAGE)  # Podman wants the tag with it


def load_environment(url: str, name: str, environment: Path) -> str:
    """An image like the one of the tests, with a virtual environment of this Python at `/opt/<name>`; answers its reference."""
    repository, tag = f"clawportal-test/{name}", environment.name
    with connected(url, 300) as client:
        if not client.images(name=f"{repository}:{tag}"):
            made = client.create_container_from_config({"Image": IMAGE, "Entrypoint": ["true"]})
            try:
                with tempfile.TemporaryFile() as file:
                    _pack(file, name, environment)
                    client.put_archive(made["Id"], "/", file)
                client.commit(made["Id"], repository=repository, tag=tag)
            finally:
                client.remove_container(made["Id"])
    return f"{repository}:{tag}"


def _pack(file: IO[bytes], name: str, environment: Path) -> None:
    home = f"opt/{name}"
    with tarfile.open(fileobj=file, mode="w") as tar:
        for folder in ("opt", home, f"{home}/bin", f"{home}/lib"):
            _folder(tar, folder)
        _text(tar, f"{home}/pyvenv.cfg", "home = /usr/local/bin\ninclude-system-site-packages = false\n")
        for program in ("python", "python3"):
            _link(tar, f"{home}/bin/{program}", "/usr/local/bin/python3")
        script = (environment / "bin" / name).read_text().split("\n", 1)[1]
        _text(tar, f"{home}/bin/{name}", f"#!/{home}/bin/python3\n{script}", 0o755)
        for library in (environment / "lib").glob("python3*"):
            tar.add(library, f"{home}/lib/{library.name}", filter=_readable)
        _libraries(tar, [str(path) for path in environment.rglob("*.so")], but=str(environment))
    file.seek(0)


def _readable(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The claw is another user than who installed it."""
    entry.mode |= 0o055 if entry.isdir() else 0o044
    return entry


def _text(tar: tarfile.TarFile, name: str, text: str, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(text.encode()), mode
    tar.addfile(entry, io.BytesIO(text.encode()))


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
    tar.addfile(entry)


def _archive() -> bytes:
    """A small root: this machine's Python with what it links to, and busybox for everything else."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in ("bin", "lib", "lib64", "usr", "usr/lib", "usr/local", "usr/local/bin", "usr/local/lib"):
            _folder(tar, folder)
        _python(tar)
        tar.add(_busybox() or "", "bin/busybox")
        for name in _APPLETS:
            _link(tar, f"bin/{name}", "busybox")
        for folder in ("etc", "proc", "sys", "dev"):
            _folder(tar, folder)
        _folder(tar, "tmp", 0o1777)
        _text(tar, "etc/passwd", "root:x:0:0::/:/bin/sh\nclaw:x:1000:1000::/claw/home:/bin/sh\n")
    return buffer.getvalue()


def _folder(tar: tarfile.TarFile, name: str, mode: int = 0o755) -> None:
    if name in tar.getnames():
        return
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    tar.addfile(entry)


def _python(tar: tarfile.TarFile) -> None:
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    program = Path(sys.base_prefix) / "bin" / name
    library = Path(sysconfig.get_paths()["stdlib"])
    tar.add(os.path.realpath(program), f"usr/local/bin/{name}")
    _link(tar, "usr/local/bin/python3", name)
    tar.add(library, f"usr/local/lib/{name}", filter=_kept)
    binaries = [str(program), *map(str, library.glob("lib-dynload/*.so"))]
    _libraries(tar, binaries)


def _libraries(tar: tarfile.TarFile, binaries: list[str], *, but: str = "") -> None:
    """What programs link to; `but` is a folder that comes along anyway."""
    told = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
    found = dict.fromkeys(match[1] or match[2] for match in _LIBRARY.finditer(told))
    for linked in (path for path in found if not but or not path.startswith(but)):
        for parent in list(Path(linked.lstrip("/")).parents)[-2::-1]:
            _folder(tar, str(parent))
        tar.add(os.path.realpath(linked), linked.lstrip("/"))


def _kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if _SKIPPED.fullmatch(entry.name.rpartition("/")[2]) else entry
