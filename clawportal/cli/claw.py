"""`claw`: use a portal from a terminal or a script.

Everything heavy is imported inside the commands, so that help and completion come at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from clawportal.cli import arguments, remote
from clawportal.cli.extending import Extended, plugins_from_environment
from clawportal.cli.remote import clean

if TYPE_CHECKING:
    from clawportal.cli.remote import Remote

EPILOG = """\b
Environment: CLAW_URL and CLAW_TOKEN say which portal and as whom, before what `claw login` keeps. NO_COLOR is respected.

\b
Exit codes: 0 done   1 the instance or operation failed   2 wrong usage   3 not found   4 not signed in or not permitted
            5 the portal cannot be reached   6 refused: in conflict with the present state, or invalid
"""
SPEC_KEYS = ("model", "persona", "resources", "restart", "priority", "expose", "settings")
TRANSITIONAL_HINT = "It goes on by itself; `claw status NAME --wait` waits for it."

Command = Callable[..., Any]


@click.group(
    cls=Extended, program="client_commands", plugins=plugins_from_environment,
    context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG,
)  # fmt: skip
@click.option("--url", help="Address of the portal, instead of the one that was signed in to.")
@click.pass_context
def cli(ctx: click.Context, url: str | None) -> None:
    """Create, watch and use the claws of a portal."""
    ctx.obj = url


def _output(*kinds: str) -> Callable[[Command], Command]:
    return click.option("-o", "--output", type=click.Choice(("table", *kinds)), default="table", show_default=True)


_TIMEOUT = click.option("--timeout", type=click.FloatRange(1), default=600.0, show_default=True, help="Seconds to wait.")
_WAIT = click.option("--wait", is_flag=True, help="Return only when it has come about; exit code 1 when it fails.")


@contextmanager
def _until_interrupted() -> Iterator[None]:
    """Ctrl+C is how one ends watching: not an error."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(err=True)


# ---- account


@cli.command()
@click.option("--url", "address", help="Address of the portal [CLAW_URL].")
@click.option("--name", help="Your user name.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--token", help="Use a token that was made in the portal, instead of a password; - reads it from standard input.")
@click.option("--otp", help="A code of your authenticator app, or a backup code; asked for when it is needed.")
def login(address: str | None, name: str | None, password_stdin: bool, token: str | None, otp: str | None) -> None:
    """Sign in, and keep a token (never the password) in ~/.config/claw/config.json."""
    import os

    if token is not None and (name or password_stdin):
        raise click.UsageError("--token stands alone: leave out --name and --password-stdin.")
    url = remote.checked_url(address or click.get_current_context().find_root().obj or os.environ.get("CLAW_URL") or _ask_url())
    if token is None:
        made = _trade_password(remote.Remote(remote.Account(url, "")), name, password_stdin, otp)
    else:
        made = sys.stdin.readline().strip() if token == "-" else token.strip()
    who = remote.Remote(remote.Account(url, made)).call("GET", "/auth/me")["name"]
    file = remote.store(remote.Account(url, made, who))
    if url.startswith("http://") and not remote.is_loopback(url):
        click.echo("Warning: the connection is not encrypted (http). Everybody on the way can read your token.", err=True)
    click.echo(f"Signed in to {url} as {who}. The token is kept in {file}.")


def _ask_url() -> str:
    from clawportal.cli.remote import DEFAULT_URL

    return str(click.prompt("Portal", default=DEFAULT_URL)) if sys.stdin.isatty() else DEFAULT_URL


def _trade_password(portal: Remote, name: str | None, password_stdin: bool, otp: str | None) -> str:
    import socket

    from clawportal.cli.remote import Failure

    name = name or click.prompt("Name")
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else click.prompt("Password", hide_input=True)
    body = {"name": name, "password": password, "token_name": f"claw on {socket.gethostname()}"[:100], "otp": otp or ""}
    try:
        return str(portal.call("POST", "/auth/token", body=body)["token"])
    except Failure as failure:
        if failure.code != "otp_required" or password_stdin:
            raise
    body["otp"] = click.prompt("Code of your authenticator app, or a backup code")
    return str(portal.call("POST", "/auth/token", body=body)["token"])


