"""Secrets of instances: sealed when they come in, opened only on their way into a claw, otherwise just names."""

from __future__ import annotations

import secrets as random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, update

from clawportal import clock
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.models import InstanceSecret

MAX_BYTES = 100_000
MODEL_KEY = "model_api_key"
"""The key of the model provider."""


@dataclass(frozen=True)
class SecretInfo:
    """That a secret exists; never what it is."""

    name: str
    generated: bool
    updated_at: datetime
    goes_to: str | None = None
    """The address that it was entered for; None where that makes no difference, or was not noted yet."""


def _place(instance_id: str, name: str) -> str:
    return f"instance:{instance_id}/secret:{name}"


def store(
    portal: Portal,
    instance_id: str,
    values: Mapping[str, str],
    *,
    generated: bool = False,
    go_to: Mapping[str, str] | None = None,
) -> None:
    """Seal and keep; an empty value takes the secret away. `go_to`: the addresses that they were entered for, by name."""
    with transaction():
        for name, value in values.items():
            row = db.session.get(InstanceSecret, (instance_id, name))
            if not value:
                if row is not None:
                    db.session.delete(row)
                continue
            if row is None:
                row = InstanceSecret(instance_id=instance_id, name=name)
                db.session.add(row)
            row.sealed, row.generated, row.updated_at = (
                portal.keyring.seal(value, _place(instance_id, name)),
                generated,
                clock.now(),
            )
            row.goes_to = (go_to or {}).get(name)


def generate_missing(portal: Portal, instance_id: str, names: Iterable[str]) -> None:
    """Make up the secrets that a claw needs for itself, such as its access token; each only once."""
    with transaction():
        missing = set(names) - {info.name for info in listing(instance_id)}
        store(portal, instance_id, {name: random.token_urlsafe(32) for name in missing}, generated=True)


def note_destinations(instance_id: str, go_to: Mapping[str, str]) -> None:
    """What was not noted when they were entered."""
    for name, address in go_to.items():
        which = (InstanceSecret.instance_id == instance_id, InstanceSecret.name == name)
        db.session.execute(update(InstanceSecret).where(*which).values(goes_to=address))


def listing(instance_id: str) -> list[SecretInfo]:
    rows = db.session.scalars(
        select(InstanceSecret).where(InstanceSecret.instance_id == instance_id).order_by(InstanceSecret.name)
    )
    return [SecretInfo(row.name, row.generated, row.updated_at, row.goes_to) for row in rows]


def open_all(portal: Portal, instance_id: str, names: Collection[str] | None = None) -> dict[str, str]:
    """The values. Only for a runtime that starts the claw, and for the portal's own calls to it. None: of all names."""
    query = select(InstanceSecret).where(InstanceSecret.instance_id == instance_id)
    rows = db.session.scalars(query if names is None else query.where(InstanceSecret.name.in_(names)))
    return {row.name: portal.keyring.open(row.sealed, _place(instance_id, row.name)) for row in rows}


def forget(instance_id: str) -> None:
    with transaction():
        db.session.execute(delete(InstanceSecret).where(InstanceSecret.instance_id == instance_id))


def reseal(portal: Portal) -> int:
    """Move every secret to the newest key; returns how many were moved. Can be called again after a crash."""
    with transaction():
        stale = [row for row in db.session.scalars(select(InstanceSecret)) if not portal.keyring.is_current(row.sealed)]
        for row in stale:
            place = _place(row.instance_id, row.name)
            row.sealed = portal.keyring.seal(portal.keyring.open(row.sealed, place), place)
    return len(stale)
