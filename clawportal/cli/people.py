"""`claw tenant`, `project` and `member`: organisations and who belongs to them, from a terminal or a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from clawportal.cli.remote import Remote

JSON = click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True)
TENANT = click.option("--tenant", "-t", help="Name or id of the organisation; not needed where you belong to one only.")
_YES = click.option("--yes", help="The name once more, so that nothing is deleted by mistake; without it you are asked.")
_QUOTA = (
    click.option("--instances", help="How many claws, or `none` for no limit."),
    click.option("--cpu", help="Cores such as 500m or 8, or `none`."),
    click.option("--memory", help="Memory such as 16Gi, or `none`."),
    click.option("--storage", help="Data of all claws, running or not, such as 100Gi, or `none`."),
)


def register(cli: click.Group) -> None:
    """Add the commands to `claw`."""
    for group in (tenant, project, member):
        cli.add_command(group)


def remote() -> Remote:
    from clawportal.cli.remote import Remote, account

    return Remote(account(click.get_current_context().find_root().obj))


def tenant_of(portal: Remote, wanted: str | None) -> str:
    from clawportal.cli.remote import NOT_FOUND, REFUSED, Failure

    found = portal.everything("/tenants")
    if wanted:
        found = [item for item in found if wanted in (item["id"], item["name"])]
    if not found:
        raise Failure(f"There is no organisation {wanted or ''!r}, or it is not yours.", NOT_FOUND)
    if len(found) > 1:
        raise Failure(f"You see several organisations; name one with --tenant: {', '.join(i['name'] for i in found)}.", REFUSED)
    return str(found[0]["id"])


def project_of(portal: Remote, name: str, tenant: str | None) -> dict[str, Any]:
    from clawportal.cli.remote import NOT_FOUND, REFUSED, Failure

    items = portal.call("GET", "/projects")["items"]
    found = [item for item in items if name in (item["id"], item["name"])]
    if tenant:
        found = [item for item in found if tenant in (item["tenant_id"], item["tenant_name"])]
    if not found:
        raise Failure(f"There is no project {name!r}, or it is not yours. `claw project list` shows all.", NOT_FOUND)
    if len(found) > 1:
        raise Failure(f"Several projects are named {name!r}; add --tenant or use the id.", REFUSED)
    return dict(found[0])


def _member(portal: Remote, tenant_id: str, name: str) -> dict[str, Any]:
    from clawportal.cli.remote import NOT_FOUND, Failure

    for item in portal.everything(f"/tenants/{tenant_id}/members", {"q": "" if len(name) == 26 else name}):
        if name in (item["user_id"], item["name"]):
            return item
    raise Failure(f"There is no member {name!r} in this organisation.", NOT_FOUND)


def told(output: str, document: Any, head: Sequence[str], rows: Sequence[Sequence[Any]], none: str) -> None:
    from clawportal.cli import show

    if output == "json":
        show.as_json(document)
    elif rows:
        show.table(head, rows)
    else:
        click.echo(none, err=True)


def _sure(losses: dict[str, Any], yes: str | None) -> str:
    """What would be lost, then the name typed once more."""
    from clawportal.cli.remote import REFUSED, Failure

    if losses["refusal"]:
        raise Failure(losses["refusal"], REFUSED)
    if yes is not None:
        return yes
    counted = [f"{losses[key]} {key}" for key in ("instances", "projects", "members", "roles") if losses[key]]
    click.echo(f"This would be lost: {', '.join(counted) or 'nothing but its name and settings'}.", err=True)
    if losses["named"]:
        click.echo(
            f"Instances: {', '.join(losses['named'])}{' ...' if losses['instances'] > len(losses['named']) else ''}", err=True
        )
    return str(click.prompt(f"Type {losses['name']} to confirm", err=True))


def done(output: str, document: Any, words: str) -> None:
    """What a change answered: a sentence for people, the document for scripts."""
    from clawportal.cli import show

    if output == "json":
        show.as_json(document)
    else:
        click.echo(words)


def _gone(answer: dict[str, Any], name: str, output: str) -> None:
    finished = answer["state"] == "deleted"
    done(output, answer, f"{name} was deleted." if finished else f"{name} is being deleted; it goes after its last instance.")


def _with_quota(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_QUOTA):
        command = option(command)
    return command


def _quota(portal: Remote, path: str, given: dict[str, str | None], output: str) -> None:
    """Show a quota; change what was given first."""
    wanted = {name: value for name, value in given.items() if value is not None}
    found = portal.call("GET", path)
    if wanted:
        limits = {**found["limits"], **{name: None if value == "none" else value for name, value in wanted.items()}}
        if isinstance(limits["instances"], str):
            if not limits["instances"].isdigit():
                raise click.UsageError("--instances must be a whole number, or `none`.")
            limits["instances"] = int(limits["instances"])
        found = portal.call("PUT", path, body=limits)
    rows = [(name, found["used"][name], found["limits"][name] if found["limits"][name] is not None else "no limit")
            for name in ("instances", "cpu", "memory", "storage")]  # fmt: skip
    told(output, found, ("RESOURCE", "USED", "ALLOWED"), rows, "")


# ---- organisations


@click.group()
def tenant() -> None:
    """Look after organisations."""


@tenant.command("list")
@JSON
def tenant_list(output: str) -> None:
    """List the organisations that you see."""
    found = remote().everything("/tenants")
    rows = [(t["name"], t["title"], t["projects"], t["members"], t["instances"], t["id"]) for t in found]
    told(output, found, ("NAME", "TITLE", "PROJECTS", "MEMBERS", "INSTANCES", "ID"), rows, "No organisations.")


@tenant.command("create")
@click.argument("name")
@click.option("--title", default="", help="What people call it.")
@JSON
def tenant_create(name: str, title: str, output: str) -> None:
    """Create an organisation with its first project."""
    made = remote().call("POST", "/tenants", body={"name": name, "title": title})
    done(output, made, f"{made['name']} was created ({made['id']}).")


@tenant.command("change")
@click.argument("name", required=False)
@click.option("--title", help="What people call it.")
@click.option("--require-totp/--no-require-totp", default=None, help="Whether everybody in it needs a second factor.")
@JSON
def tenant_change(name: str | None, title: str | None, require_totp: bool | None, output: str) -> None:
    """Change the title of an organisation, or whether its people need a second factor."""
    body = {key: value for key, value in (("title", title), ("require_totp", require_totp)) if value is not None}
    if not body:
        raise click.UsageError("Say what to change: --title or --[no-]require-totp.")
    portal = remote()
    changed = portal.call("PATCH", f"/tenants/{tenant_of(portal, name)}", body=body)
    done(output, changed, f"{changed['name']} was changed.")


@tenant.command("layer")
@click.argument("name", required=False)
@click.option("--file", "-f", "path", type=click.File(), help="Set it from this JSON or YAML; `-` reads what is piped in.")
@click.option("--preview", is_flag=True, help="With --file: only show what it would change.")
@click.option("--key-file", type=click.File(), help="File with the API key of the model; `-` reads what is piped in.")
@JSON
def tenant_layer(name: str | None, path: Any, preview: bool, key_file: Any, output: str) -> None:
    """Show, or set, what an organisation says about every claw in it: defaults, and what is enforced."""
    import yaml

    portal = remote()
    where = f"/tenants/{tenant_of(portal, name)}/layer"
    if path is None:
        found = portal.call("GET", where)
        return done(output, found, yaml.safe_dump(found, sort_keys=False, allow_unicode=True).rstrip())
    body = yaml.safe_load(path) or {}
    if not isinstance(body, dict):
        raise click.UsageError("The file must have `defaults` and `enforced`, as `claw tenant layer` shows them.")
    body.pop("has_model_api_key", None)
    if key_file is not None:
        body["model_api_key"] = key_file.read().strip()
    found = portal.call("POST" if preview else "PUT", f"{where}/preview" if preview else where, body=body)
    verb = "would change" if preview else "change"
    words = f"{found['changes']} claws {verb}, {found['restarts']} of them restart, {found['refused']} refuse."
    return done(output, found, words)


@tenant.command("delete")
@click.argument("name")
@click.option("--with-instances", is_flag=True, help="Stop and delete its instances first.")
@click.option("--keep-data", is_flag=True, help="Leave the folders of its instances where they are.")
@_YES
@JSON
def tenant_delete(name: str, with_instances: bool, keep_data: bool, yes: str | None, output: str) -> None:
    """Delete an organisation with all that is in it."""
    portal = remote()
    tenant_id = tenant_of(portal, name)
    confirm = _sure(portal.call("GET", f"/tenants/{tenant_id}/losses"), yes)
    query = {"confirm": confirm, "instances": "delete" if with_instances else "refuse", "keep_data": keep_data}
    _gone(portal.call("DELETE", f"/tenants/{tenant_id}", query=query), name, output)


@tenant.command("quota")
@click.argument("name", required=False)
@_with_quota
@JSON
def tenant_quota(name: str | None, output: str, **given: str | None) -> None:
    """Show, or set, what an organisation may use."""
    portal = remote()
    _quota(portal, f"/tenants/{tenant_of(portal, name)}/quota", given, output)


# ---- projects


@click.group()
def project() -> None:
    """Look after projects."""


@project.command("list")
@JSON
def project_list(output: str) -> None:
    """List the projects that you see."""
    found = remote().call("GET", "/projects")["items"]
    rows = [(p["name"], p["title"], p["tenant_name"], p["id"]) for p in found]
    told(output, found, ("NAME", "TITLE", "TENANT", "ID"), rows, "No projects.")


@project.command("create")
@click.argument("name")
@click.option("--title", default="", help="What people call it.")
@TENANT
@JSON
def project_create(name: str, title: str, tenant: str | None, output: str) -> None:
    """Create a project."""
    portal = remote()
    made = portal.call("POST", "/projects", body={"tenant": tenant_of(portal, tenant), "name": name, "title": title})
    done(output, made, f"{made['name']} was created ({made['id']}).")


@project.command("delete")
@click.argument("name")
@TENANT
@click.option("--with-instances", is_flag=True, help="Stop and delete its instances first.")
@click.option("--move-to", help="Move its instances to this project first.")
@click.option("--keep-data", is_flag=True, help="Leave the folders of deleted instances where they are.")
@_YES
@JSON
def project_delete(
    name: str, tenant: str | None, with_instances: bool, move_to: str | None, keep_data: bool, yes: str | None, output: str
) -> None:
    """Delete a project."""
    if with_instances and move_to:
        raise click.UsageError("Choose one of --with-instances and --move-to.")
    portal = remote()
    found = project_of(portal, name, tenant)
    confirm = _sure(portal.call("GET", f"/projects/{found['id']}/losses"), yes)
    choice = "move" if move_to else "delete" if with_instances else "refuse"
    query = {"confirm": confirm, "instances": choice, "keep_data": keep_data, "move_to": move_to}
    _gone(portal.call("DELETE", f"/projects/{found['id']}", query=query), found["name"], output)


@project.command("quota")
@click.argument("name")
@TENANT
@_with_quota
@JSON
def project_quota(name: str, tenant: str | None, output: str, **given: str | None) -> None:
    """Show, or set, what a project may use."""
    portal = remote()
    _quota(portal, f"/projects/{project_of(portal, name, tenant)['id']}/quota", given, output)


# ---- members


@click.group()
def member() -> None:
    """Look after the members of an organisation."""


@member.command("list")
@TENANT
@JSON
def member_list(tenant: str | None, output: str) -> None:
    """List members with their roles."""
    from clawportal.cli import show

    portal = remote()
    found = portal.everything(f"/tenants/{tenant_of(portal, tenant)}/members")
    rows = [
        (m["name"], m["display_name"], m["role"], "" if m["active"] else "closed", show.age(m["last_login_at"])) for m in found
    ]
    told(output, found, ("NAME", "FULL NAME", "ROLE", "ACCOUNT", "LAST SIGN-IN"), rows, "No members.")


@member.command("add")
@click.argument("name")
@click.option("--role", default="developer", show_default=True)
@click.option("--full-name", default="")
@click.option("--existing", is_flag=True, help="Add the account that has this name; only for administrators of the portal.")
@TENANT
@JSON
def member_add(name: str, role: str, full_name: str, existing: bool, tenant: str | None, output: str) -> None:
    """Make an account, and print the password for its first sign-in."""
    from clawportal.cli import show

    portal = remote()
    body = {"name": name, "role": role, "display_name": full_name, "existing": existing}
    made = portal.call("POST", f"/tenants/{tenant_of(portal, tenant)}/members", body=body)
    if output == "json":
        return show.as_json(made)
    click.echo(f"{made['name']} is a member with the role {role} now.", err=True)
    if made["password"]:
        click.echo("The password for the first sign-in, shown this once:", err=True)
        click.echo(made["password"])
    return None


@member.command("invite")
@click.option("--role", default="developer", show_default=True)
@click.option("--note", default="", help="For whom it is.")
@click.option("--days", type=click.IntRange(1, 90), default=7, show_default=True)
@TENANT
@JSON
def member_invite(role: str, note: str, days: int, tenant: str | None, output: str) -> None:
    """Print a link by which one person joins, with or without an account."""
    portal = remote()
    body = {"role": role, "note": note, "days": days}
    made = portal.call("POST", f"/tenants/{tenant_of(portal, tenant)}/invitations", body=body)
    link = f"{portal.url}{made['path']}"
    done(output, {**made, "url": link}, link)


@member.command("role")
@click.argument("name")
@click.argument("role")
@TENANT
@JSON
def member_role(name: str, role: str, tenant: str | None, output: str) -> None:
    """Give a member another role."""
    portal = remote()
    tenant_id = tenant_of(portal, tenant)
    found = _member(portal, tenant_id, name)
    changed = portal.call("PATCH", f"/tenants/{tenant_id}/members/{found['user_id']}", body={"role": role})
    done(output, changed, f"{found['name']} has the role {role} now, it was {found['role']}.")


@member.command("remove")
@click.argument("name")
@TENANT
def member_remove(name: str, tenant: str | None) -> None:
    """Take somebody out of the organisation; the account stays."""
    portal = remote()
    tenant_id = tenant_of(portal, tenant)
    found = _member(portal, tenant_id, name)
    portal.call("DELETE", f"/tenants/{tenant_id}/members/{found['user_id']}")
    click.echo(f"{found['name']} is no member any more.")


@member.command("rights")
@click.option("--permission", help="Only who has this right, such as instance.kill.")
@TENANT
@JSON
def member_rights(permission: str | None, tenant: str | None, output: str) -> None:
    """Show who can do what here, and why."""
    portal = remote()
    found = portal.call("GET", f"/tenants/{tenant_of(portal, tenant)}/rights")["items"]
    found = [right for right in found if permission is None or permission in right["permissions"]]
    where = {"portal": "the whole portal", "member": "the organisation"}
    rows = [(r["user"], r["role"], where.get(r["kind"], f"{r['kind']} {r['place']}"), r["given_by"]) for r in found]
    told(output, found, ("NAME", "ROLE", "IN", "GIVEN BY"), rows, "Nobody.")
