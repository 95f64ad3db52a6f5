"""Has instances planned anew because of something that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from sqlalchemy import update

from clawportal import clock
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.models import Instance

BATCH = 200
_APART = {"synchronize_session": False}


def plan_anew(
    portal: Portal, after_commit: Callable[[Callable[[], None]], None], tenant_id: str, changed: Sequence[str], *,
    restart: Collection[str] = (),
) -> None:  # fmt: skip
    """A new generation each, in bounded statements inside the transaction of the change; starts wait for their turn as always.
    `restart`: those of them that must be started again though their plan stays the same."""
    for start in range(0, len(changed), BATCH):
        some = changed[start : start + BATCH]
        anew = {"generation": Instance.generation + 1, "due_at": clock.now(), "updated_at": clock.now()}
        db.session.execute(update(Instance).where(Instance.id.in_(some)).values(anew), execution_options=_APART)
        again = [one for one in some if one in restart]
        if again:
            more = {"restarts_wanted": Instance.restarts_wanted + 1}
            db.session.execute(update(Instance).where(Instance.id.in_(again)).values(more), execution_options=_APART)
    for instance_id in changed[:BATCH]:  # the others come with the next look at what is due
        after_commit(partial(portal.due, instance_id, tenant=tenant_id))
