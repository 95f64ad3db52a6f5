"""Answers of claws, waited for by this process whoever looks: each piece is stored as it comes, in order.

A row that is `running` belongs to the process that is its holder. Whoever ends it otherwise, by stopping it or because that
process is gone, changes the row; the process sees that with its next piece and lets go.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import current_app
from sqlalchemy import select, update

from clawportal.sdk import _m
from clawportal.sdk.chat import ChatEvent
from clawportal.sdk.data import db, now, transaction
from clawportal.sdk.errors import TooManyRequests
from clawportal.sdk.fleet import Portal
from clawportal_conversations import feed
from clawportal_conversations.feed import Fresh
from clawportal_conversations.gathering import MOST_PIECES, Gathered, Told, pieces, size_of
from clawportal_conversations.models import CLAW, DONE, FAILED, INTERRUPTED, RUNNING, STOPPED, Conversation, Message
from clawportal_conversations.settings import ConversationSettings

log = logging.getLogger(__name__)

GAP_SECONDS = 0.05
"""The first words are stored at once; what follows is gathered for so long, since each write is a commit."""
BEAT_SECONDS = 5.0
LOST_SECONDS = 30.0
"""An answer whose process has not been seen for so long has none any more."""
GONE_SECONDS = 3 * BEAT_SECONDS
"""The same, where no process of this machine has its number. Not sooner: containers may share names and numbers."""
END_SECONDS = 5.0
TRY_AGAIN = _m("Try again.")
TOO_MANY = _m("The answer came in too many pieces, so the rest was left out.")
Batches = Generator[list[ChatEvent], None, None]


@dataclass(frozen=True)
class Waiting:
    """One answer that this process waits for."""

    conversation_id: str
    message_id: str


class Answers:
    """Those of this process, and how many may be waited for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._persons: list[str] = []
        self._threads: set[threading.Thread] = set()

    def reserve(self, person_id: str, limits: ConversationSettings) -> Callable[[], None]:
        """A place for one more; call what is returned when it is free again. TooManyRequests where there is none."""
        with self._lock:
            if self._persons.count(person_id) >= limits.answers_each:
                raise TooManyRequests(
                    _m("You wait for %(n)s answers already. Wait for one of them, or stop one.", n=limits.answers_each)
                )
            if len(self._persons) >= limits.answers:
                raise TooManyRequests(_m("The portal waits for as many answers as it can. Try again in a moment."))
            self._persons.append(person_id)
        taken = [person_id]
        return lambda: self._leave(taken)

    def _leave(self, taken: list[str]) -> None:
        """Once, however often it is said."""
        with self._lock:
            while taken:
                self._persons.remove(taken.pop())

    def begin(self, work: Callable[[], None]) -> None:
        """In a thread of its own; RuntimeError where the system gives none."""
        thread = threading.Thread(target=self._run, args=(work,), name="answer", daemon=True)
        with self._lock:
            thread.start()
            self._threads.add(thread)

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def join(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))


def start(portal: Portal, waiting: Waiting, ask: Callable[[], Batches], leave: Callable[[], None]) -> None:
    """Ask, and wait for the answer in the background."""
    app: Any = current_app._get_current_object()  # type: ignore[attr-defined]  # Flask's documented way
    with ExitStack() as undo:
        undo.callback(leave)
        try:
            batches = undo.enter_context(closing(ask()))
            portal.part(Answers).begin(lambda: _work(app, portal, waiting, batches, leave))
            undo.pop_all()
        except RuntimeError as error:
            log.error("an answer in conversation %s was not begun: %s", waiting.conversation_id, error)
            conclude(
                portal, waiting.message_id, INTERRUPTED, _m("The portal could not begin to wait for this answer."), TRY_AGAIN
            )


def _work(app: Any, portal: Portal, waiting: Waiting, batches: Batches, leave: Callable[[], None]) -> None:
    try:
        with app.app_context():
            _wait(portal, waiting, batches)
    finally:
        leave()


def _wait(portal: Portal, waiting: Waiting, batches: Batches) -> None:
    """Every end of it is an end of the row, too."""
    try:
        with closing(batches):
            keeper = Keeper(portal, waiting)
            for batch in batches:
                if not keeper.keep(batch):
                    return
                time.sleep(GAP_SECONDS)
    except Exception as error:
        # without the error itself: what a claw said may stand in it
        log.error("an answer in conversation %s was lost: %s", waiting.conversation_id, type(error).__name__)
        conclude(portal, waiting.message_id, INTERRUPTED, _m("The portal could not keep the rest of this answer."), TRY_AGAIN)


