"""`clawportal plugin new`: what it writes works as it is, and what it cannot write is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from clawportal.cli.server import cli
from tests.plugins.sites import ROOT, InstalledPortal, Site, wheel_of


def new(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["plugin", "new", *arguments])


def run_tests_of(project: Path, site: Site) -> str:
    """By pytest in the environment where the project is installed."""
    command = [site.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(project)]
    done = subprocess.run(
        command, env=site.environment(), cwd=site.folder, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_new_plugin_is_installed_tested_and_runs(tmp_path: Path, built_portal: Path) -> None:
    site = Site.make(tmp_path / "site")
    site.install(built_portal)
    made = site.run("clawportal", "plugin", "new", "shared_birds", "--title", "Birds", "--into", str(tmp_path))
    project = tmp_path / "clawportal-shared-birds"
    assert made.returncode == 0 and str(project) in made.stdout, made.stderr
    site.install(wheel_of(project, tmp_path / "wheels"))
    assert "6 passed" in run_tests_of(project, site)

    portal = InstalledPortal(site, tmp_path / "data")
    try:
        portal.start()
        portal.set_up(practice=False)
        tenant = portal.api("GET", "tenants")["items"][0]["id"]
        portal.api("POST", "shared-birds", {"tenant": tenant, "title": "Parrot"}, 201)
        assert portal.api("GET", "shared-birds")["total"] == 1
        assert "shared_birds at 0001" in portal.command("doctor")
    finally:
        portal.end()


@pytest.mark.slow
def test_the_example_passes_its_own_tests(tmp_path: Path, built_portal: Path) -> None:
    site = Site.make(tmp_path / "site")
    site.install(built_portal, wheel_of(ROOT / "tests" / "plugin_example", tmp_path / "wheels"))
    assert "8 passed" in run_tests_of(ROOT / "tests" / "plugin_example" / "tests", site)


@pytest.mark.parametrize(
    "name", ["Birds", "b", "a" * 31, "1bird", "bird-s", "_birds", "birds_", "two__birds", "class", "", "../x"]
)
def test_a_name_that_cannot_be_is_refused_in_words(name: str, tmp_path: Path) -> None:
    said = new(name, "--into", str(tmp_path))
    assert said.exit_code == 1 and "cannot be the name of a plugin. Write 2 to 30 small letters" in said.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["policies", "instances", "kubernetes"])
def test_a_name_that_is_taken_is_refused(name: str, tmp_path: Path) -> None:
    said = new(name, "--into", str(tmp_path))
    assert said.exit_code == 1 and "is there already" in said.output and list(tmp_path.iterdir()) == []


def test_nothing_that_is_there_is_touched(tmp_path: Path) -> None:
    (tmp_path / "clawportal-birds").mkdir()
    said = new("birds", "--into", str(tmp_path))
    assert said.exit_code == 1 and "is there already" in said.output
    assert list((tmp_path / "clawportal-birds").iterdir()) == []
    blocked = tmp_path / "file"
    blocked.write_text("")
    said = new("birds", "--into", str(blocked / "below"))
    assert said.exit_code == 1 and "cannot be written" in said.output


@pytest.mark.parametrize("title", ["a {{ b }}", 'a "b"', "a %(b)s", "x" * 61, "a\nb"])
def test_a_title_that_would_break_what_is_written_is_refused(title: str, tmp_path: Path) -> None:
    said = new("birds", "--title", title, "--into", str(tmp_path))
    assert said.exit_code == 1 and "--title must have" in said.output and list(tmp_path.iterdir()) == []


def test_what_is_written_is_formatted_and_has_no_gap(tmp_path: Path) -> None:
    assert new("shared_birds", "--into", str(tmp_path)).exit_code == 0
    project = tmp_path / "clawportal-shared-birds"
    texts = [file.read_text() for file in project.rglob("*") if file.is_file()]
    assert len(texts) == 13 and not [text for text in texts if "@name@" in text or "@title@" in text or "@Class@" in text]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "pyproject.toml"), str(project)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
