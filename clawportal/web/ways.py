"""How people reach a claw, in words for its page: what its addresses are good for, its own page, and the chat here."""

from __future__ import annotations

from clawportal.lifecycle import Phase
from clawportal.models import Instance
from clawportal.web import menu
from clawportal.web.rows import InstanceRow
from clawportal.web.words import gettext as _


def words(found: Instance, row: InstanceRow) -> dict[str, str]:
    return {"addresses": _addresses(found, row), "reached": _reached(found, row) if found.phase == Phase.RUNNING else ""}


def _addresses(found: Instance, row: InstanceRow) -> str:
    if found.phase != Phase.RUNNING:
        return _("It listens nowhere at the moment; addresses show up when it runs.")
    if not row.endpoints:
        return _("It has no address outside of the place where it runs.")
    if found.spec.get("expose"):
        return _("These addresses answer on every network that this machine is in.")
    return _("These addresses work on the machine where the claw runs.")


def _reached(found: Instance, row: InstanceRow) -> str:
    """Only what whoever reads it may do."""
    talks = any(tab.can == "chat" for tab in menu.tabs_of(found, row))
    if menu.opens(found):
        if talks:
            return _("People open its own page above, or talk to it in the chat here.")
        return _("People open its own page above.")
    return _("People talk to it in the chat here.") if talks else ""
