"""What somebody changed by hand in the cluster is shown and, if the cluster's policy says so, put back."""

from __future__ import annotations

from clawportal.contracts.runtimes import Observed
from clawportal.messages import _m, _n
from clawportal.services.clusters import clusters
from clawportal.services.fleet import plans
from clawportal.services.reconcile.facts import Drift
from clawportal.services.reconcile.passes import APPLY_MAX, DRIFTED, Pass


def note(work: Pass) -> None:
    name, change = work.row.name, work.seen.drift
    if not work.marked(DRIFTED):
        work.record(
            "instance.drifted",
            DRIFTED,
            _m("Somebody changed %(name)s in its cluster: %(change)s", name=name, change=change),
            level="warning",
        )
    work.write(work.row.phase, conditions=work.condition(DRIFTED, True, DRIFTED, change))
    repairs = clusters.policy_of(work.cluster()).repair_drift
    work.learnt.drift = Drift.REPAIRABLE if repairs else Drift.STANDS


def repair(work: Pass) -> None:
    work.hold(APPLY_MAX)
    whole = plans.whole_ref(work.portal, work.row)
    put_back = work.runtime.apply(whole, work.planned.workload, work.planned.secrets)
    if not put_back.drift:  # otherwise what runs is still being made anew
        _gone(work, put_back)
    work.learnt.seen, work.learnt.drift, work.learnt.just_applied = put_back, Drift.STANDS, True


def gone(work: Pass) -> None:
    """By a restart, or the hand that made it."""
    _gone(work, work.seen)
    work.learnt.drift = Drift.NONE


def _gone(work: Pass, seen: Observed) -> None:
    work.record("instance.drift_repaired", _n("Repaired"), _m("%(name)s is again as it was applied.", name=work.row.name))
    work.write(work.row.phase, conditions=work.without(DRIFTED), incarnation=seen.incarnation, restarts_seen=seen.restarts)
