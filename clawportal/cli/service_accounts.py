"""`claw service-account`: accounts of programs and their tokens, from a terminal or a script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from clawportal.cli import people
from clawportal.cli.tokens import limiting

if TYPE_CHECKING:
    from clawportal.cli.remote import Remote


def register(cli: click.Group) -> None:
    """Add the commands to `claw`."""
    cli.add_command(service_account)


def _account(portal: Remote, tenant: str | None, name: str) -> tuple[str, dict[str, Any]]:
    """Path and document of an account by its id, its name, or the part behind the slash."""
    from clawportal.cli.remote import NOT_FOUND, Failure

    path = f"/tenants/{people.tenant_of(portal, tenant)}/service-accounts"
    for item in portal.call("GET", path)["items"]:
        if name in (item["id"], item["name"], item["name"].partition("/")[2]):
            return f"{path}/{item['id']}", dict(item)
    raise Failure(f"There is no service account {name!r} in this organisation.", NOT_FOUND)


@click.group("service-account")
def service_account() -> None:
    """Look after service accounts: accounts of programs, which come with tokens only."""


@service_account.command("list")
@people.TENANT
@people.JSON
def list_(tenant: str | None, output: str) -> None:
    """List service accounts with their roles."""
    from clawportal.cli import show

    portal = people.remote()
    found = portal.call("GET", f"/tenants/{people.tenant_of(portal, tenant)}/service-accounts")["items"]
    rows = [
        (a["name"], a["description"], a["role"], "on" if a["active"] else "off", a["tokens"], show.age(a["last_used_at"]))
        for a in found
    ]
    people.told(output, found, ("NAME", "FOR", "ROLE", "STATE", "TOKENS", "LAST USED"), rows, "No service accounts.")


@service_account.command("create")
@click.argument("name")
@click.option("--role", default="developer", show_default=True)
@click.option("--description", default="", help="What it is for.")
@people.TENANT
@people.JSON
def create(name: str, role: str, description: str, tenant: str | None, output: str) -> None:
    """Make a service account. It can do nothing before it has a token."""
    portal = people.remote()
    body = {"name": name, "role": role, "description": description}
    made = portal.call("POST", f"/tenants/{people.tenant_of(portal, tenant)}/service-accounts", body=body)
    people.done(output, made, f"{made['name']} was made with the role {role}. Make a token: claw service-account token {name}")


@service_account.command("role")
@click.argument("name")
@click.argument("role")
@people.TENANT
@people.JSON
def role_(name: str, role: str, tenant: str | None, output: str) -> None:
    """Give a service account another role."""
    _change(name, tenant, output, {"role": role}, f"has the role {role} now.")


@service_account.command("disable")
@click.argument("name")
@people.TENANT
@people.JSON
def disable(name: str, tenant: str | None, output: str) -> None:
    """Switch a service account off: none of its tokens works from now on."""
    _change(name, tenant, output, {"active": False}, "is switched off; none of its tokens works.")


@service_account.command("enable")
@click.argument("name")
@people.TENANT
@people.JSON
def enable(name: str, tenant: str | None, output: str) -> None:
    """Switch a service account on again, with its tokens."""
    _change(name, tenant, output, {"active": True}, "is switched on; its tokens work again.")


def _change(name: str, tenant: str | None, output: str, body: dict[str, Any], words: str) -> None:
    portal = people.remote()
    path, found = _account(portal, tenant, name)
    people.done(output, portal.call("PATCH", path, body=body), f"{found['name']} {words}")


@service_account.command("delete")
@click.argument("name")
@people.TENANT
def delete(name: str, tenant: str | None) -> None:
    """Delete a service account with its tokens and rights."""
    portal = people.remote()
    path, found = _account(portal, tenant, name)
    portal.call("DELETE", path)
    click.echo(f"{found['name']} was deleted.")


@service_account.command("tokens")
@click.argument("name")
@people.TENANT
@people.JSON
def tokens(name: str, tenant: str | None, output: str) -> None:
    """List the tokens of a service account; never their text."""
    from clawportal.cli.tokens import HEAD, row_of

    portal = people.remote()
    found = portal.call("GET", f"{_account(portal, tenant, name)[0]}/tokens")["items"]
    people.told(output, found, HEAD, [row_of(item) for item in found], "No tokens.")


@service_account.command("token")
@click.argument("name")
@click.argument("token_name")
@limiting
@people.TENANT
@people.JSON
def token(
    name: str, token_name: str, days: int, forever: bool, scopes: Sequence[str], addresses: Sequence[str], tenant: str | None,
    output: str,
) -> None:  # fmt: skip
    """Make a token of a service account. Its text is printed this once, alone on a line, so that a script can take it."""
    from clawportal.cli.tokens import body_of

    portal = people.remote()
    path, _found = _account(portal, tenant, name)
    made = portal.call("POST", f"{path}/tokens", body=body_of(token_name, days, forever, scopes, addresses))
    people.done(output, made, made["token"])


@service_account.command("revoke")
@click.argument("name")
@click.argument("which")
@people.TENANT
def revoke(name: str, which: str, tenant: str | None) -> None:
    """Revoke a token of a service account by its id, its prefix or its name."""
    from clawportal.cli.tokens import pick

    portal = people.remote()
    path, account = _account(portal, tenant, name)
    found = pick(portal.call("GET", f"{path}/tokens")["items"], which, f"{account['name']} has no token {which!r}.")
    portal.call("DELETE", f"{path}/tokens/{found['id']}")
    click.echo(f"{found['name']} was revoked.")
