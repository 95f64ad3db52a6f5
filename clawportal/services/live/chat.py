"""One turn of a conversation with a running claw, passed on piece by piece.

The claw is asked by a thread of its own: the caller can be told that it still thinks, a turn ends at its time limit whatever the
claw does, and a caller who leaves takes nothing with him.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from clawportal import bounded
from clawportal.contracts.adapters import ChatEvent, ToolUse
from clawportal.contracts.core_permissions import INSTANCE_CHAT
from clawportal.contracts.permissions import Actor
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, FieldError, GiveUp, Invalid, Problem, Retry, Unsupported
from clawportal.lifecycle import PHASE_WORDS, Phase
from clawportal.messages import _m, clipped, joined, mapped
from clawportal.models import Instance
from clawportal.redact import Masker
from clawportal.services.clusters import clusters
from clawportal.services.configuration import layers
from clawportal.services.events import event_log
from clawportal.services.fleet import plans
from clawportal.services.rights import access

log = logging.getLogger(__name__)

MAX_TEXT = 100_000
TURN_SECONDS = bounded.TURN
WAIT_SECONDS = 60.0
"""How long a message waits for the one before it in the same conversation."""
PULSE = 2.0
"""With `pulses`, None comes this often while the claw thinks, seconds."""
SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
DEFAULT_SESSION = "default"
OPEN_SESSION = "open"
"""Stands before sessions that are nobody's own, where the id of a person stands before the others."""

_AT_ONCE = 500
_MOST_OF_A_TOOL = 20_000
"""Of what a tool was given, and of what it answered, characters."""
_MOST_WORDS = 4_000
"""Of what a claw says about a failure, characters."""
_LEAST = {"tool": 256, "usage": 256}
_LEAST_WORDS = 16
"""What an event counts at least, characters, however little is in it: each is passed on, and often stored, by itself."""
_TRY_AGAIN = _m("Try again; if it stays so, look at the claw's log.")


@dataclass(frozen=True)
class _Turn:
    key: str
    """One instance, one person, one conversation."""
    ask: Callable[[], Iterator[ChatEvent]]
    mask: Masker


def chat(portal: Portal, actor: Actor, instance_id: str, session: str, text: str) -> Iterator[ChatEvent]:
    """Say `text` in the conversation `session` of this person. Ends with one `final` or one `error`.

    What is wrong with the request raises here; what goes wrong with the claw later is told as an `error` event.
    """
    return _without_pulse(pulsing(portal, actor, instance_id, session, text))


def _without_pulse(events: Generator[ChatEvent | None, None, None]) -> Iterator[ChatEvent]:
    with closing(events):
        yield from (event for event in events if event is not None)


def pulsing(portal: Portal, actor: Actor, instance_id: str, session: str, text: str) -> Generator[ChatEvent | None, None, None]:
    """As `chat`, with None every few seconds while there is nothing new, so that a stream can show that it is alive."""
    _check(session, text)
    # two people must never meet in one conversation by choosing the same name for it
    turn = _prepare(portal, actor, instance_id, f"{actor.id}-{session}", text)
    _record(portal, actor, instance_id)
    db.session.rollback()
    return _events(portal, turn)


def gathered(portal: Portal, actor: Actor, instance_id: str, session: str, text: str) -> Generator[list[ChatEvent], None, None]:
    """As `chat`, and each time all that has come since the last; an empty list every few seconds while there is nothing new.

    `session` is nobody's own: it names a conversation whose people the caller knows. Needs no app context once it is made.
    """
    _check(session, text)
    turn = _prepare(portal, actor, instance_id, f"{OPEN_SESSION}-{session}", text)
    _record(portal, actor, instance_id)
    db.session.rollback()
    return _batches(portal, turn)


@dataclass(frozen=True)
class Ready:
    """A turn that may begin; the claw was told nothing yet."""

    record: Callable[[], None]
    """Notes that it happens, in the caller's transaction where there is one."""
    begin: Callable[[], Generator[list[ChatEvent], None, None]]
    """As `gathered`, but the claw is asked at once. RuntimeError where the system gives no thread for it."""


def prepare(portal: Portal, actor: Actor, instance_id: str, session: str, text: str) -> Ready:
    """All that can be refused of `gathered`, for callers who store something of their own in the same transaction."""
    _check(session, text)
    turn = _prepare(portal, actor, instance_id, f"{OPEN_SESSION}-{session}", text)
    return Ready(lambda: _record(portal, actor, instance_id), lambda: _begun(portal, turn))


