"""`claw policy`: the rules that claws have to keep, from a terminal or a script."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from clawportal.sdk.commands import JSON, NOT_FOUND, REFUSED, TENANT, Failure, Remote, as_json, remote, table, tenant_of

_PORTAL = click.option("--portal", "whole", is_flag=True, help="A rule of the whole portal; only for its administrators.")
_PARAMETER = click.option(
    "--set", "parameters", multiple=True, metavar="NAME=VALUE",
    help="A parameter of the rule, such as memory=2Gi; repeat it for lists; see `claw policy kinds`.",
)  # fmt: skip
_FILE = click.option("-f", "--file", type=click.Path(exists=True, dir_okay=False), help="The rule as YAML or JSON.")
_KINDS = ("adapters", "versions", "models", "runtimes", "clusters", "size", "labels", "settings", "hours", "expression")
_ACTIONS = ("create", "update", "version", "start", "restart", "move", "stop", "delete")
_FIELDS = ("title", "enabled", "mode", "kind", "parameters", "actions", "message", "remedy")


def register(cli: click.Group) -> None:
    """Add the commands to `claw`."""
    cli.add_command(policy)


def _listed(portal: Remote, tenant: str | None) -> list[dict[str, Any]]:
    return portal.everything("/policies", {"tenant": tenant_of(portal, tenant) if tenant else None})


def _find(portal: Remote, name: str, tenant: str | None = None) -> dict[str, Any]:
    """A rule by name or id. Where a tenant and the portal have one of the same name, the tenant's."""
    found = [rule for rule in _listed(portal, tenant) if name in (rule["id"], rule["name"])]
    own = [rule for rule in found if rule["tenant_id"]] or found
    if not own:
        raise Failure(f"There is no rule {name!r}, or it is not yours. `claw policy list` shows all.", NOT_FOUND)
    if len(own) > 1:
        raise Failure(f"Several rules are named {name!r}; add --tenant or use the id.", REFUSED)
    return own[0]


def _schema(portal: Remote, kind: str) -> Mapping[str, Any]:
    kinds = portal.call("GET", "/policy-kinds")["items"]
    return next((item["parameters"] for item in kinds if item["kind"] == kind), {})