class Keeper:
    """Stores what comes of one answer."""

    def __init__(self, portal: Portal, waiting: Waiting) -> None:
        self._portal, self._waiting = portal, waiting
        self._gathered = Gathered()
        self._beat, self._room = time.monotonic(), MOST_PIECES

    def keep(self, batch: Sequence[ChatEvent]) -> bool:
        """Whether more is waited for."""
        if not batch and time.monotonic() - self._beat < BEAT_SECONDS:
            return True
        self._beat = time.monotonic()
        (told, last), at = self._bounded(batch), now()
        with transaction():
            if not feed.hold(self._waiting.conversation_id) or not _still_mine(self._portal, self._waiting.message_id):
                return False
            for kind, data in told:
                self._gathered.add(kind, data, at)
            if told:
                self._append([Fresh(kind, self._waiting.message_id, data) for kind, data in told])
            if last is not None:
                self._finish(last)
        return last is None

    def _bounded(self, batch: Sequence[ChatEvent]) -> tuple[list[Told], ChatEvent | None]:
        """What is stored of it, and how the answer ends, where it does."""
        told = list(pieces(batch))
        last = batch[-1] if batch and batch[-1].kind in ("final", "error") else None
        if len(told) > self._room:
            told, last = told[: self._room], ChatEvent("error", TOO_MANY, remedy=_m("Ask for less at a time."))
        self._room -= len(told)
        return told, last

    def _append(self, events: list[Fresh]) -> None:
        feed.append(self._portal, self._waiting.conversation_id, events)

    def _finish(self, last: ChatEvent) -> None:
        if last.kind == "final":
            text, state, reason, remedy = last.text or self._gathered.text, DONE, "", ""
        else:
            text = self._gathered.text
            state, reason, remedy = INTERRUPTED if text else FAILED, last.text, last.remedy
        _end(self._portal, self._waiting, self._gathered, text, state, reason, remedy)


def _still_mine(portal: Portal, message_id: str) -> bool:
    mine = update(Message).where(Message.id == message_id, Message.state == RUNNING, Message.holder == portal.holder)
    met: Any = db.session.execute(mine.values(beat_at=now()), execution_options={"synchronize_session": False})
    return bool(met.rowcount)


def _end(portal: Portal, waiting: Waiting, gathered: Gathered, text: str, state: str, reason: str, remedy: str) -> None:
    """Inside a transaction that has the row."""
    at, used = now(), gathered.usage
    row = db.session.get(Message, waiting.message_id, populate_existing=True)
    if row is None:
        return
    row.text, row.state, row.reason, row.remedy = text, state, reason, remedy
    row.steps, row.finished_at, row.beat_at, row.holder = gathered.settled(at), at, None, ""
    row.input_tokens, row.output_tokens = used.get("input_tokens"), used.get("output_tokens")
    row.model, row.cost_usd = used.get("model") or row.model, used.get("cost_usd")
    db.session.flush()
    grown = update(Conversation).where(Conversation.id == row.conversation_id)
    sizes = {"size": Conversation.size + len(text) + size_of(row.steps), "spoken_at": at}
    db.session.execute(grown.values(sizes), execution_options={"synchronize_session": False})
    feed.append(portal, row.conversation_id, [Fresh("ended", row.id)])


def conclude(portal: Portal, message_id: str, state: str, reason: str = "", remedy: str = "") -> bool:
    """End an answer that goes on, with what came of it. False where it has ended already."""
    with transaction():
        inside = db.session.scalar(select(Message.conversation_id).where(Message.id == message_id))
        if inside is None or not feed.hold(inside):
            return False
        row = db.session.get(Message, message_id, with_for_update=True, populate_existing=True)
        if row is None or row.state != RUNNING:
            return False
        gathered = Gathered()
        for piece in feed.of_message(row.id, row.conversation_id):
            gathered.add(piece.kind, piece.data, piece.at)
        if state == INTERRUPTED and not gathered.text:
            state = FAILED
        _end(portal, Waiting(row.conversation_id, row.id), gathered, gathered.text, state, reason, remedy)
    return True


def stop(portal: Portal, conversation_id: str) -> bool:
    """End the answer that goes on in a conversation because somebody wants so."""
    query = select(Message.id).where(Message.conversation_id == conversation_id, Message.role == CLAW, Message.state == RUNNING)
    running = db.session.scalar(query)
    return running is not None and conclude(portal, running, STOPPED)


# ---- answers whose process is gone


def notice_lost_once(portal: Portal) -> None:
    """Answers that nobody waits for any more are interrupted, and say so."""
    found = db.session.execute(select(Message.id, Message.holder, Message.beat_at).where(Message.state == RUNNING)).all()
    db.session.rollback()
    for message_id, holder, beat_at in found:
        if _lost(holder, beat_at, portal.holder):
            conclude(portal, message_id, INTERRUPTED, _m("The portal was ended in the middle of this answer."), TRY_AGAIN)


def _lost(holder: str, beat_at: datetime | None, mine: str) -> bool:
    silent = LOST_SECONDS if beat_at is None else (now() - beat_at).total_seconds()
    return silent >= LOST_SECONDS or (silent >= GONE_SECONDS and _gone(holder, mine))


def _gone(holder: str, mine: str) -> bool:
    """Whether a process of this machine has ended, or was this one's number before."""
    host, _, rest = holder.partition(":")
    number = rest.partition(":")[0]
    if holder == mine or host != socket.gethostname()[:40] or not number.isdigit():
        return False
    if int(number) == os.getpid():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def end(portal: Portal) -> None:
    """With the process: answers say that it ends, and are not waited for any longer."""
    portal.part(Answers).join(END_SECONDS)
    mine = select(Message.id).where(Message.state == RUNNING, Message.holder == portal.holder)
    for message_id in db.session.scalars(mine).all():
        conclude(portal, message_id, INTERRUPTED, _m("The portal was stopped in the middle of this answer."), TRY_AGAIN)
