"""A developer with a claw of their own and a model of their own tries to become administrator of the portal: nothing comes of it.

A real nanobot runs with its exec tool on a real portal. The model that it asks is the attacker's: it answers with a call of that
tool. What the command tries is what once worked: key ring, database, other claws, `/proc`, installed software, local sockets.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

import clawportal_process
from clawportal_nanobot.adapter import NanobotAdapter
from clawportal_process import landlock
from tests.browser.portal import CACHE, ROOT, PortalProcess, share_installed, wait_for
from tests.ordinary_user import UID, no_mounts

pytestmark = [
    pytest.mark.claw,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(landlock.version() < 6, reason="no Landlock with scopes here (Linux 6.12)"),
    pytest.mark.skipif(no_mounts(), reason="this root may not mount, and the home of root is closed to others"),
]
ATTACK = Path(clawportal_process.__file__).with_name("attack.py")
COMMAND = "python3 attack.py targets.json > result.txt 2>&1; echo finished"


class AttackersModel:
    """Speaks the protocol of OpenAI: the first answer calls `exec`, every later one says what came of it."""

    def __init__(self) -> None:
        model = self
        self.heard: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                model._answer(self, asked)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _answer(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        done = [str(message.get("content")) for message in asked["messages"] if message.get("role") == "tool"]
        self.heard += done
        call = {"id": "call_1", "type": "function", "function": {"name": "exec", "arguments": json.dumps({"command": COMMAND})}}
        said = {"content": "It is done."} if done else {"content": None, "tool_calls": [{"index": 0, **call}]}
        reason = "stop" if done else "tool_calls"
        if asked.get("stream"):
            pieces = [{"delta": {"role": "assistant", **said}}, {"delta": {}, "finish_reason": reason}]
            body = "".join(f"data: {json.dumps(_completion('chat.completion.chunk', piece))}\n\n" for piece in pieces)
            self._send(handler, f"{body}data: [DONE]\n\n".encode(), "text/event-stream")
        else:
            message = {"message": {"role": "assistant", **said}, "finish_reason": reason}
            self._send(handler, json.dumps(_completion("chat.completion", message)).encode(), "application/json")

    def _send(self, handler: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def _completion(kind: str, choice: dict[str, Any]) -> dict[str, Any]:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {"id": "c1", "object": kind, "created": 1, "model": "attacker", "choices": [{"index": 0, **choice}], "usage": usage}


@pytest.fixture
def model() -> Iterator[AttackersModel]:
    found = AttackersModel()
    yield found
    found.close()


@pytest.fixture(params=["root", "an ordinary user"])
def portal(request: pytest.FixtureRequest) -> Iterator[PortalProcess]:
    """Its data lie in a home, below `/root` or `/home`."""
    root = os.geteuid() == 0
    if request.param == "root" and not root:
        pytest.skip("this test run is not root")
    other = root and request.param != "root"
    home = Path(tempfile.mkdtemp(prefix="clawportal-attack-", dir="/home" if other else Path.home()))
    found = PortalProcess(home / "data")
    share_installed(found.folder, NanobotAdapter())
    if other:
        _give(home, UID)
        found.through = (str(Path(__file__).parents[1] / "ordinary_user.py"), str(UID))
        os.environ["TEST_SHOW_FOLDERS"] = str(CACHE / "artifacts")
    try:
        found.start()
        found.set_up()
        yield found
        found.end()
    finally:
        os.environ.pop("TEST_SHOW_FOLDERS", None)
        found.stop()
        shutil.rmtree(home)


def _give(folder: Path, uid: int) -> None:
    os.chown(folder, uid, uid)
    for path in folder.rglob("*"):
        os.chown(path, uid, uid, follow_symlinks=False)


def place_of(portal: PortalProcess) -> Path:
    return portal.folder / "clusters" / "local"


def targets(portal: PortalProcess, victim: str) -> list[tuple[str, str, str]]:
    data, place = portal.folder, place_of(portal)
    theirs = place / "instances" / victim
    assert portal.process
    master = psutil.Process(portal.process.pid)
    pids = [master.pid, *(child.pid for child in master.children(recursive=True)), 1]
    pids += [process.pid for process in portal.claw_processes(victim)]
    state = json.loads((theirs / "run/state.json").read_text())
    pids += [state["pid"], *(one["pid"] for one in state["processes"])]
    software = sorted(path for path in (place / "artifacts").iterdir() if path.is_dir() and not path.name.startswith("."))
    sockets = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines() if len(line.split()) == 8]
    return [
        *((what, what, str(path)) for path in (data / "keys/keyring.json", data / "clawportal.db") for what in ("read", "write")),
        *(("read", "read", str(path)) for path in (place / "mark", theirs / "state/echo.json", theirs / "run/log")),
        *(("make", "make", str(path)) for path in (data, place, theirs / "state", place / "artifacts", *software)),
        *(("write", "write", str(path)) for path in (theirs / "run/control", theirs / "run/state.json")),
        *((what, what, str(pid)) for pid in pids for what in ("look into", "signal", "limit")),
        *(("connect", "connect", path) for path in (str(theirs / "work/socket"), *sockets) if path.startswith(("/", "@"))),
        ("own", "make", "."),
    ]  # fmt: skip


def test_nothing_comes_of_it(portal: PortalProcess, model: AttackersModel) -> None:
    victim = portal.running("victim")["id"]
    spec = {
        "model": {"provider": "openai-compatible", "base_url": model.url, "name": "attacker"},
        "settings": {"exec_enabled": True, "restrict_to_workspace": False},
    }
    hostile = portal.create("hostile", "nanobot", spec=spec, secrets={"model_api_key": "of-the-attacker"})["id"]
    wait_for(lambda: portal._well(hostile), 120, "nanobot runs")
    with socket.socket(socket.AF_UNIX) as listener:
        _stand_in_the_folder_of(place_of(portal) / "instances" / victim, listener)
        tried = targets(portal, victim)
        work = _give_tools(portal, hostile, tried)
        users = _users(portal.folder)
        with suppress(AssertionError):  # what it says at last is not the point
            portal.api("POST", f"instances/{hostile}/chat", {"text": "hello"})
        wait_for(lambda: any("finished" in told for told in model.heard), 60, "the command has run")
        _nothing_but_its_own(work / "result.txt", tried)
        (work / "result.txt").unlink()
        _by_console(portal, hostile)
        _nothing_but_its_own(work / "result.txt", tried)
        assert _users(portal.folder) == users and portal.get(victim)["phase"] == "running"


def _stand_in_the_folder_of(folder: Path, listener: socket.socket) -> None:
    handle = os.open(folder / "work", os.O_PATH)
    try:
        listener.bind(f"/proc/self/fd/{handle}/socket")
    finally:
        os.close(handle)
    (folder / "work/socket").chmod(0o777)
    listener.listen()


def _give_tools(portal: PortalProcess, instance: str, tried: list[tuple[str, str, str]]) -> Path:
    """As the attacker would by a few more calls of the tool."""
    folder = place_of(portal) / "instances" / instance
    work = folder / "work"
    for name, content in (("attack.py", ATTACK.read_text()), ("targets.json", json.dumps(tried))):
        (work / name).write_text(content)
        os.chown(work / name, work.stat().st_uid, work.stat().st_gid)
    return work


CONSOLE = """
import sys
from clawportal.contracts.runtimes import Place, Ref
from clawportal_process.driver import ProcessDriver
runtime = ProcessDriver().connect(Place("local", "local", {}, sys.argv[1]))
session = runtime.exec(Ref(sys.argv[2]), ["sh", "-c", sys.argv[3]], tty=True)
told = b""
while b"finished" not in told:
    piece = session.receive(60)
    assert piece, told
    told += piece[1]
