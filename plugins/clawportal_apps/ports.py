"""Ports of the portal's own host for pages that can have no host name: each belongs to one page, for good.

What a page leaves in a browser, such as a worker that answers for it, stays at its port. So none is ever given to another page,
even when the claw is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from sqlalchemy import select

from clawportal.sdk import _m
from clawportal.sdk.data import db, transaction
from clawportal.sdk.errors import Conflict
from clawportal.sdk.fleet import Instance, Portal
from clawportal_apps.models import AppPort
from clawportal_apps.names import App
from clawportal_apps.settings import AppSettings


def listeners(portal: Portal) -> Iterable[int]:
    return portal.section(AppSettings).port_numbers


def origin(portal: Portal, instance: Instance, app: App, portal_url: str) -> str:
    """Where a browser finds a page that finds the portal at `portal_url`; the page gets a port now if it has none."""
    with transaction():
        row = db.session.scalar(select(AppPort).where(AppPort.instance_id == app.instance_id, AppPort.name == app.port))
        if row is None:
            row = AppPort(port=_free(portal), tenant_id=instance.tenant_id, instance_id=app.instance_id, name=app.port)
            db.session.add(row)
        number = row.port
    parts = urlsplit(portal_url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{number}"


def _free(portal: Portal) -> int:
    taken = set(db.session.scalars(select(AppPort.port)))
    found = next((port for port in portal.section(AppSettings).port_numbers if port not in taken), None)
    if found is None:
        raise Conflict(
            _m("All ports for pages of claws are given away. Widen CLAWPORTAL_APPS_PORTS, or set CLAWPORTAL_APPS_DOMAIN.")
        )
    return found


def app_at(number: int) -> App | None:
    row = db.session.get(AppPort, number)
    return App(row.instance_id, row.name) if row else None
