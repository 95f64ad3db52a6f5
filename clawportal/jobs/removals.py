"""Removes tenants and projects that are being deleted, each once the last of its instances is gone."""

from __future__ import annotations

from clawportal.engine.portal import Portal
from clawportal.services.tenancy import tenants


def remove_once(portal: Portal) -> None:
    tenants.finish_once(portal)
