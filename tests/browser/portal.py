"""A portal as its users run it: the `serve` command as a process of its own on a fresh folder, and what tests ask of it."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import psutil

from tests import commands

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse battery"
SHORT = {"RESYNC_SECONDS": "1", "HEALTH_SECONDS": "1", "SAMPLE_SECONDS": "1"}
CACHE = Path(os.environ.get("CLAWPORTAL_TEST_ARTIFACTS") or Path.home() / ".cache" / "clawportal-tests")
_PRINTED = re.compile(r"with password\s+(\S+)")


def wait_for(condition: Callable[[], Any], seconds: float = 20.0, what: str = "") -> Any:
    """The first true answer of `condition`; fails when the time is over."""
    end = time.monotonic() + seconds
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what or condition}")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PortalProcess:
    """`clawportal serve` on a data folder; the port stays the same over restarts, as browsers expect it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.before: tuple[str, ...] = ()
        """A command that starts the portal's, such as one that sets limits."""
        self.settings = SHORT | {"PRACTICE_MODEL_PORT": "0"} | settings
        self.process: subprocess.Popen[bytes] | None = None
        self.first_password = ""
        self.through: tuple[str, ...] = ()
        """A program of Python, with its arguments, that starts the portal as somebody else."""
        self.program: tuple[str, ...] = ()
        """What is started instead of the portal of this checkout, such as one of a single file."""
        self.prepared = True
        """Whether its tables are made before: `serve` starts a Python of its own for that, which takes several times as long."""
        self.home = ROOT
        """The folder that it is started in, which Python looks for modules in."""
        self._token = ""
        folder.mkdir(parents=True, exist_ok=True)

    # ---- life

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self.folder.with_suffix(".out")

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLAWPORTAL_", "CLAW_"))}
        found = kept | {f"CLAWPORTAL_{name}": value for name, value in self.settings.items()}
        return found | {"PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}", "PYTHONUNBUFFERED": "1"}

    def start(self) -> float:
        """Start and wait until it answers; returns the seconds that this took."""
        if self.prepared:
            self._prepare()
        begun = time.monotonic()
        command = [
            *self.before,
            *(self.program or (sys.executable, *self.through, "-m", "clawportal.cli.server")),
            "--data-dir",
            str(self.folder),
            "serve",
            "--port",
            str(self.port),
        ]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.home, env=self._environment(), stdout=log, stderr=log)
        wait_for(self._answers, 120, "the portal answers")
        if found := _PRINTED.search(self.output):
            self.first_password = found[1]
        return time.monotonic() - begun

    def _prepare(self) -> None:
        """As `serve` does it. Not where somebody else is to find an empty folder, or a database that is to be asked each time."""
        here = not (self.before or self.program or self.through or self.settings.get("DATABASE_URL"))
        if here and not any(self.folder.iterdir()):
            environment = self._environment() | {"CLAWPORTAL_DATA_DIR": str(self.folder)}
            done = commands.run("db", "upgrade", "--first-start", environment=environment)
            assert done.returncode == 0, done.stderr
            self._log.write_text(done.stdout + done.stderr)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the portal ended with code {self.process.returncode}:\n{self.output}"
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """`kill -9` of master and worker at once, as a power cut would end them. Claws are no part of it."""
        assert self.process is not None
        family = [psutil.Process(self.process.pid)]
        family += [child for child in family[0].children(recursive=True) if "clawportal.cli." in " ".join(_command(child))]
        for member in family:
            member.send_signal(signal.SIGKILL)
        self.process.wait(10)
        psutil.wait_procs(family, 10)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def end(self) -> None:
        """Claws away by the portal itself, then the portal; whatever is left of this folder is ended by its pid."""
        try:
            if self._token and self.process is not None and self.process.poll() is None:
                self.remove_all()
        finally:
            self.stop()
            end_processes_of(self.folder)

    # ---- the API

    def set_up(self, practice: bool = True, public: str = "") -> None:
        """The first-run page, filled in without a browser; at its public address where its cookies are for that alone."""
        home = httpx.URL(public or self.url).path
        with httpx.Client(base_url=public or self.url, follow_redirects=True, timeout=30, verify=False) as client:
            client.post("/login", data=_form(client, "/login", username="admin", password=self.first_password))
            sent = {"organization": "Brightwater Labs", "password": PASSWORD, "password_again": PASSWORD}
            answer = client.post("/setup", data=_form(client, "/setup", **sent, **({"practice": "true"} if practice else {})))
            assert answer.status_code == 200 and answer.url.path.rstrip("/") == home.rstrip("/"), (answer.status_code, answer.url)
        self.sign_in()

    def sign_in(self) -> None:
        answer = httpx.post(f"{self.url}/api/v1/auth/token", json={"name": "admin", "password": PASSWORD}, timeout=30)
        assert answer.status_code == 201, answer.text
        self._token = answer.json()["token"]

    def api(self, method: str, path: str, json: Any = None, status: int | None = None, **headers: str) -> Any:
        """Headers as words: `If_Match="1"`."""
        headers = {"Authorization": f"Bearer {self._token}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        answer = httpx.request(method, f"{self.url}/api/v1/{path}", json=json, headers=headers, timeout=30)
        assert answer.status_code == status if status else answer.is_success, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def create(self, name: str, adapter: str = "echo", **more: Any) -> dict[str, Any]:
        return cast("dict[str, Any]", self.api("POST", "instances", {"name": name, "adapter": adapter, **more}, 201))

    def running(self, name: str, adapter: str = "echo", **more: Any) -> dict[str, Any]:
        """A new claw that runs and is well."""
        made = self.create(name, adapter, **more)
        return cast("dict[str, Any]", wait_for(lambda: self._well(made["id"]), 60, f"{name} runs"))

    def _well(self, instance_id: str) -> dict[str, Any] | None:
        found = self.get(instance_id)
        return found if found["phase"] == "running" and found["health"] == "healthy" else None

    def get(self, instance_id: str) -> dict[str, Any]:
        return cast("dict[str, Any]", self.api("GET", f"instances/{instance_id}"))

    def reaches(self, instance_id: str, phase: str, seconds: float = 20.0) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.get(instance_id)
            return found if found["phase"] == phase else None

        return cast("dict[str, Any]", wait_for(look, seconds, f"{instance_id} is {phase}"))

    def list(self) -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", self.api("GET", "instances?limit=200")["items"])

    def remove_all(self) -> None:
        for found in self.list():
            address, headers = f"{self.url}/api/v1/instances/{found['id']}?force=true", {"Authorization": f"Bearer {self._token}"}
            answer = httpx.delete(address, headers=headers, timeout=30)
            assert answer.is_success or answer.status_code == 404, answer.text  # it may be gone by now
        wait_for(lambda: not self.list(), 60, "every claw is gone")

    def claw_processes(self, instance_id: str) -> list[psutil.Process]:
        """The claw's own processes, without what looks after them."""
        marker = f"/instances/{instance_id}/"
        return [process for process in processes_of(self.folder) if marker in " ".join(_command(process))]


def _form(client: httpx.Client, path: str, **values: str) -> dict[str, str]:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(path).text)
    assert found, path
    return values | {"csrf_token": found[1]}


