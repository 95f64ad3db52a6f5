"""Who may run the timers: one lease row, the same SQL on SQLite and PostgreSQL, with an epoch that fences off a former leader."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select, text

from clawportal import clock
from clawportal.db import db, transaction
from clawportal.models import Lease

LEAD = "leader"
"""The lease of whoever runs the timers."""
TTL = timedelta(seconds=15)

_TAKE = text(
    "INSERT INTO lease (name, holder, epoch, expires_at) VALUES (:name, :holder, 1, :expires) "
    "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at, "
    "epoch = CASE WHEN lease.holder = excluded.holder THEN lease.epoch ELSE lease.epoch + 1 END "
    # far ahead: it was written by a clock that has been set back since
    "WHERE lease.holder = excluded.holder OR lease.expires_at < :now OR lease.expires_at > :far RETURNING epoch"
).columns(Lease.epoch)


def take(name: str, holder: str, ttl: timedelta = TTL) -> int | None:
    """Take or renew a lease for so long. Returns its epoch, None when somebody else holds it."""
    now = clock.now().replace(tzinfo=None)
    with transaction():
        values = {"name": name, "holder": holder, "now": now, "expires": now + ttl, "far": now + 4 * max(ttl, TTL)}
        # bound as text on SQLite, in the very form in which the ORM writes times, so that they compare as times
        if db.engine.dialect.name == "sqlite":
            values |= {key: values[key].isoformat(" ", "microseconds") for key in ("now", "expires", "far")}  # type: ignore[attr-defined]
        found: int | None = db.session.scalar(_TAKE, values)
        return found


def holder_of(name: str) -> str:
    """Whoever took it last, also where that has expired; empty where it was given back."""
    return db.session.scalar(select(Lease.holder).where(Lease.name == name)) or ""


def led_by_another(holder: str) -> bool:
    """Whether somebody else runs the timers by now: what takes long ends then."""
    found = holder_of(LEAD)
    return bool(found) and found != holder


def release(name: str, holder: str) -> None:
    with transaction():
        db.session.execute(delete(Lease).where(Lease.name == name, Lease.holder == holder))


def release_all() -> None:
    """After a restart with the data folder to ourselves: every holder is dead."""
    with transaction():
        db.session.execute(delete(Lease))
