"""Further commands of `claw files`: mkdir, mv, cp, rm, find and the trash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from clawportal.sdk.commands import JSON, Failure, Files, Remote, as_json, remote, table
from clawportal_files import sending

_KEEP = click.option("--keep-both", is_flag=True, help="Where something has the name: find another name beside it.")
_YES = click.option("-y", "--yes", is_flag=True, help="Where something has the name: move that into the trash, without asking.")


def register(cli: click.Group) -> None:
    """Add the commands to `claw files`, and send files in parts."""
    group = cli.commands["files"]
    assert isinstance(group, Files)
    group.send = sending.send
    for command in (mkdir, mv, cp, rm, find, trash):
        group.add_command(command)


def _told(output: str, document: Any, words: str) -> None:
    if output == "json":
        as_json(document)
    else:
        click.echo(words, err=True)


def _files(name: str) -> tuple[Remote, str]:
    portal = remote()
    return portal, f"/instances/{portal.find(name)['id']}/files"


@click.command()
@click.argument("name")
@click.argument("path")
@JSON
def mkdir(name: str, path: str, output: str) -> None:
    """Make a folder, with those above it."""
    portal, address = _files(name)
    made = portal.call("POST", f"{address}/new", body={"path": path, "kind": "folder"})
    _told(output, made, made["path"])


def _transfer(name: str, verb: str, path: str, target: str, *, keep_both: bool, yes: bool) -> Mapping[str, Any]:
    """A TARGET that ends in a slash, or is `work`, `state` or `home`, is a folder that keeps the name."""
    portal, address = _files(name)
    last = path.rstrip("/").rpartition("/")[2]
    aim = f"{target.rstrip('/')}/{last}" if target.endswith("/") or "/" not in target else target
    body = {"path": path, "target": aim, "taken": "keep-both" if keep_both else "replace" if yes else "refuse"}
    try:
        found: Mapping[str, Any] = portal.call("POST", f"{address}/{verb}", body=body)
    except Failure as failure:
        if failure.code != "exists" or not click.confirm(f"{aim} is there already. Move it into the trash?", err=True):
            raise
        found = portal.call("POST", f"{address}/{verb}", body={**body, "taken": "replace"})
    return found


@click.command()
@click.argument("name")
@click.argument("path")
@click.argument("target")
@_KEEP
@_YES
@JSON
def mv(name: str, path: str, target: str, keep_both: bool, yes: bool, output: str) -> None:
    """Move or rename PATH to TARGET. A TARGET that ends in a slash is a folder that keeps the name."""
    found = _transfer(name, "move", path, target, keep_both=keep_both, yes=yes)
    _told(output, found, found["path"])


@click.command()
@click.argument("name")
@click.argument("path")
@click.argument("target")
@_KEEP
@_YES
@JSON
def cp(name: str, path: str, target: str, keep_both: bool, yes: bool, output: str) -> None:
    """Copy PATH to TARGET, both in the same claw. A TARGET that ends in a slash is a folder that keeps the name."""
    found = _transfer(name, "copy", path, target, keep_both=keep_both, yes=yes)
    left_out = f" ({found['left_out']} links or special files were left out)" if found["left_out"] else ""
    _told(output, found, f"{found['path']}{left_out}")


@click.command()
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@JSON
def rm(name: str, paths: tuple[str, ...], output: str) -> None:
    """Move files or folders into the trash."""
    portal, address = _files(name)
    for path in paths:
        item = portal.call("POST", f"{address}/trash", body={"path": path})
        _told(output, item, f"{item['path']} is in the trash as {item['id']}")


@click.command()
@click.argument("name")
@click.argument("text")
@click.argument("path", default="")
@JSON
def find(name: str, text: str, path: str, output: str) -> None:
    """Search files by a part of their name, below PATH or everywhere."""
    portal, address = _files(name)
    found = portal.call("GET", f"{address}/search", query={"text": text, "path": path})
    if output == "json":
        return as_json(found)
    for item in found["items"]:
        click.echo(item["path"] or item["name"])
    if not found["complete"]:
        click.echo("There may be more; name a folder, or more of the name.", err=True)
    return None


@click.group()
def trash() -> None:
    """What was deleted: list it, bring it back, or delete it for good."""


@trash.command("ls")
@click.argument("name")
@JSON
def trash_ls(name: str, output: str) -> None:
    """List the trash of a claw, the latest first."""
    portal, address = _files(name)
    found = portal.call("GET", f"{address}/trash")
    if output == "json":
        return as_json(found)
    table(("ID", "DELETED", "BY", "PATH"), [(i["id"], i["deleted_at"], i["deleted_by"], i["path"]) for i in found["items"]])
    return None


@trash.command("restore")
@click.argument("name")
@click.argument("item_id", metavar="ID")
@_KEEP
@JSON
def trash_restore(name: str, item_id: str, keep_both: bool, output: str) -> None:
    """Bring something back to where it was."""
    portal, address = _files(name)
    body = {"taken": "keep-both" if keep_both else "refuse"}
    found = portal.call("POST", f"{address}/trash/{item_id}/restore", body=body)
    _told(output, found, found["path"])


@trash.command("empty")
@click.argument("name")
@click.argument("item_id", metavar="[ID]", default="")
@click.option("--yes", is_flag=True, help="Do not ask.")
@JSON
def trash_empty(name: str, item_id: str, yes: bool, output: str) -> None:
    """Delete all of the trash for good, or the one with ID."""
    portal, address = _files(name)
    what = f"{item_id} of the trash" if item_id else "all of the trash"
    if not yes:
        click.confirm(f"Delete {what} of {name} for good?", abort=True, err=True)
    if item_id:
        portal.call("DELETE", f"{address}/trash/{item_id}")
        return _told(output, {"deleted": 1}, "It was deleted.")
    found = portal.call("DELETE", f"{address}/trash")
    return _told(output, found, f"{found['deleted']} were deleted.")