session.close()
"""


def _by_console(portal: PortalProcess, instance: str) -> None:
    """Another connection to the same place, by the portal's user: the supervisor of the claw starts the command."""
    command = [sys.executable, *portal.through, "-c", CONSOLE, str(place_of(portal)), instance, COMMAND]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}"}
    subprocess.run(command, env=environment, cwd="/", check=True, timeout=120)


def _nothing_but_its_own(result: Path, tried: list[tuple[str, str, str]]) -> None:
    found = [json.loads(line) for line in result.read_text().splitlines()]
    assert len(found) == len(tried), result.read_text()[-2000:]
    assert [one for one in found if one["done"] and one["what"] != "own"] == []
    assert [one["done"] for one in found if one["what"] == "own"] == [True]


def _users(folder: Path) -> list[Any]:
    with sqlite3.connect(folder / "clawportal.db") as database:
        return database.execute("SELECT id, name FROM user_account ORDER BY id").fetchall()


def test_the_program_finds_something_where_there_is_no_wall(tmp_path: Path) -> None:
    """The control: the same attempts, outside of a claw."""
    (tmp_path / "secret").write_text("x")
    tried = [("read", "read", str(tmp_path / "secret")), ("signal", "signal", str(os.getpid())), ("make", "make", str(tmp_path))]
    (tmp_path / "targets.json").write_text(json.dumps(tried))
    done = subprocess.run([sys.executable, ATTACK, tmp_path / "targets.json"], capture_output=True, text=True, check=True)
    assert [json.loads(line)["done"] for line in done.stdout.splitlines()] == [True, True, True]
