"""How many instances and operations there are in which state, for `/metrics`. Every state is told, so that none is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute

from clawportal.contracts.adapters import HealthState
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.lifecycle import Phase
from clawportal.models import Instance, Operation
from clawportal.models.operations import OPEN_STATES

Values = list[tuple[Mapping[str, str], float]]


def instances_by_phase(_portal: Portal) -> Values:
    phases = [phase for phase in Phase if phase != Phase.DESTROYED]
    return _counted("phase", phases, Instance.phase, Instance.destroyed_at.is_(None))


def instances_by_health(_portal: Portal) -> Values:
    return _counted("health", list(HealthState), Instance.health, Instance.destroyed_at.is_(None))


def open_operations(_portal: Portal) -> Values:
    return _counted("state", OPEN_STATES, Operation.state, Operation.state.in_(OPEN_STATES))


def _counted(label: str, known: Iterable[str], column: InstrumentedAttribute[str], where: ColumnElement[bool]) -> Values:
    rows = db.session.execute(select(column, func.count()).where(where).group_by(column))
    found = dict.fromkeys(map(str, known), 0) | {str(state): int(number) for state, number in rows}
    return [({label: state}, number) for state, number in found.items()]
