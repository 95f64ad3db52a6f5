"""Commands in pods, as WebSockets through the API server."""

from __future__ import annotations

import json
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from clawportal.sdk import _m, _n
from clawportal.sdk.bounded import parse_json
from clawportal.sdk.errors import Conflict, GiveUp, Unavailable
from clawportal_kubernetes import scripts
from clawportal_kubernetes.client import Api, ApiError, Json, verdict

if TYPE_CHECKING:
    from websocket import WebSocket

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_PIECE = 64 * 1024
_PING = 20.0
_END_SECONDS = 20.0
_STREAMS: dict[int, Literal["stdout", "stderr"]] = {STDOUT: "stdout", STDERR: "stderr"}
_CODE = re.compile(r"exit code (\d+)|exit status (\d+)")
_NO_PROGRAM = ("executable file not found", "no such file or directory", "not found in $PATH", "command not found")


class Channel:
    """The frames of one command, both ways. Sending and closing may come from other threads than receiving."""

    def __init__(self, api: Api, space: str, pod: str, container: str, argv: Sequence[str], *, stdin: bool, tty: bool) -> None:
        query = {"command": list(argv), "container": container, "stdin": _yes(stdin), "stdout": "true", "stderr": _yes(not tty),
                 "tty": _yes(tty)}  # fmt: skip
        path = f"/api/v1/namespaces/{space}/pods/{pod}/exec"
        self.socket: WebSocket = api.websocket(path, query, "v5.channel.k8s.io,v4.channel.k8s.io")
        # the library itself notes only what it has offered itself
        chosen = {name.lower(): value for name, value in (self.socket.getheaders() or {}).items()}.get("sec-websocket-protocol")
        self.half_close = chosen == "v5.channel.k8s.io"
        self.status: Json | None = None
        self.over = False
        self._sending = threading.Lock()
        self._pinged = time.monotonic()

    def send(self, channel: int, data: bytes) -> None:
        from websocket import ABNF, WebSocketException

        if self.over:
            raise BrokenPipeError("the command has ended")
        with self._sending:
            try:
                self.socket.send(bytes([channel]) + data, ABNF.OPCODE_BINARY)
            except (WebSocketException, OSError) as error:
                raise BrokenPipeError(f"the command has ended: {error}") from error

    def receive(self, timeout: float) -> tuple[int, bytes] | None:
        """The next frame of output; None after `timeout`; EOFError when all is over."""
        from websocket import ABNF, WebSocketException

        until = time.monotonic() + timeout
        while not self.over:
            if not self._readable(max(0.0, until - time.monotonic())):
                self._ping()
                if time.monotonic() >= until:
                    return None
                continue
            try:
                # with the answers to pings: waiting for what comes after one may take forever
                opcode, data = self.socket.recv_data(control_frame=True)
            except (WebSocketException, OSError):
                break
            if opcode in (ABNF.OPCODE_PING, ABNF.OPCODE_PONG):
                continue
            if opcode == ABNF.OPCODE_CLOSE:
                break
            if not data:
                continue
            channel, rest = data[0], bytes(data[1:])
            if channel == ERROR:
                self.status = _parsed(rest)
            elif channel in _STREAMS and rest:
                return channel, rest
        self.over = True
        raise EOFError

    def _readable(self, timeout: float) -> bool:
        inner = self.socket.sock
        if inner is None:
            return True
        if isinstance(inner, ssl.SSLSocket) and inner.pending():
            return True
        try:
            poll = select.poll()
            poll.register(inner, select.POLLIN)
            return bool(poll.poll(min(timeout, _PING) * 1000))
        except (OSError, ValueError):  # closed by another thread
            return True

    def _ping(self) -> None:
        """Load balancers cut what is silent."""
        from websocket import WebSocketException

        if time.monotonic() - self._pinged > _PING:
            self._pinged = time.monotonic()
            with self._sending:
                try:
                    self.socket.ping()
                except (WebSocketException, OSError):
                    self.over = True

    def close(self) -> None:
        self.over = True
        inner = self.socket.sock
        if inner is not None:
            try:
                inner.shutdown(socket.SHUT_RDWR)  # wakes whoever reads
            except OSError:
                pass  # it was closed before
        self.socket.shutdown()

    @property
    def code(self) -> int | None:
        """None where the end was not told: the connection broke."""
        if self.status is None:
            return None
        if self.status.get("status") == "Success":
            return 0
        for cause in (self.status.get("details") or {}).get("causes") or ():
            if cause.get("reason") == "ExitCode" and str(cause.get("message")).isdigit():
                return int(cause["message"])
        found = _CODE.search(self.status.get("message") or "")
        return int(found[1] or found[2]) if found else 126


def _yes(value: bool) -> str:
    return "true" if value else "false"


