"""`claw notes`: what the team wrote down about an instance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from clawportal.cli import remote


def register(cli: click.Group) -> None:
    """Add the command to `claw`."""
    cli.add_command(notes)


@click.command()
@click.argument("name")
@click.argument("text", required=False)
@click.option(
    "-f", "--file", "source", type=click.File("r", encoding="utf-8"), help="Read the text from a file; - is standard input."
)
@click.option("--clear", is_flag=True, help="Take the note away.")
@click.option(
    "--revision", type=click.IntRange(0), help="Only if the note still has this revision; without it, the one that is there now."
)
@click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True)
def notes(name: str, text: str | None, source: Any, clear: bool, revision: int | None, output: str) -> None:
    """Show the note on an instance, or write it: TEXT is Markdown."""
    if (text is not None) + (source is not None) + clear > 1:
        raise click.UsageError("Give TEXT, --file or --clear, one of them.")
    portal = remote.signed_in()
    path = f"/instances/{portal.find(name)['id']}/note"
    found = portal.call("GET", path)
    wanted = "" if clear else source.read() if source is not None else text
    if wanted is not None:
        match = {"If-Match": f'"{found["revision"] if revision is None else revision}"'}
        found = portal.call("PUT", path, body={"text": wanted}, headers=match)
    _show(found, written=wanted is not None, output=output)


def _show(found: Mapping[str, Any], *, written: bool, output: str) -> None:
    from clawportal.cli import show

    if output == "json":
        show.as_json(found)
    elif written:
        click.echo(f"Written, revision {found['revision']}." if found["text"] else "There is no note any more.")
    elif found["text"]:
        click.echo(remote.clean(found["text"]))
        click.echo(f"{remote.clean(found['written_by'])}, {show.age(found['written_at'])} ago", err=True)
    else:
        click.echo("There is no note.", err=True)
