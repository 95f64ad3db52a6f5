"""`claw settings`: the portal's settings, from a terminal or a script."""

from __future__ import annotations

import json
from typing import Any

import click

from clawportal.sdk.commands import JSON, as_json, remote, table


def register(cli: click.Group) -> None:
    """Add the commands to `claw`."""
    cli.add_command(settings)


def _given(text: str) -> Any:
    """A number, true or false as JSON has it; everything else is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@click.group()
def settings() -> None:
    """Look at the settings of the portal, and change those that may change while it runs."""


@settings.command("list")
@click.option("--all", "whole", is_flag=True, help="Also those that need a restart.")
@JSON
def list_(whole: bool, output: str) -> None:
    """List the settings, with where each value comes from."""
    found = remote().call("GET", "/settings")
    items = [one for one in found["items"] if whole or not one["needs_restart"]]
    if output == "json":
        return as_json(items)
    rows = [(one["name"], _shown(one["value"]), one["source"], one["changed_by"] or "-") for one in items]
    table(("SETTING", "VALUE", "FROM", "CHANGED BY"), rows)
    for name in found["unread"]:
        click.echo(
            f"A value is stored for {name}, which nothing there reads; `claw settings reset {name}` takes it away.", err=True
        )
    return None


@settings.command("get")
@click.argument("name")
@JSON
def get(name: str, output: str) -> None:
    """Show one setting."""
    found = remote().call("GET", f"/settings/{name}")
    if output == "json":
        return as_json(found)
    for title, key in (("Value", "value"), ("Default", "default"), ("From", "source"), ("Environment", "variable"),
                       ("Changed by", "changed_by"), ("Before", "before")):  # fmt: skip
        click.echo(f"{title + ':':14}{_shown(found[key])}")
    click.echo(found["description"])
    return None


@settings.command("set")
@click.argument("name")
@click.argument("value")
@JSON
def set_(name: str, value: str, output: str) -> None:
    """Change a setting, such as `claw settings set session_hours 8`."""
    portal = remote()
    before = portal.call("GET", f"/settings/{name}")
    body = {"value": _given(value), "generation": before["generation"]}
    changed = portal.call("PUT", f"/settings/{name}", body=body)
    if output == "json":
        return as_json(changed)
    click.echo(f"{name} is {_shown(changed['value'])} now; it was {_shown(before['value'])}.")
    return None


@settings.command("reset")
@click.argument("name")
@JSON
def reset(name: str, output: str) -> None:
    """Let the default of a setting hold again."""
    portal = remote()
    unread = {one["name"]: one for one in portal.call("GET", "/settings")["unread"]}
    generation = (unread.get(name) or portal.call("GET", f"/settings/{name}"))["generation"]
    portal.call("DELETE", f"/settings/{name}", query={"generation": generation})
    if output == "json":
        return as_json({"name": name, "reset": True})
    click.echo(f"{name} was reset.")
    return None


def _shown(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
