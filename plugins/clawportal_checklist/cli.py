"""`claw checklist`: first steps, from a terminal."""

from __future__ import annotations

from typing import Any

import click

from clawportal.sdk.commands import JSON, as_json, remote, table


def register(cli: click.Group) -> None:
    """Add the commands to `claw`."""
    cli.add_command(checklist)


@click.group()
def checklist() -> None:
    """What a new portal, or somebody new in it, should do once."""


@checklist.command("list")
@JSON
def list_(output: str) -> None:
    """List the first steps, with what is done."""
    _told(remote().call("GET", "/checklist"), output)


@checklist.command("skip")
@click.argument("name", default="")
@click.option("--again", is_flag=True, help="Take it up again.")
@JSON
def skip(name: str, again: bool, output: str) -> None:
    """Say that a step is not for this portal; without NAME all of it."""
    path = f"/checklist/{name}" if name else "/checklist"
    _told(remote().call("PUT", path, body={"put_aside": not again}), output)


def _told(found: Any, output: str) -> None:
    if output == "json":
        return as_json(found)
    rows = [(one["name"], _state(one), one["title"], one["command"] or "-") for one in found["items"]]
    table(("STEP", "STATE", "TITLE", "COMMAND"), rows)
    if found["put_aside_by"]:
        click.echo(f"All of it was put aside by {found['put_aside_by']}.", err=True)
    return None


def _state(one: Any) -> str:
    return "done" if one["done"] else f"not for us ({one['put_aside_by']})" if one["put_aside_by"] else "open"
