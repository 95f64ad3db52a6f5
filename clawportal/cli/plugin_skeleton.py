"""`clawportal plugin new`: a plugin to begin with, as a project that works and has tests."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from pathlib import Path

import click

SKELETON = Path(__file__).with_name("skeleton")
_SUFFIX = ".txt"
"""Of each file there, so that nobody takes it for code of the portal."""
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
SHORTEST, LONGEST = 2, 30


def register(cli: click.Group) -> None:
    """Add the commands to `clawportal`."""
    cli.add_command(plugin)


@click.group()
def plugin() -> None:
    """Write plugins. `clawportal plugins` lists those that are loaded."""


@plugin.command()
@click.argument("name")
@click.option("--title", default="", help="What people call the capability. Not given: the name with a capital letter.")
@click.option(
    "--into", type=click.Path(file_okay=False, path_type=Path), default=Path(), show_default="this folder",
    help="Folder in which that of the plugin is made.",
)  # fmt: skip
def new(name: str, title: str, into: Path) -> None:
    """Write the project of a new capability called NAME: table, rights, API, page, Chinese, and tests that pass."""
    _check(name)
    title = _checked_title(title or name.replace("_", " ").capitalize())
    folder = into / f"clawportal-{name.replace('_', '-')}"
    if folder.exists():
        raise click.ClickException(f"{folder} is there already. Choose another name or --into, or take it away.")
    try:
        for file, text in files(name, title):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{error.filename} cannot be written: {error.strerror}.") from error
    click.echo(f"{folder} is made. In the environment of the portal:\n  pip install -e {folder} pytest && pytest {folder}")


def _check(name: str) -> None:
    if not _NAME.fullmatch(name) or not SHORTEST <= len(name) <= LONGEST or keyword.iskeyword(name):
        raise click.ClickException(
            f"{name!r} cannot be the name of a plugin. Write {SHORTEST} to {LONGEST} small letters, digits and single "
            "underscores, beginning with a letter, such as notes or shared_notes."
        )
    if name in _taken():
        raise click.ClickException(f"{name!r} is the name of a capability that is there already. Choose another name.")


def _taken() -> set[str]:
    """Names of features and plugins that come with the portal, or are installed."""
    from clawportal import pluginmanager

    registry = pluginmanager.load()
    plugins = {one.name.removeprefix("clawportal_") for one in registry.plugins}
    return plugins | {feature.name for feature in registry.features}


def _checked_title(title: str) -> str:
    if not title.isprintable() or len(title) > 60 or set(title) & set("\"'\\@%{}<>"):
        raise click.ClickException("--title must have 60 letters at most, and no quotes, brackets, percent signs or backslashes.")
    return title


def files(name: str, title: str) -> Iterator[tuple[Path, str]]:
    """Each file of the project, below its folder."""
    words = {
        "@name@": name, "@dashed@": name.replace("_", "-"), "@title@": title,
        "@Class@": "".join(part.capitalize() for part in name.split("_")),
    }  # fmt: skip
    places = {"package": f"clawportal_{name}", "feature": name, f"test_feature.py{_SUFFIX}": f"test_{name}.py{_SUFFIX}"}
    for file in sorted(SKELETON.rglob(f"*{_SUFFIX}")):
        text = file.read_text(encoding="utf-8")
        for mark, word in words.items():
            text = text.replace(mark, word)
        parts = [places.get(part, part) for part in file.relative_to(SKELETON).parts]
        yield Path(*parts).with_suffix(""), text
