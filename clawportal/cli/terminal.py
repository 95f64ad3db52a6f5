"""`claw console` and `claw connect`: a shell in a claw, and its ports on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from clawportal.cli import remote
from clawportal.cli.remote import NOT_FOUND, NOT_PERMITTED, REFUSED, UNREACHABLE, Failure

if TYPE_CHECKING:
    from simple_websocket import Client

    from clawportal.cli.remote import Remote

_PIECE = 32 * 1024


def register(cli: click.Group) -> None:
    cli.add_command(console)
    cli.add_command(connect)


# ---- the way there


def _open(portal: Remote, path: str) -> Client:
    """A WebSocket to the portal; Failure with the portal's own words when it refuses."""
    from simple_websocket import Client, ConnectionClosed, ConnectionError

    found = urlsplit(portal.url)
    scheme = "wss" if found.scheme == "https" else "ws"
    url = f"{scheme}://{found.netloc}{found.path}/api/v1{path}"
    try:
        return Client.connect(url, headers=portal.headers, ping_interval=25)
    except (ConnectionClosed, ConnectionError) as error:
        status = getattr(error, "status_code", None)
        if status is None:
            raise Failure("The portal ended the connection.", UNREACHABLE) from error
        code = {401: NOT_PERMITTED, 403: NOT_PERMITTED, 404: NOT_FOUND}.get(status, REFUSED)
        raise Failure(_why(portal, path) or f"The portal refuses with status {status}.", code) from error
    except OSError as error:
        raise Failure(f"The portal cannot be reached: {error}.", UNREACHABLE) from error


def _why(portal: Remote, path: str) -> str:
    """A refused WebSocket has no words: the same address without one says them, or that it wants a WebSocket."""
    try:
        portal.call("GET", path)
    except Failure as failure:
        return "" if "WebSocket only" in failure.message else failure.message
    return ""


# ---- console


@click.command()
@click.argument("name")
def console(name: str) -> None:
    """Open a shell in a running claw. It ends with its shell, or with Ctrl+] on this side."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Failure("A console needs a terminal on both sides.", REFUSED)
    portal = remote.signed_in()
    instance = portal.find(name)
    columns, rows = shutil.get_terminal_size()
    line = _open(portal, f"/instances/{instance['id']}/console?columns={columns}&rows={rows}")
    click.echo(f"A shell in {instance['name']}. Ctrl+] leaves it.", err=True)
    end: dict[str, Any] = {}
    with _raw_terminal():
        reader = threading.Thread(target=_show, args=(line, end), daemon=True)
        reader.start()
        _type(line, reader)
    with contextlib.suppress(Exception):  # it may have ended on the other side
        line.close()
    click.echo(err=True)
    if end.get("reason"):
        raise Failure(str(end["reason"]))
    sys.exit(int(end.get("code") or 0))


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Keys go to the shell as they are; the terminal is given back as it was, whatever happens."""
    import termios
    import tty

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    try:
        tty.setraw(handle)
        yield
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def _show(line: Client, end: dict[str, Any]) -> None:
    from simple_websocket import ConnectionClosed

    with contextlib.suppress(ConnectionClosed, OSError):
        while True:
            message = line.receive()
            if isinstance(message, bytes):
                os.write(sys.stdout.fileno(), message)
            elif message:
                end.update(json.loads(message))


def _type(line: Client, reader: threading.Thread) -> None:
    from simple_websocket import ConnectionClosed

    resized = threading.Event()
    signal.signal(signal.SIGWINCH, lambda number, frame: resized.set())
    with contextlib.suppress(ConnectionClosed, OSError):
        while reader.is_alive():
            if resized.is_set():
                resized.clear()
                columns, rows = shutil.get_terminal_size()
                line.send(json.dumps({"columns": columns, "rows": rows}))
            ready, _, _ = select.select([sys.stdin], [], [], 0.2)
            if not ready:
                continue
            keys = os.read(sys.stdin.fileno(), _PIECE)
            if not keys or b"\x1d" in keys:
                return
            line.send(keys)


# ---- ports


@click.command()
@click.argument("name")
@click.argument("port", required=False)
@click.option("--local", "local_port", type=click.IntRange(0, 65535), default=None, help="Port of this machine; else the same.")
@click.option("--address", default="127.0.0.1", show_default=True, help="Address of this machine to listen on.")
def connect(name: str, port: str | None, local_port: int | None, address: str) -> None:
    """Reach a port of a claw on this machine, until Ctrl+C. PORT is its name or number; without it, the claw's first."""
    portal = remote.signed_in()
    instance = portal.call("GET", f"/instances/{portal.find(name)['id']}")
    chosen = _port(instance, port)
    with _listener(address, chosen["number"] if local_port is None else local_port) as listener:
        here = "{}:{}".format(*listener.getsockname()[:2])
        click.echo(f"{here} leads to {chosen['name']} of {instance['name']}. Ctrl+C ends it.", err=True)
        path = f"/instances/{instance['id']}/connect/{chosen['name']}"
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                caller, _ = listener.accept()
                threading.Thread(target=_carry, args=(portal, path, caller), daemon=True).start()
    click.echo(err=True)


def _port(instance: dict[str, Any], wanted: str | None) -> dict[str, Any]:
    known = instance.get("ports") or []
    for port in known:
        if wanted in (None, port["name"], str(port["number"])):
            return dict(port)
    names = ", ".join(f"{port['name']} ({port['number']})" for port in known) or "none; is it running?"
    raise Failure(f"{instance['name']} has no port {wanted or 'to connect to'}. Known: {names}", NOT_FOUND)


@contextlib.contextmanager
def _listener(address: str, port: int) -> Iterator[socket.socket]:
    try:
        listener = socket.create_server((address, port))
    except OSError as error:
        raise Failure(f"Cannot listen on {address}:{port}: {error.strerror}. Choose another with --local.", REFUSED) from error
    with listener:
        yield listener


def _carry(portal: Remote, path: str, caller: socket.socket) -> None:
    """One connection, both ways."""
    from simple_websocket import ConnectionClosed

    with caller:
        try:
            line = _open(portal, path)
        except Failure as failure:
            failure.show()
            return
        back = threading.Thread(target=_back, args=(line, caller), daemon=True)
        back.start()
        with contextlib.suppress(ConnectionClosed, OSError):
            while piece := caller.recv(_PIECE):
                line.send(piece)
            line.send("")  # nothing more comes from here; the answer may still be under way
            back.join()
        with contextlib.suppress(ConnectionClosed, OSError):
            line.close()


def _back(line: Client, caller: socket.socket) -> None:
    from simple_websocket import ConnectionClosed

    with contextlib.suppress(ConnectionClosed, OSError):
        while True:
            message = line.receive()
            if isinstance(message, bytes):
                caller.sendall(message)
    with contextlib.suppress(OSError):
        caller.shutdown(socket.SHUT_RDWR)
