"""What a hostile claw tries, and what must not work: neighbours, the portal, the engine, shared software, other organisations."""

from __future__ import annotations

import hashlib
import json
import os
import secrets as random_bytes
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from clawportal.contracts.runtimes import Ref, SeparationLevel
from clawportal.testing.lab import NOT_DECLARED, Lab

Attempt = tuple[str, str]
"""What is tried, and on what."""

_TRY = """
    import hashlib, json, os, signal, socket, sys
    def read(path):
        with open(path, 'rb') as file: return bool(file.read(1))
    def make(path):
        open(path, 'ab').close()
        return True
    def change(path):
        open(path, 'r+b').close()
        return True
    def listing(path): return bool(os.listdir(path))
    def connect(path):
        with socket.socket(socket.AF_UNIX) as one: one.connect(path)
        return True
    def abstract(name): return connect(chr(0) + name)
    def dial(address):
        host, port = address.split()
        with socket.create_connection((host, int(port)), 3): return True
    def memory(pid):
        with open(f'/proc/{pid}/mem', 'rb'): return True
    def touch(pid):
        os.kill(int(pid), 0)
        return True
    def environ(digest):
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open(f'/proc/{pid}/environ', 'rb') as file: values = file.read().split(bytes(1))
            except OSError: continue
            for value in values:
                if hashlib.sha256(value.partition(b'=')[2]).hexdigest() == digest: return True
        return False
    def signals(digest):
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open(f'/proc/{pid}/cmdline', 'rb') as file: words = file.read().split(bytes(1))
                if digest in (hashlib.sha256(word).hexdigest() for word in words):
                    os.kill(int(pid), 0)
                    return True
            except OSError: continue
        return False
    done = []
    for kind, what in json.loads(sys.argv[1]):
        try:
            if globals()[{'list': 'listing'}.get(kind, kind)](what): done.append([kind, what])
        except OSError: pass
    found = {'done': done, 'uid': os.getuid(), 'status': open('/proc/self/status').read()}
"""
"""Tries all, and reports what worked."""

_NEIGHBOUR = """
    import os, socket, sys, time
    for folder in sys.argv[2:]:
        with open(os.path.join(folder, sys.argv[1]), 'w') as file: file.write('private')
        os.chmod(os.path.join(folder, sys.argv[1]), 0o600)
    print('ready', flush=True)
    time.sleep(3600)
"""
_LISTENER = """
    import json, socket, sys, time
    server = socket.create_server(('0.0.0.0', 18711))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(('192.0.2.1', 9))
        print('REPORT', json.dumps(probe.getsockname()[0]), flush=True)
    while True: server.accept()[0].close()
"""
_ENGINES = (
    "/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock",
    "/run/crio/crio.sock", "/run/systemd/private", "/run/systemd/journal/stdout", "/run/dbus/system_bus_socket",
)  # fmt: skip


