"""Carries out queued copies of files: one at a time, with progress and cancel; one that was cut begins anew."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.errors import Cancelled, Conflict, GiveUp, Problem, Retry
from clawportal.lifecycle import Desired, Phase, backoff
from clawportal.messages import _m, joined
from clawportal.models import Instance, Operation
from clawportal.models.operations import CANCELLED, FAILED, SUCCEEDED
from clawportal.services.fleet import instances, operations, storage
from clawportal.services.live import file_copies
from clawportal.services.live.file_copies import Copied, Tell

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 8
LOOK_AGAIN = timedelta(seconds=2)
_REPORT_EVERY = 0.5


def copy_once(portal: Portal) -> int:
    """Take one queued copy and carry it out. Returns how many were taken."""
    taken = operations.claim(portal, operations.COPY_FILES, 1)
    for operation_id in taken:
        try:
            _carry_out(portal, operation_id)
        except Exception as error:
            log.exception("operation %s failed", operation_id)
            text = _m("The portal met an error it did not expect: %(error)s", error=repr(error))
            operations.finish(portal, operation_id, FAILED, error=text)
    return len(taken)


def _carry_out(portal: Portal, operation_id: str) -> None:
    operation = db.session.get_one(Operation, operation_id)
    attempts, payload = operation.attempts, dict(operation.payload)
    source, target = (_there(one) for one in (payload["source"], operation.instance_id))
    if target is None:
        _go_on(portal, payload, "")
        return operations.finish(portal, operation_id, CANCELLED, message=_m("It is being deleted."))
    if operation.cancel_requested:
        _go_on(portal, payload, target.id)
        return operations.finish(portal, operation_id, CANCELLED, message=_m("Cancelled before it began"))
    if source is None:
        _go_on(portal, payload, target.id)
        return operations.finish(portal, operation_id, FAILED, error=_m("The instance that was duplicated is gone."))
    if payload["stopped"] and source.phase not in (Phase.STOPPED, Phase.FAILED):
        reason = _m("Waits until %(name)s is stopped.", name=source.name)
        return operations.retry_later(portal, operation_id, LOOK_AGAIN, reason, tried=False)
    target_id = target.id
    try:
        hide = file_copies.masker(portal, source) if payload["masked"] else None
        ends = file_copies.end_of(portal, source), file_copies.end_of(portal, target)
        done = file_copies.copy(portal, *ends, hide, _teller(portal, operation_id))
    except Cancelled:
        _go_on(portal, payload, target_id)
        return operations.finish(portal, operation_id, CANCELLED, message=_m("Cancelled; what was copied until then is there."))
    except FileNotFoundError:
        reason = _m("Waits until it has run for the first time: it has no folder before.")
        return operations.retry_later(portal, operation_id, LOOK_AGAIN, reason, tried=False)
    except GiveUp as verdict:
        _go_on(portal, payload, target_id)
        error = joined(filter(None, (str(verdict), verdict.remedy)))
        return operations.finish(portal, operation_id, FAILED, error=error, lines=verdict.lines)
    except (Retry, Problem, OSError) as later:
        if attempts < MAX_ATTEMPTS:
            reason = _m("Trying again soon: %(why)s", why=later)
            return operations.retry_later(portal, operation_id, backoff(attempts + 1), reason)
        _go_on(portal, payload, target_id)
        return operations.finish(portal, operation_id, FAILED, error=str(later))
    _end(portal, operation_id, payload, target_id, done)


def _there(instance_id: str | None) -> Instance | None:
    found = db.session.get(Instance, instance_id) if instance_id else None
    return found if found is not None and found.destroyed_at is None and found.desired != Desired.DELETED else None


def _end(portal: Portal, operation_id: str, payload: dict[str, object], target_id: str, done: Copied) -> None:
    """What was asked for besides comes before the end: a portal that is killed in between does it again."""
    _go_on(portal, payload, target_id)
    try:
        if payload["start"]:
            _start(portal, target_id)
    except Problem as problem:
        error = _m("The files are copied, but it could not be started: %(why)s", why=problem.detail)
        return operations.finish(portal, operation_id, FAILED, error=error)
    operations.finish(portal, operation_id, SUCCEEDED, message=_words(done))


def _go_on(portal: Portal, payload: dict[str, object], target_id: str) -> None:
    """The source, if it was stopped for this."""
    source = _there(str(payload["source"])) if payload["resume"] else None
    if source is not None:
        try:
            _start(portal, source.id)
        except Problem as problem:
            log.warning(
                "%s was stopped for a copy to %s and could not be started again: %s", source.id, target_id, problem.detail
            )


def _start(portal: Portal, instance_id: str) -> None:
    try:
        instances.start(portal, SYSTEM, instance_id)
    except Conflict as conflict:  # it runs already
        found = _there(instance_id)
        if found is None or found.desired != Desired.RUNNING:
            raise conflict


def _words(done: Copied) -> str:
    names = {"files": done.files, "size": storage.readable(done.size), "left": done.left_out}
    if done.left_out:
        return _m("Files copied: %(files)s, %(size)s. Links and special files left out: %(left)s.", **names)
    return _m("Files copied: %(files)s, %(size)s.", files=done.files, size=names["size"])


def _teller(portal: Portal, operation_id: str) -> Tell:
    last = 0.0

    def tell(fraction: float | None, done: Copied) -> None:
        nonlocal last
        if time.monotonic() - last < _REPORT_EVERY:
            return
        last = time.monotonic()
        words = _m("Files copied so far: %(files)s, %(size)s", files=done.files, size=storage.readable(done.size))
        if not operations.report(portal, operation_id, fraction, words):
            raise Cancelled

    return tell
