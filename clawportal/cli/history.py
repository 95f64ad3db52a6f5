"""`claw audit`: who did what, from a terminal or a script."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from clawportal.ids import LENGTH as ID_LENGTH

if TYPE_CHECKING:
    from clawportal.cli.remote import Remote

_TIME = click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"))
_MOST = 200


def register(cli: click.Group) -> None:
    """Add the command to `claw`."""
    cli.add_command(audit)


@click.command()
@click.argument("number", type=click.IntRange(0), required=False)
@click.option("--instance", "-i", help="Only what was done to this instance, by name or id.")
@click.option("--actor", help="Only what this person did, by name or id.")
@click.option("--action", help="Only this action, such as instance.update; `instance` stands for all of them.")
@click.option("--object", "wanted", help="Only what was done to this, by id or part of the name.")
@click.option("--result", type=click.Choice(("ok", "refused")), help="Only what was done, or only what was refused.")
@click.option("--since", type=_TIME, help="Not before this time (UTC).")
@click.option("--until", type=_TIME, help="Before this time (UTC).")
@click.option("--text", help="Found in a name, the summary, the reason or the address.")
@click.option("--limit", "-n", type=click.IntRange(1, _MOST), default=30, show_default=True)
@click.option("--all", "everything", is_flag=True, help="All that fit, however many.")
@click.option("-o", "--output", type=click.Choice(("table", "json", "jsonl")), default="table", show_default=True)
def audit(number: int | None, output: str, limit: int, everything: bool, **given: Any) -> None:
    """Show who changed what, newest first; with the NUMBER of an entry all that is known of it."""
    from clawportal.cli import show
    from clawportal.cli.remote import Remote, account

    portal = Remote(account(click.get_current_context().find_root().obj))
    if number is not None:
        entry = portal.call("GET", f"/audit/{number}")
        return show.as_json(entry) if output != "table" else _entry(entry)
    items = list(_items(portal, _query(portal, given), _MOST if everything else limit, everything))
    if output == "json":
        return show.as_json(items)
    if output == "jsonl":
        return click.echo("".join(f"{json.dumps(item, ensure_ascii=False)}\n" for item in items), nl=False)
    if not items:
        return click.echo("No entry fits.", err=True)
    show.table(("NUMBER", "WHEN", "WHO", "WHAT", "TO", "RESULT", "CHANGED"), [_row(item) for item in items])
    return None


def _query(portal: Remote, given: Mapping[str, Any]) -> dict[str, Any]:
    query = {name: given[name] for name in ("actor", "action", "result", "text")} | {"object": given["wanted"]}
    if given["instance"]:  # an id as it is: of an instance that is gone, nothing else is left
        named = given["instance"]
        query["instance"] = named if len(named) == ID_LENGTH else portal.find(named)["id"]
    for name in ("since", "until"):
        query[name] = given[name].replace(tzinfo=UTC).isoformat() if isinstance(given[name], datetime) else None
    return query


def _items(portal: Remote, query: Mapping[str, Any], limit: int, everything: bool) -> Iterator[dict[str, Any]]:
    before = None
    while True:
        page = portal.call("GET", "/audit", query={**query, "limit": limit, "before": before})
        yield from page["items"]
        before = page["next"]
        if before is None or not everything:
            return


def _row(item: Mapping[str, Any]) -> tuple[Any, ...]:
    result = item["result"] if item["result"] == "ok" else f"refused ({item['status']})"
    changed = ", ".join(_changes(item)) or item["reason"]
    to = item["object_name"] or item["object_id"]
    return item["seq"], _when(item), item["actor_name"] or "nobody", item["action"], to, result, changed[:120]


def _changes(item: Mapping[str, Any]) -> list[str]:
    before, after = item["before"], item["after"]
    return [f"{path}: {_value(before.get(path))} -> {_value(after.get(path))}" for path in {**before, **after}]


def _value(value: Any) -> str:
    return "not set" if value in (None, "") else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _when(item: Mapping[str, Any]) -> str:
    return str(item["at"])[:19].replace("T", " ")


def _entry(item: Mapping[str, Any]) -> None:
    from clawportal.cli import show

    who = f"{item['actor_name'] or 'nobody'} ({item['actor_kind']})"
    result = item["result"] if item["result"] == "ok" else f"refused ({item['status']}): {item['reason']}"
    show.fields([
        ("number", item["seq"]), ("when", f"{_when(item)} UTC"), ("who", who), ("token", item["token_id"]),
        ("what", item["action"]), ("to", f"{item['object_name']} {item['object_id']}".strip()), ("result", result),
        ("times", item["times"] if item["times"] > 1 else None), ("from", f"{item['address']} {item['agent']}".strip()),
        ("request", item["request_id"]), ("in words", item["summary"]), ("hash", item["hash"]),
    ])  # fmt: skip
    for change in _changes(item):
        click.echo(f"  {change}")
