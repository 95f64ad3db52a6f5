"""`claw oidc`: sign-in providers and what their groups give; `claw identity`: the accounts there that are linked to one's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from clawportal.sdk.commands import JSON, NOT_FOUND, REFUSED, Failure, Remote, age, as_person, done, proving, remote, told

_FIELDS = ("slug", "title", "issuer", "client_id", "scopes", "username_claim", "email_claim", "name_claim", "groups_claim",
           "email_domains", "create_users", "link_by_email", "second_factor", "role", "enabled")  # fmt: skip
"""What is sent back as it is to try a provider that is there."""
_NEW = (
    click.option("--issuer", required=True, help="Exactly as the provider calls itself."),
    click.option("--client-id", required=True),
    click.option("--secret-stdin", is_flag=True, help="Read the client secret from standard input instead of asking."),
    click.option("--public", is_flag=True, help="A public client: there is no secret, PKCE alone protects it."),
    click.option("--title", help="Stands on the button; default: the short name."),
    click.option("--scopes", default="openid profile email", show_default=True),
    click.option("--groups-claim", default="groups", show_default=True),
    click.option("--username-claim", default="preferred_username", show_default=True),
    click.option("--domain", "email_domains", multiple=True, help="Only confirmed addresses in this domain; repeatable."),
    click.option("--create-users", is_flag=True, help="Make an account at the first sign-in."),
    click.option("--link-by-email", is_flag=True, help="Link the account whose name is the confirmed email address."),
    click.option("--second-factor", is_flag=True, help="The provider's second factor is enough."),
    click.option("--tenant", "-t", help="Organisation where new people become members."),
    click.option("--role", default="viewer", show_default=True, help="Role of new people there."),
)


def register(cli: click.Group) -> None:
    """Add the commands to `claw`."""
    cli.add_command(oidc)
    cli.add_command(identity)


def _provider(portal: Remote, name: str) -> dict[str, Any]:
    """By its short name or id."""
    for item in portal.call("GET", "/oidc/providers")["items"]:
        if name in (item["slug"], item["id"]):
            return dict(item)
    raise Failure(f"There is no sign-in provider {name!r}. `claw oidc list` shows all.", NOT_FOUND)


def _groups(portal: Remote, provider: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(portal.call("GET", f"/oidc/providers/{provider['id']}/groups")["items"])


def _place(given: Mapping[str, Any]) -> str:
    return "/".join(part for part in (given["tenant"], given["project"]) if part) or "the whole portal"


# ---- providers


@click.group()
def oidc() -> None:
    """Look after sign-in providers (OpenID Connect), as an administrator of the portal."""


@oidc.command("list")
@JSON
def list_(output: str) -> None:
    """List sign-in providers, and how many people are linked to each."""
    found = remote().call("GET", "/oidc/providers")["items"]
    rows = [(one["slug"], one["title"], "on" if one["enabled"] else "off", one["people"], one["issuer"]) for one in found]
    told(output, found, ("NAME", "TITLE", "STATE", "PEOPLE", "ISSUER"), rows, "No sign-in providers.")


@oidc.command("show")
@click.argument("name")
@JSON
def show(name: str, output: str) -> None:
    """Show one provider and what its groups give; never its secret."""
    portal = remote()
    found = _provider(portal, name)
    groups = _groups(portal, found)
    rows = [(key.replace("_", " "), _shown(value)) for key, value in found.items()]
    rows += [(f"group {one['group']}", f"{one['role']} in {_place(one)}") for one in groups]
    told(output, {**found, "groups": groups}, ("FIELD", "VALUE"), rows, "")


def _shown(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else value


def _describing(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_NEW):
        command = option(command)
    return command


@oidc.command("add")
@click.argument("name")
@_describing
@JSON
def add(name: str, secret_stdin: bool, public: bool, title: str | None, output: str, **given: Any) -> None:
    """Set up a provider with the short name NAME, which is part of its redirect address and never changes."""
    secret = "" if public else sys.stdin.readline().strip() if secret_stdin else _asked()
    given["email_domains"] = list(given["email_domains"])
    made = remote().call("POST", "/oidc/providers", body={"slug": name, "title": title or name, "secret": secret, **given})
    done(output, made, f"{made['title']} is set up. Try it with: claw oidc test {made['slug']}")


def _asked() -> str:
    return str(click.prompt("Client secret", hide_input=True, err=True))


@oidc.command("test")
@click.argument("name")
@JSON
def test(name: str, output: str) -> None:
    """Let the portal ask the provider, and say what is missing. Exits with 6 when something is."""
    portal = remote()
    known = _provider(portal, name)
    body = {key: known[key] for key in _FIELDS} | {"provider_id": known["id"], "tenant": known["tenant_id"]}
    found = portal.call("POST", "/oidc/check", body=body)
    rows = [("ok" if one["ok"] else "FAIL", one["name"], _told(one)) for one in found["items"]]
    told(output, found, ("", "WHAT", "FOUND"), rows, "")
    if not found["ok"]:
        sys.exit(REFUSED)


def _told(finding: Mapping[str, Any]) -> str:
    return " ".join(part for part in (finding["message"], "" if finding["ok"] else finding["remedy"]) if part)


@oidc.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> None:
    """Delete a provider with its links, what its groups gave, and its sessions. Accounts stay."""
    portal = remote()
    found = _provider(portal, name)
    if not yes:
        click.confirm(f"{found['people']} people are linked to {found['title']}. Delete it?", abort=True, err=True)
    portal.call("DELETE", f"/oidc/providers/{found['id']}")
    click.echo(f"{found['title']} was deleted.")


# ---- what groups give


@oidc.command("map")
@click.argument("name")
@click.argument("group")
@click.argument("role")
@click.option("--tenant", "-t", default="", help="Organisation; leave it out only for a role in the whole portal.")
@click.option("--project", default="", help="Project of it, if the role shall hold there only.")
@JSON
def map_(name: str, group: str, role: str, tenant: str, project: str, output: str) -> None:
    """Let a GROUP of the provider NAME give a ROLE, from each person's next sign-in on."""
    portal = remote()
    body = {"group": group, "role": role, "tenant": tenant, "project": project}
    made = portal.call("POST", f"/oidc/providers/{_provider(portal, name)['id']}/groups", body=body)
    done(output, made, f"The group {group} gives the role {role} in {_place(made)} now.")


