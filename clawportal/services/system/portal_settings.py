"""Settings that an administrator changes in the browser: whether first-run is done, and what features keep by their own names."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete

from clawportal import clock
from clawportal.db import db, transaction
from clawportal.models import PortalSetting

SETUP_DONE = "setup_done"


def read(name: str, default: Any = None) -> Any:
    row = db.session.get(PortalSetting, name)
    return default if row is None else row.value


def write(name: str, value: Any) -> None:
    with transaction():
        row = db.session.get(PortalSetting, name)
        if row is None:
            row = PortalSetting(name=name)
            db.session.add(row)
        row.value, row.updated_at = value, clock.now()


def forget(name: str) -> None:
    with transaction():
        db.session.execute(delete(PortalSetting).where(PortalSetting.name == name))
