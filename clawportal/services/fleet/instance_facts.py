"""Facts about instances that features offer to whoever decides about changes, and reads them here.

Only plain values of the declared type leave this module, so that they can be given to an evaluation outside of this process.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping

from sqlalchemy import select

from clawportal import clock
from clawportal.contracts.features import FactValue, Feature, InstanceFact
from clawportal.db import db
from clawportal.declarations import resolve
from clawportal.engine.portal import Portal
from clawportal.lifecycle import Phase
from clawportal.models import Instance

log = logging.getLogger(__name__)

LONGEST = 1000
"""Characters of a text, and texts of a list."""
NOTHING: Mapping[str, FactValue] = {"bool": False, "int": 0, "double": 0.0, "string": "", "strings": ()}
"""What a fact says of an instance that is new, or of which its feature knows nothing."""


def declared(portal: Portal) -> tuple[InstanceFact, ...]:
    """Those of the features that are loaded."""
    return tuple(fact for feature in portal.registry.features for fact in feature.instance_facts)


def read(portal: Portal, wanted: Iterable[InstanceFact], ids: Collection[str]) -> dict[str, dict[str, FactValue]]:
    """What each of these facts says of each of these instances, by the name of the fact and the id of the instance.

    One call for each fact, whatever the number of instances; the id of one that is new is empty. A fact that cannot be read is
    missing in the answer, so that whoever relies on it can refuse; the plugin that brought it is named among the faults.
    """
    found: dict[str, dict[str, FactValue]] = {}
    known, owners = (
        [one for one in ids if one],
        {fact.name: feature for feature in portal.registry.features for fact in feature.instance_facts},
    )
    for fact in wanted:
        try:
            found[fact.name] = _values(fact, resolve(fact.read)(portal, known) if known else {}, ids)
        except Exception as error:  # whatever a plugin does
            _failed(portal, owners[fact.name], fact, error)
    return found


def _failed(portal: Portal, feature: Feature, fact: InstanceFact, error: Exception) -> None:
    log.exception("the fact %s cannot be read", fact.name)
    portal.registry.report(portal.registry.owners[feature.name], fact.name, f"Its fact {fact.name} cannot be read: {error!r}.")


def _values(fact: InstanceFact, given: Mapping[str, object], ids: Iterable[str]) -> dict[str, FactValue]:
    return {one: _PLAIN[fact.type](given[one]) if one in given else NOTHING[fact.type] for one in ids}


def _of(kind: type, check: Callable[[object], bool] = lambda value: True) -> Callable[[object], FactValue]:
    def plain(value: object) -> FactValue:
        if type(value) is not kind or not check(value):  # a subclass may do anything
            raise TypeError(f"{value!r} is no {kind.__name__}, or too large a one")
        return value  # type: ignore[return-value]  # of the kind

    return plain


def _double(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]  # a number by then
        raise TypeError(f"{value!r} is no number")
    return float(value)  # type: ignore[arg-type]  # as above


_text = _of(str, lambda value: len(str(value)) <= LONGEST)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > LONGEST:
        raise TypeError(f"{value!r} is no list, or too long a one")
    return tuple(str(_text(one)) for one in value)


_PLAIN: Mapping[str, Callable[[object], FactValue]] = {
    "bool": _of(bool), "int": _of(int, lambda value: -(2**63) <= int(value) < 2**63), "double": _double, "string": _text,  # type: ignore[call-overload]  # an int
    "strings": _texts,
}  # fmt: skip


# ---- the core's own


def running(_portal: Portal, ids: Collection[str]) -> dict[str, bool]:
    """Whether it runs just now."""
    query = select(Instance.id, Instance.phase).where(Instance.id.in_(ids))
    return {row.id: row.phase == Phase.RUNNING for row in db.session.execute(query)}


def age_days(_portal: Portal, ids: Collection[str]) -> dict[str, int]:
    """Whole days since it was created."""
    now, query = clock.now(), select(Instance.id, Instance.created_at).where(Instance.id.in_(ids))
    return {row.id: max(0, (now - row.created_at).days) for row in db.session.execute(query)}