@oidc.command("unmap")
@click.argument("name")
@click.argument("group")
def unmap(name: str, group: str) -> None:
    """Let a GROUP of the provider NAME give nothing any more; whoever has a role through it loses it at once."""
    portal = remote()
    provider = _provider(portal, name)
    found = [one for one in _groups(portal, provider) if one["group"] == group]
    if not found:
        raise Failure(f"The group {group!r} gives nothing here. `claw oidc show {name}` shows what groups give.", NOT_FOUND)
    for one in found:
        portal.call("DELETE", f"/oidc/providers/{provider['id']}/groups/{one['id']}")
    click.echo(f"The group {group} gives nothing any more.")


# ---- one's own


@click.group()
def identity() -> None:
    """Look after your accounts at sign-in providers; they are linked in a browser, on the page of your account."""


@identity.command("list")
@JSON
def identity_list(output: str) -> None:
    """List the accounts elsewhere with which you can sign in here."""
    found = remote().call("GET", "/auth/identities")["items"]
    rows = [
        (one["slug"], one["provider"], one["email"], _ago(one["created_at"]), _ago(one["last_login_at"]), one["id"])
        for one in found
    ]
    told(output, found, ("NAME", "PROVIDER", "EMAIL", "LINKED", "USED", "ID"), rows, "No linked accounts.")


def _ago(moment: str | None) -> str:
    return f"{age(moment)} ago" if moment else "never"


@identity.command("unlink")
@click.argument("name")
@proving
def identity_unlink(name: str, password_stdin: bool, otp: str | None) -> None:
    """Sign in through an account no more, by the provider's short name or the id; you lose what its groups gave you. Asks for
    your password."""
    found = [one for one in remote().call("GET", "/auth/identities")["items"] if name in (one["slug"], one["id"])]
    if not found:
        raise Failure(f"You have no linked account {name!r}. `claw identity list` shows all.", NOT_FOUND)
    with as_person(password_stdin, otp) as portal:
        portal.call("DELETE", f"/auth/identities/{found[0]['id']}")
    click.echo(f"The account of {found[0]['provider']} is linked no more.")
