"""`claw configs`: configuration templates and their versions, from a terminal, a script or a repository of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clawportal.cli import people

if TYPE_CHECKING:
    from clawportal.cli.remote import Remote

_PROJECT = click.option("--project", help="Project that it is for; without it, all of the organisation.")
_MESSAGE = click.option("-m", "--message", default="", help="What is new, for the list of versions.")
_FILE = click.option("-f", "--file", "source", type=click.File("rb"), required=True, help="YAML or JSON; - is standard input.")
_VERSION = click.option("--version", "number", type=int, help="Number of a version; without it, the newest.")


def register(cli: click.Group) -> None:
    """Add the commands to `claw`."""
    cli.add_command(configs)


def _find(portal: Remote, name: str, tenant: str | None) -> dict[str, Any]:
    """The document of a template, by its name or id."""
    from clawportal.cli.remote import NOT_FOUND, REFUSED, Failure

    query = {"name": name, "tenant": people.tenant_of(portal, tenant) if tenant else None}
    found = portal.everything("/configs", query)
    if not found:
        raise Failure(f"There is no configuration template {name!r}, or it is not yours. `claw configs ls` shows all.", NOT_FOUND)
    if len(found) > 1:
        raise Failure(f"Several configuration templates are named {name!r}; add --tenant or use the id.", REFUSED)
    return dict(portal.call("GET", f"/configs/{found[0]['id']}"))


def _text(source: Any) -> str:
    try:
        return str(source.read().decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{source.name} cannot be read: {error}") from error


def _where(portal: Remote, tenant: str | None, project: str | None) -> dict[str, Any]:
    found = people.project_of(portal, project, tenant) if project else None
    return {"project": found["id"], "tenant": None} if found else {"project": None, "tenant": people.tenant_of(portal, tenant)}


@click.group()
def configs() -> None:
    """Look after configuration templates: what instances are made of, in versions that never change."""


@configs.command("ls")
@click.option("--type", "adapter", help="Only for this kind of claw.")
@people.TENANT
@people.JSON
def ls(adapter: str | None, tenant: str | None, output: str) -> None:
    """List configuration templates."""
    portal = people.remote()
    found = portal.everything("/configs", {"adapter": adapter, "tenant": people.tenant_of(portal, tenant) if tenant else None})
    rows = [(c["name"], c["adapter"], c["adapter_versions"] or "all", c["latest"], c["description"]) for c in found]
    people.told(output, found, ("NAME", "TYPE", "VERSIONS", "NEWEST", "DESCRIPTION"), rows, "No configuration templates.")


@configs.command("get")
@click.argument("name")
@_VERSION
@people.TENANT
@people.JSON
def get(name: str, number: int | None, tenant: str | None, output: str) -> None:
    """Show a template with one of its versions."""
    import json

    portal = people.remote()
    found = _find(portal, name, tenant)
    if number is not None:
        found["version"] = portal.call("GET", f"/configs/{found['id']}/versions/{number}")
    words = [
        f"{key + ':':18}{found[key]}" for key in ("name", "description", "adapter", "adapter_versions", "latest", "created_by")
    ]
    shown = {key: found["version"][key] for key in ("number", "author", "message", "variables", "body")}
    people.done(output, found, "\n".join([*words, json.dumps(shown, indent=2, ensure_ascii=False)]))


@configs.command("create")
@_FILE
@_MESSAGE
@_PROJECT
@people.TENANT
@people.JSON
def create(source: Any, message: str, project: str | None, tenant: str | None, output: str) -> None:
    """Create a template from a file, as `claw configs export` writes it. One of the same name is left alone, with exit code 6."""
    from clawportal.cli.remote import REFUSED, Failure

    portal, text = people.remote(), _text(source)
    where = _where(portal, tenant, project)
    if name := _name_in(text):
        query = {"name": name, "tenant": where["tenant"], "project": where["project"]}
        if portal.everything("/configs", query):
            raise Failure(f"There is a configuration template named {name} already; `claw configs apply` changes it.", REFUSED)
    _apply(portal, text, where, message, output)


def _name_in(text: str) -> str:
    """The name that a document gives; empty where it gives none, which the portal says better."""
    import yaml

    try:
        found = yaml.safe_load(text)
        return str(found["metadata"]["name"])
    except (yaml.YAMLError, LookupError, TypeError, RecursionError):
        return ""


def _apply(portal: Remote, text: str, where: dict[str, Any], message: str, output: str) -> None:
    answer = portal.call("POST", "/configs/import", body={"document": text, "message": message, **where})
    found = answer["config"]
    words = {
        "created": "was created",
        "changed": f"is at version {found['latest']} now",
        "unchanged": "is as the file says already",
    }
    people.done(output, answer, f"{found['name']} {words[answer['action']]}.")


@configs.command("apply")
@_FILE
@_MESSAGE
@_PROJECT
@people.TENANT
@people.JSON
def apply(source: Any, message: str, project: str | None, tenant: str | None, output: str) -> None:
    """Create the template of a file, or bring it to what the file says. Twice the same changes nothing the second time."""
    portal = people.remote()
    _apply(portal, _text(source), _where(portal, tenant, project), message, output)


@configs.command("import")
@_FILE
@_MESSAGE
@_PROJECT
@people.TENANT
@people.JSON
def import_(source: Any, message: str, project: str | None, tenant: str | None, output: str) -> None:
    """The same as `apply`: what `export` wrote, in another organisation or portal."""
    portal = people.remote()
    _apply(portal, _text(source), _where(portal, tenant, project), message, output)


@configs.command("export")
@click.argument("name")
@_VERSION
@people.TENANT
@people.JSON
def export(name: str, number: int | None, tenant: str | None, output: str) -> None:
    """Write a template as YAML, as `apply` takes it. No value of a secret is in it."""
    import yaml

    portal = people.remote()
    found = _find(portal, name, tenant)
    with portal.download(f"/configs/{found['id']}/export", query={"version": number}) as (_kind, pieces):
        text = b"".join(pieces).decode("utf-8")
    people.done(output, yaml.safe_load(text), text.rstrip("\n"))


@configs.command("versions")
@click.argument("name")
@people.TENANT
@people.JSON
def versions(name: str, tenant: str | None, output: str) -> None:
    """List the versions of a template, the newest first."""
    from clawportal.cli import show

    portal = people.remote()
    found = portal.everything(f"/configs/{_find(portal, name, tenant)['id']}/versions")
    rows = [(v["number"], show.age(v["created_at"]), v["author"], v["content_hash"][:12], v["message"]) for v in found]
    people.told(output, found, ("VERSION", "AGE", "AUTHOR", "CONTENT", "MESSAGE"), rows, "No versions.")


@configs.command("diff")
@click.argument("name")
@click.argument("before", type=int)
@click.argument("after", type=int, required=False)
@people.TENANT
@people.JSON
def diff(name: str, before: int, after: int | None, tenant: str | None, output: str) -> None:
    """Show what differs between two versions of a template; between one and the newest where only one is named."""
    portal = people.remote()
    found = _find(portal, name, tenant)
    query = {"before": before, "after": after or found["latest"]}
    answer = portal.call("GET", f"/configs/{found['id']}/diff", query=query)
    people.done(output, answer, answer["unified"] or "Nothing is different.")


@configs.command("restore")
@click.argument("name")
@click.argument("number", type=int)
@_MESSAGE
@people.TENANT
@people.JSON
def restore(name: str, number: int, message: str, tenant: str | None, output: str) -> None:
    """Make what a version said the newest version."""
    portal = people.remote()
    found = _find(portal, name, tenant)
    answer = portal.call("POST", f"/configs/{found['id']}/versions/{number}/restore", body={"message": message})
    people.done(output, answer, f"{answer['name']} is at version {answer['latest']} now, which says what {number} said.")


@configs.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@people.TENANT
def delete(name: str, yes: bool, tenant: str | None) -> None:
    """Delete a template with all of its versions."""
    portal = people.remote()
    found = _find(portal, name, tenant)
    if not yes:
        click.confirm(f"Delete {found['name']} with its {found['latest']} versions?", abort=True, err=True)
    portal.call("DELETE", f"/configs/{found['id']}")
    click.echo(f"The configuration template {found['name']} was deleted.")


@configs.command("move")
@click.argument("instance")
@click.option("--to", "number", type=int, help="Number of the version; without it, the newest.")
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="Another value for a variable. Repeatable.")
@click.option("--secret-var", "secret_variables", multiple=True, metavar="NAME[=@FILE]", help="As `claw create` has it.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@people.JSON
def move(
    instance: str, number: int | None, variables: tuple[str, ...], secret_variables: tuple[str, ...], dry_run: bool, output: str
) -> None:
    """Move one claw to another version of its template, or to other values."""
    from clawportal.cli import arguments

    portal = people.remote()
    found = portal.find(instance)
    given = arguments.template("", variables, secret_variables)["variables"]
    body = {"version": number, "variables": given}
    path = f"/instances/{found['id']}/template"
    if dry_run:
        answer = portal.call("POST", f"{path}/preview", body=body)
        errors = "".join(f"\n{error['path']}: {error['message']}" for error in answer["errors"])
        words = f"{answer['unified'] or 'Nothing is different.'}\nThe claw: {answer['action']}{errors}"
        return people.done(output, answer, words)
    moved = portal.call("PUT", path, body=body | {"generation": found["generation"]})
    return people.done(output, moved, f"{moved['name']} was moved.")


@configs.command("from")
@click.argument("instance")
@click.argument("name")
@click.option("--description", default="")
@_PROJECT
@people.JSON
def from_(instance: str, name: str, description: str, project: str | None, output: str) -> None:
    """Make a template of a claw. Its secrets become variables; their values stay with the claw."""
    portal = people.remote()
    found = portal.find(instance)
    place = people.project_of(portal, project, found["tenant"]["id"])["id"] if project else None
    body = {"name": name, "description": description, "project": place}
    answer = portal.call("POST", f"/instances/{found['id']}/template", body=body)
    people.done(output, answer, f"The configuration template {answer['name']} was created.")
