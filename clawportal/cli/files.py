"""`claw files`: look at the files of a claw, fetch them, and put files there."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from clawportal.cli import remote, show
from clawportal.cli.extending import Open, complete

if TYPE_CHECKING:
    from clawportal.cli.remote import Remote

_PIECE = 256 * 1024


def register(cli: click.Group) -> None:
    cli.add_command(files)


@dataclass(frozen=True)
class Sent:
    """A file that is put into a claw."""

    portal: Remote
    address: str
    """Of the files of the claw."""
    stream: IO[bytes]
    """At its beginning; it can be read again."""
    size: int
    place: str
    overwrite: bool

    @property
    def local(self) -> Path | None:
        """The file on this machine; None for what came out of a pipe."""
        name = getattr(self.stream, "name", None)
        return Path(name).absolute() if isinstance(name, str) and Path(name).is_file() else None


def at_once(sent: Sent) -> str:
    """In one request; where it is then."""
    query = {"path": sent.place, "overwrite": sent.overwrite}
    sent.portal.upload(f"{sent.address}/content", sent.stream, sent.size, query=query)
    return sent.place


class Files(Open):
    """The group of these commands. A plugin that knows a better way to send a file puts it into `send`."""

    send: Callable[[Sent], str] = staticmethod(at_once)


def _group(function: Callable[[], None]) -> Files:
    return click.group(cls=Files)(function)


@_group
def files() -> None:
    """Files of a claw: list, fetch and put them. PATH begins with work, state or home, such as work/notes.txt."""


@files.command("ls")
@click.argument("name")
@click.argument("path", default="")
@click.option("-o", "--output", type=click.Choice(("table", "json", "name")), default="table", show_default=True)
def ls(name: str, path: str, output: str) -> None:
    """List a folder; without PATH the folders that every claw has."""
    from clawportal.cli import show

    portal = remote.signed_in()
    found = portal.call("GET", f"/instances/{portal.find(name)['id']}/files", query={"path": path})
    if output == "json":
        return show.as_json(found)
    if output == "name":
        for item in found["items"]:
            click.echo(item["path"] or item["name"])
    else:
        show.table(("SIZE", "CHANGED", "NAME"), [(_size(item), _when(item), _name(item)) for item in found["items"]])
    if len(found["items"]) < found["total"]:
        click.echo(f"{len(found['items'])} of {found['total']}.", err=True)
    return None


def _size(item: dict[str, Any]) -> str:
    from clawportal.cli import show

    return show.size(item["size"]) if item["kind"] == "file" else ""


def _when(item: dict[str, Any]) -> str:
    from datetime import datetime

    return datetime.fromisoformat(item["modified"]).astimezone().strftime("%Y-%m-%d %H:%M:%S") if item["modified"] else ""


def _name(item: dict[str, Any]) -> str:
    return str(item["name"]) + {"folder": "/", "link": "@"}.get(item["kind"], "")


@files.command("get")
@click.argument("name")
@click.argument("path")
@click.argument("target", default="", metavar="[FILE]")
@click.option("-f", "--force", is_flag=True, help="Replace a local file of this name.")
def get(name: str, path: str, target: str, force: bool) -> None:
    """Fetch a file, or a folder as a tar archive. FILE is where to; - is standard output. It appears whole or not at all."""
    portal = remote.signed_in()
    found = portal.find(name)
    with portal.download(f"/instances/{found['id']}/files/content", query={"path": path}) as (kind, pieces):
        if target == "-":
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        last = path.rstrip("/").rpartition("/")[2]
        file = Path(target or ".")
        if file.is_dir():
            file = file / (f"{found['name']}-{last}.tar" if kind == "application/x-tar" else last)
        _must_be_new(file, force)
        size = _save(file, pieces)
    click.echo(f"{file} ({size} bytes)", err=True)


def _must_be_new(file: Path, force: bool) -> None:
    from clawportal.cli.remote import REFUSED, Failure

    if file.exists() and not force:
        raise Failure(f"{file} is there already. Name another file, or say --force.", REFUSED)


def _save(file: Path, pieces: Any) -> int:
    """Beside its place first, so that a broken connection leaves what was there."""
    from clawportal.cli.remote import Failure

    try:
        handle, scratch = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name[:40]}.")
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror}.") from error
    size = 0
    try:
        with os.fdopen(handle, "wb") as stream:
            for piece in pieces:
                size += stream.write(piece)
        os.chmod(scratch, 0o666 & ~_umask())
        os.replace(scratch, file)
    except OSError as error:
        Path(scratch).unlink(missing_ok=True)
        raise Failure(f"{file} cannot be written: {error.strerror or error}.") from error
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    return size


def _umask() -> int:
    held = os.umask(0o077)
    os.umask(held)
    return held


@files.command("put")
@click.argument("name")
@click.argument("file", type=click.File("rb"))
@click.argument("path", default="work")
@click.option("-y", "--yes", is_flag=True, help="Replace a file that is there without asking.")
@click.option("-o", "--output", type=click.Choice(("text", "json")), default="text", help="How to print.")
@click.pass_context
def put(context: click.Context, name: str, file: IO[bytes], path: str, yes: bool, output: str) -> None:
    """Put FILE (- is standard input) at PATH; a PATH that is a folder keeps its name. Without PATH it goes to work."""
    portal = remote.signed_in()
    address = f"/instances/{portal.find(name)['id']}/files"
    place = _place(portal, address, path, getattr(file, "name", ""))
    complete(context)
    with _sized(file) as (stream, size):
        sent = Sent(portal, address, stream, size, place, overwrite=yes)
        try:
            found = files.send(sent)
        except remote.Failure as failure:
            if failure.code != "exists" or not click.confirm(f"{place} is there already. Replace it?", err=True):
                raise
            stream.seek(0)
            found = files.send(replace(sent, overwrite=True))
    if output == "json":
        return show.as_json({"path": found, "size": size})
    return click.echo(f"{found} ({size} bytes)", err=True)


def _place(portal: Remote, address: str, path: str, local: str) -> str:
    """Where the file goes: into a folder that is there under its own name, else to the very path."""
    name = os.path.basename(local)
    if not path.rstrip("/").count("/") or path.endswith("/"):
        into = True
    else:
        try:
            portal.call("GET", address, query={"path": path})
            into = True
        except remote.Failure as failure:
            if failure.exit_code not in (remote.NOT_FOUND, remote.REFUSED):
                raise
            into = False
    if not into:
        return path
    if not name or name == "-" or local.startswith("<"):
        raise click.UsageError("Standard input has no name: end PATH with the name of the file.")
    return f"{path.rstrip('/')}/{name}"


@contextmanager
def _sized(file: IO[bytes]) -> Iterator[tuple[IO[bytes], int]]:
    """A file whose size is known and which can be read twice; what comes out of a pipe goes to disk first, not to memory."""
    with tempfile.TemporaryFile() as spool:
        stream = file
        if not file.seekable():
            shutil.copyfileobj(file, spool, _PIECE)
            stream = spool
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        yield stream, size
