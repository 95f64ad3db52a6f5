"""What people install has to be what stands here: the wheel's contents, and that it runs from where it was installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parent.parent
PARTS = {
    "clawportal/": "clawportal/",
    "plugins/": "",
    "templates/": "clawportal/_resources/templates/",
    "static/": "clawportal/_resources/static/",
    "migrations/": "clawportal/_resources/migrations/",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(command, check=True, timeout=120)
    return next(folder.glob("clawportal-*.whl"))


def test_the_wheel_holds_the_tree(wheel: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", *PARTS], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    expected = {
        target + name.removeprefix(source)
        for name in tracked
        for source, target in PARTS.items()
        if name.startswith(source) and name != "plugins/README.md"
    }
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert sorted(expected - found) == []
    untracked = {name for name in found - expected if "__pycache__" not in name}
    # a file that git does not know yet is no error of the packaging
    missing = [
        name
        for name in untracked
        if not any((ROOT / source / name.removeprefix(target)).exists() for source, target in PARTS.items())
    ]
    assert missing == []


def test_the_installed_portal_makes_its_tables_and_knows_its_plugins(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    environment = {**os.environ, "PYTHONPATH": str(target), "CLAWPORTAL_DATA_DIR": str(tmp_path / "data")}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-P", "-m", "clawportal.cli.server", *arguments]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "with password" in run("db", "upgrade", "--first-start")
    listed = run("plugins")
    assert all(name in listed for name in ("clawportal_process", "clawportal_nanobot", "clawportal_openclaw", "clawportal_echo"))
    where = subprocess.run(
        [sys.executable, "-P", "-c", "from clawportal import paths; print(paths.resource('templates'))"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert str(target) in where


_SAY = """
import json, sys
from clawportal import pluginmanager
from clawportal.catalogues import Catalogues
from clawportal.messages import Message
found = Catalogues(pluginmanager.load(pluginmanager.BUNDLED).catalogue_folders())
said = {text: found.text(Message(text), "zh_Hans") for text in json.load(sys.stdin)}
json.dump([sorted(map(str, found.folders)), said], sys.stdout)
"""


def test_the_compiled_chinese_of_core_and_plugins_is_in_the_wheel_and_used(wheel: Path, tmp_path: Path) -> None:
    """Without the catalogues as they are written: nothing can be compiled anew."""
    target = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    texts = {file: _po(file) for file in sorted(target.rglob("*.po"))}
    assert {file.relative_to(target).parts[0] for file in texts} >= {"clawportal", "clawportal_policies", "clawportal_process"}
    for file in texts:
        assert file.with_suffix(".mo").exists(), f"{file.relative_to(target)} was not compiled"
        file.unlink()
    done = subprocess.run(
        [sys.executable, "-P", "-c", _SAY], env={**os.environ, "PYTHONPATH": str(target)}, cwd=tmp_path,
        input=json.dumps([text for entries in texts.values() for text in entries]), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folders, said = json.loads(done.stdout)
    assert all(folder.startswith(str(target)) for folder in folders), "none was compiled elsewhere"
    for file, entries in texts.items():
        english = [text for text, chinese in entries.items() if chinese != text and said[text] == text]
        assert entries and not english, f"{file.relative_to(target)}: {english[:5]}"


def _po(file: Path) -> dict[str, str]:
    """Sentences of one form in a catalogue, with their Chinese."""
    with file.open("rb") as source:
        return {one.id: str(one.string) for one in read_po(source) if isinstance(one.id, str) and one.id}


def test_the_portal_loads_no_client_of_a_cloud_before_it_is_needed() -> None:
    """Both come with the portal; whoever has no such cluster pays nothing for them."""
    code = (
        "import sys, clawportal.app, clawportal.pluginmanager as p; r = p.load();"
        "assert 'kubernetes' in r.runtimes and 'docker' in r.runtimes;"
        "sys.exit(', '.join(n for n in ('kubernetes', 'docker', 'websocket') if n in sys.modules) or 0)"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stderr
