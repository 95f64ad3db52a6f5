"""Streams of the engine: the frames in which it mixes output and errors, and a command that runs in a container."""

from __future__ import annotations

import queue
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from clawportal.sdk import bounded
from clawportal_docker.errors import BROKEN

if TYPE_CHECKING:
    import docker

Stream = Literal["stdout", "stderr"]
_HEADER = struct.Struct(">BxxxL")
_PIECE = 64 * 1024


def frames(read: Callable[[int], bytes]) -> Iterator[tuple[Stream, bytes]]:
    """Pieces of a multiplexed stream, until it ends. `read` gives at most so many bytes, and none at the end."""
    while True:
        header = _exactly(read, _HEADER.size)
        if len(header) < _HEADER.size:
            return
        kind, size = _HEADER.unpack(header)
        while size:
            piece = _exactly(read, min(size, _PIECE))
            if not piece:
                return
            size -= len(piece)
            yield "stderr" if kind == 2 else "stdout", piece


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = read(size - len(found))
        if not piece:
            return found
        found += piece
    return found


def _size(item: Any) -> int:
    """Of a line of a log, or of a frame with its stream."""
    text = getattr(item, "text", None) or (item[1] if isinstance(item, tuple) else b"")
    return len(text) + 200


class Pump:
    """Reads a blocking iterator in a thread of its own, so that whoever waits can also look at other things."""

    END = object()

    def __init__(self, source: Iterator[Any], close: Callable[[], None], *, ahead: int = 256) -> None:
        self._queue = bounded.SizedQueue[Any](ahead, 4 * bounded.MIB, _size)
        self._close = close
        self._over = threading.Event()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(source,), name="docker-stream", daemon=True)
        self._thread.start()

    def _run(self, source: Iterator[Any]) -> None:
        try:
            for item in source:
                if not self._put(item):
                    return
        except (*BROKEN, ValueError, AttributeError) as error:  # closing under a reader looks like anything
            if not self._over.is_set():
                self.error = error
        finally:
            self._put(self.END)

    def _put(self, item: Any) -> bool:
        while not self._over.is_set():
            try:
                self._queue.put(item, timeout=0.5)
                return True
            except queue.Full:
                continue
        return False

    def get(self, timeout: float) -> Any:
        """The next item, None when there was none in time, `Pump.END` (again and again) when all is over."""
        try:
            item = self._queue.get(timeout)
        except queue.Empty:
            return None if self._thread.is_alive() or not self._queue.empty() else self.END
        return item

    def close(self) -> None:
        self._over.set()
        with suppress(*BROKEN, ValueError, AttributeError):
            self._close()


class Exec:
    """See `contracts.runtimes.ExecSession`. The command writes its own process id to a file, by which `close` can end it."""

    def __init__(self, client: docker.APIClient, exec_id: str, sock: Any, *, tty: bool, end: Callable[[], None]) -> None:
        self._client, self._id, self._tty, self._end = client, exec_id, tty, end
        self._sock: socket.socket = getattr(sock, "_sock", sock)
        self._sock.settimeout(None)
        self._holder = sock
        self._code: int | None = None
        self._closed = False
        self._lock = threading.Lock()
        source = frames(self._read) if not tty else self._plain()
        self._pump = Pump(source, self._shut)

    def _read(self, size: int) -> bytes:
        try:
            return self._sock.recv(size)
        except OSError:
            return b""

    def _plain(self) -> Iterator[tuple[Stream, bytes]]:
        while piece := self._read(_PIECE):
            yield "stdout", piece

    def _shut(self) -> None:
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        for one in (self._sock, self._holder):
            with suppress(OSError, AttributeError):
                one.close()

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def close_input(self) -> None:
        with suppress(OSError):
            if self._tty:
                self._sock.sendall(b"\x04")
            else:
                self._sock.shutdown(socket.SHUT_WR)

    def resize(self, columns: int, rows: int) -> None:
        if self._tty and self._code is None:
            with suppress(*BROKEN):
                self._client.exec_resize(self._id, height=rows, width=columns)

    def receive(self, timeout: float) -> tuple[Stream, bytes] | None:
        found = self._pump.get(timeout)
        if found is Pump.END:
            raise EOFError
        return found  # type: ignore[no-any-return]  # a frame, or None

    @property
    def exit_code(self) -> int | None:
        if self._code is None and not self._closed:
            with suppress(*BROKEN):
                told = self._client.exec_inspect(self._id)
                self._code = None if told["Running"] else told["ExitCode"]
        return self._code

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            if self.exit_code is None:
                with suppress(*BROKEN):
                    self._end()
            self._closed = True
        self._pump.close()
