"""What somebody else saved while a form was open: shown beside what was typed, so that neither is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import request


@dataclass(frozen=True)
class Difference:
    """Where what is stored now is not what was typed."""

    path: str
    now: str
    name: str = ""
    """How people call it, where that is known here."""


@dataclass(frozen=True)
class Stale:
    by: str
    at: datetime | None
    generation: int
    changes: list[Difference]


def read_generation(*, digits: int) -> int | None:
    """What was read before somebody typed, or what they decided to overwrite after having been shown it."""
    text = request.form.get("overwrite") or request.form.get("generation", "")
    return int(text) if text.isdecimal() and len(text) <= digits else None


def flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:200] + "…"
