"""What the portal finds when it looks at itself. Plugins are asked once a minute: some of their checks start processes."""

from __future__ import annotations

import threading
import time

from clawportal.contracts.core_permissions import PORTAL_READ
from clawportal.contracts.doctor import DoctorResult
from clawportal.contracts.extensions import HEALTH_FINDINGS
from clawportal.contracts.permissions import Actor
from clawportal.contracts.runtimes import Capacity
from clawportal.http.security import portal
from clawportal.messages import _m
from clawportal.models import Cluster
from clawportal.models.clusters import HEALTHY, UNREACHABLE
from clawportal.services.audit import chain
from clawportal.services.clusters import clusters
from clawportal.services.system import trusted_clock

_FRESH = 60.0
_lock = threading.Lock()
_kept: dict[str, tuple[float, list[DoctorResult]]] = {}


def everything() -> list[DoctorResult]:
    """Findings of all plugins, and of the portal about its own parts."""
    return [*_of_plugins(), *_audit(), *_of_features(), *(_reachable(cluster) for cluster in clusters.everything())]


def wrong(actor: Actor) -> list[DoctorResult]:
    """What is not well; only for those who look after the portal."""
    if not actor.has(PORTAL_READ):
        return []
    return [finding for finding in [*_of_plugins(), *_audit(), *_of_features()] if not finding.ok]


def _audit() -> list[DoctorResult]:
    """What keeps the audit from being whole, or old things from being deleted."""
    found = []
    if (broken := chain.known_break()) is not None:
        message = _m(
            "The audit is broken at entry %(broken)s: its head was not the one that this portal had signed.", broken=broken
        )
        remedy = _m("Look into it on the page of the audit, and acknowledge it there.")
        found.append(DoctorResult(_m("audit"), False, message, remedy))
    if ahead := trusted_clock.ahead():
        remedy = _m("Correct the clock; or, if it is right, run: clawportal audit confirm-clock")
        found.append(DoctorResult(_m("clock"), False, trusted_clock.sentence(ahead), remedy))
    return found


def _of_plugins() -> list[DoctorResult]:
    folder = str(portal().settings.data_dir)
    with _lock:
        at, found = _kept.get(folder, (0.0, []))
        if not at or time.monotonic() - at > _FRESH:
            registry = portal().registry
            found = [*registry.items("doctor_checks", data_dir=folder), *registry.findings()]
            _kept.clear()
            _kept[folder] = (time.monotonic(), found)
    return list(found)


def _of_features() -> list[DoctorResult]:
    """What features find about themselves in this process."""
    return [finding for target in portal().registry.targets(HEALTH_FINDINGS) for finding in target(portal())]


def _reachable(cluster: Cluster) -> DoctorResult:
    name, problem = _m("cluster %(name)s", name=cluster.title or cluster.name), capacity(cluster)[1]
    good = _m("It answers.") if cluster.health == HEALTHY else _m("It was not asked yet.")
    return DoctorResult(name, not problem, problem or good, _m("Check that the place is up and its settings are right."))


def capacity(cluster: Cluster) -> tuple[Capacity | None, str]:
    """What a place had to give when it was looked at last, or why it cannot be told. It is not asked: it may hang."""
    known = Capacity(**cluster.capacity) if cluster.capacity else None
    return known, cluster.health_message if cluster.health == UNREACHABLE else ""
