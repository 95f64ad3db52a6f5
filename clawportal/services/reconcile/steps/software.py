"""What a claw needs on its machine before it can start there: looked for, and waited for while it is installed."""

from __future__ import annotations

from clawportal import clock
from clawportal.contracts.workloads import Artifact
from clawportal.errors import GiveUp
from clawportal.lifecycle import Phase
from clawportal.messages import _m, _n
from clawportal.models.operations import CANCELLED, FAILED
from clawportal.services.clusters import clusters
from clawportal.services.fleet import operations, plans
from clawportal.services.reconcile.passes import Pass


def find(work: Pass) -> None:
    adapter = plans.adapter_of(work.portal, work.row)
    work.learnt.looked_at = clock.now()
    needed = plans.software(adapter, work.row.version, work.runtime, clusters.policy_of(work.cluster()))
    work.learnt.missing = tuple(artifact for artifact in needed if not work.runtime.prepared(artifact))


def install(work: Pass) -> None:
    """Waits for the operation that installs the first thing that is missing; GiveUp when that has failed since."""
    artifact = (work.learnt.missing or ())[0]
    title = f"{artifact.name} {artifact.version}"
    if work.row.phase != Phase.INSTALLING:
        work.write(Phase.INSTALLING, reason=_n("Installing"), message=_m("Installing %(title)s: waiting to begin", title=title))
    elif not operations.open_install(work.row.cluster_id, artifact.key):
        _check_last(work, artifact)
    payload = {"adapter": work.row.adapter, "version": work.row.version, "artifact": artifact.key}
    operation = operations.ensure_install(
        work.portal, work.row.cluster_id, artifact.key, title, payload, work.learnt.looked_at or clock.now()
    )
    words = _m("Installing %(title)s: %(message)s", title=title, message=operation.message or _m("waiting to begin"))
    if work.row.message != words:
        work.write(Phase.INSTALLING, reason=_n("Installing"), message=words)
    share = 0.05 + 0.5 * (operation.progress or 0) / 100
    operations.advance_for_instance(work.portal, work.row, share, words)
    work.rest(after=1.0)


def _check_last(work: Pass, artifact: Artifact) -> None:
    last = operations.last_install(work.row.cluster_id, artifact.key)
    if last is None or last.state not in (FAILED, CANCELLED) or (last.finished_at or last.created_at) < work.row.phase_since:
        return
    raise GiveUp(
        _n("InstallFailed") if last.state == FAILED else _n("InstallCancelled"),
        _m("%(subject)s could not be installed: %(error)s", subject=last.subject, error=last.error or last.message),
        _m("Correct the cause, then start the instance again."),
        tuple(last.lines),
    )
