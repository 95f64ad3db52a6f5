"""What came of a test, as a part of a page: in the form of a claw and in that of a stored key, which stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import render_template

from clawportal.sdk.errors import Conflict, Invalid
from clawportal_providers.probe import Model

SHOWN = 500
"""Models of a list that are shown at once."""


def shown(ask: Callable[[], dict[str, Any]], field: str) -> str:
    """`ask` gives `report`, or `listed(...)`; `field`: id of the one that a picked model fills."""
    try:
        found = ask()
    except Invalid as problem:
        found = {"problem": problem, "errors": problem.errors}
    except Conflict as problem:
        found = {"problem": problem}
    given: dict[str, Any] = {"report": None, "models": None, "errors": (), "field": field}
    return render_template("credentials/_outcome.html", **(given | found))


def listed(found: list[Model], search: str) -> dict[str, Any]:
    return {"models": found[:SHOWN], "count": len(found), "search": search}
