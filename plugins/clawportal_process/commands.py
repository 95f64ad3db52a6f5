"""Runs a command beside a claw: its supervisor starts it, so that whatever ends or limits the claw holds for the command too."""

from __future__ import annotations

import errno
import fcntl
import marshal
import os
import secrets
import select
import socket
import struct
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import Conflict, GiveUp

_ANSWER_SECONDS = 20.0
_PIECE = 64 * 1024
_HELD = 8 * 1024 * 1024
"""How much output is held for a caller who still sends input."""
_STUCK = 60.0
"""Seconds after which input that the command does not read is given up."""
_LAST_WORDS = 0.3
"""Seconds of silence after the end: a terminal hands its last output over a moment later, and children may keep it open."""
_EXIT = 128
_END_OF_INPUT = b"\x04"

Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True)
class Master:
    """How a supervisor is reached."""

    run: Path
    """Its folder."""
    ask: Callable[[str], bool]
    """Hands it one line; False when nobody listens."""
    alive: Callable[[], bool]


def start(master: Master, argv: Sequence[str], *, tty: bool, size: tuple[int, int]) -> Command:
    """Conflict when the supervisor cannot do it."""
    if not argv or any("\0" in part for part in argv):
        raise GiveUp(_n("InvalidValue"), _m("A command needs at least a program, and no part of it may hold a NUL character."))
    streams = _Streams(tty=tty, size=size)
    try:
        channel = _meet(master)
        try:
            told = {
                "argv": list(argv),
                "env": {"TERM": "xterm-256color"} if tty else {},
                "terminal": termios.TIOCSCTTY if tty else 0,
            }
            _hand_over(channel, told, streams.theirs)
            _started(channel, argv[0])
        except BaseException:
            channel.close()
            raise
    except BaseException:
        streams.close()
        raise
    finally:
        streams.close_theirs()
    return Command(channel, streams)


def _meet(master: Master) -> socket.socket:
    """The supervisor comes to a socket in its own folder; by a descriptor, because the path may be too long for a socket."""
    name = f"exec.{secrets.token_hex(8)}"
    folder = os.open(master.run, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(f"/proc/self/fd/{folder}/{name}")
            try:
                listener.listen(1)
                if not master.ask(f"exec {name}\n"):
                    raise Conflict(_m("It does not run, so that no command can be run in it. Start it first."))
                return _accept(listener, master)
            finally:
                os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)


def _accept(listener: socket.socket, master: Master) -> socket.socket:
    listener.settimeout(0.5)
    until = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < until:
        with suppress(TimeoutError):
            return listener.accept()[0]
        if not master.alive():
            raise Conflict(_m("It has just ended, so that no command can be run in it. Start it first."))
    raise Conflict(_m("It was started by an earlier version of the portal, which cannot run commands in it. Restart it once."))


def _hand_over(channel: socket.socket, told: dict[str, Any], handles: tuple[int, int, int]) -> None:
    memory = os.memfd_create("command")
    try:
        with os.fdopen(os.dup(memory), "wb") as file:
            file.write(marshal.dumps(told, 2))
        os.lseek(memory, 0, os.SEEK_SET)
        socket.send_fds(channel, [b"exec"], [memory, *handles])
    finally:
        os.close(memory)


def _started(channel: socket.socket, program: str) -> None:
    channel.settimeout(_ANSWER_SECONDS)
    raw = channel.recv(4096)
    answer = marshal.loads(raw) if raw else {"errno": errno.ESRCH}  # noqa: S302  # from our own supervisor
    number = answer.get("errno")
    if number is None:
        return
    if number == errno.ESRCH:
        raise Conflict(_m("It is just ending, so that no command can be run in it. Start it first."))
    if number in (errno.ENOENT, errno.ENOTDIR):
        raise GiveUp(
            _n("CommandNotFound"),
            _m("There is no program %(program)s in it.", program=repr(program)),
            _m("Check the name, or give the whole path."),
        )
    raise GiveUp(
        _n("CommandNotExecutable"),
        _m("%(program)s cannot be run: %(strerror)s.", program=repr(program), strerror=os.strerror(number)),
        _m("Choose another program."),
    )


class _Streams:
    """Both ends of what a command reads and writes."""

    def __init__(self, *, tty: bool, size: tuple[int, int]) -> None:
        self.tty = tty
        if tty:
            self.master, slave = os.openpty()
            set_size(self.master, *size)
            self.theirs = (slave, slave, slave)
            self.input = self.master
            self.outputs: dict[int, Stream] = {self.master: "stdout"}
        else:
            in_theirs, self.input = os.pipe()
            out, out_theirs = os.pipe()
            err, err_theirs = os.pipe()
            self.theirs = (in_theirs, out_theirs, err_theirs)
            self.outputs = {out: "stdout", err: "stderr"}
        for handle in {self.input, *self.outputs}:
            os.set_blocking(handle, False)

    def close_theirs(self) -> None:
        for handle in set(self.theirs):
            os.close(handle)
        self.theirs = (-1, -1, -1)

    def close_output(self, handle: int) -> None:
        del self.outputs[handle]
        if handle == self.input:
            self.input = -1
        os.close(handle)

    def close_input(self) -> None:
        if self.input >= 0 and self.input not in self.outputs:
            os.close(self.input)
            self.input = -1

    def close(self) -> None:
        self.close_input()
        for handle in list(self.outputs):
            self.close_output(handle)


