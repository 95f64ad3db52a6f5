"""The way to an engine: certificates, the environment, IPv6, SSH with a path; against a small engine that only says who it is."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from clawportal.contracts.runtimes import Place, Runtime
from clawportal.errors import Invalid, Problem
from clawportal.testing.certs import Authority
from clawportal_docker.driver import DockerDriver
from clawportal_docker.settings import DockerSettings

VERSION = {"Version": "29.0-test", "ApiVersion": "1.52", "Components": [{"Name": "Engine", "Version": "29.0-test"}]}


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def address_string(self) -> str:
        return "somebody"  # a socket in a folder has none

    def do_GET(self) -> None:
        body = json.dumps(VERSION).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Engine(ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        super().finish_request(self.tls.wrap_socket(request, server_side=True) if self.tls else request, client_address)

    def handle_error(self, *_: Any) -> None:
        """Handshakes that are refused are part of the tests."""


@contextmanager
def engine(family: int = socket.AF_INET, address: Any = ("127.0.0.1", 0), tls: ssl.SSLContext | None = None) -> Iterator[_Engine]:
    kind = type("_Engine", (_Engine,), {"address_family": family})
    if family == socket.AF_UNIX:
        kind.server_bind = lambda self: (self.socket.bind(self.server_address), setattr(self, "server_name", "x"))[0]
    found = kind(address, _Handler)
    found.tls = tls
    thread = threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.shutdown()
        found.server_close()


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[..., Runtime]]:
    made: list[Runtime] = []

    def make(url: str, **secrets: str) -> Runtime:
        made.append(DockerDriver().connect(Place("c1", "Test", {"url": url}, str(tmp_path), secrets=secrets)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def secure(authority: Authority) -> Iterator[str]:
    """Its address; it wants a certificate of its clients."""
    with engine(tls=authority.context(ask_clients=True)) as found:
        yield f"tcp://127.0.0.1:{found.server_address[1]}"


def papers(authority: Authority, ca: str) -> dict[str, str]:
    paper = authority.client("portal")
    return {"tls_ca": ca, "tls_cert": paper.certificate, "tls_key": paper.key}


@pytest.mark.parametrize("form", ["root", "intermediate", "encoded", "encoded twice"])
def test_a_ca_as_people_have_it(
    secure: str, authority: Authority, connect: Callable[..., Runtime], form: str, tmp_path: Path
) -> None:
    """An intermediate is trusted like a root. No key lies in a file, also none of an earlier version."""
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "tls_key.pem").write_text("old", encoding="ascii")
    encoded = base64.b64encode(authority.root.encode()).decode()
    ca = {"root": authority.root, "intermediate": authority.intermediate, "encoded": encoded}
    runtime = connect(secure, **papers(authority, ca.get(form) or base64.b64encode(encoded.encode()).decode()))
    assert "29.0" in runtime.version()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_was_given_outranks_the_environment(
    secure: str, authority: Authority, connect: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both ways: the environment's bundle takes nothing away, and adds nobody."""
    other = Authority("Other")
    bundle = tmp_path / "bundle.pem"
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(bundle))
    bundle.write_text(other.root, encoding="ascii")
    assert connect(secure, **papers(authority, authority.root)).version()
    bundle.write_text(authority.root, encoding="ascii")
    with pytest.raises(Problem, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
        connect(secure, **papers(authority, other.root)).version()


def test_proxies_of_the_environment_are_not_for_loopback(
    connect: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with engine() as found:
        assert connect(f"tcp://127.0.0.1:{found.server_address[1]}").version()


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("tls_ca", "hello", "neither PEM nor base64"), ("tls_cert", "-----BEGIN CERTIFICATE-----\nx", "cut off"),
        ("tls_key", "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----", "damaged key"),
    ],
)  # fmt: skip
def test_what_is_no_certificate_is_told_at_its_field(
    secure: str, authority: Authority, connect: Callable[..., Runtime], field: str, text: str, words: str
) -> None:
    with pytest.raises(Invalid, match=words) as caught:
        connect(secure, **(papers(authority, authority.root) | {field: text}))
    assert caught.value.errors[0].path == field


def test_an_engine_on_ipv6(connect: Callable[..., Runtime]) -> None:
    try:
        with engine(socket.AF_INET6, ("::1", 0)) as found:
            assert connect(f"tcp://[::1]:{found.server_address[1]}").version()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")


TAKEN = ("tcp://[::1]:2375", "https://[fd00::5]:2376", "ssh://nora@host", "ssh://host:2222",
         "ssh://nora@[::1]:2222/run/podman/podman.sock", "ssh://nora@host/run/user/1000/podman/podman.sock")  # fmt: skip


@pytest.mark.parametrize("url", TAKEN)
def test_addresses_that_are_taken(url: str) -> None:
    assert DockerSettings(url=url).url == url


@pytest.mark.parametrize("url", ["tcp://::1:2375", "tcp://[::1]", "ssh://nora:pw@host", "ssh://-oProxyCommand=id", "ssh://a b"])
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must be such as"):
        DockerSettings(url=url)


SSH = """#!{python}
import os, socket, sys, threading
argv = sys.argv[1:]
open(os.environ["SSH_NOTES"], "a").write(" ".join(argv) + chr(10))
if "refuses" in argv[-1]:
    sys.exit("Permission denied (publickey).")
here, there = argv[argv.index("-L") + 1].split(":")
listener = socket.socket(socket.AF_UNIX)
listener.bind(here)
listener.listen(50)
def copy(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)
while True:
    near, _ = listener.accept()
    far = socket.socket(socket.AF_UNIX)
    far.connect(there)
    for pair in ((near, far), (far, near)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A client of SSH that reaches this machine only, and notes what it was asked for."""
    program, notes = tmp_path / "bin" / "ssh", tmp_path / "notes"
    program.parent.mkdir()
    program.write_text(SSH.format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SSH_NOTES", str(notes))
    return notes


def test_podmans_own_address(connect: Callable[..., Runtime], ssh: Path, tmp_path: Path) -> None:
    """The socket over there is the path of the address; when ssh ends, it is begun anew."""
    there = str(tmp_path / "podman.sock")
    with engine(socket.AF_UNIX, there):
        runtime = connect(f"ssh://nora@host.example:2222{there}")
        assert runtime.version()
        forward = runtime.engine.forward  # type: ignore[attr-defined]  # of this runtime
        assert (
            "-l nora" in ssh.read_text() and "-p 2222" in ssh.read_text() and ssh.read_text().strip().endswith("-- host.example")
        )
        forward._process.kill()
        os.unlink(forward.socket)
        for _ in range(200):
            if os.path.exists(forward.socket):
                break
            threading.Event().wait(0.05)
        assert runtime.version()
        runtime.close()
        assert forward._process.poll() is not None and not os.path.exists(forward.socket)


def test_a_refused_sign_in_is_told_in_the_words_of_ssh(connect: Callable[..., Runtime], ssh: Path) -> None:
    with pytest.raises(Problem, match="by SSH: Permission denied"):
        connect("ssh://nora@refuses.example")