class SeparationBehaviours:
    walls_not_shown: ClassVar[str] = ""
    """Why a place under test cannot show how it separates claws although the real one does, such as a double."""

    def shared_software(self, lab: Lab) -> Sequence[str]:
        """Folders with what several claws run from, as a claw there may see them."""
        return ()

    def test_a_neighbours_files_are_out_of_reach(self, lab: Lab) -> None:
        """A claw reads, lists and changes nothing of another one, whatever path it tries."""
        self._needs_walls(lab)
        neighbour, word = lab.ref("neighbour"), f"private-{random_bytes.token_hex(6)}"
        folders = [lab.folder(neighbour, root) for root in ("home", "state", "work")]
        lab.start(neighbour, lab.workload(_NEIGHBOUR, word, *folders))
        tries = [(kind, f"{folder}/{word}") for folder in folders for kind in ("read", "change")]
        tries += [("list", folder) for folder in folders if neighbour.instance_id in folder]
        pid = lab.runtime.inspect(neighbour).pid
        tries += [("read", f"/proc/{pid}/root{folder}/{word}") for folder in folders if pid]
        self._nothing_works(lab, tries)

    def test_a_neighbours_environment_and_memory_are_out_of_reach(self, lab: Lab) -> None:
        """No secret of another claw is found in any environment or memory that a claw can open."""
        self._needs_walls(lab)
        neighbour, secret = lab.ref("neighbour"), random_bytes.token_urlsafe(24)
        lab.start(neighbour, lab.workload(secret_env={"API_KEY": "key"}), {"key": secret})
        pid = lab.runtime.inspect(neighbour).pid
        self._nothing_works(lab, [
            ("environ", _digest(secret)), *([("memory", str(pid))] if pid else []),
        ])  # fmt: skip

    def test_a_neighbour_cannot_be_signalled(self, lab: Lab) -> None:
        """No signal of a claw reaches another claw, nor the portal."""
        self._needs_walls(lab)
        neighbour, word = lab.ref("neighbour"), f"mark-{random_bytes.token_hex(6)}"
        lab.start(neighbour, lab.workload("import time; print('ready', flush=True); time.sleep(3600)", word))
        pid = lab.runtime.inspect(neighbour).pid
        self._nothing_works(
            lab, [("signals", _digest(word)), ("touch", str(os.getpid())), *([("touch", str(pid))] if pid else [])]
        )

    def test_the_portals_secrets_are_out_of_reach(self, lab: Lab) -> None:
        """Files of the portal's user that only that user may read, and the portal's own environment and memory, stay closed."""
        self._needs_walls(lab)
        with _folder() as folder:
            key = folder / "keyring.json"
            key.write_text("secret")
            key.chmod(0o600)
            pid = os.getpid()
            self._nothing_works(lab, [
                ("read", str(key)), ("change", str(key)), ("make", str(folder / "new")), ("read", f"/proc/{pid}/environ"),
                ("memory", str(pid)), ("read", f"/proc/{pid}/root{key}"), ("list", f"/proc/{pid}/fd"),
            ])  # fmt: skip

    def test_the_engines_socket_is_out_of_reach(self, lab: Lab) -> None:
        """No local socket outside of a claw takes its call: no engine, no service manager, no database, by path or by name."""
        self._needs_walls(lab)
        with _folder() as folder, _listening(str(folder / "engine.sock")), _listening(f"\0{folder.name}"):
            tries = [("connect", str(folder / "engine.sock")), ("abstract", folder.name)]
            self._nothing_works(lab, [*tries, *(("connect", path) for path in _ENGINES)])

    def test_shared_software_cannot_be_changed(self, lab: Lab) -> None:
        """What several claws run from, and the system, are for reading only."""
        self._needs_walls(lab)
        folders = ["/usr/bin", "/usr/lib", "/etc", "/opt", str(Path(lab.terms.python).parent), *self.shared_software(lab)]
        word = f"changed-{random_bytes.token_hex(6)}"
        self._nothing_works(lab, [("make", f"{folder}/{word}") for folder in folders])

    def test_no_claw_is_root(self, lab: Lab) -> None:
        """A claw is never root, and can gain no rights by what it executes."""
        self._needs_walls(lab)
        found = self._tried(lab, [])
        assert found["uid"] != 0
        status = dict(line.split(":", 1) for line in found["status"].splitlines() if ":" in line)
        assert status["NoNewPrivs"].strip() == "1" and int(status["CapEff"], 16) == 0

    def test_commands_are_behind_the_same_wall(self, lab: Lab) -> None:
        """A console or command of a person reaches no more than the claw itself."""
        self._needs_walls(lab)
        lab.needs("exec")
        ref, neighbour, word = lab.ref(), lab.ref("neighbour"), f"private-{random_bytes.token_hex(6)}"
        folder = lab.folder(neighbour, "work")
        lab.start(neighbour, lab.workload(_NEIGHBOUR, word, folder))
        lab.start(ref)
        with _folder() as private, _listening(str(private / "engine.sock")):
            (private / "key").write_text("secret")
            tries = [("read", f"{folder}/{word}"), ("read", str(private / "key")), ("connect", str(private / "engine.sock")),
                     ("read", f"/proc/{os.getpid()}/environ")]  # fmt: skip
            code, out, err = lab.do(ref, *lab.code(_ending("print(json.dumps(found))"), json.dumps(tries)))
        assert code == 0, err
        found = json.loads(out)
        assert found["done"] == [] and found["uid"] != 0

    def test_its_own_check_is_behind_the_same_wall(self, lab: Lab) -> None:
        """The claw's own judgement of a configuration reaches no more than the claw itself."""
        self._needs_walls(lab)
        with _folder() as private, _listening(str(private / "engine.sock")):
            (private / "key").write_text("secret")
            tries = [("read", str(private / "key")), ("connect", str(private / "engine.sock"))]
            judge = lab.judge(_ending("print(found['done']); sys.exit(len(found['done']))"), json.dumps(tries))
            lab.runtime.check(lab.ref(), lab.workload(check=judge), {})

    def test_another_tenants_network_is_out_of_reach(self, lab: Lab) -> None:
        """A claw of one organisation cannot call one of another by network; within one it can."""
        self._needs_walls(lab)
        leaks = any(one.name == "separation: network" and not one.ok for one in lab.runtime.separation().findings)
        if leaks or lab.can("allocated-ports"):
            pytest.skip(f"{NOT_DECLARED} network for each organisation that others cannot reach")
        target = lab.ref("target")
        lab.apply(target, lab.workload(_LISTENER, ports={"http": 18711}))
        tries = [("dial", f"{lab.report(target)} 18711")]
        assert self._tried(lab, tries)["done"] == [list(one) for one in tries], "its own organisation reaches it"
        assert self._tried(lab, tries, lab.ref("stranger", tenant="other"))["done"] == []

    # ---- trying

    def _needs_walls(self, lab: Lab) -> None:
        if self.walls_not_shown:
            pytest.skip(self.walls_not_shown)
        if lab.runtime.separation().level is SeparationLevel.NONE:
            pytest.skip(f"{NOT_DECLARED} separation of claws here")

    def _nothing_works(self, lab: Lab, tries: Sequence[Attempt]) -> None:
        assert self._tried(lab, tries)["done"] == []

    def _tried(self, lab: Lab, tries: Sequence[Attempt], ref: Ref | None = None) -> dict[str, Any]:
        found: dict[str, Any] = lab.asks(ref or lab.ref("hostile"), _TRY, json.dumps(tries))
        return found


def _digest(text: str) -> str:
    """So that what looks for it does not hold it itself."""
    return hashlib.sha256(text.encode()).hexdigest()


def _ending(code: str) -> str:
    from textwrap import dedent

    return f"{dedent(_TRY)}\n{code}"


@contextmanager
def _folder() -> Iterator[Path]:
    """Of the portal's user, at a place that others can pass to: nothing but the wall itself keeps a claw out."""
    with tempfile.TemporaryDirectory(prefix="clawportal-wall-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def _listening(name: str) -> Iterator[None]:
    """A local socket that would take a call from anybody."""
    if name.startswith("\0") and not sys.platform.startswith("linux"):
        yield
        return
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        if not name.startswith("\0"):
            os.chmod(name, 0o666)  # noqa: S103  # it is the wall that has to keep a claw out
        server.listen(8)
        yield
