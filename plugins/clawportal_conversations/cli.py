"""`claw conversation`: conversations with claws that are kept, from a terminal or a script."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from clawportal.sdk.commands import JSON, NOT_FOUND, REFUSED, Failure, Remote, as_json, clean, remote, table


def register(cli: click.Group) -> None:
    """Add the commands to `claw`."""
    cli.add_command(conversation)


@click.group()
def conversation() -> None:
    """Talk with claws in conversations that are kept."""


def _find(portal: Remote, name: str, archived: bool = False) -> dict[str, Any]:
    """By its id, or by its title if only one has it."""
    found = [one for one in portal.everything("/conversations", {"archived": archived}) if name in (one["id"], one["title"])]
    if not found:
        raise Failure(f"There is no conversation {name!r}, or it is not yours. `claw conversation list` shows all.", NOT_FOUND)
    if len(found) > 1:
        raise Failure(f"Several conversations are named {name!r}; use the id.", REFUSED)
    return found[0]


@conversation.command("list")
@click.argument("claw", required=False)
@click.option("--archived", is_flag=True, help="Those that were put away.")
@click.option("--search", default="", help="Only those in which this was said, or that are named so.")
@JSON
def list_(claw: str | None, archived: bool, search: str, output: str) -> None:
    """List conversations, of one CLAW or all."""
    portal = remote()
    asked = {"archived": archived, "q": search or None, "instance": portal.find(claw)["id"] if claw else None}
    found = portal.everything("/conversations", asked)
    if output == "json":
        return as_json(found)
    if not found:
        return click.echo("No conversations.", err=True)
    rows = [(one["title"], one["instance"], one["messages"], one["spoken_at"][:16], one["person"], one["id"]) for one in found]
    return table(("TITLE", "CLAW", "MESSAGES", "LAST SAID", "OF", "ID"), rows)


@conversation.command()
@click.argument("name")
@JSON
def show(name: str, output: str) -> None:
    """Show what was said in a conversation."""
    portal = remote()
    found = _find(portal, name)
    messages = list(_messages(portal, found["id"]))
    if output == "json":
        return as_json({**found, "items": messages})
    for one in messages:
        click.secho(f"{one['author']}, {one['created_at'][:16]}", bold=True)
        click.echo(clean(one["text"]))
        click.echo(f"({one['reason']} {one['remedy']})\n" if one["reason"] else "")
    return None


def _messages(portal: Remote, conversation_id: str) -> Iterator[dict[str, Any]]:
    """All of them, oldest first."""
    pages: list[Any] = []
    before: int | None = None
    while True:
        page = portal.call("GET", f"/conversations/{conversation_id}/messages", query={"limit": 200, "before": before})
        pages.append(page["items"])
        if (before := page["older"]) is None:
            return (one for page in reversed(pages) for one in page)


@conversation.command()
@click.argument("claw")
@click.argument("text", nargs=-1, required=True)
@click.option("--in", "name", help="Go on in this conversation; absent: begin a new one.")
@JSON
def say(claw: str, text: Sequence[str], name: str | None, output: str) -> None:
    """Say something to CLAW and print the answer as it comes. Ctrl+C leaves; the answer goes on and is kept."""
    portal = remote()
    instance = portal.find(claw)
    found = _find(portal, name) if name else portal.call("POST", "/conversations", body={"instance": instance["id"]})
    said = portal.call("POST", f"/conversations/{found['id']}/messages", body={"text": " ".join(text)})
    answer = _followed(portal, found["id"], said["answer"]["id"], said["event"], quiet=output == "json")
    if output == "json":
        return as_json({"conversation": found["id"], **answer})
    if answer["state"] != "done":
        raise Failure(f"{answer['reason'] or 'The answer was stopped.'} {answer['remedy']}".strip(), REFUSED)
    return None


def _followed(portal: Remote, conversation_id: str, answer_id: str, after: int, *, quiet: bool) -> dict[str, Any]:
    """The whole answer, printed meanwhile. A stream that ends is taken up where it ended."""
    told = ""
    while True:
        with portal.stream("GET", f"/conversations/{conversation_id}/events", query={"after": after}) as stream:
            for kind, number, data in stream:
                after = int(number or after)
                if kind == "delta" and data["message_id"] == answer_id and not quiet:
                    told += data["text"]
                    _write(data["text"])
                elif kind == "ended" and data["id"] == answer_id:
                    return _rest_told(dict(data), told, quiet=quiet)
                elif kind == "reset":
                    break
        if (found := _ended(portal, conversation_id, answer_id)) is not None:
            return _rest_told(found, told, quiet=quiet)
        time.sleep(0.2)


def _rest_told(answer: dict[str, Any], told: str, *, quiet: bool) -> dict[str, Any]:
    """Print what the stream did not tell of an answer that is over."""
    if not quiet:
        _write(answer["text"].removeprefix(told) if answer["text"].startswith(told) else "")
        click.echo()
    return answer


def _ended(portal: Remote, conversation_id: str, answer_id: str) -> dict[str, Any] | None:
    """The answer as it is kept, unless it still goes on; whatever the stream told of it."""
    found = portal.call("GET", f"/conversations/{conversation_id}/messages")["items"]
    answer = next((one for one in found if one["id"] == answer_id), None)
    if answer is None:
        raise Failure("The answer is not part of this conversation any more.", NOT_FOUND)
    return None if answer["state"] == "running" else dict(answer)


def _write(piece: str) -> None:
    sys.stdout.write(clean(piece))
    sys.stdout.flush()


@conversation.command()
@click.argument("name")
@click.option("--format", "kind", type=click.Choice(("markdown", "json")), default="markdown", show_default=True)
def export(name: str, kind: str) -> None:
    """Print a conversation as Markdown or JSON."""
    portal = remote()
    found = _find(portal, name)
    with portal.download(f"/conversations/{found['id']}/export", query={"format": kind}) as (_name, pieces):
        for piece in pieces:
            sys.stdout.buffer.write(piece)


@conversation.command()
@click.argument("name")
@click.option("--title", help="What it is called from now on.")
@click.option("--archive/--unarchive", "archived", default=None, help="Put it away, or bring it back.")
@click.option("--share/--unshare", "shared", default=None, help="With all who may talk to the claw.")
@JSON
def change(name: str, output: str, **given: Any) -> None:
    """Rename, archive or share a conversation."""
    portal = remote()
    body = {key: value for key, value in given.items() if value is not None}
    if not body:
        raise click.UsageError("Say what shall be different.")
    found = _find(portal, name, archived=body.get("archived") is False)
    changed = portal.call("PATCH", f"/conversations/{found['id']}", body=body)
    if output == "json":
        return as_json(changed)
    click.echo(f"The conversation {changed['title']!r} was changed.")
    return None


@conversation.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> None:
    """Delete a conversation for good."""
    portal = remote()
    found = _find(portal, name)
    if not yes:
        click.confirm(f"Delete the conversation {found['title']}? All that was said in it is lost", abort=True, err=True)
    portal.call("DELETE", f"/conversations/{found['id']}")
    click.echo(f"The conversation {found['title']!r} was deleted.")