def set_size(terminal: int, columns: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", max(1, min(rows, 9999)), max(1, min(columns, 9999)), 0, 0))


class Command:
    """See `clawportal.contracts.runtimes.ExecSession`.

    Nobody holds the lock while waiting, so that a key that is typed never waits for the output that is awaited.
    """

    def __init__(self, channel: socket.socket, streams: _Streams) -> None:
        channel.setblocking(False)
        self._channel, self._streams = channel, streams
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._held: deque[tuple[Stream, bytes]] = deque()
        self._code: int | None = None
        self._ended = 0.0
        self._closed = self._released = False
        self._sending = threading.Lock()
        self._state = threading.Condition(threading.Lock())
        self._waiting = self._receiving = 0

    # ---- in

    def send(self, data: bytes) -> None:
        """Output that comes meanwhile is held, so that a command that answers at once cannot block itself and its caller."""
        with self._sending, self._state:
            left, until = memoryview(data), time.monotonic() + _STUCK
            while left:
                self._must_run()
                try:
                    written = os.write(self._streams.input, left)
                except BlockingIOError:
                    self._wait_for_room(until)
                else:
                    left, until = left[written:], time.monotonic() + _STUCK

    def _must_run(self) -> None:
        self._hear_end()
        if self._closed or self._code is not None or self._streams.input < 0:
            raise BrokenPipeError(errno.EPIPE, "the command has ended, or takes no more input")

    def _wait_for_room(self, until: float) -> None:
        if time.monotonic() > until:
            raise TimeoutError(errno.ETIMEDOUT, "the command does not read its input")
        # whoever receives at the same time takes the output itself
        reading = not self._receiving and sum(len(data) for _, data in self._held) < _HELD
        ready = self._wait(1.0, writing=True, reading=reading)
        if reading and not self._closed:
            self._hold(ready)

    def close_input(self) -> None:
        if self._streams.tty:
            with suppress(OSError):
                self.send(_END_OF_INPUT)
            return
        with self._sending, self._state:
            if not self._closed:
                self._streams.close_input()

    def resize(self, columns: int, rows: int) -> None:
        with self._state:
            if self._streams.tty and self._streams.outputs and not self._closed:
                set_size(self._streams.master, columns, rows)

    # ---- out

    def receive(self, timeout: float) -> tuple[Stream, bytes] | None:
        until = time.monotonic() + timeout
        with self._state:
            self._receiving += 1
            try:
                while not self._closed:
                    if self._held:
                        return self._held.popleft()
                    if self._code is not None and (not self._streams.outputs or self._silent()):
                        break
                    left = until - time.monotonic()
                    waiting = min(left, _LAST_WORDS) if self._code is not None else left
                    self._hold(self._wait(max(waiting, 0.0)))
                    self._hear_end()
                    if not self._held and time.monotonic() >= until and (self._code is None or self._streams.outputs):
                        return None
            finally:
                self._receiving -= 1
        raise EOFError("the command has ended")

    def _silent(self) -> bool:
        """Nothing more comes, although children of it may hold its streams open."""
        return time.monotonic() - self._ended > _LAST_WORDS and not set(self._wait(0.0)) & self._streams.outputs.keys()

    def _hold(self, ready: list[int]) -> None:
        """Keep what can be read now, and wake whoever looked before it was there."""
        for handle in ready:
            piece = self._read(handle) if handle in self._streams.outputs and not self._closed else None
            if piece is not None:
                self._held.append(piece)
        if self._held and self._waiting:
            os.eventfd_write(self._wake, 1)

    def _read(self, handle: int) -> tuple[Stream, bytes] | None:
        try:
            data = os.read(handle, _PIECE)
        except BlockingIOError:
            return None
        except OSError:  # a terminal without any process gives EIO
            data = b""
        if not data:
            self._streams.close_output(handle)
            return None
        return self._streams.outputs[handle], data

    def _wait(self, seconds: float, *, writing: bool = False, reading: bool = True) -> list[int]:
        """What is ready. The lock is let go of meanwhile; `close` leaves every handle open until nobody waits on it."""
        poll = self._poll(writing=writing, reading=reading)
        self._waiting += 1
        self._state.release()
        try:
            ready = [handle for handle, _ in poll.poll(int(seconds * 1000) + (seconds > 0))]
        finally:
            self._state.acquire()
            self._waiting -= 1
            self._state.notify_all()
        if self._wake in ready and not self._closed:
            with suppress(BlockingIOError):  # another has heard it
                os.eventfd_read(self._wake)
        return ready

    def _poll(self, *, writing: bool, reading: bool) -> select.poll:
        poll = select.poll()
        for handle in (self._wake, *((self._channel.fileno(),) if self._code is None else ())):
            poll.register(handle, select.POLLIN)
        for handle in self._streams.outputs if reading else ():
            poll.register(handle, select.POLLIN)
        if writing and self._streams.input >= 0:
            both = select.POLLIN if self._streams.input in self._streams.outputs and reading else 0
            poll.register(self._streams.input, select.POLLOUT | both)
        return poll

    def _hear_end(self) -> None:
        if self._code is not None or self._released:
            return
        try:
            raw = self._channel.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            raw = b""
        # without a word from its supervisor, both were killed from outside
        code = marshal.loads(raw)["code"] if raw else -9  # noqa: S302  # from our own supervisor
        self._ended = time.monotonic()
        self._code = code if code >= 0 else _EXIT - code

    @property
    def exit_code(self) -> int | None:
        with self._state:
            self._hear_end()
        return self._code

    # ---- the end

    def close(self) -> None:
        """The supervisor hears that the channel is gone, and kills the command with all below."""
        with self._state:
            if self._closed:
                return
            self._closed = True
            with suppress(OSError):
                self._channel.shutdown(socket.SHUT_RDWR)
            os.eventfd_write(self._wake, 1)
            self._state.wait_for(lambda: not self._waiting)
            self._hear_end()
            self._released = True
            self._channel.close()
            self._streams.close()
            os.close(self._wake)
