"""`claw fleet`: how the fleet did, by the hour, from a terminal."""

from __future__ import annotations

import time

import click

from clawportal.sdk.commands import JSON, as_json, remote, table

_STATES = ("running", "changing", "stopped", "failed")
_HAPPENED = ("starts", "failures", "exits")


def register(cli: click.Group) -> None:
    """Add the command to `claw`."""
    cli.add_command(fleet)


@click.command()
@click.option("--span", type=click.Choice(("day", "week")), default="day", show_default=True)
@JSON
def fleet(span: str, output: str) -> None:
    """Show how many claws were in which state, and how many started and failed."""
    found = remote().call("GET", "/fleet/series", query={"span": span})
    if output == "json":
        return as_json(found)
    if not found["at"]:
        return click.echo("Nothing was counted yet.", err=True)
    rows = [
        (time.strftime("%Y-%m-%d %H:%M", time.localtime(at)), *(found[name][k] for name in (*_STATES, *_HAPPENED)))
        for k, at in enumerate(found["at"])
    ]
    table(("TIME", *(name.upper() for name in (*_STATES, *_HAPPENED))), rows[-48:])
    return None
