"""`claw credential`: stored keys of model providers, from a terminal or a script."""

from __future__ import annotations

from typing import Any

import click

from clawportal.sdk.commands import JSON, NOT_FOUND, REFUSED, TENANT, Failure, Remote, as_json, remote, table, tenant_of

_KEY = click.option("--key", "file", metavar="@FILE", help="Reads the key from a file (@- standard input); asks for it without.")


def register(cli: click.Group) -> None:
    """Add the commands to `claw`."""
    cli.add_command(credential)


def _listed(portal: Remote, tenant: str | None) -> list[dict[str, Any]]:
    return portal.everything("/credentials", {"tenant": tenant_of(portal, tenant) if tenant else None})


def _find(portal: Remote, name: str, tenant: str | None) -> dict[str, Any]:
    found = [one for one in _listed(portal, tenant) if name in (one["id"], one["name"])]
    if not found:
        raise Failure(f"There is no stored key {name!r}, or it is not yours. `claw credential list` shows all.", NOT_FOUND)
    if len(found) > 1:
        raise Failure(f"Several stored keys are named {name!r}; add --tenant or use the id.", REFUSED)
    return found[0]


def _secret(file: str | None) -> str:
    if file is None:
        return str(click.prompt("API key", hide_input=True))
    if not file.startswith("@"):
        raise click.UsageError("A key does not stand in a command line, where others can read it: write --key @FILE.")
    with click.open_file(file[1:], encoding="utf-8") as stream:
        return str(stream.read()).strip()


@click.group()
def credential() -> None:
    """Keep API keys of model providers for several claws."""


@credential.command("list")
@TENANT
@JSON
def list_(tenant: str | None, output: str) -> None:
    """List the stored keys."""
    found = _listed(remote(), tenant)
    if output == "json":
        return as_json(found)
    if not found:
        return click.echo("No stored keys.", err=True)
    rows = [
        (one["name"], one["provider"], one["goes_to"], one["used_by"], one["last_used_at"] or "-", one["id"]) for one in found
    ]
    table(("NAME", "PROVIDER", "GOES TO", "USED BY", "GIVEN OUT", "ID"), rows)
    return None


@credential.command()
@click.argument("name")
@click.option("--provider", required=True, help="Id of a model provider; `claw providers` lists them.")
@click.option("--base-url", default="", help="Address of its API, where it is not the provider's own.")
@click.option("--title", default="")
@click.option("--project", help="Only for this project.")
@_KEY
@TENANT
@JSON
def create(
    name: str, provider: str, base_url: str, title: str, project: str | None, file: str | None, tenant: str | None, output: str
) -> None:
    """Store a key. Use it with `claw create ... --set model.credential=ID`."""
    portal = remote()
    body = {"tenant": tenant_of(portal, tenant), "name": name, "provider": provider, "base_url": base_url, "title": title,
            "project": project, "key": _secret(file)}  # fmt: skip
    made = portal.call("POST", "/credentials", body=body)
    if output == "json":
        return as_json(made)
    click.echo(f"{made['name']} is stored with the id {made['id']}; it goes to {made['goes_to']} only.")
    return None


@credential.command()
@click.argument("name")
@_KEY
@TENANT
@JSON
def rotate(name: str, file: str | None, tenant: str | None, output: str) -> None:
    """Replace a key; the claws that use it take it up one after the other."""
    portal = remote()
    found = _find(portal, name, tenant)
    using = portal.call("POST", f"/credentials/{found['id']}/rotate", body={"key": _secret(file)})
    if output == "json":
        return as_json(using)
    names = ", ".join(one["name"] for one in using["items"])
    click.echo(f"{found['name']} was replaced. Claws that take it up: {using['count']}" + (f" ({names})." if names else "."))
    return None


@credential.command()
@click.argument("name")
@click.option("--model", required=True, help="Name of a model, as the provider spells it.")
@TENANT
@JSON
def test(name: str, model: str, tenant: str | None, output: str) -> None:
    """Ask a model something with a stored key, and tell each step."""
    portal = remote()
    found = _find(portal, name, tenant)
    report = portal.call("POST", "/credentials/test", body={"credential": found["id"], "model": model})
    if output == "json":
        as_json(report)
    else:
        for step in report["steps"]:
            click.echo(f"{step['state']:8} {step['message']}" + (f" It said: {step['said']}" if step["said"] else ""))
            if step["remedy"] and step["state"] != "ok":
                click.echo(f"{'':8} {step['remedy']}")
    if not report["ok"]:
        raise Failure(report["message"], REFUSED)


@credential.command("models")
@click.argument("name")
@click.option("--search", default="", help="A part of the name.")
@TENANT
@JSON
def models_(name: str, search: str, tenant: str | None, output: str) -> None:
    """List the models that a stored key opens."""
    portal = remote()
    found = portal.call("POST", "/credentials/models", body={"credential": _find(portal, name, tenant)["id"], "search": search})
    if output == "json":
        return as_json(found)
    table(("MODEL", "TITLE"), [(one["id"], one["title"]) for one in found["items"]])
    if found["count"] > len(found["items"]):
        click.echo(f"{len(found['items'])} of {found['count']}; --search narrows them.", err=True)
    return None


@credential.command()
@click.argument("name")
@TENANT
def delete(name: str, tenant: str | None) -> None:
    """Delete a key that no claw uses."""
    portal = remote()
    found = _find(portal, name, tenant)
    portal.call("DELETE", f"/credentials/{found['id']}")
    click.echo(f"{found['name']} was deleted.")
