"""Open consoles in memory: their scrollback, who is in front of them, and the thread that reads each shell."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field

from clawportal.contracts.permissions import Actor
from clawportal.contracts.runtimes import ExecSession
from clawportal.errors import Conflict, TooManyRequests
from clawportal.messages import _m

log = logging.getLogger(__name__)

SCROLLBACK = 256 * 1024
"""Bytes of output that are shown again after a break."""
IDLE_SECONDS = 1800.0
"""A console in which nobody typed for so long is closed."""
DETACHED_SECONDS = 120.0
"""How long a console without anybody in front of it is kept for them to come back."""
MAX_OF_ONE = 5
MAX_OPEN = 50
"""Each open console costs a process in the claw and a thread here."""

Output = Callable[[bytes], None]
Ended = Callable[[int | None, str], None]


@dataclass
class Console:
    """One open shell."""

    id: str
    instance_id: str
    instance_name: str
    actor: Actor
    session: ExecSession
    opened: float = field(default_factory=time.monotonic)
    touched: float = field(default_factory=time.monotonic)
    left: float | None = None
    """Since when nobody is in front of it."""
    received: int = 0
    typed: int = 0
    """Number of the last piece of input that arrived; a browser that comes back sends what is newer once more."""
    reason: str = ""
    _kept: deque[bytes] = field(default_factory=deque)
    _kept_bytes: int = 0
    _output: Output | None = None
    _ended: Ended | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _typing: threading.Lock = field(default_factory=threading.Lock)

    def attach(self, output: Output, ended: Ended) -> bytes:
        """From now on output goes there; answers what was shown before. Whoever was attached is told that it moved."""
        with self._lock:
            before, self._output, self._ended, self.left = self._ended, output, ended, None
            kept = b"".join(self._kept)
        if before is not None:
            before(None, _m("This console was opened in another window."))
        return kept

    def detach(self, output: Output) -> None:
        with self._lock:
            if self._output == output:
                self._output = self._ended = None
                self.left = time.monotonic()

    def type(self, data: bytes, number: int = 0) -> None:
        """To the shell. A piece with the number of one that arrived before is dropped; 0 is no number."""
        self.touched = time.monotonic()
        with self._typing:
            if number and number <= self.typed:
                return
            try:
                self.session.send(data)
            except OSError as error:
                raise Conflict(_m("The shell has ended. Open a new console.")) from error
            self.typed = max(self.typed, number)

    def resize(self, columns: int, rows: int) -> None:
        self.session.resize(columns, rows)

    def show(self, data: bytes) -> None:
        with self._lock:
            self.received += len(data)
            self._kept.append(data)
            self._kept_bytes += len(data)
            while self._kept_bytes > SCROLLBACK and len(self._kept) > 1:
                self._kept_bytes -= len(self._kept.popleft())
            output = self._output
        if output is not None:
            output(data)

    def over(self, code: int | None) -> None:
        with self._lock:
            ended, self._ended, self._output = self._ended, None, None
        if ended is not None:
            ended(code, self.reason)

    def overdue(self, now: float) -> str:
        """Why it should be closed; empty when it should not."""
        if now - self.touched > IDLE_SECONDS:
            return _m("Nobody typed for %(minutes)s minutes, so the console was closed.", minutes=f"{IDLE_SECONDS / 60:.0f}")
        if self.left is not None and now - self.left > DETACHED_SECONDS:
            return _m("Nobody came back to the console.")
        return ""


class ConsoleHub:
    """All open consoles of this process."""

    def __init__(self) -> None:
        self.context: Callable[[], AbstractContextManager[object]] = nullcontext
        """Opens a session of the database for the thread of a console."""
        self.stopping: Callable[[], bool] = lambda: False
        self._open: dict[str, Console] = {}
        self._lock = threading.Lock()

    def room(self, actor: Actor) -> None:
        """TooManyRequests when there is none for another one."""
        with self._lock:
            if len(self._open) >= MAX_OPEN:
                raise TooManyRequests(_m("Too many consoles are open in this portal. Close one, or try again later."))
            if sum(one.actor.id == actor.id for one in self._open.values()) >= MAX_OF_ONE:
                raise TooManyRequests(_m("You have %(MAX_OF_ONE)s consoles open. Close one first.", MAX_OF_ONE=MAX_OF_ONE))

    def start(self, console: Console, closed: Callable[[Console, int | None], None]) -> None:
        """Begin to read it; `closed` is called when its shell has ended, with the exit code."""
        with self._lock:
            self._open[console.id] = console
        threading.Thread(target=self._read, args=(console, closed), name=f"console-{console.instance_name}", daemon=True).start()

    def get(self, console_id: str) -> Console | None:
        with self._lock:
            return self._open.get(console_id)

    def close(self, console: Console, reason: str = "") -> None:
        """End the shell; the thread that reads it does the rest."""
        console.reason = console.reason or reason
        console.session.close()

    def _read(self, console: Console, closed: Callable[[Console, int | None], None]) -> None:
        code: int | None = None
        try:
            while True:
                piece = console.session.receive(1.0)
                if piece is not None:
                    console.show(piece[1])
                reason = _m("The portal is being stopped.") if self.stopping() else console.overdue(time.monotonic())
                if reason:
                    self.close(console, reason)
        except EOFError:
            code = console.session.exit_code
        except Exception as error:
            console.reason = console.reason or _m("The connection to the shell broke: %(error)s", error=error)
        with self._lock:
            self._open.pop(console.id, None)
        with suppress(Exception):  # it has ended, one way or another
            console.session.close()
        console.over(code)
        try:
            with self.context():
                closed(console, code)
        except Exception:
            log.exception("the end of a console could not be noted")
