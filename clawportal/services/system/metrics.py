"""What `/metrics` says: every figure that a feature declares, in the text format of Prometheus."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from clawportal.contracts.features import Feature, Metric
from clawportal.db import db
from clawportal.declarations import resolve
from clawportal.engine.portal import Portal

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

log = logging.getLogger(__name__)

MOST = 1000
"""Values of one metric. More would be one for each thing that people make, which fills the memory of whoever collects them."""
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")

Values = Iterable[tuple[Mapping[str, str], float]]


def exposition(portal: Portal) -> bytes:
    """All metrics. One of a third party's plugin that fails is a fault and left out; one of the portal's own raises."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(list(_families(portal))))
    return generate_latest(registry)


class _Collected:
    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> list[Family]:
        return self._families


def _families(portal: Portal) -> Iterator[Family]:
    for feature in portal.registry.features:
        for metric in feature.metrics:
            family = _tried(portal, feature, metric)
            if family is not None:
                yield family


def _tried(portal: Portal, feature: Feature, metric: Metric) -> Family | None:
    try:
        return _family(metric, resolve(metric.read)(portal))
    except Exception as error:  # whatever a plugin does
        owner = portal.registry.owners[feature.name]
        if portal.registry.bundled(owner):
            raise
        db.session.rollback()
        portal.registry.report(owner, metric.name, f"Its metric {metric.name} cannot be read: {error!r}.")
        return None


def _family(metric: Metric, values: Values) -> Family:
    from prometheus_client.core import Metric as Family

    family = Family(metric.name.removesuffix("_total"), metric.help, metric.kind)
    seen = set[tuple[tuple[str, str], ...]]()
    for labels, value in values:
        given = {name: str(text) for name, text in labels.items()}
        _check(given, seen)
        family.add_sample(metric.name, given, float(value))
    return family


def _check(labels: Mapping[str, str], seen: set[tuple[tuple[str, str], ...]]) -> None:
    wrong = [name for name in labels if not _LABEL.fullmatch(name)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no name of a label")
    key = tuple(sorted(labels.items()))
    if key in seen:
        raise ValueError(f"two values have the labels {labels}")
    seen.add(key)
    if len(seen) > MOST:
        raise ValueError(f"it gives more than {MOST} values; use fewer labels")


def info(_portal: Portal) -> Values:
    """Which version answers."""
    from clawportal import __version__

    return [({"version": __version__}, 1)]
