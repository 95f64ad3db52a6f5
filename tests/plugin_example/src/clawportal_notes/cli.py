"""`clawportal notes` on the server, `claw note` from anywhere."""

from __future__ import annotations

from typing import Any

import click

from clawportal.sdk.commands import JSON, as_json, open_portal, remote, table


def server(cli: click.Group) -> None:
    """Add to `clawportal`: it works with the tables of this machine."""
    cli.add_command(count)


@click.command("notes")
def count() -> None:
    """Say how many notes are open."""
    from clawportal_notes.figures import open_notes

    with open_portal() as portal:
        click.echo(f"{sum(number for _, number in open_notes(portal)):g} open")


def client(cli: click.Group) -> None:
    """Add to `claw`: it asks the portal over its API."""
    cli.add_command(note)


@click.group()
def note() -> None:
    """Notes about claws: write and read them."""


@note.command("write")
@click.argument("claw")
@click.argument("text")
@click.option("--urgent", is_flag=True, help="It stays open until somebody closes it.")
def write_note(claw: str, text: str, urgent: bool) -> None:
    """Write a note about CLAW."""
    portal = remote()
    instance = portal.find(claw)
    click.echo(portal.call("POST", "/notes", body={"instance": instance["id"], "text": text, "urgent": urgent})["id"])


@note.command("list")
@click.argument("claw", required=False)
@JSON
def list_notes(claw: str | None, output: str) -> None:
    """List the notes about CLAW, or all."""
    portal = remote()
    asked: dict[str, Any] = {"instance": portal.find(claw)["id"]} if claw else {}
    found = portal.everything("/notes", asked)
    click.echo(as_json(found) if output == "json" else table(("TEXT", "BY"), [(one["text"], one["written_by"]) for one in found]))
