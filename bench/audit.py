"""What an entry of the audit costs a change, and how fast the chain is read, searched and verified as it grows."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask

from clawportal.app import create_app, prepare_rows
from clawportal.contracts.permissions import SYSTEM, Actor
from clawportal.db import db, transaction
from clawportal.models import Tenant
from clawportal.origin import Origin, during
from clawportal.services.audit import chain, trail
from clawportal.services.events import event_log
from clawportal.settings import Settings

CHANGES = 400
SIZES = (1_000, 10_000, 100_000)
_WHO = Actor("bench", "bench")


def run() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(data_dir=Path(folder), jobs=False, log_level="error"))
        with app.app_context():
            db.create_all()
            prepare_rows()
            rows = _changes(app)
            have = CHANGES
            for size in SIZES:
                _seed(have, size)
                have = size
                rows += _reads(size)
            db.engine.dispose()
    return rows


def _changes(app: Flask) -> list[dict[str, Any]]:
    """The same small change with and without an entry, in turns, so that both meet the same machine."""
    taken: dict[str, list[float]] = {"a change without entry": [], "a change with entry": []}
    for number in range(CHANGES):
        for what, times in taken.items():
            begun = time.perf_counter()
            if what.endswith("with entry"):
                with during(Origin("api", "192.0.2.1", "bench", "request")):
                    _change(app, f"w{number}", _WHO)
            else:
                _change(app, f"o{number}", SYSTEM)
            times.append(1000 * (time.perf_counter() - begun))
    return [{"what": what, "entries": CHANGES, "p50 ms": _ms(times)} for what, times in taken.items()]


def _change(app: Flask, name: str, actor: Actor) -> None:
    with transaction():
        db.session.add(Tenant(name=name))
        event_log.record(app.extensions["clawportal"], "tenant.created", actor=actor, message=f"{name} was created.")


def _seed(have: int, wanted: int) -> None:
    for start in range(have, wanted, 1000):
        with transaction():
            for number in range(start, min(start + 1000, wanted)):
                before, after = {"spec.model.name": f"m{number}"}, {"spec.model.name": f"m{number + 1}"}
                trail.note(trail.Pending("instance.update", _WHO, "instance", f"i{number % 500}", before=before, after=after))


def _reads(size: int) -> list[dict[str, Any]]:
    filters = {
        "first page": trail.Filters(),
        "page by text": trail.Filters(text="nothing-such"),
        "page by actor": trail.Filters(actor="bench"),
    }
    found = [
        {"what": what, "entries": size, "p50 ms": _ms([_timed(_page, given) for _ in range(5)])}
        for what, given in filters.items()
    ]
    taken = _timed(chain.verify)
    return [*found, {"what": "verify", "entries": size, "p50 ms": round(taken, 1), "entries/s": round(1000 * size / taken)}]


def _page(filters: trail.Filters) -> None:
    trail.listing(SYSTEM, filters)
    db.session.rollback()


def _timed(work: Callable[..., object], *arguments: object) -> float:
    begun = time.perf_counter()
    work(*arguments)
    return 1000 * (time.perf_counter() - begun)


def _ms(times: list[float]) -> float:
    return round(statistics.median(times), 2)
