"""The checklist of first steps: what is done is found out each time; what is not for this portal is said once, by somebody."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from clawportal.sdk import _m
from clawportal.sdk.data import db, require, transaction
from clawportal.sdk.errors import NotFound
from clawportal.sdk.events import record
from clawportal.sdk.features import FIRST_STEPS, FirstStep
from clawportal.sdk.fleet import Portal
from clawportal.sdk.permissions import PORTAL_ADMIN, Actor, Scope
from clawportal_checklist.models import WHOLE, Mark

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    step: FirstStep
    mark: Mark | None
    """Who said that it is not for this portal."""

    @property
    def open(self) -> bool:
        return not self.step.done and self.mark is None


@dataclass(frozen=True)
class Checklist:
    audience: str
    items: Sequence[Item]
    put_aside: Mark | None
    """The whole of it, by whom."""

    @property
    def done(self) -> int:
        return sum(item.step.done for item in self.items)

    @property
    def shown(self) -> bool:
        """Whether it is still on the home page."""
        return self.put_aside is None and any(item.open for item in self.items)


def audience_of(actor: Actor) -> str:
    return "portal" if actor.has(PORTAL_ADMIN) else "team"


def on_home(portal: Portal, actor: Actor) -> Checklist | None:
    """None where nothing is left to do. A portal that put it aside pays for one statement, not for each step."""
    audience = audience_of(actor)
    if audience == "portal" and db.session.get(Mark, WHOLE) is not None:
        return None
    found = of(portal, actor)
    return found if found.shown else None


def of(portal: Portal, actor: Actor) -> Checklist:
    audience = audience_of(actor)
    marks = {row.name: row for row in db.session.scalars(select(Mark))} if audience == "portal" else {}
    steps = sorted(_steps(portal, actor, audience), key=lambda step: (step.order, step.name))
    return Checklist(audience, [Item(step, marks.get(step.name)) for step in steps], marks.get(WHOLE))


def _steps(portal: Portal, actor: Actor, audience: str) -> list[FirstStep]:
    """A feature that cannot say costs its own steps only."""
    found: list[FirstStep] = []
    for read in portal.registry.targets(FIRST_STEPS):
        try:
            found += [step for step in read(portal, actor) if step.audience == audience]
        except Exception:  # whatever a plugin does
            log.exception("first steps of %s cannot be read", getattr(read, "__module__", read))
            db.session.rollback()
    return found


def put_aside(portal: Portal, actor: Actor, name: str, aside: bool) -> None:
    """Say that a step, or with `*` all of it, is not for this portal; or take it up again. Saying it twice is no fault."""
    require(actor, PORTAL_ADMIN, Scope())
    if name != WHOLE and name not in {item.step.name for item in of(portal, actor).items}:
        raise NotFound(_m("There is no first step %(name)s. `GET /checklist` tells which there are.", name=repr(name)))
    with transaction():
        row = db.session.get(Mark, name, with_for_update=True)
        if (row is not None) is aside:
            return
        if aside:
            db.session.add(Mark(name=name, marked_by=actor.name))
            said = _m("%(actor)s put the first step %(name)s aside.", actor=actor.name, name=name)
        else:
            db.session.delete(row)
            said = _m("%(actor)s took the first step %(name)s up again.", actor=actor.name, name=name)
        data: dict[str, Any] = {"checklist_id": name}
        record(portal, "checklist.put_aside" if aside else "checklist.taken_up", actor=actor, message=said, data=data)
