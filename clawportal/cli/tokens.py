"""`claw token`: see, make and revoke the API tokens of one's own account."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from clawportal.cli import remote

if TYPE_CHECKING:
    pass

_OUTPUT = click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True)


def register(cli: click.Group) -> None:
    """Add the commands to `claw`."""
    cli.add_command(token)


@click.group()
def token() -> None:
    """Look after your API tokens."""


@token.command("list")
@_OUTPUT
def list_(output: str) -> None:
    """Show your tokens; never their text, which is shown only once."""
    from clawportal.cli import show

    found = remote.signed_in().call("GET", "/tokens")
    if output == "json":
        return show.as_json(found)
    show.table(HEAD, [row_of(item) for item in found["items"]])
    return None


HEAD = ("ID", "NAME", "PREFIX", "USED", "ENDS", "MAY", "FROM")


def row_of(item: Mapping[str, Any]) -> tuple[Any, ...]:
    from clawportal.cli import show

    return (
        item["id"], item["name"], item["prefix"], f"{show.age(item['last_used_at'])} ago" if item["last_used_at"] else "never",
        str(item["expires_at"] or "never")[:10], ", ".join(item["scopes"] or ["all that you may"]),
        ", ".join(item["addresses"] or ["everywhere"]),
    )  # fmt: skip


_LIMITS = (
    click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True, help="How long it lives."),
    click.option("--forever", is_flag=True, help="It lives until it is revoked."),
    click.option("--scope", "scopes", multiple=True, help="A permission it is limited to, such as instance.read; repeatable."),
    click.option(
        "--from", "addresses", multiple=True, help="An address or network it may come from, such as 192.0.2.0/24; repeatable."
    ),
)


def limiting(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how long a token lives and what it is limited to."""
    for option in reversed(_LIMITS):
        command = option(command)
    return command


def body_of(name: str, days: int, forever: bool, scopes: Sequence[str], addresses: Sequence[str]) -> dict[str, Any]:
    """What is sent to make a token."""
    limits = {"scopes": list(scopes) or None, "addresses": list(addresses) or None}
    return {"name": name, "days": None if forever else days, **limits}


@token.command()
@click.argument("name")
@limiting
@_OUTPUT
def create(name: str, days: int, forever: bool, scopes: Sequence[str], addresses: Sequence[str], output: str) -> None:
    """Make a token. Its text is printed this once, alone on a line, so that a script can take it."""
    from clawportal.cli import show

    made = remote.signed_in().call("POST", "/tokens", body=body_of(name, days, forever, scopes, addresses))
    if output == "json":
        return show.as_json(made)
    click.echo(made["token"])
    return None


@token.command()
@click.argument("which")
def revoke(which: str) -> None:
    """Revoke a token by its id, its prefix or its name; programs that use it are refused at once."""
    portal = remote.signed_in()
    found = pick(portal.call("GET", "/tokens")["items"], which, f"You have no token {which!r}. `claw token list` shows all.")
    portal.call("DELETE", f"/tokens/{found['id']}")
    click.echo(f"{found['name']} was revoked.")


def pick(items: Sequence[Mapping[str, Any]], which: str, missing: str) -> Mapping[str, Any]:
    """The one token of this id, prefix or name."""
    from clawportal.cli.remote import NOT_FOUND, REFUSED, Failure

    found = [item for item in items if which in (item["id"], item["prefix"])] or [item for item in items if item["name"] == which]
    if not found:
        raise Failure(missing, NOT_FOUND)
    if len(found) > 1:
        raise Failure(f"Several tokens are named {which!r}; use the id, which the list shows.", REFUSED)
    return found[0]
