"""First steps of a portal: a backup that is not old."""

from __future__ import annotations

from collections.abc import Iterable

from clawportal.contracts.core_permissions import PORTAL_ADMIN
from clawportal.contracts.extensions import FirstStep
from clawportal.contracts.permissions import Actor
from clawportal.engine.portal import Portal
from clawportal.messages import _m
from clawportal.services.backup.making import LAST_BACKUP, judged
from clawportal.services.system import portal_settings


def steps(_portal: Portal, actor: Actor) -> Iterable[FirstStep]:
    if not actor.has(PORTAL_ADMIN):
        return
    last = portal_settings.read(LAST_BACKUP)
    yield FirstStep(
        "backup.made",
        _m("A backup"),
        _m("Best once a day, to another machine. Try one out with clawportal backup verify FILE before you need it."),
        bool(last) and judged(last)[0],
        command="clawportal backup FILE",
        order=40,
    )
