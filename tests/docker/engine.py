"""A real Docker engine for the tests: the one that DOCKER_HOST names, or one of our own from the distribution's package."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IMAGE = "clawportal-test/python:1"
_LIBRARY = re.compile(r"(/\S+\.so\S*) \(0x|=> (/\S+) \(0x")
_SKIPPED = ("site-packages", "test", "tests", "__pycache__", "idlelib", "tkinter", "ensurepip", "turtledemo", "lib2to3")
_APPLETS = (
    "cat", "chmod", "chown", "cp", "dd", "env", "false", "find", "grep", "head", "id", "kill", "ln", "ls", "mkdir", "mv", "ps",
    "readlink", "rm", "seq", "sh", "sleep", "stat", "stty", "tail", "tar", "test", "touch", "true", "tty", "wc",
)  # fmt: skip


def why_not() -> str:
    """Why no engine can be had here; empty when one can."""
    if os.environ.get("DOCKER_HOST"):
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


@contextmanager
def engine() -> Iterator[str]:
    """The address of an engine that has the test image."""
    given = os.environ.get("DOCKER_HOST")
    if given:
        load_image(given)
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix="dk-"))  # short: the path of a socket may have 107 letters
    daemon = Daemon(folder)
    daemon.start()
    try:
        load_image(daemon.url)
        yield daemon.url
    finally:
        daemon.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Daemon:
    """One dockerd with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = open(self.folder / "log", "ab")  # noqa: SIM115  # the process keeps it
        self._process = subprocess.Popen(
            ["dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", f"--data-root={self.folder}/data",
             f"--exec-root={self.folder}/exec", f"--pidfile={self.folder}/pid", "-H", self.url, "--live-restore"],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("dockerd does not start: " + (self.folder / "log").read_text()[-2000:])
            time.sleep(0.2)

    def _answers(self) -> bool:
        import docker

        try:
            client = docker.APIClient(self.url, version="1.41", timeout=2)
            client.ping()
            client.close()
        except Exception:  # whatever it is: it does not answer yet
            return False
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None


def load_image(url: str) -> None:
    import docker

    client = docker.APIClient(url, version="1.41", timeout=120)
    try:
        if not client.images(name=IMAGE):
            repository, _, tag = IMAGE.partition(":")
            client.import_image_from_data(_archive(), repository=repository, tag=tag)
    finally:
        client.close()


def _archive() -> bytes:
    """A small root: this machine's Python with what it links to, and busybox for everything else."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in ("bin", "lib", "lib64", "usr", "usr/lib", "usr/local", "usr/local/bin", "usr/local/lib"):
            _folder(tar, folder)
        _python(tar)
        tar.add(_busybox() or "", "bin/busybox")
        for name in _APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
            tar.addfile(link)
        for folder in ("etc", "proc", "sys", "dev"):
            _folder(tar, folder)
        _folder(tar, "tmp", 0o1777)
        users = b"root:x:0:0::/:/bin/sh\nclaw:x:1000:1000::/claw/home:/bin/sh\n"
        entry = tarfile.TarInfo("etc/passwd")
        entry.size, entry.mode = len(users), 0o644
        tar.addfile(entry, io.BytesIO(users))
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
    link = tarfile.TarInfo("usr/local/bin/python3")
    link.type, link.linkname = tarfile.SYMTYPE, name
    tar.addfile(link)
    tar.add(library, f"usr/local/lib/{name}", filter=lambda entry: None if entry.name.rpartition("/")[2] in _SKIPPED else entry)
    seen: set[str] = set()
    for path in (program, *library.glob("lib-dynload/*.so")):
        told = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False).stdout
        for found in _LIBRARY.finditer(told):
            linked = found[1] or found[2]
            if linked not in seen:
                seen.add(linked)
                for parent in list(Path(linked.lstrip("/")).parents)[-2::-1]:
                    _folder(tar, str(parent))
                tar.add(os.path.realpath(linked), linked.lstrip("/"))
