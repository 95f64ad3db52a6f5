"""Sentences as data: their text, their way through JSON and databases, and their translation."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable

import pytest
from sqlalchemy import text

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.errors import GiveUp, Retry, Unavailable
from clawportal.jobs import cluster_monitor
from clawportal.messages import Message, _m, _mn, as_json, clipped, from_json, mapped, packed, unpacked
from clawportal.models import EventRow, Instance, Operation
from clawportal.services.events import event_log
from clawportal.services.fleet import operations
from tests.core.world import World

NESTED = _m("%(what)s: %(said)s", what=_m("The cluster %(name)s", name="edge"), said="no route to 100%(name)s")
WAYS: dict[str, Callable[[Message], object]] = {
    "copied": copy.deepcopy,
    "pickled": lambda message: pickle.loads(pickle.dumps(message)),
    "column of text": lambda message: unpacked(packed(message)),
    "column of JSON": lambda message: from_json(json.loads(json.dumps(as_json({"a": [message]}))))["a"][0],
}


def test_a_message_is_its_english_text() -> None:
    assert NESTED == "The cluster edge: no route to 100%(name)s"
    assert f"{NESTED}!" == "The cluster edge: no route to 100%(name)s!"
    assert json.dumps(_m("%(n)s left", n=3)) == '"3 left"'
    assert str(ValueError(NESTED)).document() == NESTED.document()  # what an exception says is still a message


def test_what_fills_a_gap_is_never_a_gap() -> None:
    assert _m("%(first)s, %(second)s", first="%(second)s", second="x") == "%(second)s, x"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "message", [NESTED, _mn("%(n)s claw", "%(n)s claws", 2), _m("Done"), _m("%(names)s", names=["a", _m("b")])]
)
def test_a_message_comes_back_as_it_was(way: str, message: Message) -> None:
    found = WAYS[way](message)
    assert isinstance(found, Message)
    assert (found, found.document()) == (message, message.document())


def test_plurals() -> None:
    assert [_mn("%(n)s claw", "%(n)s claws", n) for n in (0, 1, 2)] == ["0 claws", "1 claw", "2 claws"]


def test_lists_have_the_commas_of_the_reader() -> None:
    message = _m("Known: %(names)s.", names=["a", _m("none"), 3])
    assert message == "Known: a, none, 3."
    words = {"Known: %(names)s.": "已知：%(names)s。", "none": "无", ", ": "、"}
    assert isinstance(message, Message) and message.text(lambda one: words[one.id]) == "已知：a、无、3。"


def test_a_gap_that_nothing_fills_is_refused() -> None:
    with pytest.raises(TypeError, match="misses name"):
        _m("%(name)s was created.")
    with pytest.raises(TypeError, match="misses what"):
        _mn("%(n)s", "%(n)s %(what)s", 2)


def test_text_of_a_stranger_cannot_look_like_a_stored_message() -> None:
    forged = packed(_m("Done"))
    assert unpacked(packed(str.__str__(forged))) == forged.replace("\x1e", " ")
    assert not isinstance(unpacked(packed("" + forged)), Message)
    assert unpacked("Stopped; its data is kept.") == "Stopped; its data is kept."  # rows from before


def test_redaction_reaches_what_fills_the_gaps() -> None:
    def hide(text: str) -> str:
        return text.replace("hunter2", "***")

    hidden = mapped(_m("%(a)s: %(b)s", a=_m("it said %(x)s", x="hunter2"), b=["hunter2", 3]), hide)
    assert isinstance(hidden, Message)
    assert hidden == "it said ***: ***, 3"
    assert "hunter2" not in json.dumps(hidden.document())
    split = mapped(_m("%(a)s%(b)s", a="hunt", b="er2"), hide)
    assert split == "***" and not isinstance(split, Message)


def test_what_is_too_long_is_plain_text() -> None:
    assert isinstance(clipped(NESTED, 100), Message)
    assert clipped(NESTED, 3, "…") == "The…"


def test_every_column_gives_back_what_it_got(both: World) -> None:
    row = both.create("stopped")
    condition = {"type": "Ready", "reason": "", "message": NESTED, "parts": [_m("Done")], "text": "stopped"}
    with both.context(), transaction():
        instance = db.session.get_one(Instance, row)
        instance.message, instance.next_action, instance.conditions = NESTED, "stopped", [condition]
        event = event_log.record(both.portal, "test.said", actor=SYSTEM, message=NESTED, instance=instance)
        operation = operations.open_for_instance(SYSTEM, "instance.start", instance)
        operation.say(NESTED)
        operation.error = _mn("%(n)s claw", "%(n)s claws", 2)
        db.session.flush()
        seq, operation_id = event.seq, operation.id
    with both.context():
        db.session.expire_all()
        instance = db.session.get_one(Instance, row)
        operation = db.session.get_one(Operation, operation_id)
        step = operation.steps[-1]["message"]
        for found in (instance.message, db.session.get_one(EventRow, seq).message, operation.message, step):
            assert isinstance(found, Message)
            assert found.document() == NESTED.document()
        assert as_json(instance.conditions) == as_json([condition])
        assert as_json(operation.error) == {"id": "%(n)s claw", "plural": "%(n)s claws", "parameters": {"n": 2}}
        assert not isinstance(instance.next_action, Message) and not isinstance(instance.conditions[0]["text"], Message)


def test_rows_from_before_are_read(both: World) -> None:
    row = both.create("old")
    with both.context(), transaction():
        db.session.execute(text("UPDATE instance SET message = 'It ended.', conditions = '[{\"message\": \"Ended\"}]'"))
    with both.context():
        instance = db.session.get_one(Instance, row)
        assert (instance.message, instance.conditions) == ("It ended.", [{"message": "Ended"}])


def test_another_message_with_the_same_text_is_stored(both: World) -> None:
    row = both.create("same")
    for message in (_m("%(a)s", a="Done"), _m("Done"), "Done"):
        with both.context(), transaction():
            db.session.get_one(Instance, row).message = message
        with both.context():
            db.session.expire_all()
            assert as_json(db.session.get_one(Instance, row).message) == as_json(message)


@pytest.mark.parametrize(
    "error",
    [
        GiveUp("Refused", _m("%(name)s refuses.", name="edge"), _m("Ask %(name)s.", name="kim")),
        Retry("ClusterUnreachable", _m("%(name)s refuses.", name="edge")),
        Unavailable(_m("%(name)s refuses.", name="edge")), OSError("no route to host"),
    ],
)  # fmt: skip
def test_why_a_cluster_does_not_answer_is_a_message(error: Exception) -> None:
    _reason, message = cluster_monitor.reason_of(error)
    assert isinstance(message, Message) and message.endswith(".") and not message.endswith("..")
    assert ("edge refuses." in message) != isinstance(error, OSError)
