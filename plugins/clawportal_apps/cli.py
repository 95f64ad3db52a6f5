"""`claw open`: a claw's own page in the browser, from a terminal."""

from __future__ import annotations

import webbrowser

import click

from clawportal.sdk.commands import NOT_FOUND, Failure, remote


def register(cli: click.Group) -> None:
    """Add the command to `claw`."""
    cli.add_command(open_page)


@click.command("open")
@click.argument("name")
@click.argument("port", required=False)
@click.option("--print", "only_print", is_flag=True, help="Print the address, which is good for a minute and one use.")
def open_page(name: str, port: str | None, only_print: bool) -> None:
    """Open the own page of the claw NAME in the browser, or another PORT of it."""
    portal = remote()
    found = portal.find(name)
    ports = portal.call("GET", f"/instances/{found['id']}/apps")["items"]
    if not ports:
        raise Failure(f"{name} has no page for browsers.", NOT_FOUND)
    told = portal.call("POST", f"/instances/{found['id']}/apps/{port or ports[0]['port']}/ticket")
    if only_print or not webbrowser.open(told["url"]):
        click.echo(told["url"])
