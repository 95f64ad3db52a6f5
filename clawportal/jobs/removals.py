"""Removes tenants and projects that are being deleted, each once the last of its instances is gone."""

from __future__ import annotations

from clawportal.engine.portal import Portal
from clawportal.services.fleet import removals


def remove_once(portal: Portal) -> None:
    removals.finish_once(portal)