def _parsed(data: bytes) -> Json:
    try:
        found = parse_json(data)
    except ValueError:
        return {"status": "Failure", "message": data.decode(errors="replace")}
    return found if isinstance(found, dict) else {"status": "Failure", "message": str(found)}


def open_channel(
    api: Api, space: str, pod: str, container: str, argv: Sequence[str], who: str, *, stdin: bool, tty: bool = False
) -> Channel:
    """Conflict where the pod does not run."""
    try:
        return Channel(api, space, pod, container, argv, stdin=stdin, tty=tty)
    except ApiError as error:
        words = error.message.lower()
        if error.status == 404 or (error.status in (400, 500) and ("not found" in words or "does not have a host" in words)):
            raise Conflict(_m("%(who)s does not run, so no command can be run in it.", who=who)) from error
        raise verdict(error, who) from error


class Command:
    """See `clawportal.contracts.runtimes.ExecSession`."""

    def __init__(
        self, open_it: Callable[[Sequence[str], bool, bool], Channel], argv: Sequence[str], *, tty: bool, columns: int, rows: int,
        patience: float,
    ) -> None:  # fmt: skip
        self._open, self._tty = open_it, tty
        self._channel = open_it(("/bin/sh", "-c", scripts.EXEC, *argv), True, tty)
        self._rest: list[tuple[int, bytes]] = []
        self._pid = ""
        self._closed = False
        try:
            if tty:  # first of all, so that the command begins with it
                self.resize(columns, rows)
            self._begin(argv[0], patience)
        except BaseException:
            self._channel.close()
            raise

    def _begin(self, program: str, patience: float) -> None:
        """Wait for the line that says whether there is such a program."""
        said, until = bytearray(), time.monotonic() + patience
        while b"\n" not in said:
            try:
                piece = self._channel.receive(max(0.0, until - time.monotonic()))
            except EOFError:
                self._not_started(bytes(said))
            if piece is None:
                raise Unavailable(_m("The cluster did not start the command in time."))
            if piece[0] == STDOUT:
                said += piece[1]
            else:
                self._rest.append(piece)
        line, rest = bytes(said).split(b"\n", 1)
        if not line.startswith(b"\x01"):
            self._channel.close()
            raise GiveUp(
                _n("CommandNotFound"),
                _m("There is no program %(program)s in this instance.", program=program),
                _m("Use one that its image has."),
            )
        self._pid = line[1:].strip().decode("ascii", "replace")
        if rest:
            self._rest.insert(0, (STDOUT, rest))

    def _not_started(self, said: bytes) -> None:
        status = self._channel.status or {}
        words = status.get("message") or said.decode(errors="replace") or "it ended at once"
        if any(part in words for part in _NO_PROGRAM):
            raise GiveUp(
                _n("CommandNotFound"),
                _m("The image has no shell: %(words)s", words=words),
                _m("Use an image with /bin/sh, tar and coreutils."),
            )
        raise Conflict(_m("The command could not be started: %(words)s", words=words))

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            self._channel.send(STDIN, data[start : start + _PIECE])

    def close_input(self) -> None:
        if self._tty:
            self.send(b"\x04")
        elif self._channel.half_close and not self._channel.over:
            self._channel.send(CLOSE, bytes([STDIN]))

    def resize(self, columns: int, rows: int) -> None:
        if self._tty and not self._channel.over:
            self._channel.send(RESIZE, json.dumps({"Width": columns, "Height": rows}).encode())

    def receive(self, timeout: float) -> tuple[Literal["stdout", "stderr"], bytes] | None:
        piece = self._rest.pop(0) if self._rest else self._channel.receive(timeout)
        return (_STREAMS[piece[0]], piece[1]) if piece is not None else None

    @property
    def exit_code(self) -> int | None:
        if not self._channel.over:
            return None
        return self._channel.code if self._channel.code is not None else 137  # ended together with its pod or connection

    def close(self) -> None:
        """The cluster does not end a command whose connection is gone, so it is ended by its number."""
        if self._closed:
            return
        self._closed = True
        running = self._channel.status is None and not self._channel.over
        self._channel.close()
        if running and self._pid.isdigit():
            try:
                killer = self._open(("/bin/sh", "-c", scripts.END, "end", self._pid), False, False)
            except Exception:  # the pod may be gone, and the command with it
                return
            _finish(killer)


def _finish(channel: Channel) -> None:
    """A node that has not begun a command when its connection ends never begins it, so its end is awaited."""
    until = time.monotonic() + _END_SECONDS
    try:
        while time.monotonic() < until:
            channel.receive(1.0)
    except EOFError:
        pass  # it is done
    finally:
        channel.close()


# --------------------------------------------------------------------------------------------------------------------
# Ports
