"""The portal as one file: it starts where nothing is installed, runs a claw behind its wall, and takes a plugin from a folder."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from clawportal.contracts.runtimes import Place, SeparationLevel
from tests.browser.portal import ROOT, PortalProcess

pytestmark = [pytest.mark.binary, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("binary")]

PATH = "/usr/bin:/bin"
"""Nothing of the Python that runs the tests; claws and their supervisors use the machine's own."""
PLUGIN = '''
"""Says what it sees, from a folder on the disk."""
import os, wave
import click
from clawportal.sdk import hookimpl
from clawportal.sdk.features import Feature

@hookimpl
def register_features():
    return [Feature(name="looker", title="Looker", commands=("looker:add",))]

def add(cli):
    @cli.command("look-around")
    def look_around():
        "What a child of the portal would see."
        click.echo(f"{wave.__name__} libraries={os.environ.get('LD_LIBRARY_PATH')!r}")
'''


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once, or what CLAWPORTAL_TEST_BINARY names."""
    if built := os.environ.get("CLAWPORTAL_TEST_BINARY"):
        return Path(built)
    if missing := builder_lacks():
        pytest.skip(f"the portal cannot be built as one file: {missing}")
    folder = tmp_path_factory.mktemp("binary")
    command = [sys.executable, str(ROOT / "deploy" / "binary" / "build.py"), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=880, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "clawportal"


def builder_lacks() -> str:
    if importlib.util.find_spec("PyInstaller") is None:
        return "PyInstaller is not installed (pip install --group binary)"
    if shutil.which("objdump") is None:
        return "there is no objdump (on Debian: apt-get install binutils)"
    from PyInstaller.depend.bindepend import get_python_library_path

    try:
        return "" if get_python_library_path() else "Python is no shared library here"
    except Exception as error:  # of PyInstaller, which has many kinds of them
        return str(error)


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """As `pip install --target` leaves it."""
    folder = tmp_path / "plugins"
    about = folder / "looker-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "looker.py").write_text(PLUGIN)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: looker\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[clawportal]\nlooker = looker\n")
    return folder


@pytest.fixture
def portal(program: Path, plugins: Path, tmp_path: Path) -> Iterator[PortalProcess]:
    made = PortalProcess(tmp_path / "data", PLUGIN_PATH=str(plugins))
    made.program = ("env", f"PATH={PATH}", str(program))
    yield made
    made.end()


def run(program: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": PATH, "HOME": "/nonexistent"} | environment
    return subprocess.run([program, *words], env=given, capture_output=True, text=True, timeout=60, check=False)


def test_a_claw_of_a_portal_of_one_file(portal: PortalProcess, tmp_path: Path) -> None:
    portal.start()
    page = httpx.get(f"{portal.url}/login", headers={"Accept-Language": "zh"}, timeout=30)
    assert page.status_code == 200 and "登录" in page.text, "templates and translations are there"
    portal.set_up(practice=False)
    one = portal.running("one")["id"]
    rule = {"name": "teams", "kind": "expression", "parameters": {"expression": "'team' in instance.labels"}}
    portal.api("POST", "policies", {**rule, "tenant": None}, 201)
    refused = portal.api("POST", "instances", {"name": "two", "adapter": "echo"}, 409)
    assert refused["policies"][0]["name"] == "teams", "the program that judges expressions runs, too"

    cluster = portal.api("GET", "clusters/local")
    assert cluster["separation"] == separation_here(tmp_path / "here"), cluster["separation_findings"]

    (claw,) = portal.claw_processes(one)
    assert "LD_LIBRARY_PATH" not in claw.environ()
    portal.kill()
    portal.start()
    portal.sign_in()
    portal.reaches(one, "running")
    assert [process.pid for process in portal.claw_processes(one)] == [claw.pid], "it was adopted, not started again"


def separation_here(folder: Path) -> str:
    """What the same machine gives a portal that is installed."""
    from clawportal_process.driver import ProcessDriver

    folder.mkdir()
    level = ProcessDriver().connect(Place("c1", "local", {}, str(folder), private=(str(folder),))).separation().level
    assert isinstance(level, SeparationLevel)
    return level.value


def test_a_plugin_from_a_folder(program: Path, plugins: Path, tmp_path: Path) -> None:
    settings = {"CLAWPORTAL_DATA_DIR": str(tmp_path / "data"), "CLAWPORTAL_PLUGIN_PATH": str(plugins)}
    listed = run(program, "plugins", **settings)
    assert listed.returncode == 0 and "looker" in listed.stdout and "clawportal_kubernetes" in listed.stdout, listed.stderr
    assert run(program, "look-around", **settings).stdout == "wave libraries=None\n"
    given = run(program, "look-around", **settings, LD_LIBRARY_PATH="/opt/lib")
    assert given.stdout == "wave libraries='/opt/lib'\n", "children get what was there before"
    missing = run(program, "plugins", **(settings | {"CLAWPORTAL_PLUGIN_PATH": "/no/such/folder"}))
    assert missing.returncode == 2 and "/no/such/folder, which is no folder" in missing.stderr


def test_it_is_no_python_for_others(program: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("print('ran')")
    for words in (("--run-file", str(tmp_path / "own.py")), ("--run-module", "this")):
        done = run(program, *words)
        assert done.returncode == 1 and done.stdout == "" and "is no program of clawportal" in done.stderr


def test_it_is_also_the_client(program: Path, tmp_path: Path) -> None:
    (tmp_path / "claw").symlink_to(program)
    done = run(tmp_path / "claw", "--help")
    assert done.returncode == 0 and "instance" in done.stdout
    version = run(program, "--version")
    assert version.returncode == 0 and version.stdout.startswith("clawportal, version ")
