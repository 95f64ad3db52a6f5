"""`clawportal claw-kind`: looks at a file before the portal starts with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click


def register(cli: click.Group) -> None:
    """Add the commands to `clawportal`."""
    cli.add_command(claw_kind)


@click.group("claw-kind")
def claw_kind() -> None:
    """Kinds of claw that files describe, in the folder `claws` of the data folder."""


@claw_kind.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check(files: tuple[Path, ...]) -> None:
    """Say what is wrong with FILES. Exits with 1 when something is."""
    from clawportal_custom.reading import Unusable, read

    wrong = False
    for file in files:
        try:
            kind = read(file)
            click.echo(f"{click.style('ok  ', fg='green')}  {file}: {kind.name}, {kind.title}")
        except Unusable as error:
            wrong = True
            click.echo(f"{click.style('FAIL', fg='red')}  {file}: {error}")
    sys.exit(1 if wrong else 0)


@claw_kind.command()
def schema() -> None:
    """Print the JSON Schema of such a file, for editors and pipelines."""
    from clawportal_custom.document import Kind

    click.echo(json.dumps(Kind.model_json_schema(), indent=2, ensure_ascii=False))
