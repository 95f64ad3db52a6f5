"""A program of its own that compiles and evaluates expressions, so that a hostile one can end this process and no other.

Started by `clawportal_policies.expressions` with nothing but the standard library and the CEL engine. It reads one JSON document
a line and answers with one line for each result. The kernel ends it when a request takes more time or memory than allowed.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import resource
import select
import signal
import sys
from datetime import datetime
from typing import Any

MEMORY = 512 * 1024 * 1024
IDLE_SECONDS = 120.0
_PLACE = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?: \(in container ''\))?(?:\n|$)")
_CODE = re.compile(r"^[A-Z_]+: |\s*\[[A-Z_]+\]$")


class Bad(Exception):
    """An expression that cannot be used: a sentence, and where it is wrong."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.where = {"message": message, "line": line, "column": column}


Types = tuple[tuple[str, str], ...]
"""Names of facts with their types."""


@functools.lru_cache(maxsize=8)
def environment(facts: Types = ()) -> Any:
    from cel_expr_python import cel

    kind, text = cel.Type, cel.Type.STRING
    words = kind.Map(text, text)
    variables = {"action": text, "actor": words, "tenant": words, "project": words, "instance": kind.Map(text, kind.DYN)}
    plain = {"bool": kind.BOOL, "int": kind.INT, "double": kind.DOUBLE, "string": text, "strings": kind.List(text)}
    told = {f"facts.{name}": plain[one] for name, one in facts}
    return cel.NewEnv(variables=variables | told | {"now": kind.TIMESTAMP})


def types(request: Any) -> Types:
    return tuple(sorted(request["facts"].items()))


@functools.lru_cache(maxsize=512)
def compiled(expression: str, facts: Types) -> Any:
    try:
        program = environment(facts).compile(expression)
    except RuntimeError as error:
        found = _PLACE.search(str(error))
        if found is None:
            raise Bad(_CODE.sub("", str(error)).strip()) from error
        raise Bad(found[3].strip(), max(0, int(found[1])), max(0, int(found[2]))) from error
    if (kind := program.return_type().name()) not in ("BOOL", "DYN"):
        raise Bad(f"it gives {kind.lower()}, and has to give true or false", 1, 1)
    return program


def check(request: Any) -> None:
    try:
        compiled(request["expression"], types(request))
        answer({"ok": True})
    except Bad as bad:
        answer({"ok": False, **bad.where})


def evaluate(request: Any) -> None:
    """One line for each expression on each document, so that it is known which of them took the time."""
    for document in request["documents"]:
        given = numbers(document) | {"now": datetime.fromisoformat(document["now"])}
        given |= {f"facts.{name}": value for name, value in given.pop("facts", {}).items()}
        for expression in request["expressions"]:
            answer(one(expression, given, types(request)))


def one(expression: str, given: dict[str, Any], facts: Types) -> dict[str, Any]:
    try:
        value = compiled(expression, facts).eval(data=given)
    except Bad as bad:
        return {"message": str(bad)}
    except (RuntimeError, ValueError, TypeError, OverflowError, MemoryError) as error:
        return {"message": _CODE.sub("", str(error)).strip() or type(error).__name__}
    found = value.plain_value()
    if value.type().name() == "BOOL":
        return {"value": bool(found)}
    if value.type().name() == "ERROR" or not isinstance(found, bool):
        said = str(found) if value.type().name() == "ERROR" else "it gives neither true nor false"
        return {"message": _CODE.sub("", said).strip()[:300]}
    return {"value": found}


def numbers(value: Any) -> Any:
    """JSON knows larger whole numbers than CEL."""
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    return float(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


def answer(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # macOS knows no such limit; the one of time holds everywhere
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        environment()
    except ImportError as error:
        answer({"ready": False, "message": str(error)})
        return
    answer({"ready": True})
    while select.select([sys.stdin], [], [], IDLE_SECONDS)[0]:
        line = sys.stdin.readline()
        if not line:
            return
        request = json.loads(line)
        # computing time, not time by the clock: a busy machine makes nothing fail. Nobody handles the signal, so it ends us
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        {"check": check, "evaluate": evaluate}[request["do"]](request)
        signal.setitimer(signal.ITIMER_PROF, 0)
        answer({"done": True})


if __name__ == "__main__":
    main()
