"""What is said in a conversation: messages and their answers, said again in other words, and answered anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update

from clawportal.sdk import _m
from clawportal.sdk.chat import MAX_TEXT, Ready, prepare
from clawportal.sdk.data import db, now, transaction
from clawportal.sdk.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from clawportal.sdk.fleet import Instance, Portal
from clawportal.sdk.permissions import Actor
from clawportal_conversations import answers, feed
from clawportal_conversations.answers import Answers, Waiting
from clawportal_conversations.feed import Fresh
from clawportal_conversations.gathering import Gathered
from clawportal_conversations.models import CLAW, PERSON, RUNNING, Conversation, Message
from clawportal_conversations.services import claw_of, first_words, get
from clawportal_conversations.settings import ConversationSettings

MOST_FILES = 20
MOST_MESSAGES = 100_000
"""In one conversation."""
_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOLD = "Attached files, in your work folder:"


@dataclass(frozen=True)
class Said:
    """A message and the answer that is under way."""

    question: Message
    answer: Message
    event: int
    """Whoever follows from this event on hears all of the answer."""


@dataclass(frozen=True)
class _Wanted:
    """What shall be said."""

    text: str
    files: tuple[str, ...] = ()
    key: str | None = None
    replaces: int | None = None
    """Position from which on other words, or another answer, take the place of what is there."""
    question: Message | None = None
    """Asked again as it stands."""

    @property
    def told(self) -> str:
        """What the claw is told."""
        return "\n".join([self.text, "", _TOLD, *(f"- {path}" for path in self.files)]) if self.files else self.text


def say(portal: Portal, actor: Actor, conversation_id: str, text: str, *, key: str = "", files: Sequence[str] = ()) -> Said:
    """Say something. Returns at once; the answer goes on whoever looks. The same `key` again says nothing twice."""
    wanted = _Wanted(text, tuple(files), key or None)
    _check(wanted)
    return _exchange(portal, actor, get(actor, conversation_id), wanted)


def edit(portal: Portal, actor: Actor, conversation_id: str, message_id: str, text: str) -> Said:
    """Say something else in the place of one's own message; what came after it is replaced, too. The claw remembers it still."""
    row = get(actor, conversation_id)
    message = _message(row, message_id, PERSON)
    if message.user_id != actor.id:
        raise Forbidden(_m("Only %(author)s may say this in other words.", author=message.author))
    wanted = _Wanted(text, tuple(message.files), replaces=message.position)
    _check(wanted)
    return _exchange(portal, actor, row, wanted)


def retry(portal: Portal, actor: Actor, conversation_id: str, message_id: str) -> Said:
    """Have a message answered anew; the answer that is there is replaced, and what came after it."""
    row = get(actor, conversation_id)
    answer = _message(row, message_id, CLAW)
    question = db.session.get(Message, answer.question_id)
    if question is None:
        raise Conflict(_m("What this answers is not there any more. Write it again."))
    wanted = _Wanted(question.text, tuple(question.files), replaces=answer.position, question=question)
    return _exchange(portal, actor, row, wanted)


def stop(portal: Portal, actor: Actor, conversation_id: str) -> bool:
    """End the answer that is under way; what came of it stays."""
    return answers.stop(portal, get(actor, conversation_id).id)


# ---- before it costs anything


def _check(wanted: _Wanted) -> None:
    errors = [*_wrong_text(wanted.text), *_wrong_files(wanted.files)]
    if wanted.key is not None and not _KEY.fullmatch(wanted.key):
        errors.append(FieldError("key", _m("must be 1 to 64 letters, digits, dashes or underscores")))
    if errors:
        raise Invalid(errors[0].message, errors=errors)


def _wrong_text(text: str) -> list[FieldError]:
    if not text.strip():
        return [FieldError("text", _m("Write something to say."), "missing")]
    if len(text) > MAX_TEXT:
        said = _m(
            "The message has %(len)s characters; %(most)s are allowed. Say it in parts, or attach it as a file.",
            len=f"{len(text):,}", most=f"{MAX_TEXT:,}",
        )  # fmt: skip
        return [FieldError("text", said, "too_long")]
    return []


def _wrong_files(files: Sequence[str]) -> list[FieldError]:
    if len(files) > MOST_FILES:
        return [FieldError("files", _m("may have %(n)s entries at most", n=MOST_FILES))]
    unsafe = [
        path for path in files if path.startswith("/") or ".." in path.split("/") or "\n" in path or not 0 < len(path) < 500
    ]
    return [FieldError("files", _m("must be paths in the work folder, such as attachments/plan.pdf"))] if unsafe else []


def _known(row: Conversation, wanted: _Wanted) -> Said | None:
    """What was said with its key before. Conflict where nothing was, and an answer is under way."""
    busy = _busy(row)  # asked first: an answer that is seen is never seen without its question
    said = select(Message).where(Message.conversation_id == row.id, Message.key == wanted.key)
    question = db.session.scalar(said) if wanted.key else None
    if question is None:
        _refuse_busy(busy)
        return None
    if (question.text, tuple(question.files)) != (wanted.text, wanted.files):
        raise Conflict(_m("Something else was said with this key. Nothing was sent; choose another key."))
    newest = select(Message).where(Message.question_id == question.id).order_by(Message.position.desc()).limit(1)
    answer = db.session.scalar(newest)
    if answer is None:
        raise Conflict(_m("This was said already."))
    return Said(question, answer, row.event)


def _message(row: Conversation, message_id: str, role: str) -> Message:
    found = db.session.get(Message, message_id)
    if found is None or found.conversation_id != row.id or found.role != role or found.replaced_at is not None:
        raise NotFound(_m("There is no such message in this conversation, or something else was said in its place."))
    return found


