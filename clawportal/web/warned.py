"""What rules in warning mode said to a change that went through, for the message that follows it."""

from __future__ import annotations

from flask import flash

from clawportal.models import Instance
from clawportal.services import policies
from clawportal.web.words import told


def words(instance: Instance) -> str:
    return " ".join(told(verdict.sentence) for verdict in policies.warnings_of(instance))


def tell(instance: Instance) -> None:
    """On the next page."""
    if said := words(instance):
        flash(said, "warning")
