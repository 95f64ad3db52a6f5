"""Tries a connection and says what is missing, before anything is stored and without touching what is connected."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clawportal.contracts.core_permissions import CLUSTER_MANAGE
from clawportal.contracts.doctor import DoctorResult
from clawportal.contracts.permissions import Actor, Scope
from clawportal.contracts.runtimes import Runtime
from clawportal.engine.connections import Target
from clawportal.engine.portal import Portal
from clawportal.errors import FieldError, Invalid, Problem, TooManyRequests
from clawportal.ids import new_id
from clawportal.messages import _m, joined
from clawportal.models import Cluster
from clawportal.redact import Masker
from clawportal.services.clusters import clusters
from clawportal.services.rights import access

log = logging.getLogger(__name__)

AT_A_TIME = 4
_running = threading.BoundedSemaphore(AT_A_TIME)


@dataclass(frozen=True)
class Report:
    """What a test found."""

    ok: bool
    version: str
    findings: tuple[DoctorResult, ...]


def try_new(portal: Portal, actor: Actor, kind: str, settings: Mapping[str, Any], secrets: Mapping[str, str | None]) -> Report:
    """With what somebody entered for a new cluster."""
    access.require(actor, CLUSTER_MANAGE, Scope())
    return _try(portal, "trial", kind, *_accepted(portal, kind, settings, secrets, {}))


def try_stored(
    portal: Portal, actor: Actor, cluster_id: str, settings: Mapping[str, Any] | None = None,
    secrets: Mapping[str, str | None] | None = None,
) -> Report:  # fmt: skip
    """With what is stored, or with what somebody is about to change; secrets that they left empty are those that are stored."""
    cluster = clusters.get(actor, cluster_id, CLUSTER_MANAGE)
    stored = clusters.open_secrets(portal, cluster.id)
    wanted = (cluster.settings or {}) if settings is None else settings
    found = _accepted(portal, cluster.runtime, wanted, secrets or {}, stored, cluster.settings or {})
    return _try(portal, cluster.name, cluster.runtime, *found, cluster=cluster)


def _accepted(
    portal: Portal, kind: str, settings: Mapping[str, Any], secrets: Mapping[str, str | None], stored: Mapping[str, str],
    before: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, str]]:  # fmt: skip
    accepted, errors = clusters.accept(portal, kind, settings, secrets, stored, before)
    if accepted is None or errors:
        told = joined((joined((error.path, error.message), ": ") for error in errors[:3]), "; ")
        raise Invalid(_m("Nothing was tried: %(told)s", told=told), errors=errors)
    return accepted.settings, accepted.secrets


def _try(
    portal: Portal, name: str, kind: str, settings: Mapping[str, Any], secrets: Mapping[str, str], cluster: Cluster | None = None
) -> Report:
    if not _running.acquire(blocking=False):
        raise TooManyRequests(
            _m("%(AT_A_TIME)s connections are being tried already. Wait a moment, then try again.", AT_A_TIME=AT_A_TIME)
        )
    # ids of its own: a test must not meet what belongs to the cluster that is connected
    target = Target(cluster.id if cluster else new_id(), name, kind, settings, secrets=lambda: secrets)
    answer: list[Report] = []
    done = threading.Event()

    def work() -> None:
        try:
            answer.append(_findings(portal, target, secrets))
        finally:
            _running.release()
            done.set()

    threading.Thread(target=work, name=f"test-{name}", daemon=True).start()
    longest = portal.settings.cluster_timeout_seconds
    if not done.wait(longest) or not answer:
        late = _m("It does not answer within %(longest)s s.", longest=f"{longest:.0f}")
        remedy = _m("Check its address, and whether the network and its firewalls let the portal through.")
        return Report(False, "", (DoctorResult(_m("connection"), False, late, remedy),))
    return answer[0]


def _findings(portal: Portal, target: Target, secrets: Mapping[str, str]) -> Report:
    mask = Masker(secrets.values())
    with tempfile.TemporaryDirectory(prefix="clawportal-test-") as folder:
        try:
            runtime = clusters.driver_of(portal, target.kind).connect(portal.connections.place(target, Path(folder)))
        except Exception as error:
            return Report(False, "", (DoctorResult(_m("settings"), False, mask(_words(error)), _m("Correct the settings.")),))
        try:
            found = _asked(runtime)
        finally:
            runtime.close()
    hidden = tuple(replace(item, message=mask(item.message), remedy=mask(item.remedy)) for item in found.findings)
    return replace(found, findings=hidden, version=mask(found.version))


def _asked(runtime: Runtime) -> Report:
    findings: list[DoctorResult] = []
    version = ""
    try:
        findings += runtime.diagnose()
        if not findings:
            runtime.observe()
            findings.append(DoctorResult(_m("connection"), True, _m("It answers.")))
        version = runtime.version() if all(item.ok for item in findings) else ""
    except Exception as error:
        log.info("a connection test failed: %s", type(error).__name__)
        findings.append(
            DoctorResult(_m("connection"), False, _words(error), _m("Check that the place is up and its settings are right."))
        )
    return Report(all(item.ok for item in findings), version, tuple(findings))


def _words(error: Exception) -> str:
    errors: tuple[FieldError, ...] = getattr(error, "errors", ()) if isinstance(error, Problem) else ()
    words = error.detail if isinstance(error, Problem) else str(error) or type(error).__name__
    return joined((joined((item.path, item.message), ": ") for item in errors), "; ") or words
