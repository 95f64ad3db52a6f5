"""First steps of a portal: somebody hears of what goes wrong."""

from __future__ import annotations

from collections.abc import Iterable

from clawportal.contracts.core_permissions import PORTAL_ADMIN
from clawportal.contracts.extensions import FirstStep
from clawportal.contracts.permissions import Actor
from clawportal.engine.portal import Portal
from clawportal.messages import _m
from clawportal.services.notices.routes import NoticeSettings


def steps(portal: Portal, actor: Actor) -> Iterable[FirstStep]:
    if not actor.has(PORTAL_ADMIN):
        return
    yield FirstStep(
        "notices.route",
        _m("Notices to somebody outside"),
        _m("What goes wrong at night is told to a chat or a pager by a route in clawportal.toml; see docs/notices.md."),
        bool(portal.section(NoticeSettings).routes),
        command="[[notices.routes]]",
        order=80,
    )
