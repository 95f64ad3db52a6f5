"""What its files take is told when it is more than they may, and ends the claw when it is far more."""

from __future__ import annotations

from clawportal import clock
from clawportal.errors import GiveUp
from clawportal.messages import _m
from clawportal.services.fleet import storage
from clawportal.services.reconcile.facts import Storage
from clawportal.services.reconcile.passes import Pass


def check(work: Pass) -> None:
    work.learnt.storage = Storage.FINE
    limit = storage.limit_of(work.planned.context.spec, work.runtime)
    found, told = storage.use(work.portal, work.row.id, limit), storage.is_told(work.row.conditions)
    if found is None and limit is not None:
        return  # not measured yet: what is known stays
    if found is None or not found.over:
        if told:
            work.write(work.row.phase, conditions=work.without(storage.CONDITION))
        return
    _note_exceeded(work, found, told)
    if found.far_over and clock.now() - (work.row.started_at or clock.now()) > storage.TIME_TO_TIDY:
        work.learnt.storage, work.learnt.files = Storage.FAR_OVER, found


def _note_exceeded(work: Pass, found: storage.Use, told: bool) -> None:
    sizes = {"used": storage.readable(found.used), "allowed": storage.readable(found.limit)}
    if not told:
        words = _m("The files of %(name)s take %(used)s, more than its limit of %(allowed)s.", name=work.row.name, **sizes)
        work.record("instance.storage_exceeded", storage.EXCEEDED, words, level="warning")
    message = _m(
        "Its files take %(used)s, more than its limit of %(allowed)s. Delete some or raise it; at 110 percent it is stopped.",
        **sizes,
    )
    work.write(work.row.phase, conditions=work.condition(storage.CONDITION, False, storage.EXCEEDED, message))


def fail(work: Pass) -> None:
    if work.learnt.files is None:
        raise RuntimeError("nothing was measured")
    work.runtime.stop(work.ref, work.grace())
    used, allowed = storage.readable(work.learnt.files.used), storage.readable(work.learnt.files.limit)
    said = _m("It was stopped: its files take %(used)s, far more than its limit of %(allowed)s.", used=used, allowed=allowed)
    raise GiveUp(storage.EXCEEDED, said, storage.REMEDY)