def _busy(row: Conversation) -> bool:
    running = select(Message.id).where(Message.conversation_id == row.id, Message.state == RUNNING)
    return db.session.scalar(running) is not None


def _refuse_busy(busy: bool) -> None:
    if busy:
        raise Conflict(_m("The claw still answers in this conversation. Wait until it is done, or stop it; nothing was sent."))


def _refuse_full(portal: Portal, row: Conversation) -> None:
    limit = portal.section(ConversationSettings).megabytes_each
    used = db.session.scalar(select(func.sum(Conversation.size)).where(Conversation.user_id == row.user_id)) or 0
    if used >= limit * 1_000_000:
        raise Conflict(
            _m(
                "The conversations of %(person)s take %(n)s MB, which is the limit. Delete some first.",
                person=row.person,
                n=limit,
            )
        )
    if row.position >= MOST_MESSAGES:
        raise Conflict(_m("This conversation has as many messages as one may have. Begin a new one."))


def refuse_files(portal: Portal, claw: Instance) -> None:
    """Where its kind of claw reads none."""
    adapter = portal.registry.adapters.get(claw.adapter)
    if adapter is None or "attachments" not in adapter.capabilities:
        raise Invalid.field("files", _m("%(name)s takes no attached files: its kind of claw does not read them.", name=claw.name))


# ---- one message and its answer


def _exchange(portal: Portal, actor: Actor, row: Conversation, wanted: _Wanted) -> Said:
    conversation_id = row.id
    if (known := _known(row, wanted)) is not None:
        return known
    _refuse_full(portal, row)
    if wanted.files:
        refuse_files(portal, claw_of(row))
    leave = portal.part(Answers).reserve(actor.id, portal.section(ConversationSettings))
    try:
        ready = prepare(portal, actor, row.instance_id, conversation_id, wanted.told)
        return _stored(portal, actor, conversation_id, wanted, ready, leave)
    except BaseException:
        leave()
        raise


def _stored(portal: Portal, actor: Actor, conversation_id: str, wanted: _Wanted, ready: Ready, leave: Callable[[], None]) -> Said:
    with transaction() as after_commit:
        row = get(actor, conversation_id, lock=True)
        if (known := _known(row, wanted)) is not None:  # the same was sent twice at once
            leave()
            return known
        before, replaced = row.event, _replace(row, wanted)
        question = wanted.question or _asked(row, actor, wanted)
        answer = _begun(portal, row, actor, question)
        db.session.flush()
        after_commit(answers.start, portal, Waiting(row.id, answer.id), ready.begin, leave)  # before anybody is woken
        told = [Fresh("message", one.id) for one in ((answer,) if wanted.question else (question, answer))]
        feed.append(portal, row.id, [*replaced, *told])
        ready.record()
    return Said(question, answer, before)


def _replace(row: Conversation, wanted: _Wanted) -> list[Fresh]:
    if wanted.replaces is None:
        return []
    later = (Message.conversation_id == row.id, Message.position >= wanted.replaces, Message.replaced_at.is_(None))
    db.session.execute(update(Message).where(*later).values(replaced_at=now()), execution_options={"synchronize_session": False})
    return [Fresh("replaced", data={"from": wanted.replaces})]


def _asked(row: Conversation, actor: Actor, wanted: _Wanted) -> Message:
    row.position += 1
    if not row.title:
        row.title = first_words(wanted.text)
    row.size, row.spoken_at, row.archived_at = row.size + len(wanted.text), now(), None
    made = Message(
        conversation_id=row.id, position=row.position, role=PERSON, user_id=actor.id, author=actor.name, text=wanted.text,
        files=list(wanted.files), key=wanted.key, finished_at=now(),
    )  # fmt: skip
    db.session.add(made)
    db.session.flush()
    return made


def _begun(portal: Portal, row: Conversation, actor: Actor, question: Message) -> Message:
    row.position += 1
    made = Message(
        conversation_id=row.id, position=row.position, role=CLAW, user_id=actor.id, author=claw_of(row).name, state=RUNNING,
        question_id=question.id, holder=portal.holder, beat_at=now(),
    )  # fmt: skip
    db.session.add(made)
    return made


# ---- reading


@dataclass(frozen=True)
class Shown:
    """A message as it stands just now."""

    row: Message
    so_far: Gathered | None = None
    """Of an answer that is under way."""


@dataclass(frozen=True)
class Page:
    items: list[Shown]
    """Oldest first."""
    older: int | None
    """Position before which there is more."""
    event: int
    """Following from here on, nothing is missed and nothing told twice."""


def page(row: Conversation, *, before: int | None = None, limit: int = 50) -> Page:
    """The newest messages of a conversation, or those before a position."""
    event = row.event  # read first: what comes meanwhile is told to whoever follows
    query = select(Message).where(Message.conversation_id == row.id, Message.replaced_at.is_(None))
    if before is not None:
        query = query.where(Message.position < before)
    rows = db.session.scalars(query.order_by(Message.position.desc()).limit(limit + 1)).all()
    shown = [_shown(one, event) for one in reversed(rows[:limit])]
    return Page(shown, shown[0].row.position if len(rows) > limit else None, event)


def _shown(row: Message, event: int) -> Shown:
    if row.state != RUNNING:
        return Shown(row)
    gathered = Gathered()
    for piece in feed.of_message(row.id, row.conversation_id, event):
        gathered.add(piece.kind, piece.data, piece.at)
    return Shown(row, gathered)