def _check(session: str, text: str) -> None:
    errors = []
    if not SESSION.fullmatch(session):
        errors.append(FieldError("session", _m("must be 1 to 64 letters, digits, dashes or underscores")))
    if not text.strip():
        errors.append(FieldError("text", _m("Write something to say."), "missing"))
    elif len(text) > MAX_TEXT:
        errors.append(
            FieldError(
                "text",
                _m("may have %(MAX_TEXT)s characters at most; these are %(len)s", MAX_TEXT=f"{MAX_TEXT:,}", len=f"{len(text):,}"),
                "too_long",
            )
        )
    if errors:
        raise Invalid(joined((joined((error.path, error.message), ": ") for error in errors), "; "), errors=errors)


def _prepare(portal: Portal, actor: Actor, instance_id: str, private: str, text: str) -> _Turn:
    """All that needs the database; afterwards none of it is held."""
    instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_CHAT)
    adapter = plans.adapter_of(portal, instance)
    if instance.foreign_id:
        raise Unsupported(
            _m("%(name)s was adopted: the portal does not know its access token. Talk to it as before.", name=instance.name)
        )
    if "chat" not in adapter.capabilities:
        raise Unsupported(_m("%(title)s cannot be chatted with from here.", title=adapter.title))
    _require_running(instance)
    runtime = clusters.connect(portal, plans.cluster_of(instance))
    io = plans.io_of(portal, instance, runtime)
    io.secret("")  # opens the secrets now: later there is no database session
    context = plans.context_of(portal, instance, adapter, runtime, plans.ports_of(runtime, instance))
    mask = Masker(layers.open_secrets(portal, instance).values())
    db.session.rollback()
    return _Turn(f"{instance_id}/{private}", lambda: adapter.chat(io, context, private, text), mask)


def _record(portal: Portal, actor: Actor, instance_id: str) -> None:
    """Only that it happened, never what was said."""
    with transaction():
        instance = access.get_or_404(Instance, instance_id, actor, INSTANCE_CHAT)
        said = _m("%(name)s chatted with %(name2)s.", name=actor.name, name2=instance.name)
        event_log.record(portal, "instance.chatted", actor=actor, instance=instance, message=said)


def _require_running(instance: Instance) -> None:
    if instance.phase == Phase.RUNNING:
        return
    phase = Phase(instance.phase)
    advice = _ADVICE.get(phase, _m("Wait until it runs."))
    if phase is Phase.FAILED:
        advice = joined(filter(None, (instance.message, instance.next_action)))
    values = {"name": instance.name, "phase": PHASE_WORDS[phase], "advice": advice}
    raise Conflict(_m("%(name)s is %(phase)s and cannot answer now. %(advice)s", **values))


_ADVICE = {
    Phase.STOPPED: _m("Start it first."),
    Phase.DELETING: _m("It is being deleted."),
    Phase.STOPPING: _m("Wait until it has stopped, then start it."),
}


# ---- the turn


def _events(portal: Portal, turn: _Turn) -> Generator[ChatEvent | None, None, None]:
    """One by one; None where nothing came."""
    with closing(_batches(portal, turn)) as batches:
        for batch in batches:
            yield from batch or (None,)


def _batches(portal: Portal, turn: _Turn) -> Generator[list[ChatEvent], None, None]:
    """Starts when first asked for; closing it ends the turn as soon as the claw says its next word."""
    yield from _begun(portal, turn)


def _begun(portal: Portal, turn: _Turn) -> Generator[list[ChatEvent], None, None]:
    """The same, started."""
    batches = _taken(portal, turn)
    next(batches)
    return batches


def _taken(portal: Portal, turn: _Turn) -> Generator[list[ChatEvent], None, None]:
    """Something empty as soon as the claw is being asked, then what it says."""
    said = bounded.SizedQueue[ChatEvent](1000, bounded.MIB, _size)
    gone = threading.Event()
    threading.Thread(target=_ask, args=(turn, said, gone), name=f"chat-{turn.key[:20]}", daemon=True).start()
    end = time.monotonic() + TURN_SECONDS
    try:
        yield []
        while True:
            batch = _next(said, min(PULSE, max(0.0, end - time.monotonic())))
            if not batch and (time.monotonic() >= end or portal.stopping.is_set()):
                yield [_late(portal)]
                return
            yield batch
            if batch and batch[-1].kind in ("final", "error"):
                return
    finally:
        gone.set()


def _size(event: ChatEvent) -> int:
    tool, used = event.tool, event.usage
    told = [event.text, *((tool.id, tool.name, tool.input, tool.output) if tool else ()), *((used.model,) if used else ())]
    return max(_LEAST.get(event.kind, _LEAST_WORDS), sum(map(len, told)))


