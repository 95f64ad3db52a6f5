"""Package indexes that want a sign-in: pip and npm take the same address, and its password stands nowhere afterwards."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from clawportal.contracts.workloads import Artifact
from clawportal.errors import GiveUp
from clawportal_process import mirrors
from tests.runtimes.test_installers import CLAW, Notes, make_npm_package, runtime_at, wheels, with_node

__all__ = ["wheels", "with_node"]

USER, PASSWORD = "us@er", "p@ss:w%rd/secret-word"
ENCODED = "us%40er:p%40ss%3Aw%25rd%2Fsecret-word"


class Mirror:
    """A package index of both kinds that refuses everybody but `USER`."""

    def __init__(self, wheels: Path, package: Path) -> None:
        self.asked: list[tuple[str, bool]] = []
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                good = self.headers.get("Authorization") == expected
                mirror.asked.append((self.path, good))
                if not good:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="mirror"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                body, kind = mirror.answer(self.path, wheels, package)
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def answer(self, path: str, wheels: Path, package: Path) -> tuple[bytes, str]:
        if path.startswith("/simple/"):
            name = path.rstrip("/").rpartition("/")[2]
            links = [f'<a href="/wheels/{file.name}">{file.name}</a>' for file in wheels.glob(f"{name}-*.whl")]
            return "\n".join(links).encode(), "text/html"
        if path.startswith("/wheels/"):
            return (wheels / path.rpartition("/")[2]).read_bytes(), "application/octet-stream"
        if path == "/npm/claw":
            version = {"name": "claw", "version": "2.0.0", "bin": {"claw": "claw.js"}}
            version["dist"] = {"tarball": f"http://{self.place}/files/claw-2.0.0.tgz"}  # type: ignore[assignment]  # as npm wants it
            return json.dumps(
                {"name": "claw", "dist-tags": {"latest": "2.0.0"}, "versions": {"2.0.0": version}}
            ).encode(), "application/json"
        return (package.read_bytes(), "application/octet-stream") if path.startswith("/files/") else (b"", "text/plain")


@pytest.fixture
def mirror(tmp_path: Path, wheels: Path) -> Iterator[Mirror]:
    made = Mirror(wheels, make_npm_package(tmp_path))
    yield made
    made.server.shutdown()
    made.server.server_close()


def traces(folder: Path) -> list[str]:
    """Files below a folder in which the password stands, in any form."""
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode())
    forms = (b"secret-word", login)
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [str(path) for path in files if any(form in path.read_bytes() for form in forms)]


def test_pip_signs_in_and_leaves_no_password(tmp_path: Path, mirror: Mirror) -> None:
    runtime, notes = runtime_at(tmp_path / "place", CLAWPORTAL_PIP_INDEX_URL=f"http://{ENCODED}@{mirror.place}/simple/"), Notes()
    runtime.prepare(CLAW, notes)
    assert runtime.prepared(CLAW) and any(good for _, good in mirror.asked)
    assert "secret-word" not in str(notes.all) and traces(tmp_path / "place") == []


def npm_claw() -> Artifact:
    return Artifact("claw", "2.0.0", "npm", ("claw@2.0.0",), needs=("node",), expected_packages=1, check=("bin/claw",))


def test_npm_takes_the_same_form(with_node: Any, tmp_path: Path, mirror: Mirror) -> None:
    runtime = runtime_at(tmp_path / "place", CLAWPORTAL_NPM_REGISTRY=f"http://{ENCODED}@{mirror.place}/npm/")
    notes = Notes()
    runtime.prepare(npm_claw(), notes)
    assert runtime.prepared(npm_claw()) and {path for path, good in mirror.asked if good} >= {
        "/npm/claw",
        "/files/claw-2.0.0.tgz",
    }
    assert "secret-word" not in str(notes.all) and traces(tmp_path / "place") == []


@pytest.mark.parametrize("kind", ["pip", "npm"])
def test_a_refused_sign_in_is_told_as_such(tmp_path: Path, mirror: Mirror, kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "npm":
        request.getfixturevalue("with_node")
    url = f"http://us%40er:wrong-secret-word@{mirror.place}"
    given = {"CLAWPORTAL_PIP_INDEX_URL": f"{url}/simple/", "CLAWPORTAL_NPM_REGISTRY": f"{url}/npm/"}
    runtime, notes = runtime_at(tmp_path / "place", **given), Notes()
    with pytest.raises(GiveUp) as caught:
        runtime.prepare(CLAW if kind == "pip" else npm_claw(), notes)
    verdict = caught.value
    assert verdict.reason == "IndexRefused", verdict.lines
    assert "refused the portal's sign-in" in verdict.message
    assert "%40" in verdict.remedy and f"CLAWPORTAL_{kind.upper()}" in verdict.remedy
    assert "secret-word" not in f"{verdict.message}{verdict.lines}{notes.all}" and traces(tmp_path / "place") == []


def test_what_npm_is_given(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("strict-ssl=false")
    theirs = {"npm_config_registry": f"https://{ENCODED}@npm.example/all/", "NPM_CONFIG_USERCONFIG": str(tmp_path / "theirs")}
    given, text = mirrors.for_npm(theirs, tmp_path / "npmrc"), mirrors.npmrc(theirs)
    assert given["npm_config_registry"] == "https://npm.example/all/" and given["npm_config_userconfig"] == str(
        tmp_path / "npmrc"
    )
    first, second = text.strip().split("\n")
    assert first == "strict-ssl=false" and second.startswith("//npm.example/:_auth=")
    assert base64.b64decode(second.partition("=")[2]).decode() == f"{USER}:{PASSWORD}"
    plain = {"npm_config_registry": "https://npm.example/"}
    assert mirrors.for_npm(plain, tmp_path / "npmrc") == {**plain, "npm_config_logs_max": "0"} and mirrors.npmrc(plain) == ""


def test_passwords_are_hidden_in_every_form() -> None:
    lines = (f"GET http://{ENCODED}@npm.example failed", f"tried {USER} {PASSWORD}", "nothing here")
    told = mirrors.hidden(lines, [f"http://{ENCODED}@npm.example/", "not an address"])
    assert "secret-word" not in str(told) and told[2] == "nothing here"
