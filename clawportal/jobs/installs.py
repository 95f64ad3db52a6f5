"""Carries out queued installs: one at a time per worker, with progress, cancel, and nothing half-usable left behind."""

from __future__ import annotations

import logging
import time

from clawportal.contracts.runtimes import Progress, Runtime
from clawportal.contracts.workloads import Artifact
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.errors import Cancelled, GiveUp, Problem, Retry
from clawportal.lifecycle import backoff
from clawportal.messages import _m, _n, joined
from clawportal.models import Cluster, Operation
from clawportal.models.operations import CANCELLED, FAILED, SUCCEEDED
from clawportal.services.clusters import clusters
from clawportal.services.fleet import operations, plans

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 4
_REPORT_EVERY = 0.5


def install_once(portal: Portal) -> int:
    """Take one queued install and carry it out. Returns how many were taken."""
    taken = operations.claim(portal, operations.INSTALL, 1)
    for operation_id in taken:
        try:
            _install(portal, operation_id)
        except Exception as error:
            log.exception("operation %s failed", operation_id)
            operations.finish(
                portal, operation_id, FAILED, error=_m("The portal met an error it did not expect: %(error)s", error=repr(error))
            )
    return len(taken)


def _install(portal: Portal, operation_id: str) -> None:
    operation = db.session.get_one(Operation, operation_id)
    attempts = operation.attempts
    try:
        cluster = db.session.get_one(Cluster, operation.cluster_id)
        runtime = clusters.connect(portal, cluster)
        artifact = _artifact(portal, operation, runtime, clusters.policy_of(cluster))
        db.session.rollback()  # minutes may pass: hold no snapshot of the database meanwhile
        runtime.prepare(artifact, _reporter(portal, operation_id))
    except Cancelled:
        return operations.finish(portal, operation_id, CANCELLED, message=_m("Cancelled; nothing was left behind"))
    except GiveUp as verdict:
        error = joined(filter(None, (str(verdict), verdict.remedy)))
        return operations.finish(portal, operation_id, FAILED, error=error, lines=verdict.lines)
    except (Retry, Problem) as later:
        if attempts < MAX_ATTEMPTS:
            return operations.retry_later(
                portal, operation_id, backoff(attempts + 2), _m("Trying again soon: %(why)s", why=later)
            )
        return operations.finish(portal, operation_id, FAILED, error=str(later))
    operations.finish(portal, operation_id, SUCCEEDED, message=_m("Installed"))


def _artifact(portal: Portal, operation: Operation, runtime: Runtime, policy: clusters.ClusterPolicy) -> Artifact:
    """The artifact as its adapter describes it now; a plugin that changed meanwhile decides anew."""
    payload = operation.payload
    adapter = portal.registry.adapters.get(payload["adapter"])
    if adapter is None:
        raise GiveUp(
            _n("AdapterMissing"), _m("No loaded plugin knows the kind of claw %(payload)s.", payload=repr(payload["adapter"]))
        )
    for artifact in plans.software(adapter, payload["version"], runtime, policy):
        if artifact.key == payload["artifact"]:
            return artifact
    raise GiveUp(
        _n("ArtifactUnknown"),
        _m("The plugin no longer offers this software."),
        _m("Start the instance again with a newer version."),
    )


def _reporter(portal: Portal, operation_id: str) -> Progress:
    last = 0.0

    def progress(fraction: float | None, message: str) -> None:
        nonlocal last
        if time.monotonic() - last < _REPORT_EVERY:
            return
        last = time.monotonic()
        if not operations.report(portal, operation_id, fraction, message):
            raise Cancelled

    return progress