def _next(said: bounded.SizedQueue[ChatEvent], wait: float) -> list[ChatEvent]:
    """All that is there, or what comes next."""
    found: list[ChatEvent] = []
    with contextlib.suppress(queue.Empty):
        found.append(said.get(wait))
        while len(found) < _AT_ONCE:
            found.append(said.get(0))
    return found


def _late(portal: Portal) -> ChatEvent:
    if portal.stopping.is_set():
        return ChatEvent("error", _m("The portal is being stopped."), remedy=_m("Send the message again in a moment."))
    return ChatEvent(
        "error", _m("The claw did not finish within %(TURN_SECONDS)s minutes.", TURN_SECONDS=f'{TURN_SECONDS / 60:.0f}'),
        remedy=_m("It may still be working; look at its log, or ask for less at a time."),
    )  # fmt: skip


def _ask(turn: _Turn, said: bounded.SizedQueue[ChatEvent], gone: threading.Event) -> None:
    """In a thread of its own: every end of it is one `final` or one `error`, never an exception."""
    for event in _answered(turn, gone):
        while not gone.is_set():
            try:
                said.put(event, timeout=1)
                break
            except queue.Full:
                continue
        if gone.is_set() or event.kind in ("final", "error"):
            return


def _answered(turn: _Turn, gone: threading.Event) -> Iterator[ChatEvent]:
    try:
        with _alone(turn.key, gone):
            yield from _spoken(turn)
    except Problem as problem:
        yield ChatEvent("error", mapped(problem.detail, turn.mask), remedy=_TRY_AGAIN)
    except (Retry, GiveUp) as verdict:
        yield ChatEvent("error", mapped(str(verdict), turn.mask), remedy=getattr(verdict, "remedy", "") or _TRY_AGAIN)
    except OSError as error:
        yield ChatEvent(
            "error",
            mapped(_m("The claw does not answer: %(error)s.", error=error.strerror or error), turn.mask),
            remedy=_TRY_AGAIN,
        )
    except Exception as error:
        log.exception("a turn with %s failed", turn.key)
        yield ChatEvent(
            "error",
            _m("The portal could not read the claw's answer (%(__name__)s).", __name__=type(error).__name__),
            remedy=_m("The portal's log has the details."),
        )


def _spoken(turn: _Turn) -> Iterator[ChatEvent]:
    events = turn.ask()
    with closing(events) if hasattr(events, "close") else _nothing():  # type: ignore[type-var]  # generators have close
        size = 0
        for event in events:
            size += _size(event) if event.kind not in ("final", "error") else 0
            if max(size, len(event.text)) > bounded.ANSWER:
                yield _too_long()
                return
            if event.kind == "error":
                words = mapped(clipped(event.text, _MOST_WORDS), turn.mask)
                event = replace(event, text=words, remedy=event.remedy or _TRY_AGAIN)
            elif event.tool is not None:
                event = replace(event, tool=_short(event.tool))
            yield event
            if event.kind in ("final", "error"):
                return
    yield ChatEvent(
        "error", _m("The claw broke off in the middle of its answer."), remedy=_m("See whether it still runs, then try again.")
    )


def _short(tool: ToolUse) -> ToolUse:
    """What goes into a tool and comes out may be whole files."""
    given, said = clipped(tool.input, _MOST_OF_A_TOOL), clipped(tool.output, _MOST_OF_A_TOOL)
    return replace(tool, id=tool.id[:200], name=tool.name[:200], input=given, output=said)


def _too_long() -> ChatEvent:
    return ChatEvent(
        "error",
        _m(
            "The answer is longer than %(size_in_words)s, so the rest was left out.",
            size_in_words=bounded.size_in_words(bounded.ANSWER),
        ),
        remedy=_m("Ask for less at a time."),
    )


@contextmanager
def _nothing() -> Iterator[None]:
    yield


# ---- one turn at a time in a conversation


class _Lines:
    """A lock for each conversation that is under way."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    def join(self, key: str) -> threading.Lock:
        with self._guard:
            lock, users = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = (lock, users + 1)
            return lock

    def leave(self, key: str) -> None:
        with self._guard:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)


_lines = _Lines()


@contextmanager
def _alone(key: str, gone: threading.Event) -> Iterator[None]:
    lock = _lines.join(key)
    try:
        end = time.monotonic() + WAIT_SECONDS
        while not lock.acquire(timeout=0.5):
            if gone.is_set() or time.monotonic() > end:
                raise Conflict(_m("The claw is still busy with an earlier message of this conversation."))
        try:
            yield
        finally:
            lock.release()
    finally:
        _lines.leave(key)
