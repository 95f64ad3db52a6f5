"""Settings that an administrator changes in the browser: whether first-run is done, and what features keep by their own names."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import delete, select

from clawportal import clock
from clawportal.db import db, transaction
from clawportal.errors import Conflict
from clawportal.models import PortalSetting

SETUP_DONE = "setup_done"


def read(name: str, default: Any = None) -> Any:
    row = db.session.get(PortalSetting, name)
    return default if row is None else row.value


def write(name: str, value: Any) -> None:
    with transaction():
        _put(db.session.get(PortalSetting, name), name, value)


def replace(name: str, before: Any, value: Any) -> bool:
    """Write where it is still `before`; None: where it is not there. Says whether it was: somebody else may have written."""
    try:
        with transaction():
            row = db.session.get(PortalSetting, name, with_for_update=True)
            if (None if row is None else row.value) != before:
                return False
            _put(row, name, value)
        return True
    except Conflict:  # another process made it at the same moment
        return False


def _put(row: PortalSetting | None, name: str, value: Any) -> None:
    if row is None:
        row = PortalSetting(name=name)
        db.session.add(row)
    row.value, row.updated_at = value, clock.now()


def forget(name: str) -> None:
    with transaction():
        db.session.execute(delete(PortalSetting).where(PortalSetting.name == name))


def forget_others(prefix: str, kept: Collection[str]) -> None:
    """Of those whose names begin so, all but these. Writes only where there is one."""
    found = db.session.scalars(select(PortalSetting.name).where(PortalSetting.name.startswith(prefix, autoescape=True)))
    for name in set(found) - set(kept):
        forget(name)
