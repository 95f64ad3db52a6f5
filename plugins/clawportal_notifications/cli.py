"""`claw notifications`: what one was told, from a terminal or a script."""

from __future__ import annotations

import click

from clawportal.sdk.commands import JSON, as_json, clean, remote, table


def register(cli: click.Group) -> None:
    """Add the commands to `claw`."""
    cli.add_command(notifications)


@click.group()
def notifications() -> None:
    """See what you were told, and mark it as read."""


@notifications.command("ls")
@click.option("--unread", is_flag=True, help="Only those that were not read.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="How many, newest first.")
@JSON
def ls(unread: bool, limit: int, output: str) -> None:
    """List notifications, newest first."""
    asked = {"unread": "true" if unread else None, "limit": limit}
    found = remote().call("GET", "/notifications", query={name: value for name, value in asked.items() if value is not None})[
        "items"
    ]
    if output == "json":
        return as_json(found)
    if not found:
        return click.echo("No notifications.", err=True)
    rows = [
        (
            one["at"][:16],
            "" if one["read"] else "*",
            one["count"],
            clean(str(one["title"])),
            clean(str(one["message"])),
            one["id"],
        )
        for one in found
    ]
    return table(("AT", "NEW", "TIMES", "WHAT", "MESSAGE", "ID"), rows)


@notifications.command()
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@JSON
def read(ids: tuple[str, ...], everything: bool, output: str) -> None:
    """Mark notifications as read, by their IDS or all."""
    if bool(ids) == everything:
        raise click.UsageError("Name the notifications, or say --all.")
    portal = remote()
    if everything:
        marked = portal.call("POST", "/notifications/read-all")["marked"]
    else:
        for one in ids:
            portal.call("POST", f"/notifications/{one}/read")
        marked = len(ids)
    if output == "json":
        return as_json({"marked": marked})
    return click.echo(f"Marked as read: {marked}.")
