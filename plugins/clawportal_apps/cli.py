"""`claw open`: a claw's own page in the browser, from a terminal."""

from __future__ import annotations

import webbrowser

import click

from clawportal.sdk.commands import JSON, NOT_FOUND, Failure, as_json, remote


def register(cli: click.Group) -> None:
    """Add the command to `claw`."""
    cli.add_command(open_page)


@click.command("open")
@click.argument("name")
@click.argument("port", required=False)
@click.option("--print", "only_print", is_flag=True, help="Print the address, which is good for a minute and one use.")
@JSON
def open_page(name: str, port: str | None, only_print: bool, output: str) -> None:
    """Open the own page of the claw NAME in the browser, or another PORT of it. As JSON, the address is only printed."""
    portal = remote()
    found = portal.find(name)
    ports = portal.call("GET", f"/instances/{found['id']}/apps")["items"]
    if not ports:
        raise Failure(f"{name} has no page for browsers.", NOT_FOUND)
    told = portal.call("POST", f"/instances/{found['id']}/apps/{port or ports[0]['port']}/ticket")
    if output == "json":
        as_json(told)
    elif only_print or not webbrowser.open(told["url"]):
        click.echo(told["url"])
