"""Carries out queued copies of files: one at a time, with progress and cancel; one that was cut begins anew."""

from __future__ import annotations

import logging
import tarfile
import time
from collections.abc import Iterable
from datetime import timedelta

from clawportal import clock
from clawportal.contracts.permissions import SYSTEM, Actor
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Cancelled, Conflict, GiveUp, Problem, Retry
from clawportal.lifecycle import Desired, Phase, backoff
from clawportal.messages import _m, joined
from clawportal.models import Instance, Operation
from clawportal.models.operations import CANCELLED, FAILED, SUCCEEDED
from clawportal.services.events import event_log
from clawportal.services.fleet import copy_rights, instances, operations, storage
from clawportal.services.identity import identity
from clawportal.services.live import file_copies
from clawportal.services.live.file_copies import Copied, Tell

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 8
LOOK_AGAIN = timedelta(seconds=2)
LONGEST_WAIT = timedelta(hours=1)
"""For what a copy needs first: a source that is stopped, a target that has run once."""
BEFORE_THE_FIRST = timedelta(minutes=10)
"""For counting what is there and opening it, when nothing can be reported; from then on each entry keeps the lease."""
_REPORT_EVERY = 0.5


class LeaseLost(Exception):
    """Another worker has it now, and does all that remains."""


def copy_once(portal: Portal) -> int:
    """Take one queued copy and carry it out. Returns how many were taken."""
    taken = operations.claim(portal, operations.COPY_FILES, 1)
    for operation_id in taken:
        try:
            _carry_out(portal, operation_id)
        except LeaseLost:
            log.info("operation %s goes on with another worker", operation_id)
        except Exception as error:
            log.exception("operation %s failed", operation_id)
            db.session.rollback()
            text = _m("The portal met an error it did not expect: %(error)s", error=repr(error))
            _end(portal, operation_id, FAILED, error=text)
    return len(taken)


def _carry_out(portal: Portal, operation_id: str) -> None:
    operation = db.session.get_one(Operation, operation_id)
    attempts, payload = operation.attempts, operation.payload
    source, target = (_there(one) for one in (payload["source"], operation.instance_id))
    if target is None:
        return _end(portal, operation_id, CANCELLED, message=_m("It is being deleted."))
    if operation.cancel_requested:
        return _end(portal, operation_id, CANCELLED, message=_m("Cancelled before it began"))
    if source is None:
        return _end(portal, operation_id, FAILED, error=_m("The instance that was duplicated is gone."))
    actor = _asker(portal, operation, source, target)
    if actor is None:
        return _end(portal, operation_id, FAILED, error=_refused(operation, source))
    if payload["stopped"] and source.phase not in (Phase.STOPPED, Phase.FAILED):
        return _wait(portal, operation, _m("Waits until %(name)s is stopped.", name=source.name))
    try:
        hide = file_copies.masker(portal, source) if payload["masked"] or copy_rights.masked(actor, source) else None
        ends = file_copies.end_of(portal, source), file_copies.end_of(portal, target)
        _keep(portal, operation_id, BEFORE_THE_FIRST)
        done = file_copies.copy(portal, *ends, hide, _teller(portal, operation_id))
    except Cancelled:
        return _end(portal, operation_id, CANCELLED, message=_m("Cancelled; what was copied until then is there."))
    except FileNotFoundError:
        return _wait(portal, operation, _m("Waits until it has run for the first time: it has no folder before."))
    except GiveUp as verdict:
        error = joined(filter(None, (str(verdict), verdict.remedy)))
        return _end(portal, operation_id, FAILED, error=error, lines=verdict.lines)
    except (Retry, Problem, OSError, tarfile.TarError) as later:
        if attempts < MAX_ATTEMPTS:
            reason = _m("Trying again soon: %(why)s", why=later)
            return operations.retry_later(portal, operation_id, backoff(attempts + 1), reason)
        return _end(portal, operation_id, FAILED, error=str(later))
    _succeed(portal, operation_id, done)


def _asker(portal: Portal, operation: Operation, source: Instance, target: Instance) -> Actor | None:
    """Who wished it, with the rights of now; None where these do not reach both any more."""
    wished_by = operation.payload.get("actor", "")
    actor = SYSTEM if wished_by == SYSTEM.id else identity.actor_by_id(portal, wished_by)
    try:
        if actor is not None:
            copy_rights.sides(actor, source.id, target.id)
    except Problem:
        return None
    return actor


def _refused(operation: Operation, source: Instance) -> str:
    return _m(
        "Nothing was copied: %(actor)s, who asked for it, may no longer read the files of %(name)s or write those of this one.",
        actor=operation.created_by, name=source.name,
    )  # fmt: skip


def _wait(portal: Portal, operation: Operation, reason: str) -> None:
    """Look again soon, but not for ever: it may hold a source that was stopped for it."""
    if clock.now() - (operation.started_at or operation.created_at) < LONGEST_WAIT:
        return operations.retry_later(portal, operation.id, LOOK_AGAIN, reason, tried=False)
    minutes = int(LONGEST_WAIT.total_seconds() // 60)
    error = _m("%(reason)s That did not come within %(minutes)s minutes. Try again.", reason=reason, minutes=minutes)
    _end(portal, operation.id, FAILED, error=error)


def _there(instance_id: str | None) -> Instance | None:
    found = db.session.get(Instance, instance_id) if instance_id else None
    return found if found is not None and found.destroyed_at is None and found.desired != Desired.DELETED else None


def _succeed(portal: Portal, operation_id: str, done: Copied) -> None:
    """What was asked for besides comes before the end: a portal that is killed in between does it again."""
    _keep(portal, operation_id)
    operation = db.session.get_one(Operation, operation_id)
    try:
        if operation.payload["start"]:
            _start(portal, str(operation.instance_id))
    except Problem as problem:
        error = _m("The files are copied, but it could not be started: %(why)s", why=problem.detail)
        return _end(portal, operation_id, FAILED, error=error)
    _end(portal, operation_id, SUCCEEDED, message=_words(done))


def _keep(portal: Portal, operation_id: str, lease: timedelta = operations.LEASE) -> None:
    if not operations.hold(portal, operation_id, lease):
        raise LeaseLost


def _end(portal: Portal, operation_id: str, state: str, *, message: str = "", error: str = "", lines: Iterable[str] = ()) -> None:
    """The source goes on, and then it ends; neither where another worker copies it now."""
    if operations.hold(portal, operation_id):
        _go_on(portal, db.session.get_one(Operation, operation_id).payload)
        operations.finish(portal, operation_id, state, message=message, error=error, lines=lines)


def _go_on(portal: Portal, payload: dict[str, object]) -> None:
    """The source, if it was stopped for this."""
    source = _there(str(payload["source"])) if payload["resume"] else None
    if source is None:
        return
    source_id = source.id
    try:
        _start(portal, source_id)
    except Exception as error:  # whatever it is, the copy has to end, and people to hear of it
        log.warning("%s was stopped for a copy and could not be started again", source_id, exc_info=True)
        db.session.rollback()
        _tell_of_rest(portal, source_id, error.detail if isinstance(error, Problem) else repr(error))


def _tell_of_rest(portal: Portal, source_id: str, why: str) -> None:
    with transaction():
        source = db.session.get_one(Instance, source_id)
        message = _m(
            "%(name)s was stopped while its files were copied, and could not be started again: %(why)s",
            name=source.name, why=why,
        )  # fmt: skip
        event_log.record(portal, "instance.stays_stopped", actor=SYSTEM, instance=source, level="error", message=message)


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
            _keep(portal, operation_id)
            raise Cancelled

    return tell
