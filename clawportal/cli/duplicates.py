"""`claw duplicate`: a second instance like one that exists."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from clawportal.cli import arguments, remote

if TYPE_CHECKING:
    from clawportal.cli.remote import Remote


def register(cli: click.Group) -> None:
    """Add the command to `claw`."""
    cli.add_command(duplicate)


@click.command()
@click.argument("name")
@click.argument("newname")
@click.option("--files", is_flag=True, help="Copy the files of the work folder, too.")
@click.option("--stop", is_flag=True, help="With --files: stop NAME while they are copied; it is started again after that.")
@click.option("--project", help="Project of the new one; without it, that of NAME.")
@click.option("--cluster", help="Place to run it in; without it, that of NAME, where possible.")
@click.option(
    "--secret", "secret_names", multiple=True, metavar="NAME[=@FILE]",
    help="For what is not copied: asks for the value, or reads it from a file (=@- standard input). Repeatable.",
)  # fmt: skip
@click.option("--no-start", is_flag=True, help="Create it stopped.")
@click.option("--preview", is_flag=True, help="Only show what would be copied and what would not, and why.")
@click.option("--wait", is_flag=True, help="Return only when it has come about, its files too; exit code 1 when it fails.")
@click.option("--timeout", type=click.FloatRange(1), default=600.0, show_default=True, help="Seconds to wait.")
@click.option("-o", "--output", type=click.Choice(("table", "json", "name")), default="table", show_default=True)
def duplicate(
    name: str, newname: str, files: bool, stop: bool, project: str | None, cluster: str | None, secret_names: Sequence[str],
    no_start: bool, preview: bool, wait: bool, timeout: float, output: str,
) -> None:  # fmt: skip
    """Make NEWNAME with the configuration of NAME. Access tokens, and keys that two claws must not share, are never copied."""
    if stop and not files:
        raise click.UsageError("--stop is only for copying files: add --files.")
    portal = remote.signed_in()
    path = f"/instances/{portal.find(name)['id']}/duplicate"
    body: dict[str, Any] = {"name": newname, "project": project, "cluster": cluster, "secrets": arguments.secrets(secret_names)}
    body |= {"start": not no_start, "files": files, "stop": stop}
    if preview:
        return _show(portal.call("POST", f"{path}/preview", body=body), output)
    _tell(portal, _made(portal, path, body), files, wait, timeout, output)
    return None


def _made(portal: Remote, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Once more when the connection broke: the key sees to it that there is still only one."""
    key = {"Idempotency-Key": str(uuid.uuid4())}
    try:
        made: dict[str, Any] = portal.call("POST", path, body=body, headers=key)
    except remote.Failure as failure:
        if failure.exit_code != remote.UNREACHABLE:
            raise
        made = portal.call("POST", path, body=body, headers=key)
    return made


def _show(found: dict[str, Any], output: str) -> None:
    from clawportal.cli import show

    if output == "json":
        show.as_json(found)
    else:
        rows = [("yes" if part["copied"] else "no", part["title"], part["why"]) for part in found["parts"]]
        show.table(("COPIED", "WHAT", "WHY"), rows)
        if found["warning"]:
            click.echo(f"Warning: {found['warning']}", err=True)
    for error in found["errors"]:
        click.echo(f"Error: {error['path']}: {remote.clean(error['message'])}", err=True)
    if not found["ok"]:
        sys.exit(remote.REFUSED)


def _tell(portal: Remote, made: dict[str, Any], files: bool, wait: bool, timeout: float, output: str) -> None:
    from clawportal.cli import show

    end = time.monotonic() + timeout
    if wait and files:
        _await_files(portal, made, end)
    if wait:
        latest = portal.get(made["id"])
        made = portal.settled(latest, max(1.0, end - time.monotonic()), lambda now: None)
    if output == "json":
        show.as_json(made)
    elif output == "name":
        click.echo(made["name"])
    else:
        click.echo(f"{made['name']} is {made['phase']}." if wait else f"{made['name']} is being created.")
    if wait and made["phase"] == "failed":
        click.echo(f"Error: {remote.clean(made['message'])} {made['next_action']}".rstrip(), err=True)
        sys.exit(remote.FAILED)


def _await_files(portal: Remote, made: dict[str, Any], end: float) -> None:
    """Until the operation that copies them has ended."""
    while True:
        items = portal.call("GET", "/operations", query={"instance": made["id"]})["items"]
        found = next(item for item in items if item["kind"] == "instance.copy_files")
        if found["state"] == "succeeded":
            return
        if found["state"] in ("failed", "cancelled"):
            raise remote.Failure(found["error"] or found["message"], remote.FAILED)
        if time.monotonic() > end:
            raise remote.Failure(f"The files of {made['name']} are still being copied: {found['message']}", remote.FAILED)
        time.sleep(0.3)