@cli.command()
def logout() -> None:
    """Revoke the kept token and forget it."""
    kept = remote.stored()
    if kept is None:
        click.echo("You are not signed in.")
        return
    try:
        portal = remote.Remote(kept)
        portal.call("DELETE", f"/tokens/{portal.call('GET', '/auth/me')['token_id']}")
    except remote.Failure as failure:
        if failure.exit_code not in (remote.NOT_PERMITTED, remote.NOT_FOUND):
            click.echo(f"Warning: the token could not be revoked: {failure.message} Revoke it in the portal.", err=True)
    remote.forget()
    click.echo(f"Signed out of {kept.url}.")


@cli.command()
@_output("json")
def whoami(output: str) -> None:
    """Show which portal is used, and as whom."""
    from clawportal.cli import show

    portal = remote.signed_in()
    me = portal.call("GET", "/auth/me")
    if output == "json":
        return show.as_json({"url": portal.url, **me})
    show.fields([("portal", portal.url), ("name", me["name"]), ("rights", "; ".join(grant["source"] for grant in me["grants"]))])
    return None


# ---- looking


@cli.command("list")
@click.option("--phase", multiple=True, help="Only in this phase, such as running or failed; repeatable.")
@click.option("--type", "kinds", multiple=True, help="Only of this kind of claw; repeatable.")
@click.option("--project", help="Only in this project.")
@click.option("-q", "--query", "text", help="Part of the name.")
@click.option(
    "-l", "--labels", help="Only with these labels, such as team=research, !old or 'team in (a, b)'; with commas between."
)
@click.option("--trouble", is_flag=True, help="Only what needs attention.")
@click.option(
    "--sort",
    help="name, created_at, updated_at, phase or adapter; -name turns it round. Without it: name, or what --filter says.",
)
@click.option("--filter", "saved", help="Begin with a saved filter, by name or id; other options take the place of its parts.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@click.option("--all", "everything", is_flag=True, help="All of them, whatever --limit says.")
@_output("json", "wide", "name")
def list_(
    phase: Sequence[str], kinds: Sequence[str], project: str | None, text: str | None, labels: str | None, trouble: bool,
    sort: str | None, saved: str | None, limit: int, everything: bool, output: str,
) -> None:  # fmt: skip
    """List instances."""
    from clawportal.cli import show

    query = {
        "phase": phase, "type": kinds, "project": project, "q": text, "labels": labels, "trouble": trouble,
        "sort": sort or (None if saved else "name"), "filter": saved, "limit": limit,
    }  # fmt: skip
    items, total = _pages(remote.signed_in(), query, everything)
    if output == "json":
        return show.as_json({"items": items, "total": total})
    if output == "name":
        for item in items:
            click.echo(item["name"])
    elif items:
        wide = output == "wide"
        show.table(show.WIDE_HEAD if wide else show.INSTANCE_HEAD, map(show.wide_row if wide else show.instance_row, items))
    else:
        click.echo("No instances." if total == 0 else "None on this page.", err=True)
    if len(items) < total:
        click.echo(f"{len(items)} of {total}; --all shows the rest.", err=True)
    return None


cli.add_command(list_, "ls")


def _pages(portal: Remote, query: dict[str, Any], everything: bool) -> tuple[list[dict[str, Any]], int]:
    if everything:
        items = portal.everything("/instances", query)
        return items, len(items)
    page = portal.call("GET", "/instances", query=query)
    return page["items"], page["total"]


@cli.command()
@click.argument("name")
@_output("json", "yaml")
def get(name: str, output: str) -> None:
    """Show one instance. `-o yaml` prints what `create -f` and `update -f` take."""
    from clawportal.cli import show

    found = remote.signed_in().find(name)
    if output == "json":
        return show.as_json(found)
    if output == "yaml":
        return show.as_yaml({key: found[key] for key in ("name", "adapter", "version", "labels", "spec")})
    _overview(found)
    return None


def _overview(found: Mapping[str, Any]) -> None:
    from clawportal.cli import show

    usage = found["usage"] or {}
    show.fields([
        ("name", found["name"]), ("id", found["id"]), ("type", f"{found['adapter']} {found['version']}"),
        ("labels", found["labels"]), ("project", f"{found['tenant']['name']}/{found['project']['name']}"),
        ("cluster", found["cluster"]["name"]), ("wanted", found["desired"]), ("phase", found["phase"]),
        ("health", found["health"]), ("sync", found["sync"]), ("message", found["message"]), ("next", found["next_action"]),
        ("endpoints", ", ".join(f"{item['name']} {item['url']}" for item in found["endpoints"])),
        ("secrets", ", ".join(item["name"] for item in found["secrets"])), ("restarts", found["restart_count"] or None),
        ("memory", show.size(usage["memory_bytes"]) if usage else None), ("generation", found["generation"]),
        ("created", f"{found['created_at']} by {found['created_by']}"),
    ])  # fmt: skip


@cli.command()
@click.argument("name")
@_WAIT
@_TIMEOUT
@click.option("-w", "--watch", is_flag=True, help="Print every change, until Ctrl+C.")
@_output("json")
def status(name: str, wait: bool, timeout: float, watch: bool, output: str) -> None:
    """Say how an instance is; exit code 1 when it needs attention."""
    from clawportal.cli import show

    portal = remote.signed_in()
    found = portal.find(name)
    if watch:
        with _until_interrupted():
            _watch(portal, found["id"])
        return
    if wait:
        found = portal.settled(found, timeout, lambda _: None)
    if output == "json":
        show.as_json(found)
    else:
        click.echo(_one_line(found))
        if found["next_action"]:
            click.echo(f"  {found['next_action']}")
    _exit_when_bad(found)


def _one_line(found: Mapping[str, Any]) -> str:
    from clawportal.cli import show

    words = f"{found['name']}: {show.word(found['phase'])}, {show.word(found['health'])}"
    return f"{words}  {clean(found['message'])}".rstrip()


def _exit_when_bad(found: Mapping[str, Any]) -> None:
    if remote.is_bad(found):
        sys.exit(remote.FAILED)


def _watch(portal: Remote, instance_id: str) -> None:
    import time

    told = ""
    while True:
        found = portal.get(instance_id)
        words = _one_line(found)
        if words != told:
            told = words
            click.echo(f"{time.strftime('%H:%M:%S')}  {words}")
        if found["phase"] == "destroyed":
            return
        time.sleep(1)


@cli.command()
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on.")
@click.option("--level", multiple=True, type=click.Choice(("info", "warning", "error")), help="Only this level; repeatable.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@click.option("--place", is_flag=True, help="What the cluster of the instance says about it, instead of what the portal noted.")
@_output("json")
def events(name: str | None, follow: bool, level: Sequence[str], limit: int, place: bool, output: str) -> None:
    """Show what happened, to one instance or to all."""
    from clawportal.cli import show

    if place and (follow or not name):
        raise click.UsageError("--place needs the NAME of an instance" + (" and knows no --follow." if follow else "."))
    portal = remote.signed_in()
    if place and name:
        return _place_events(portal, name, level, limit, output)
    path = f"/instances/{portal.find(name)['id']}/events" if name else "/events"
    page = portal.call("GET", path, query={"level": level, "limit": limit})
    items = page["items"][::-1]
    if output == "json" and not follow:
        return show.as_json({"items": items})
    for item in items:
        _tell_event(item, output)
    if follow:
        with _until_interrupted():
            _follow_events(portal, path, items[-1]["seq"] if items else 0, level, output)
    return None


def _place_events(portal: Remote, name: str, level: Sequence[str], limit: int, output: str) -> None:
    from clawportal.cli import show

    items = portal.call("GET", f"/instances/{portal.find(name)['id']}/runtime-events")["items"]
    items = [item for item in items if not level or item["level"] in level][-limit:]
    if output == "json":
        return show.as_json({"items": items})
    for item in items:
        times = f"  ({item['count']} times)" if item["count"] > 1 else ""
        click.echo(f"{_local(item['at'])}  {show.word(item['level']):<7}  {item['reason']:<16}  {clean(item['message'])}{times}")
    if not items:
        click.echo("The cluster says nothing about it.", err=True)
    return None


def _tell_event(item: Mapping[str, Any], output: str) -> None:
    import json

    from clawportal.cli import show

    if output == "json":
        click.echo(json.dumps(item, ensure_ascii=False))
    else:
        click.echo(f"{_local(item['at'])}  {show.word(item['level']):<7}  {item['actor']:<12}  {clean(item['message'])}")


def _follow_events(portal: Remote, path: str, after: int, level: Sequence[str], output: str) -> None:
    import time

    while True:
        page = portal.call("GET", path, query={"after": str(after), "level": level, "limit": 200})
        for item in page["items"]:
            _tell_event(item, output)
        after = page["next"] if page["next"] is not None else after
        if not page["items"]:
            time.sleep(1)


def _local(text: str) -> str:
    from datetime import datetime

    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


@cli.command()
@click.argument("name", required=False)
@click.option("--state", multiple=True, help="queued, running, succeeded, failed or cancelled; repeatable.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@_output("json")
def operations(name: str | None, state: Sequence[str], limit: int, output: str) -> None:
    """Show pieces of work and how far they are."""
    from clawportal.cli import show

    portal = remote.signed_in()
    query = {"state": state, "limit": limit, "instance": portal.find(name)["id"] if name else None}
    page = portal.call("GET", "/operations", query=query)
    if output == "json":
        return show.as_json(page)
    show.table(
        ("ID", "WHAT", "STATE", "PROGRESS", "AGE", "MESSAGE"),
        [
            (item["id"], f"{item['title']} {item['subject']}", item["state"], _percent(item["progress"]),
             show.age(item["created_at"]), item["error"] or item["message"])
            for item in page["items"]
        ],
    )  # fmt: skip
    return None


def _percent(progress: float | None) -> str:
    return "-" if progress is None else f"{progress:.0f}%"


@cli.command()
@click.argument("operation_id")
def cancel(operation_id: str) -> None:
    """Cancel an operation, such as an installation."""
    found = remote.signed_in().call("POST", f"/operations/{_segment(operation_id)}/cancel")
    click.echo(f"{found['title']} {found['subject']}: cancel was asked for.")


@cli.command()
@click.argument("operation_id")
def retry(operation_id: str) -> None:
    """Try an operation that failed again."""
    found = remote.signed_in().call("POST", f"/operations/{_segment(operation_id)}/retry")
    click.echo(f"{found['title']} {found['subject']}: {found['state']} as {found['id']}.")


def _segment(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


@cli.command("types")
@_output("json")
def types_(output: str) -> None:
    """List the kinds of claw that can be created."""
    from clawportal.cli import show

    found = remote.signed_in().call("GET", "/adapters")
    if output == "json":
        return show.as_json(found)
    rows = [(item["kind"], item["title"], item["default_version"], item["description"]) for item in found["items"]]
    show.table(("TYPE", "TITLE", "VERSION", "DESCRIPTION"), rows)
    return None


@cli.command("providers")
@_output("json")
def providers_(output: str) -> None:
    """List who can serve language models to claws."""
    from clawportal.cli import show

    found = remote.signed_in().call("GET", "/model-providers")
    if output == "json":
        return show.as_json(found)
    rows = [(item["id"], item["title"], item["dialect"], item["base_url"] or "-", item["key"]) for item in found["items"]]
    show.table(("PROVIDER", "TITLE", "DIALECT", "ADDRESS", "KEY"), rows)
    return None


@cli.command()
@_output("json")
def overview(output: str) -> None:
    """Say how all your instances are, and what they take together."""
    from clawportal.cli import show

    found = remote.signed_in().call("GET", "/metrics/overview")
    if output == "json":
        return show.as_json(found)
    many = found["instances"]
    show.fields([
        ("instances", many["total"]), ("running", many["running"]), ("stopped", many["stopped"]),
        ("in progress", many["changing"]), ("need attention", many["trouble"]), ("operations", found["operations_open"]),
        ("CPU", f"{found['cpu_percent']:.0f}%"), ("memory", show.size(found["memory_bytes"])),
        ("disk", show.size(found["disk_bytes"])), ("measured", f"{found['measured']} of {many['running']} that run"),
    ])  # fmt: skip
    return None


@cli.command()
@click.argument("name", required=False)
@_output("json")
def plugins(name: str | None, output: str) -> None:
    """List the plugins of the portal, or show the one with this NAME."""
    from clawportal.cli import show

    found = remote.signed_in().call("GET", f"/plugins/{_segment(name)}" if name else "/plugins")
    if output == "json":
        return show.as_json(found)
    if name:
        show.fields((key, ", ".join(value) if isinstance(value, list) else value) for key, value in found.items())
    else:
        show.table(("NAME", "VERSION", "SUMMARY"), [(item["name"], item["version"], item["summary"]) for item in found["items"]])
    return None


@cli.command()
@_output("json")
def version(output: str) -> None:
    """Show versions, and whether the portal can be reached and is ready."""
    from clawportal import __version__
    from clawportal.cli import show

    facts: dict[str, Any] = {"claw": __version__}
    try:
        portal = remote.signed_in()
        me = portal.call("GET", "/auth/me")
        facts |= {"portal": portal.url, "portal_version": me["portal_version"], "name": me["name"], "status": "ok"}
    except remote.Failure as failure:
        facts |= {"status": failure.message}
    show.as_json(facts) if output == "json" else show.fields(facts.items())


# ---- making and changing


@cli.command()
@click.argument("name", required=False)
@click.option("-f", "--file", "source", type=click.File("rb"), help="YAML or JSON document of the instance; - is standard input.")
@click.option("--name", "named", help="The same as NAME.")
@click.option("--type", "kind", help="Kind of claw; `claw types` lists them.")
@click.option("--version", "wanted_version", help="Version of the claw; without it, the default one.")
@click.option("--project", help="Project to create it in.")
@click.option("--cluster", help="Place to run it in.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Part of the spec, such as model.name=qwen3; a key that the spec does not know is a setting of the claw. Repeatable.",
)
@click.option("--model", help="Name of the model.")
@click.option("--provider", help="Id of a model provider; `claw providers` lists them.")
@click.option("--base-url", help="Address of the model's API, including /v1.")
@click.option(
    "--secret",
    "secret_names",
    multiple=True,
    metavar="NAME[=@FILE]",
    help="Asks for the value, or reads it from a file (=@- standard input). Repeatable.",
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Repeatable.")
@click.option("--template", help="Configuration template to make it of, as NAME or NAME@VERSION.")
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="Value for a variable of it. Repeatable.")
@click.option(
    "--secret-var",
    "secret_variables",
    multiple=True,
    metavar="NAME[=@FILE]",
    help="Asks for the value of a secret variable, or reads it from a file. Repeatable.",
)
@click.option("--no-start", is_flag=True, help="Create it stopped.")
@_WAIT
@_TIMEOUT
@_output("json", "name")
def create(
    name: str | None, source: Any, named: str | None, kind: str | None, wanted_version: str | None, project: str | None,
    cluster: str | None, settings: Sequence[str], model: str | None, provider: str | None, base_url: str | None,
    secret_names: Sequence[str], labels: Sequence[str], template: str | None, variables: Sequence[str],
    secret_variables: Sequence[str], no_start: bool, wait: bool, timeout: float, output: str,
) -> None:  # fmt: skip
    """Create an instance from a file, from options, or from both (options win)."""
    import uuid

    document = _read(source) if source else {}
    given = {"name": name or named, "adapter": kind, "version": wanted_version, "project": project, "cluster": cluster}
    document |= {key: value for key, value in given.items() if value is not None}
    if template:
        document["template"] = arguments.template(template, variables, secret_variables)
    for needed, option in (("name", "NAME"), ("adapter", "--type")):
        if not document.get(needed) and not (needed == "adapter" and document.get("template")):
            raise click.UsageError(f"{option} is needed.")
    chosen = {key: value for key, value in (("name", model), ("provider", provider), ("base_url", base_url)) if value}
    spec = document["spec"] = dict(document.get("spec") or {})
    _merge(spec, {"model": chosen} if chosen else {})
    _merge(spec, _patch(settings))
    document["labels"] = {**(document.get("labels") or {}), **arguments.pairs(labels)}
    document["secrets"] = {**(document.get("secrets") or {}), **arguments.secrets(secret_names)}
    if no_start:
        document["start"] = False
    portal = remote.signed_in()
    made = _create_surely(portal, document, str(uuid.uuid4()))
    for note in made.get("notes", ()):
        click.echo(note, err=True)
    _outcome(portal, [made], "is being created", wait, timeout, output)


def _create_surely(portal: Remote, document: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Once more when the connection broke: the key sees to it that there is still only one."""
    for attempt in (1, 2):
        try:
            made: dict[str, Any] = portal.call("POST", "/instances", body=document, headers={"Idempotency-Key": key})
            return made
        except remote.Failure as failure:
            if failure.exit_code != remote.UNREACHABLE or attempt == 2:
                raise
    raise AssertionError("a loop of two ends by itself")


@cli.command()
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "-f",
    "--file",
    "source",
    type=click.File("rb"),
    help="Replace the whole spec by that of a YAML or JSON document; - is standard input.",
)
@click.option("--version", "wanted_version", help="Version of the claw.")
@click.option(
    "--secret",
    "secret_names",
    multiple=True,
    metavar="NAME[=@FILE]",
    help="Asks for the value, or reads it from a file; an empty value removes. Repeatable.",
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="KEY= removes. Repeatable.")
@_WAIT
@_TIMEOUT
@_output("json", "name")
def update(
    name: str, settings: Sequence[str], source: Any, wanted_version: str | None, secret_names: Sequence[str],
    labels: Sequence[str], wait: bool, timeout: float, output: str,
) -> None:  # fmt: skip
    """Change the configuration: KEY=VALUE parts of the spec (KEY=null: back to the default), or a whole file.

    What somebody else changed since it was read is never overwritten: exit code 6, and you repeat.
    """
    if source and settings:
        raise click.UsageError("Give either -f or KEY=VALUE, not both.")
    change: dict[str, Any] = {}
    document = _read(source) if source else {}
    if settings:
        change["spec"] = _patch(settings)
    if labels:
        change["labels"] = {key: value or None for key, value in arguments.pairs(labels).items()}
    if secret_names:
        change["secrets"] = arguments.secrets(secret_names)
    if wanted_version:
        change["version"] = wanted_version
    if not change and not source:
        raise click.UsageError("Say what to change: KEY=VALUE, -f, --version, --label or --secret.")
    portal = remote.signed_in()
    found = portal.find(name)
    if source:
        change = _replacement(found, document, change)
    generation = document.get("generation", found["generation"])
    method = "PUT" if source else "PATCH"
    made = portal.call(method, f"/instances/{found['id']}", body=change, headers={"If-Match": f'"{generation}"'})
    _outcome(portal, [made], "is being changed", wait, timeout, output)


@cli.command()
@click.argument("name")
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE|KEY-...")
@_output("json", "name")
def label(name: str, changes: Sequence[str], output: str) -> None:
    """Set labels of an instance; KEY- removes one."""
    gone = {text[:-1]: None for text in changes if "=" not in text and text.endswith("-")}
    given: dict[str, str | None] = {**arguments.pairs([text for text in changes if text[:-1] not in gone]), **gone}
    portal = remote.signed_in()
    found = portal.find(name)
    match = {"If-Match": f'"{found["generation"]}"'}
    made = portal.call("PATCH", f"/instances/{found['id']}", body={"labels": given}, headers=match)
    _outcome(portal, [made], "has new labels", False, 0, output)


def _replacement(found: Mapping[str, Any], document: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    for key in ("name", "adapter"):
        if document.get(key, found[key]) != found[key]:
            raise click.UsageError(f"The file is for {key} {document[key]!r}, and {found['name']} has {found[key]!r}.")
    labels = document.get("labels", found["labels"]) or {}
    wanted = {**labels, **change.get("labels", {})}
    return {
        "version": change.get("version") or document.get("version") or found["version"],
        "labels": {key: value for key, value in wanted.items() if value},
        "spec": document.get("spec") or {},
        "secrets": {**(document.get("secrets") or {}), **change.get("secrets", {})},
    }


def _read(source: Any) -> dict[str, Any]:
    place = getattr(source, "name", "standard input")
    document = _parsed(source.read(), place)
    if not isinstance(document, dict):
        raise click.UsageError(f"{place} must hold a document with name, adapter and spec.")
    for key in ("spec", "labels", "secrets"):
        if not isinstance(document.get(key) or {}, dict):
            raise click.UsageError(f"{place}: {key} must have names and values.")
    return document


def _parsed(raw: bytes, place: str) -> Any:
    import json
    import re

    import yaml

    class Loader(yaml.SafeLoader):
        """Takes only true and false for booleans, and dates for text, as JSON and YAML 1.2 do."""

        yaml_implicit_resolvers = {  # noqa: RUF012  # it is the parent that has it as a class attribute
            letter: [(tag, rule) for tag, rule in rules if not tag.endswith((":bool", ":timestamp"))]
            for letter, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
    try:
        document = yaml.load(raw, Loader)  # noqa: S506  # a safe loader with fewer types
        json_text = json.dumps(document)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, TypeError, ValueError) as error:
        raise click.UsageError(f"{place} is neither YAML nor JSON: {error}") from error
    return json.loads(json_text)  # keys that are numbers become text, as in JSON


def _patch(parts: Sequence[str]) -> dict[str, Any]:
    """`model.name=qwen3` and so on as a nested document."""
    made: dict[str, Any] = {}
    for part in parts:
        path, equals, text = part.partition("=")
        keys = [key for key in path.strip().split(".") if key]
        if not equals or not keys:
            raise click.UsageError(f"{part!r} must be KEY=VALUE, such as model.name=qwen3")
        if keys[0] not in SPEC_KEYS:
            keys.insert(0, "settings")
        nested: dict[str, Any] = {keys[-1]: arguments.value(text)}
        for key in reversed(keys[:-1]):
            nested = {key: nested}
        _merge(made, nested)
    return made


def _merge(target: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value


# ---- pressing buttons


def _outcome(
    portal: Remote, asked: Sequence[dict[str, Any]], words: str, wait: bool, timeout: float, output: str = "table"
) -> None:
    """Tell what was asked for; with `wait`, what has become of it, and end with 1 when any failed."""
    from clawportal.cli import show

    found = list(asked)
    if wait:
        quiet = output != "table"
        found = [
            portal.settled(item, timeout, lambda now: None if quiet else click.echo(_one_line(now), err=True)) for item in asked
        ]
    if output == "json":
        show.as_json(found[0] if len(found) == 1 else found)
    for item in found if output != "json" else ():
        if output == "name":
            click.echo(item["name"])
        else:
            click.echo(_one_line(item) if wait else f"{item['name']} {words}.")
    for item in found if wait else ():
        if item["phase"] == "failed" or item["sync"] == "out-of-sync":
            click.echo(f"Error: {clean(item['message'])} {item['next_action']}".rstrip(), err=True)
            sys.exit(remote.FAILED)


def _button(action: str, words: str, help_text: str) -> None:
    @cli.command(action, help=help_text)
    @click.argument("names", nargs=-1, required=True, metavar="NAME...")
    @_WAIT
    @_TIMEOUT
    @_output("json", "name")
    def press(names: Sequence[str], wait: bool, timeout: float, output: str) -> None:
        portal = remote.signed_in()
        asked = _each(portal, names, lambda found: portal.call("POST", f"/instances/{found['id']}/{action}"))
        _outcome(portal, asked, words, wait, timeout, output)


def _each(portal: Remote, names: Sequence[str], act: Callable[[dict[str, Any]], dict[str, Any]]) -> list[dict[str, Any]]:
    """Do it with each; one that refuses does not keep the others from it. The last refusal decides the exit code."""
    done, refused = [], None
    for name in dict.fromkeys(names):
        try:
            done.append(act(portal.find(name)))
        except remote.Failure as failure:
            if len(names) == 1 or failure.exit_code == remote.UNREACHABLE:
                raise
            failure.show()
            refused = failure
    if refused is not None:
        for item in done:
            click.echo(item["name"])
        sys.exit(refused.exit_code)
    return done


_button("start", "is being started", "Start instances.")
_button("stop", "is being stopped", "Stop instances; their data stays.")
_button("restart", "is being restarted", "Stop and start instances.")
_button("kill", "is being killed", "End instances at once, without asking them.")


@cli.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--keep-data", is_flag=True, help="Leave the folder of the instance where it is.")
@click.option("--force", is_flag=True, help="End the claw at once instead of asking it.")
@_WAIT
@_TIMEOUT
@_output("json", "name")
def delete(names: Sequence[str], yes: bool, keep_data: bool, force: bool, wait: bool, timeout: float, output: str) -> None:
    """Delete instances with their data."""
    portal = remote.signed_in()
    what = "The data stays." if keep_data else "Configuration, conversations, files and secrets are lost."
    if not yes and not click.confirm(f"Delete {', '.join(names)}? {what}", err=True):
        raise click.Abort
    query = {"keep_data": keep_data, "force": force}
    asked = _each(portal, names, lambda found: portal.call("DELETE", f"/instances/{found['id']}", query=query))
    _outcome(portal, asked, "is being deleted", wait, timeout, output)


# ---- logs and chat


@cli.command()
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on, until Ctrl+C.")
@click.option("--tail", type=click.IntRange(0), default=200, show_default=True, help="So many of the last lines.")
@click.option("--since", help="Only newer lines: 10m, 2h, or a time such as 2026-11-23T08:30:00Z.")
@click.option("--level", type=click.Choice(("debug", "info", "warning", "error")), help="Only lines at least so grave.")
@click.option("--timestamps", is_flag=True, help="Put the time before each line.")
@_output("json")
def logs(name: str, follow: bool, tail: int, since: str | None, level: str | None, timestamps: bool, output: str) -> None:
    """Show what a claw wrote."""
    portal = remote.signed_in()
    path = f"/instances/{portal.find(name)['id']}/logs"
    query = {"tail": str(tail), "since": since, "level": level}
    if follow:
        with _until_interrupted():
            _follow_logs(portal, path, query, timestamps, output)
        return
    for line in portal.call("GET", path, query=query)["lines"]:
        _tell_line([line[key] for key in ("at", "stream", "source", "level", "text")], timestamps, output)


def _tell_line(row: Sequence[str], timestamps: bool, output: str) -> None:
    import json

    from clawportal.cli import show

    at, stream, source, level, text = row
    if output == "json":
        click.echo(json.dumps({"at": at, "stream": stream, "source": source, "level": level, "text": text}, ensure_ascii=False))
    else:
        click.echo((f"{at}  " if timestamps else "") + clean(text, colours=show.colours()))


def _follow_logs(portal: Remote, path: str, query: Mapping[str, Any], timestamps: bool, output: str) -> None:
    """A broken connection is made again from the last line that came; not sooner than the portal wants to be asked."""
    import random
    import time

    last, broken_since = "", 0.0
    while True:
        try:
            headers = {"Last-Event-ID": last} if last else {}
            with portal.stream("GET", path, query={**query, "follow": True}, headers=headers) as stream:
                for event, number, data in stream:
                    last, broken_since = number or last, 0.0
                    _tell_log_event(event, data, timestamps, output)
        except remote.Failure as failure:
            broken_since = broken_since or time.monotonic()
            passing = failure.exit_code == remote.UNREACHABLE or failure.retry_after
            if not passing or not last or time.monotonic() - broken_since > 60 + 4 * failure.retry_after:
                raise
            time.sleep(failure.retry_after * random.uniform(1, 1.5))
        time.sleep(1)


def _tell_log_event(event: str, data: Any, timestamps: bool, output: str) -> None:
    if event == "lines":
        for row in data["lines"]:
            _tell_line(row, timestamps, output)
    elif event == "dropped":
        click.echo(f"... {data['count']} lines came faster than they could be shown ...", err=True)
    elif event == "problem":
        raise remote.Failure(str(data.get("detail", "The log ended.")))


@cli.command()
@click.argument("name")
@click.argument("text", nargs=-1)
@click.option("--session", default="claw", show_default=True, help="Names the conversation.")
@_output("json")
def chat(name: str, text: Sequence[str], session: str, output: str) -> None:
    """Talk with a running claw: one message, or without TEXT a conversation until Ctrl+D."""
    from clawportal.cli import show

    portal = remote.signed_in()
    found = portal.find(name)
    path = f"/instances/{found['id']}/chat"
    if not text:
        return _conversation(portal, path, found["name"], session)
    body = {"text": " ".join(text), "session": session}
    if output == "json":
        return show.as_json(_turn(portal, path, body, lambda _: None))
    _turn(portal, path, body, _write)
    click.echo()
    return None


def _write(piece: str) -> None:

    sys.stdout.write(clean(piece))
    sys.stdout.flush()


def _turn(portal: Remote, path: str, body: Mapping[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """One message and its answer, told piece by piece."""
    told, usage = "", None
    with portal.stream("POST", path, body=body) as stream:
        for event, _number, data in stream:
            if event == "delta":
                told += data["text"]
                tell(data["text"])
            elif event == "usage":
                usage = data
            elif event == "error":
                raise remote.Failure(f"{data.get('message', '')} {data.get('remedy', '')}".strip())
            elif event == "final":
                # what the pieces have not said yet; all of it for a claw that does not stream
                tell(data["text"].removeprefix(told) if data["text"].startswith(told) else "")
                return {"text": data["text"], "usage": usage, "session": body["session"]}
    raise remote.Failure("The answer ended too early; the log of the claw may say why.")


def _conversation(portal: Remote, path: str, name: str, session: str) -> None:
    if sys.stdin.isatty():
        try:
            import readline  # noqa: F401  # gives the prompt a history
        except ImportError:
            pass  # not everywhere; the prompt works without
        click.echo(f"Talking with {name}. Ctrl+D ends.", err=True)
    while True:
        try:
            said = input("> " if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            click.echo(err=True)
            return
        if not said:
            continue
        try:
            _turn(portal, path, {"text": said, "session": session}, _write)
            click.echo()
        except KeyboardInterrupt:
            click.echo(err=True)
        except remote.Failure as failure:
            if not sys.stdin.isatty():
                raise
            click.echo()
            failure.show()


def main() -> None:
    cli(prog_name="claw")


if __name__ == "__main__":
    main()