def _command(process: psutil.Process) -> list[str]:
    try:
        return cast("list[str]", process.cmdline())
    except psutil.Error:
        return []


def processes_of(folder: Path) -> list[psutil.Process]:
    """Every process that was started with this folder in its command."""
    return [process for process in psutil.process_iter() if any(str(folder) in word for word in _command(process))]


def end_processes_of(folder: Path) -> None:
    left = processes_of(folder)
    for process in left:
        try:
            process.kill()
        except psutil.Error:
            continue  # it ended by itself
    psutil.wait_procs(left, 10)


# ---- installed software


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One worker at a time; the others wait and find it done."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def share_downloads(folder: Path) -> None:
    """An install of its own, but with the downloads of earlier test runs."""
    (CACHE / "artifacts" / ".tools").mkdir(parents=True, exist_ok=True)
    artifacts = folder / "clusters" / "local" / "artifacts"
    artifacts.mkdir(parents=True)
    (artifacts / ".tools").symlink_to(CACHE / "artifacts" / ".tools")


def share_installed(folder: Path, *adapters: Any) -> None:
    """What these claws need is installed once into the cache, under the path that it keeps, and lent to this portal."""
    from clawportal.contracts.runtimes import Place
    from clawportal.settings import Settings, installer_environment
    from clawportal_process.driver import ProcessDriver

    with _alone("installs"):
        runtime = ProcessDriver().connect(Place("local", "local", {}, str(CACHE), installer_environment(Settings())))
        try:
            for adapter in adapters:
                for artifact in adapter.artifacts(next(known.version for known in adapter.versions() if known.default)):
                    runtime.prepare(artifact, lambda fraction, words: None)
        finally:
            runtime.close()
    place = folder / "clusters" / "local"
    place.mkdir(parents=True)
    (place / "artifacts").symlink_to(CACHE / "artifacts")
