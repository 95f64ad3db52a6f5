"""The log of a claw: what its processes write, in files of bounded size. C modules only, as in `supervisor`."""

from __future__ import annotations

import os
import time

from clawportal_process.plain import stamp

LINE_LIMIT = 16 * 1024
READ_SIZE = 64 * 1024
BURST_SECONDS = 5
SPARED = 8 * 1024
"""How many bytes of the latest lines that come too fast may wait for their turn, of each stream."""


class Log:
    """A bounded set of files that never stops the claw: what does not fit is dropped, counted and told."""

    def __init__(self, *, max_bytes: int, files: int, rate: int) -> None:
        self.max_bytes, self.files, self.rate = max_bytes, files, rate
        self.tokens = float(rate * BURST_SECONDS)
        self.refilled = time.monotonic()
        self.too_fast = self.no_space = 0
        self.spared: dict[bytes, list[bytes]] = {}
        self.told = 0.0
        self.why = "no space left on device"
        self.handle = -1
        self.size = 0
        self.torn = self.unlimited = False
        self._open()

    def _open(self) -> None:
        try:
            self.handle = os.open("log", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self.size = os.fstat(self.handle).st_size
            self.torn = bool(self.size) and os.pread(self.handle, 1, self.size - 1) != b"\n"
        except OSError as error:
            self.handle, self.why = -1, (error.strerror or "").lower()

    def feed(self, label: bytes, lines: list[bytes], tag: bytes = b"F") -> bool:
        """Append lines; False when some had to wait or be dropped because they come too fast."""
        self._refill()
        lines = self._after_spared(label, lines, tag)
        cost = len(lines) + (sum(map(len, lines)) >> 10)
        kept = lines if self.unlimited or cost <= self.tokens else self._affordable(lines)
        self._spare(label, lines[len(kept) :], tag)
        if self.no_space:
            self._tell_no_space()  # in the place where the lines are missing, before the room is gone again
        if kept:
            self.tokens -= len(kept) + (sum(map(len, kept)) >> 10)
            head = b"%s %s %s " % (stamp(time.time()), label, tag)
            self._write(head + (b"\n" + head).join(kept) + b"\n", len(kept))
        return len(kept) == len(lines)

    def _after_spared(self, label: bytes, lines: list[bytes], tag: bytes) -> list[bytes]:
        before = self.spared.pop(label, [])
        if tag == b"F":
            return before + lines
        self.too_fast += len(before)
        return lines

    def _spare(self, label: bytes, lines: list[bytes], tag: bytes) -> None:
        """The latest of what comes too fast waits for its turn: it may turn out to be the last words."""
        size, place = 0, len(lines)
        while tag == b"F" and place and size + len(lines[place - 1]) < SPARED:
            place -= 1
            size += len(lines[place]) + 1
        self.too_fast += place
        if place < len(lines):
            self.spared[label] = lines[place:]

    def release(self, label: bytes | None = None) -> None:
        """Write what waited, as far as that is allowed; all of it when its stream has ended."""
        for name in list(self.spared) if label is None else [label]:
            if label is not None:
                self.tell_dropped(now=time.monotonic(), last=True)
            limited, self.unlimited = self.unlimited, self.unlimited or label is not None
            self.feed(name, [])
            self.unlimited = limited

    def _refill(self) -> None:
        now = time.monotonic()
        self.tokens = min(self.rate * BURST_SECONDS, self.tokens + (now - self.refilled) * self.rate)
        self.refilled = now

    def _affordable(self, lines: list[bytes]) -> list[bytes]:
        left = self.tokens
        for position, line in enumerate(lines):
            left -= 1 + (len(line) >> 10)
            if left < 0:
                return lines[:position]
        return lines

    def _write(self, blob: bytes, lines: int) -> None:
        if self.handle < 0:
            self._open()
        if self.handle < 0:
            self.no_space += lines
            return
        if self.size > self.max_bytes:
            self._rotate()
        try:
            blob = b"\n" + blob if self.torn else blob
            written = os.write(self.handle, blob)
        except OSError as error:
            self.no_space += lines
            self.why = (error.strerror or "").lower()
            return
        self.size += written
        self.torn = written < len(blob)
        self.no_space += blob.count(b"\n", written)

    def _rotate(self) -> None:
        try:
            for number in range(self.files - 1, 0, -1):
                older = f"log.{number - 1}" if number > 1 else "log"
                if os.path.exists(older):
                    os.rename(older, f"log.{number}")
            if self.files < 2:
                os.unlink("log")
            os.close(self.handle)
        except OSError:  # cannot even rename: stay bounded all the same
            os.ftruncate(self.handle, 0)
            self.size = 0
            return
        self.handle = -1
        self._open()

    def say(self, text: str) -> None:
        """One line of the portal's own."""
        self._write(b"%s portal supervisor F %s\n" % (stamp(time.time()), text.encode("utf-8", "replace")), 0)

    @property
    def dropped(self) -> int:
        return self.too_fast + self.no_space

    def tell_dropped(self, *, now: float, last: bool = False) -> None:
        """Say how many lines are missing, at most once a second; a line that cannot be written stays to be told."""
        if not self.dropped or (now - self.told < 1 and not last):
            return
        self.told = now
        if self.no_space:
            self._tell_no_space()
        if self.too_fast and not self.no_space:
            count, self.too_fast = self.too_fast, 0
            self._write_report(f"{count} lines were dropped: more than {self.rate} lines a second", count)

    def _tell_no_space(self) -> None:
        count, self.no_space = self.no_space, 0
        self._write_report(f"{count} lines were dropped: {self.why}", count)

    def _write_report(self, text: str, count: int) -> None:
        before = self.no_space
        self._write(b"%s portal supervisor F %s\n" % (stamp(time.time()), text.encode()), count)
        if self.torn:
            self.no_space = before + count


class Stream:
    """One pipe of one process."""

    def __init__(self, handle: int, name: str, process: str) -> None:
        self.handle = handle
        self.label = f"{name} {process}".encode()
        self.rest = b""

    def read(self, log: Log) -> tuple[bool, bool]:
        """Take what is there. Answers: goes on, and was slow enough."""
        try:
            data = os.read(self.handle, READ_SIZE)
        except BlockingIOError:
            return True, True
        if not data:
            log.release(self.label)
            calm = log.feed(self.label, [self.rest]) if self.rest else True
            self.rest = b""
            return False, calm
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        calm = self._feed(lines, log)
        while len(self.rest) > LINE_LIMIT:
            calm &= log.feed(self.label, [self.rest[:LINE_LIMIT]], b"P")
            self.rest = self.rest[LINE_LIMIT:]
        return True, calm

    def _feed(self, lines: list[bytes], log: Log) -> bool:
        if not lines or max(map(len, lines)) <= LINE_LIMIT:
            return log.feed(self.label, lines) if lines else True
        calm = True
        for line in lines:
            while len(line) > LINE_LIMIT:
                calm &= log.feed(self.label, [line[:LINE_LIMIT]], b"P")
                line = line[LINE_LIMIT:]
            calm &= log.feed(self.label, [line])
        return calm
