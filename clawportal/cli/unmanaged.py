"""`claw cluster foreign|import`, `claw adopt|forget`: take over what somebody else runs in a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from clawportal.cli import arguments, clusters, remote

if TYPE_CHECKING:
    pass

_JSON = click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True)


def register(cli: click.Group) -> None:
    """Add the commands to `claw`."""
    clusters.cluster.add_command(foreign)
    clusters.cluster.add_command(import_)
    cli.add_command(adopt)
    cli.add_command(forget)


@click.command()
@click.argument("cluster")
@_JSON
def foreign(cluster: str, output: str) -> None:
    """List what runs in a cluster that no portal made, and what each seems to be."""
    from clawportal.cli import show

    found = remote.signed_in().call("GET", f"{clusters._path(cluster)}/foreign")
    if output == "json":
        return show.as_json(found)
    show.table(("NAME", "TYPE", "STATE", "IMAGE", "INSTANCE"), [
        (item["name"], item["adapter"] or "?", item["state"], item["image"], item["instance_name"]) for item in found["items"]
    ])  # fmt: skip
    return None


@click.command("import")
@click.argument("cluster")
@click.argument("container")
@click.option("--name", default="", help="Of the instance; without it, like the container.")
@click.option("--type", "kind", default="", help="Kind of claw, where it cannot be told; `claw types` lists them.")
@click.option("--version", default="", help="Version of the claw, where the image does not tell it.")
@click.option("--project", help="Project to put it into.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Repeatable.")
@_JSON
def import_(
    cluster: str, container: str, name: str, kind: str, version: str, project: str | None, labels: Sequence[str], output: str
) -> None:
    """Import a container that somebody else made, by name or id. It is only observed until it is adopted."""
    from clawportal.cli import show

    body = {"name": name, "adapter": kind, "version": version, "project": project, "labels": arguments.pairs(labels)}
    made = remote.signed_in().call("POST", f"{clusters._path(cluster)}/foreign/{quote(container, safe='')}/import", body=body)
    if output == "json":
        return show.as_json(made)
    click.echo(f"{made['name']} is imported and only observed. `claw adopt {made['name']}` lets the portal manage it.")
    return None


@click.command()
@click.argument("name")
@_JSON
def adopt(name: str, output: str) -> None:
    """Let the portal manage an imported instance: the same container, which runs on."""
    _press(name, "adopt", "is managed by the portal from now on", output)


@click.command()
@click.argument("name")
@_JSON
def forget(name: str, output: str) -> None:
    """Take an imported or adopted instance out of the portal; its container runs on and is not touched."""
    _press(name, "forget", "is forgotten; its container was not touched", output)


def _press(name: str, verb: str, words: str, output: str) -> None:
    from clawportal.cli import show

    portal = remote.signed_in()
    found = portal.call("POST", f"/instances/{portal.find(name)['id']}/{verb}")
    if output == "json":
        return show.as_json(found)
    click.echo(f"{found['name']} {words}.")
    return None
