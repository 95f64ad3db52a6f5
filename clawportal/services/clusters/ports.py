"""Ports of a shared machine: given once, kept until the instance is destroyed, never given twice."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from sqlalchemy import delete, select

from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.runtimes import Runtime
from clawportal.contracts.workloads import PortSpec
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import GiveUp
from clawportal.messages import _m, _n
from clawportal.models import Instance, PortAllocation
from clawportal.services.clusters import clusters
from clawportal.services.events import event_log


def allocated(instance_id: str) -> dict[str, int]:
    rows = db.session.scalars(select(PortAllocation).where(PortAllocation.instance_id == instance_id))
    return {row.name: row.port for row in rows}


def ensure(portal: Portal, runtime: Runtime, cluster_id: str, instance_id: str, wanted: Iterable[PortSpec]) -> dict[str, int]:
    """The instance's ports; missing ones are given now. A runtime without `allocated-ports` uses the claw's defaults."""
    specs = tuple(wanted)
    if "allocated-ports" not in runtime.capabilities:
        return {spec.name: spec.default for spec in specs}
    have = allocated(instance_id)
    if all(spec.name in have for spec in specs):
        return have
    missing = [spec.name for spec in specs if spec.name not in have]
    free = _free(portal, runtime)
    while missing:
        offered = list(islice(free, len(missing)))  # looked for before the transaction: a machine may be far away
        if not offered:
            raise _none_left(portal)
        given = _give(cluster_id, instance_id, missing, offered)
        have |= given
        missing = [name for name in missing if name not in given]
    return have


def _give(cluster_id: str, instance_id: str, names: Sequence[str], offered: Sequence[int]) -> dict[str, int]:
    """Gives those of the offered ports that no other instance has; returns what was given to which name."""
    with transaction():
        clusters.lock(cluster_id)
        taken = set(db.session.scalars(select(PortAllocation.port).where(PortAllocation.cluster_id == cluster_id)))
        given = dict(zip(names, (port for port in offered if port not in taken), strict=False))
        for name, port in given.items():
            db.session.add(PortAllocation(cluster_id=cluster_id, port=port, instance_id=instance_id, name=name))
    return given


def _free(portal: Portal, runtime: Runtime) -> Iterator[int]:
    """Ports on which nobody listens."""
    first, last = portal.settings.port_bounds
    # from a random point: two portals on one machine, each with its own table, then seldom meet
    start = random.randint(first, last)
    return (port for port in chain(range(start, last + 1), range(first, start)) if runtime.port_free(port))


def _none_left(portal: Portal) -> GiveUp:
    first, last = portal.settings.port_bounds
    return GiveUp(
        _n("NoFreePort"),
        _m("All ports from %(first)s to %(last)s are taken.", first=first, last=last),
        _m("Delete instances that are not needed, or widen CLAWPORTAL_PORT_RANGE and restart the portal."),
    )


def give_up_taken(portal: Portal, runtime: Runtime, instance: Instance) -> None:
    """Nothing of the instance runs, so whoever listens on its ports is a stranger: it gets others instead of never starting."""
    if "allocated-ports" not in runtime.capabilities:
        return
    lost = {name: port for name, port in allocated(instance.id).items() if not runtime.port_free(port)}
    if not lost:
        return
    names = [f"{name} ({port})" for name, port in sorted(lost.items())]
    with transaction():
        db.session.execute(delete(PortAllocation).where(PortAllocation.instance_id == instance.id, PortAllocation.name.in_(lost)))
        event_log.record(
            portal,
            "instance.ports_changed",
            actor=SYSTEM,
            instance=instance,
            level="warning",
            reason=_n("PortTaken"),
            message=_m(
                "Another program listens on the port %(names)s of %(name)s; it gets another one.", names=names, name=instance.name
            ),
        )


def release(instance_id: str) -> None:
    with transaction():
        db.session.execute(delete(PortAllocation).where(PortAllocation.instance_id == instance_id))
