"""`claw cluster`: the places where claws run, from a terminal or a script."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from clawportal.cli import arguments, remote

if TYPE_CHECKING:
    pass

_JSON = click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True)
_SET = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Setting of the connection. Repeatable.")
_SECRET = click.option(
    "--secret", "secret_names", multiple=True, metavar="NAME[=@FILE]",
    help="Asks for the value, or reads it from a file (=@- standard input). Repeatable.",
)  # fmt: skip
_POLICY = click.option(
    "--policy", multiple=True, metavar="KEY=VALUE",
    help="How it is used: max_concurrent_starts, repair_drift, image_registry, portal_host, claw_proxy, claw_no_proxy, claw_ca, "
    "images.KIND. Repeatable.",
)  # fmt: skip
_LABEL = click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Repeatable.")
_TENANT = click.option("--tenant", "tenants", multiple=True, help="Only this organisation may use it; repeatable.")


def register(cli: click.Group) -> None:
    """Add the commands to `claw`."""
    cli.add_command(cluster)


def _path(name: str) -> str:
    from urllib.parse import quote

    return f"/clusters/{quote(name, safe='')}"


@click.group()
def cluster() -> None:
    """Clusters: connect, test, pause and delete the places where claws run."""


@cluster.command("list")
@click.option("-l", "--labels", help="Only with these labels, such as site=berlin, !gpu or 'zone in (a, b)'.")
@_JSON
def list_(labels: str | None, output: str) -> None:
    """List clusters, whether they answer and what runs there."""
    from clawportal.cli import show

    items = remote.signed_in().everything("/clusters", {"labels": labels})
    if output == "json":
        return show.as_json({"items": items, "total": len(items)})
    head = ("NAME", "KIND", "STATE", "INSTANCES", "MEMORY FREE", "VERSION", "MESSAGE")
    show.table(head, [
        (item["name"], item["runtime"], _state(item), item["instances"],
         show.size((item["capacity"] or {}).get("memory_available")), item["version"], item["message"])
        for item in items
    ])  # fmt: skip
    return None


def _state(item: Mapping[str, Any]) -> str:
    words = ["paused" if item["paused"] else item["health"]]
    return ", ".join([*words, *(["cordoned"] if item["cordoned"] else [])])


@cluster.command()
@click.argument("name")
@_JSON
def show(name: str, output: str) -> None:
    """Show one cluster: its settings, its health and what happened to it. Secrets by name only."""
    found = remote.signed_in().call("GET", _path(name))
    _tell(found, output)


def _tell(found: Mapping[str, Any], output: str) -> None:
    from clawportal.cli import show

    if output == "json":
        return show.as_json(found)
    tenants = "all" if found["for_all"] else ", ".join(item["title"] for item in found["tenants"] or ())
    size = found["capacity"] or {}
    show.fields([
        ("name", found["name"]), ("id", found["id"]), ("title", found["title"]), ("kind", found["runtime"]),
        ("state", _state(found)), ("message", found["message"]), ("last contact", found["last_contact_at"]),
        ("version", found["version"]), ("separation", _separation(found)), ("instances", str(found["instances"])),
        ("usable by", tenants),
        ("labels", found["labels"]), ("cores", size.get("cpu_cores")), ("memory free", _size(size.get("memory_available"))),
        ("settings", found["settings"]), ("secrets", ", ".join(found["secrets"] or ())), ("policy", found["policy"]),
        ("can do", ", ".join(found["capabilities"])),
    ])  # fmt: skip
    for event in (found["events"] or ())[:5]:
        click.echo(f"  {event['at'][:19]}  {event['message']}")
    return None


def _separation(found: Mapping[str, Any]) -> str:
    level = found["separation"] or "not measured yet"
    if not found["shared_unseparated"]:
        return level
    by = found["unseparated_confirmed_by"]
    return f"{level}, and yet offered to others" + (f" (confirmed by {by})" if by else " (confirmed by nobody)")


def _size(number: int | None) -> str | None:
    from clawportal.cli import show

    return None if number is None else show.size(number)


# ---- making and changing


@cluster.command()
@click.argument("name")
@click.option("--kind", required=True, help="Kind of place, such as docker or kubernetes.")
@click.option("--title", default="")
@_SET
@_SECRET
@_LABEL
@_TENANT
@_POLICY
@click.option("--no-test", is_flag=True, help="Connect it without trying it first.")
@_JSON
def create(
    name: str, kind: str, title: str, settings: Sequence[str], secret_names: Sequence[str], labels: Sequence[str],
    tenants: Sequence[str], policy: Sequence[str], no_test: bool, output: str,
) -> None:  # fmt: skip
    """Connect a cluster. It is tried first, and nothing is stored when something is missing."""
    connection = {"runtime": kind, "settings": _nested(settings), "secrets": arguments.secrets(secret_names)}
    portal = remote.signed_in()
    if not no_test:
        _passed(portal.call("POST", "/clusters/test", body=connection), output="")
    body = {
        **connection, "name": name, "title": title, "labels": arguments.pairs(labels), "tenants": list(tenants) or None,
        "policy": _nested(policy),
    }  # fmt: skip
    made = portal.call("POST", "/clusters", body=body)
    if output == "json":
        return _tell(made, output)
    click.echo(f"{made['name']} is connected.")
    return None


@cluster.command()
@click.argument("name")
@click.option("--title")
@_SET
@_SECRET
@_LABEL
@_TENANT
@click.option("--for-all", is_flag=True, help="Every organisation may use it again.")
@click.option(
    "--confirm-unseparated",
    "confirm",
    metavar="NAME",
    help="The name once more: offer it to others though nothing keeps claws apart there.",
)
@_POLICY
@_JSON
def edit(
    name: str, title: str | None, settings: Sequence[str], secret_names: Sequence[str], labels: Sequence[str],
    tenants: Sequence[str], for_all: bool, confirm: str | None, policy: Sequence[str], output: str,
) -> None:  # fmt: skip
    """Change a cluster: only what is named changes; KEY=null takes a setting back to its default."""
    if tenants and for_all:
        raise click.UsageError("Give either --tenant or --for-all, not both.")
    portal = remote.signed_in()
    found = portal.call("GET", _path(name))
    change: dict[str, Any] = {"secrets": arguments.secrets(secret_names)} if secret_names else {}
    if title is not None:
        change["title"] = title
    for key, given in (("settings", settings), ("policy", policy)):
        if given:
            change[key] = _merged(found[key] or {}, _nested(given))
    if labels:
        change["labels"] = {key: value for key, value in {**(found["labels"] or {}), **arguments.pairs(labels)}.items() if value}
    if tenants or for_all:
        change["tenants"] = list(tenants) or None
    if confirm:
        change["confirm_unseparated"] = confirm
    if not change:
        raise click.UsageError("Say what to change: --title, --set, --secret, --label, --tenant, --for-all or --policy.")
    made = portal.call("PATCH", _path(name), body=change, headers={"If-Match": f'"{found["generation"]}"'})
    if output == "json":
        return _tell(made, output)
    click.echo(f"{made['name']} was changed.")
    return None


def _merged(before: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(before)
    for key, value in more.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = _merged(found[key], value)
        else:
            found[key] = value
    return found


def _nested(parts: Sequence[str]) -> dict[str, Any]:
    """`tls.verify=true` and so on as a nested document."""
    made: dict[str, Any] = {}
    for part in parts:
        path, equals, text = part.partition("=")
        keys = [key for key in path.strip().split(".") if key]
        if not equals or not keys:
            raise click.UsageError(f"{part!r} must be KEY=VALUE")
        target = made
        for key in keys[:-1]:
            target = target.setdefault(key, {})
        target[keys[-1]] = arguments.value(text)
    return made


# ---- pressing


@cluster.command()
@click.argument("name")
@_JSON
def test(name: str, output: str) -> None:
    """Try the connection as it is stored; exit code 1 when something is missing."""
    _passed(remote.signed_in().call("POST", f"{_path(name)}/test", body={}), output)


def _passed(report: Mapping[str, Any], output: str) -> None:
    """Tell what a test found, and end with 1 when it is not good."""
    from clawportal.cli import show

    if output == "json":
        show.as_json(report)
    elif output or not report["ok"]:
        for item in report["findings"]:
            click.echo(f"{'ok ' if item['ok'] else 'bad'}  {item['name']}: {item['message']}", err=not output)
            if not item["ok"] and item["remedy"]:
                click.echo(f"     {item['remedy']}", err=not output)
    if not report["ok"]:
        sys.exit(remote.FAILED)


def _button(verb: str, words: str, help_text: str) -> None:
    @cluster.command(verb, help=help_text)
    @click.argument("name")
    @_JSON
    def press(name: str, output: str) -> None:
        found = remote.signed_in().call("POST", f"{_path(name)}/{verb}")
        if output == "json":
            return _tell(found, output)
        click.echo(f"{found['name']} {words}.")
        return None


_button("pause", "is paused: nothing is done there", "Do nothing there, and show everything as it was last seen.")
_button("resume", "is not paused any more", "Go on after a pause.")
_button("cordon", "takes no new instances", "Take no new instances; what is there goes on.")
_button("uncordon", "takes new instances again", "Take new instances again.")


@cluster.command()
@click.argument("name")
@click.option("--yes", help="The name once more, so that nothing is deleted by mistake; without it you are asked.")
@_JSON
def delete(name: str, yes: str | None, output: str) -> None:
    """Forget a cluster and its secrets. Refused while it has instances; what is in the place itself is not touched."""
    from clawportal.cli import show

    portal = remote.signed_in()
    losses = portal.call("GET", f"{_path(name)}/losses")
    if losses["refusal"]:
        raise remote.Failure(losses["refusal"], remote.REFUSED)
    typed = yes if yes is not None else click.prompt(f"Type {losses['name']} to delete it", err=True)
    portal.call("DELETE", _path(name), query={"confirm": typed})
    if output == "json":
        return show.as_json({"name": losses["name"], "deleted": True})
    click.echo(f"{losses['name']} was deleted.")
    return None