def _given(portal: Remote, kind: str, texts: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` as the kind's schema wants it: lists are gathered, labels are `required=team=support`."""
    properties, found = _schema(portal, kind).get("properties", {}), dict[str, Any]()
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in properties:
            raise click.UsageError(f"{text!r}: a rule of the kind {kind} has the parameters {', '.join(properties)}.")
        shape = properties[name].get("type")
        if shape == "array":
            found.setdefault(name, []).append(value)
        elif shape == "object":
            key, _equals, pattern = value.partition("=")
            found.setdefault(name, {})[key] = pattern
        else:
            found[name] = value
    return found


def _from_file(path: str | None) -> dict[str, Any]:
    import yaml

    if path is None:
        return {}
    with open(path, encoding="utf-8") as stream:
        try:
            document = yaml.safe_load(stream)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{path} is neither YAML nor JSON: {error}") from error
    if not isinstance(document, dict):
        raise click.UsageError(f"{path} holds no rule; write for example `kind: size`.")
    unknown = set(document) - {*_FIELDS, "name"}
    if unknown:
        raise click.UsageError(f"{path}: not known: {', '.join(sorted(map(str, unknown)))}. Known: name, {', '.join(_FIELDS)}.")
    return document


def _effect(rule: Mapping[str, Any]) -> str:
    return ("warns" if rule["mode"] == "warn" else "refuses") if rule["enabled"] else "off"


def _told(output: str, document: Any, words: str) -> None:
    if output == "json":
        as_json(document)
    else:
        click.echo(words)


@click.group()
def policy() -> None:
    """Look after the rules that claws have to keep."""


@policy.command("list")
@TENANT
@JSON
def list_(tenant: str | None, output: str) -> None:
    """List rules, those of the whole portal first."""
    found = _listed(remote(), tenant)
    if output == "json":
        return as_json(found)
    if not found:
        return click.echo("No rules.", err=True)
    rows = [(r["name"], r["kind"], _effect(r), "tenant" if r["tenant_id"] else "portal", r["title"], r["id"]) for r in found]
    table(("NAME", "KIND", "EFFECT", "OF", "TITLE", "ID"), rows)
    return None


@policy.command()
@JSON
def kinds(output: str) -> None:
    """List the kinds of rule with their parameters."""
    found = remote().call("GET", "/policy-kinds")
    if output == "json":
        return as_json(found)
    rows = [(k["kind"], ", ".join(k["parameters"]["properties"]), k["description"]) for k in found["items"]]
    table(("KIND", "PARAMETERS", "MEANING"), rows)
    return None


@policy.command()
@click.argument("name")
@TENANT
@JSON
def show(name: str, tenant: str | None, output: str) -> None:
    """Show a rule, and which claws break it now."""
    portal = remote()
    rule = _find(portal, name, tenant)
    breaking = portal.call("GET", f"/policies/{rule['id']}/breaking")
    if output == "json":
        return as_json({**rule, "breaking": breaking})
    for key in ("name", "title", "kind", "mode", "enabled", "parameters", "actions", "message", "remedy", "created_by"):
        value = rule[key]
        click.echo(f"{key + ':':12} {json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | bool) else value}")
    click.echo(f"{'breaks it:':12} {breaking['broken']} of {breaking['looked_at']} instances" if breaking["asked"] else "")
    for item in breaking["items"]:
        click.echo(f"  {item['name']}: {item['reason']}")
    return None


def _options(command: Any) -> Any:
    """What create and edit have in common."""
    options = (
        click.option("--title", help="What people read who meet it."),
        click.option("--mode", type=click.Choice(("enforce", "warn")), help="Refuse, or only warn."),
        click.option("--on/--off", "enabled", default=None, help="Whether it holds."),
        click.option("--action", "actions", multiple=True, type=click.Choice(_ACTIONS), help="What it looks at; repeatable."),
        click.option("--message", help="What people read instead of what the rule found."),
        click.option("--remedy", help="What they can do about it."),
        _PARAMETER,
        _FILE,
    )
    for option in reversed(options):
        command = option(command)
    return command


def _body(
    portal: Remote, kind: str | None, file: str | None, parameters: Sequence[str], given: Mapping[str, Any]
) -> dict[str, Any]:
    body = _from_file(file) | {name: value for name, value in given.items() if value not in (None, ())}
    if "actions" in body:
        body["actions"] = list(body["actions"])
    kind = kind or body.get("kind")
    if parameters and kind is None:
        raise click.UsageError("Name the kind of rule with --kind; `claw policy kinds` shows all.")
    if parameters:
        body["parameters"] = {**body.get("parameters", {}), **_given(portal, str(kind), parameters)}
    return body


@policy.command()
@click.argument("name", required=False)
@click.option("--kind", type=click.Choice(_KINDS))
@_options
@TENANT
@_PORTAL
@JSON
def create(
    name: str | None, kind: str | None, file: str | None, parameters: Sequence[str], tenant: str | None, whole: bool, output: str,
    **given: Any,
) -> None:  # fmt: skip
    """Create a rule, such as `claw policy create small --kind size --set memory=2Gi`."""
    portal = remote()
    body = _body(portal, kind, file, parameters, {"name": name, "kind": kind, **given})
    missing = [key for key in ("name", "kind") if not body.get(key)]
    if missing:
        raise click.UsageError(f"Missing: {' and '.join(missing)}.")
    body = {"parameters": {}, **body, "tenant": None if whole else tenant_of(portal, tenant)}
    made = portal.call("POST", "/policies", body=body)
    _told(output, made, f"The rule {made['name']} was created; it {_effect(made)}.")


@policy.command()
@click.argument("name")
@_options
@TENANT
@JSON
def edit(name: str, file: str | None, parameters: Sequence[str], tenant: str | None, output: str, **given: Any) -> None:
    """Change what is named; --set replaces the parameters that it names."""
    portal = remote()
    rule = _find(portal, name, tenant)
    body = _body(portal, rule["kind"], file, parameters, given)
    if body.pop("kind", rule["kind"]) != rule["kind"] or body.pop("name", rule["name"]) != rule["name"]:
        raise click.UsageError("The name and the kind of a rule never change; create another one.")
    if parameters:
        body["parameters"] = {**rule["parameters"], **body["parameters"]}
    if not body:
        raise click.UsageError("Say what shall be different.")
    changed = portal.call("PATCH", f"/policies/{rule['id']}", body=body)
    _told(output, changed, f"The rule {changed['name']} was changed; it {_effect(changed)}.".replace("it off", "it is off"))


@policy.command()
@click.argument("name")
@TENANT
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, tenant: str | None, yes: bool) -> None:
    """Delete a rule: what it refused is allowed from then on."""
    portal = remote()
    rule = _find(portal, name, tenant)
    if not yes:
        click.confirm(f"Delete the rule {rule['title']}? What it refuses is allowed then", abort=True, err=True)
    portal.call("DELETE", f"/policies/{rule['id']}")
    click.echo(f"The rule {rule['name']} was deleted.")


@policy.command("try")
@click.argument("instance", required=False)
@click.option("--action", type=click.Choice(_ACTIONS), default="create", show_default=True)
@click.option("--adapter", help="Kind of claw; needed for a new one.")
@click.option("--version")
@click.option("--provider")
@click.option("--model")
@click.option("--cpu")
@click.option("--memory")
@click.option("--storage")
@click.option("--cluster")
@click.option("--project")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Repeatable; they replace what is there.")
@click.option("--at", help="When, such as 2026-11-23T09:30:00Z; now if not given.")
@click.option("-f", "--file", type=click.Path(exists=True, dir_okay=False), help="A rule that is not saved yet, as YAML or JSON.")
@TENANT
@JSON
def try_(
    instance: str | None,
    file: str | None,
    tenant: str | None,
    labels: Sequence[str],
    output: str,
    **given: Any,
) -> None:
    """Say what every rule would say to a change. Ends with 6 when it would be refused."""
    portal = remote()
    body: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if labels:
        body["labels"] = dict(text.partition("=")[::2] for text in labels)
    found = portal.find(instance) if instance else None
    body |= {"instance": found["id"]} if found else {}
    body["tenant"] = found["tenant"]["id"] if found and not tenant else tenant_of(portal, tenant)
    if file:
        body["rule"] = {name: value for name, value in _from_file(file).items() if name != "name"}
    answer = portal.call("POST", "/policies/dry-run", body=body)
    if output == "json":
        as_json(answer)
    else:
        rows = [(i["name"], i["outcome"] if i["enabled"] else f"{i['outcome']} (off)", i["reason"]) for i in answer["items"]]
        table(("RULE", "SAYS", "WHY"), rows)
        click.echo("The change would go through." if answer["allowed"] else "The change would be refused.")
    click.get_current_context().exit(0 if answer["allowed"] else REFUSED)
