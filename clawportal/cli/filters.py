"""`claw filter`: saved filters of the list of instances. `claw list --filter NAME` uses one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from clawportal.cli import people, remote
from clawportal.cli.extending import Open

if TYPE_CHECKING:
    from clawportal.cli.remote import Remote


def register(cli: click.Group) -> None:
    """Add the commands to `claw`."""
    cli.add_command(filter_)


@click.group("filter", cls=Open)
def filter_() -> None:
    """Saved filters of the list of instances."""


_JSON = click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True)


@filter_.command("list")
@_JSON
def list_(output: str) -> None:
    """List saved filters: one's own, and those of one's organisations."""
    from clawportal.cli import show

    items = remote.signed_in().everything("/filters", {})
    if output == "json":
        return show.as_json({"items": items, "total": len(items)})
    show.table(("NAME", "FILTER", "SHARED WITH", "DEFAULT"), [
        (item["name"], _words(item), item["tenant_name"], "yes" if item["default"] else "") for item in items
    ])  # fmt: skip
    return None


def _words(item: Mapping[str, Any]) -> str:
    return " ".join(f"{part}={value}" for part, value in item["query"].items() if value)


@filter_.command()
@click.argument("name")
@click.option("--state", default="", help="attention, running, progressing, stopped or failed.")
@click.option("--type", "adapter", default="", help="Kind of claw.")
@click.option("--project", default="", help="Id or name of a project.")
@click.option("-q", "--query", "text", default="", help="Part of the name of instances.")
@click.option("-l", "--labels", default="", help="As for `claw list`.")
@click.option("--sort", default="", help="As for `claw list`.")
@click.option("--share", help="Organisation, by name or id, with which to share it.")
@click.option("--default", is_flag=True, help="The page of instances begins with it from now on, for you.")
@_JSON
def save(
    name: str, state: str, adapter: str, project: str, text: str, labels: str, sort: str, share: str | None, default: bool,
    output: str,
) -> None:  # fmt: skip
    """Save a filter under a name."""
    portal = remote.signed_in()
    query = {"q": text, "state": state, "adapter": adapter, "project": project, "labels": labels, "sort": sort}
    body = {"name": name, "query": query, "default": default, "tenant": people.tenant_of(portal, share) if share else None}
    _told(portal.call("POST", "/filters", body=body), "is saved", output)


@filter_.command()
@click.argument("name")
@click.argument("newname")
@_JSON
def rename(name: str, newname: str, output: str) -> None:
    """Give a saved filter another name."""
    portal = remote.signed_in()
    _told(portal.call("PATCH", _path(portal, name), body={"name": newname}), "is its name now", output)


@filter_.command()
@click.argument("name")
@_JSON
def delete(name: str, output: str) -> None:
    """Delete a saved filter; nothing happens to the claws that it shows."""
    portal = remote.signed_in()
    found = _find(portal, name)
    portal.call("DELETE", f"/filters/{found['id']}")
    _told(found, "is deleted", output)


def _path(portal: Remote, name: str) -> str:
    return f"/filters/{_find(portal, name)['id']}"


def _find(portal: Remote, name: str) -> dict[str, Any]:
    """By id or name; one's own before those of organisations."""
    found = [item for item in portal.everything("/filters", {}) if name in (item["id"], item["name"])]
    if not found:
        raise remote.Failure(f"There is no saved filter {name!r}, or it is not yours.", remote.NOT_FOUND)
    found.sort(key=lambda item: (item["id"] != name, item["tenant"] is not None))
    if len(found) > 1 and found[0]["id"] != name and found[0]["tenant"] is not None:
        raise remote.Failure(f"Several saved filters are named {name!r}; use the id.", remote.REFUSED)
    return dict(found[0])


def _told(found: Mapping[str, Any], words: str, output: str) -> None:
    from clawportal.cli import show

    if output == "json":
        show.as_json(dict(found))
    else:
        click.echo(f"{remote.clean(found['name'])} {words}.")
