"""Expressions in CEL, compiled and evaluated in a process of their own that may take only so much time and memory.

The engine is cel-expr-python: it is made by the people of CEL on their C++ implementation, checks names and types before anything
runs, tells the position of an error, counts iterations, matches by RE2, and loads in 5 ms without further packages. `cel-python`
is pure Python, slower by orders of magnitude, and `common-expression-language` loads in 230 ms; neither stops an expression that
runs for minutes. This one does not bound all of it either: nested lists can still be made to take seconds. So whatever is
evaluated here can at most end a helper process, which starts with the first expression and ends when none came for a while.
"""

from __future__ import annotations

import atexit
import json
import logging
import selectors
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clawportal.sdk import _m
from clawportal.sdk.programs import script, script_environment

if TYPE_CHECKING:
    from clawportal.sdk.jobs import Portal

log = logging.getLogger(__name__)

SECONDS = 0.5
"""Of computing, for all expressions that look at one change."""
BATCH_SECONDS = 3.0
"""The same where many instances are looked at."""
_PATIENCE = 30.0
"""By the clock: only for a machine that is too busy to compute at all."""
_WORKER = Path(__file__).with_name("_cel_worker.py")
MISSING = _m("Expressions are not available on this machine: the package cel-expr-python is not installed.")
UNSTARTED = _m("The helper process for expressions cannot be started; the portal's log says why.")


@dataclass(frozen=True)
class Result:
    """True or false, or None and why there is neither."""

    value: bool | None
    error: str = ""


@dataclass(frozen=True)
class Flaw:
    """Why an expression cannot be used; line and column begin at 1, and are 0 where no place is to blame."""

    message: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return (
            _m("Line %(line)s, column %(column)s: %(flaw)s.", line=self.line, column=self.column, flaw=self.message)
            if self.line
            else f"{self.message}."
        )


class _Gone(Exception):
    """The helper ended or does not answer."""


class _Unavailable(Exception):
    """There can be no helper: a sentence."""


class Evaluator:
    """The helper process. Any thread may ask; one request is answered after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""

    def check(self, expression: str, facts: Mapping[str, str] | None = None) -> Flaw | None:
        """What is wrong with an expression, before anything is evaluated. `facts`: the types of those that it may name."""
        request = {"do": "check", "expression": expression, "facts": dict(facts or {}), "seconds": SECONDS}
        with self._lock:
            try:
                answers = self._ask(request, 1)
            except _Unavailable as problem:
                return Flaw(str(problem).rstrip("."))
        if not answers:
            return Flaw("it takes too long to read it; make it shorter")
        found = answers[0]
        return None if found["ok"] else Flaw(found["message"].rstrip("."), found["line"], found["column"])

    def evaluate(
        self,
        expressions: Sequence[str],
        documents: Sequence[dict[str, Any]],
        seconds: float = SECONDS,
        facts: Mapping[str, str] | None = None,
    ) -> list[list[Result]]:
        """Each expression on each document. What took all the time is told, and what then had none left."""
        wide = len(expressions)
        if not wide or not documents:
            return [[] for _ in documents]
        with self._lock:
            request = {
                "do": "evaluate", "expressions": expressions, "documents": documents, "seconds": seconds,
                "facts": dict(facts or {}),
            }  # fmt: skip
            try:
                answers = self._ask(request, wide * len(documents))
            except _Unavailable as problem:
                return [[Result(None, str(problem))] * wide for _ in documents]
        found = [Result(answer.get("value"), answer.get("message", "")) for answer in answers]
        if len(found) < wide * len(documents):
            found.append(Result(None, _m("It takes more than %(seconds)s s or too much memory.", seconds=f"{seconds:g}")))
        rest = Result(None, "Another expression used up the time.")
        found += [rest] * (wide * len(documents) - len(found))
        return [found[at : at + wide] for at in range(0, len(found), wide)]

    def close(self) -> None:
        with self._lock:
            self._end()

    # ---- the helper

    def _ask(self, request: dict[str, Any], number: int) -> list[dict[str, Any]]:
        """The answers that came before the helper was done, or was ended. Asked again where it had ended before."""
        line = json.dumps(request).encode() + b"\n"
        for attempt in (1, 2):
            fresh = self._ready()
            deadline, answers = time.monotonic() + _PATIENCE, []
            try:
                self._write(line)
                for _ in range(number):
                    answers.append(self._read(deadline))
                self._read(deadline)
                return answers
            except _Gone:
                self._end()
                if answers or fresh or attempt == 2:
                    return answers
        return []

    def _ready(self) -> bool:
        """A helper that runs; whether it was started just now."""
        if self._process is not None and self._process.poll() is None:
            return False
        self._end()
        try:
            self._process = _start()
            hello = self._read(time.monotonic() + _PATIENCE)
        except (_Gone, OSError) as error:
            self._end()
            log.warning("the helper for expressions cannot be started: %r", error)
            raise _Unavailable(UNSTARTED) from error
        if not hello["ready"]:
            self._end()
            log.warning("expressions cannot be evaluated: %s", hello["message"])
            raise _Unavailable(MISSING)
        return True

    def _write(self, line: bytes) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except OSError as error:
            raise _Gone from error

    def _read(self, deadline: float) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not waiting.select(max(0.0, deadline - time.monotonic())):
                    raise _Gone
                piece = self._process.stdout.read1(65536)  # type: ignore[attr-defined]  # a pipe is buffered
                if not piece:
                    raise _Gone
                self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def _end(self) -> None:
        process, self._process, self._buffer = self._process, None, b""
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass  # what was not sent any more has no reader


def _start() -> subprocess.Popen[bytes]:
    """Without the portal's environment, session and folder: nothing of the portal is there to be found."""
    return subprocess.Popen(
        script(_WORKER), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        cwd="/", env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **script_environment()}, start_new_session=True,
    )  # fmt: skip


EVALUATOR = Evaluator()
"""The one of this process."""
atexit.register(EVALUATOR.close)


def end(_portal: Portal) -> None:
    """The helper ends with the portal; the next expression starts another one."""
    EVALUATOR.close()
