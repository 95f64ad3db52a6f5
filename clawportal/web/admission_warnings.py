"""What was remarked on a change that went through, and what was put right of it: for the message that follows."""

from __future__ import annotations

from flask import flash

from clawportal.http.i18n import translate
from clawportal.models import Instance
from clawportal.services.configuration import catalog
from clawportal.services.fleet import admission


def words(instance: Instance) -> str:
    said = (*(verdict.sentence for verdict in admission.warnings_of(instance)), *catalog.notes_of(instance))
    return " ".join(map(translate, said))


def tell(instance: Instance) -> None:
    """On the next page."""
    if said := words(instance):
        flash(said, "warning")
