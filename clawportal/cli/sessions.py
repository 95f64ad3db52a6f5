"""`claw session`: see where one is signed in, and end that."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from clawportal.cli import people, remote

if TYPE_CHECKING:
    from clawportal.cli.remote import Remote

_PROOF = (
    click.option("--password-stdin", is_flag=True, help="Read your password from standard input instead of asking."),
    click.option("--otp", help="A code of your authenticator app, or a backup code; asked for when it is needed."),
)


def register(cli: click.Group) -> None:
    """Add the commands to `claw`."""
    cli.add_command(session)


def proving(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that works `as_person`."""
    for option in reversed(_PROOF):
        command = option(command)
    return command


@contextmanager
def as_person(password_stdin: bool, otp: str | None) -> Iterator[Remote]:
    """The portal of the present command, signed in with the password just for this: what could shut somebody out is refused
    to a token alone."""
    kept = people.remote()
    pair = _pair(remote.Remote(remote.Account(kept.url, "")), kept.call("GET", "/auth/me")["name"], password_stdin, otp)
    portal = remote.Remote(remote.Account(kept.url, pair["access_token"]))
    try:
        yield portal
    finally:
        portal.call("POST", "/auth/logout")


def _pair(portal: Remote, name: str, password_stdin: bool, otp: str | None) -> dict[str, Any]:
    asked = f"Password of {name}"
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else click.prompt(asked, hide_input=True, err=True)
    body = {"name": name, "password": password, "otp": otp or ""}
    try:
        return dict(portal.call("POST", "/auth/login", body=body))
    except remote.Failure as failure:
        if failure.code != "otp_required" or password_stdin:
            raise
    body["otp"] = click.prompt("Code of your authenticator app, or a backup code", err=True)
    return dict(portal.call("POST", "/auth/login", body=body))


@click.group()
def session() -> None:
    """Look after the places where you are signed in: browsers, and programs that signed in with your password."""


@session.command("list")
@people.JSON
def list_(output: str) -> None:
    """List your open sessions. API tokens are none; `claw token list` shows these."""
    from clawportal.cli.show import age

    found = people.remote().call("GET", "/auth/sessions")["items"]
    rows = [
        (one["id"], one["kind"], one["device"], one["address"], one["through"] or "password",
         f"{age(one['created_at'])} ago", f"{age(one['last_seen_at'])} ago")
        for one in found
    ]  # fmt: skip
    people.told(output, found, ("ID", "KIND", "DEVICE", "ADDRESS", "THROUGH", "SINCE", "USED"), rows, "No open sessions.")


@session.command("end")
@click.argument("ids", nargs=-1, required=True)
@proving
def end(ids: tuple[str, ...], password_stdin: bool, otp: str | None) -> None:
    """End sessions by their ids; each is refused from its next request on. Asks for your password."""
    with as_person(password_stdin, otp) as portal:
        for one in ids:
            portal.call("DELETE", f"/auth/sessions/{one}")
            click.echo(f"The session {one} was ended.")


@session.command("end-all")
@proving
def end_all(password_stdin: bool, otp: str | None) -> None:
    """End all your sessions. API tokens, such as the one of `claw`, go on working. Asks for your password."""
    with as_person(password_stdin, otp) as portal:
        ended = portal.call("DELETE", "/auth/sessions")["ended"]
    click.echo(f"{ended} sessions were ended." if ended != 1 else "One session was ended.")
