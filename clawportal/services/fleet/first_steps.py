"""First steps: a claw."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from sqlalchemy import select

from clawportal.contracts.core_permissions import INSTANCE_CREATE, INSTANCE_READ
from clawportal.contracts.extensions import FirstStep
from clawportal.contracts.permissions import Actor
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.messages import _m
from clawportal.models import Instance
from clawportal.services.rights import access


def steps(_portal: Portal, actor: Actor) -> Iterable[FirstStep]:
    """For the portal and, where somebody may make one, for a member, who counts what they see."""
    seen = select(Instance.id).where(Instance.destroyed_at.is_(None), access.visible(Instance, actor, INSTANCE_READ)).limit(1)
    done = db.session.scalar(seen) is not None
    yield _first("instances.first", "portal", done)
    if done or actor.has(INSTANCE_CREATE):
        yield _first("instances.own", "team", done)


def _first(name: str, audience: Literal["portal", "team"], done: bool) -> FirstStep:
    why = _m("Three minutes: choose a kind, watch it come up, talk to it.")
    return FirstStep(name, _m("The first claw"), why, done, "web.instance_new", audience=audience, order=75)
