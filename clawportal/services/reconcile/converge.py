"""One pass over one instance: compare what is wanted with what is there, and take the next steps towards it.

Runtime and claw are called outside transactions; each result is written in a short one that checks that the lease is still ours.
Killing the portal at any line loses nothing: every step can be taken again, and the next pass continues.
"""

from __future__ import annotations

import logging

from clawportal import clock
from clawportal.engine.portal import Portal
from clawportal.errors import GiveUp, Problem, Retry, Unavailable
from clawportal.keyring import KeyringError
from clawportal.messages import _m, _n
from clawportal.services.clusters import reachability
from clawportal.services.reconcile.decide import decide
from clawportal.services.reconcile.leases import LeaseLost, claim, whereabouts
from clawportal.services.reconcile.passes import Pass
from clawportal.services.reconcile.planning import UNREADABLE
from clawportal.services.reconcile.steps import STEPS

log = logging.getLogger(__name__)

MOST_STEPS = 60
"""Of one pass. The longest story, a restart with a new configuration and an install before it, takes half as many."""


def run_pass(portal: Portal, instance_id: str) -> None:
    """Claim, one pass, release. Every end has a reason that is stored and shown."""
    where = whereabouts(instance_id)
    if where is None:  # a hint may speak of what was deleted meanwhile, or of a workload that is not ours
        return portal.dispatcher.forget(instance_id)
    portal.dispatcher.learn(instance_id, where.cluster_id, where.tenant_id)
    if where.paused:  # it stays due, and is taken up when somebody resumes the cluster
        return
    holder = claim(portal, instance_id)
    if holder is None:
        return portal.dispatcher.hint(instance_id, 0.5, cluster=where.cluster_id, tenant=where.tenant_id)
    work = Pass(portal, instance_id, holder)
    try:
        take_steps(work)
    except LeaseLost:
        log.info("instance %s: taken over by another worker", instance_id)
    except GiveUp as verdict:
        work.fail(verdict)
    except KeyringError as error:
        work.fail(GiveUp(_n("SecretUnreadable"), _m("A secret cannot be opened: %(error)s.", error=error), UNREADABLE))
    except Exception as error:
        work.retry(_as_retry(instance_id, error))


def take_steps(work: Pass) -> None:
    """Decide and act until the pass is over. Raises GiveUp, Retry, and what its runtime raises."""
    work.connect()
    for _ in range(MOST_STEPS):
        STEPS[decide(work.observation(), work.wanted(), clock.now())](work)
        if work.over:
            return
    raise RuntimeError(f"a pass over {work.row.id} found no end")


def _as_retry(instance_id: str, error: Exception) -> Retry:
    """What cannot go on now, in words; only what nobody expected needs the portal's log."""
    if isinstance(error, Retry):
        return error
    if isinstance(error, (Unavailable, ConnectionError, TimeoutError)):
        return reachability.unreachable(str(error))
    if isinstance(error, Problem):
        return Retry(type(error).__name__, error.detail)
    log.error("instance %s: a pass failed", instance_id, exc_info=error)
    if isinstance(error, OSError):
        return Retry(_n("MachineError"), _m("The machine refuses: %(error)s", error=error))
    return Retry(
        _n("InternalError"),
        _m("The portal met an error it did not expect: %(error)s. Its log has the details.", error=repr(error)),
    )
