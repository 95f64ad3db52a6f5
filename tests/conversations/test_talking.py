"""Conversations on both databases: kept, told piece by piece, taken up again; their answers whatever happens to the portal."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, text, update

from clawportal.contracts.adapters import ChatEvent, ToolUse, Usage
from clawportal.db import db, transaction
from clawportal_conversations import answers, feed, talking, upkeep
from clawportal_conversations.gathering import MOST_PIECES
from clawportal_conversations.models import Conversation, Message, Piece
from clawportal_conversations.services import get
from tests.conftest import counted_sql, portal_of, wait_for
from tests.conversations.conftest import Stage, events_of, make_stage


def test_what_is_said_is_kept(both_stages: Stage) -> None:
    stage, owner = both_stages, both_stages.people.owner
    talk = stage.begin()
    assert (
        stage.exchange(talk, "What is\n the  weather like in a place that is far away from here, my friend?", "Fine.")["text"]
        == "Fine."
    )
    assert [(one["role"], one["text"][:8]) for one in stage.messages(talk)] == [("person", "What is\n"), ("claw", "Fine.")]
    found = owner.get("conversations").get_json()
    assert found["total"] == 1 and found["items"][0]["title"] == "What is the weather like in a place that is far away from…"
    assert stage.script.asked[0][0] == f"open-{talk}"
    renamed = owner.patch(f"conversations/{talk}", {"title": "  The   weather "}).get_json()
    assert renamed["title"] == "The weather"
    stage.exchange(talk, "And tomorrow?", "Rain.")
    assert owner.get(f"conversations/{talk}").get_json()["title"] == "The weather"
    for words, there in (("RAIN", 1), ("weath", 1), ("snow", 0), ("100%", 0)):
        assert owner.get("conversations", query_string={"q": words}).get_json()["total"] == there, words
    owner.patch(f"conversations/{talk}", {"archived": True})
    assert owner.get("conversations").get_json()["total"] == 0
    assert owner.get("conversations?archived=true").get_json()["total"] == 1
    stage.exchange(talk, "Back again", "Welcome.")
    assert owner.get("conversations").get_json()["total"] == 1, "who goes on in it wants it back"
    assert owner.delete(f"conversations/{talk}").status_code == 204
    assert owner.get(f"conversations/{talk}").status_code == 404
    with stage.app.app_context():
        assert [db.session.scalar(select(func.count()).select_from(one)) for one in (Conversation, Message, Piece)] == [0, 0, 0]


def test_an_answer_is_told_piece_by_piece_and_taken_up_again(both_stages: Stage) -> None:
    stage, owner = both_stages, both_stages.people.owner
    talk = stage.begin()
    said = stage.say(talk, "Count")
    stage.script.say("one ")
    first = owner.get(f"conversations/{talk}/events?after={said['event']}")
    told = events_of(first, until="delta")
    assert [kind for kind, _, _ in told] == ["message", "message", "delta"]
    assert told[1][2]["state"] == "running" and told[1][2]["text"] == ""
    assert [number for _, number, _ in told] == [1, 2, 3]
    stage.script.say(ChatEvent("thinking", "hm"), ChatEvent("tool", tool=ToolUse("t", "count", "begun", "{}")))
    stage.script.say(
        ChatEvent("tool", tool=ToolUse("t", "count", "done", "{}", "2")), "two", ChatEvent("usage", usage=Usage(3, 4, "m", 0.5))
    )
    stage.script.say(ChatEvent("final", "one two"))
    again = owner.get(f"conversations/{talk}/events", headers={"Last-Event-ID": "3"})
    rest = events_of(again, until="ended")
    assert {kind for kind, _, _ in rest} == {"thinking", "tool", "delta", "usage", "ended"}
    assert [number for _, number, _ in rest] == list(range(4, 4 + len(rest))), "each once, in order, and none is missing"
    assert "".join(data["text"] for kind, _, data in [*told, *rest] if kind == "delta") == "one two"
    whole = rest[-1][2]
    assert whole["text"] == "one two" and whole["usage"] == {"input_tokens": 3, "output_tokens": 4, "model": "m", "cost_usd": 0.5}
    assert [(step["kind"], step.get("output")) for step in whole["steps"]] == [("thinking", None), ("tool", "2")]
    assert all(step["seconds"] is not None for step in whole["steps"])
    assert stage.messages(talk)[-1] == whole
    late = events_of(owner.get(f"conversations/{talk}/events?after=0"), until="ended")
    assert late == [*told, *rest], "who comes when all is over is told the same"


def test_an_answer_goes_on_while_nobody_looks(both_stages: Stage) -> None:
    stage = both_stages
    talk = stage.begin()
    stage.say(talk, "Go on")
    stage.script.say("half ")
    wait_for(lambda: stage.messages(talk)[-1]["text"] == "half ", what="what came is there for whoever opens the page")
    assert stage.messages(talk)[-1]["state"] == "running"
    stage.script.end("half ", "whole")
    assert stage.last(talk, "done")["text"] == "half whole"


def test_two_tabs_at_once(both_stages: Stage) -> None:
    stage = both_stages
    talk = stage.begin()
    first = stage.say(talk, "mine", key="k1")
    refused = stage.say(talk, "mine, too", status=409)
    assert "nothing was sent" in refused["detail"]
    again = stage.say(talk, "mine", key="k1")
    assert again["question"]["id"] == first["question"]["id"], "what is sent twice is said once"
    stage.script.end("yes")
    stage.last(talk, "done")
    assert [one["text"] for one in stage.messages(talk)] == ["mine", "yes"] and len(stage.script.asked) == 1


def test_the_same_twice_at_once_is_said_once(both_stages: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second comes when the first has been looked at, and is not stored yet."""
    stage, meanwhile = both_stages, list[Any]()
    talk, ask = stage.begin(), talking.prepare

    def asked(*what: Any) -> Any:
        if not meanwhile:
            meanwhile.append({})  # what is said now comes past here, too
            meanwhile.append(stage.say(talk, "mine", key="k1"))
        return ask(*what)

    monkeypatch.setattr(talking, "prepare", asked)
    first = stage.say(talk, "mine", key="k1")
    assert [first[one]["id"] for one in ("question", "answer")] == [meanwhile[1][one]["id"] for one in ("question", "answer")]
    stage.script.end("yes")
    stage.last(talk, "done")
    assert len(stage.messages(talk)) == 2 and len(stage.script.asked) == 1
    assert "another key" in stage.say(talk, "other words", key="k1", status=409)["detail"]
    wait_for(lambda: not portal_of(stage.app).part(answers.Answers)._persons, what="both places are free again")


def test_a_system_without_threads_leaves_an_answer_that_says_so(both_stages: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, part = both_stages, portal_of(both_stages.app).part(answers.Answers)
    talk, start = stage.begin(), threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "answer":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    stage.say(talk, "Anybody?")
    told = stage.messages(talk)[-1]
    assert told["state"] == "failed" and told["reason"] == "The portal could not begin to wait for this answer."
    assert told["remedy"] == "Try again." and not part._persons and not part._threads
    monkeypatch.undo()
    assert stage.exchange(talk, "And now?", "Here.")["text"] == "Here."


def test_a_message_is_one_transaction(stage: Stage) -> None:
    """Each commit is waited for before the claw is asked."""
    talk = stage.begin()
    stage.exchange(talk, "a", "A")
    with counted_sql(stage.app) as statements:
        stage.say(talk, "b")
    assert statements.count("BEGIN IMMEDIATE") == 1
    stage.script.end()


def test_where_one_was_counts_more_than_where_one_began(stage: Stage) -> None:
    """A browser that follows again by itself asks the same address, with what it heard since in a header."""
    talk = stage.begin()
    stage.exchange(talk, "a", "A")
    answer = stage.people.owner.get(f"conversations/{talk}/events?after=0", headers={"Last-Event-ID": "2"})
    assert events_of(answer, until="ended")[0][1] == 3


def test_a_claw_that_breaks_off(both_stages: Stage) -> None:
    stage, owner = both_stages, both_stages.people.owner
    talk = stage.begin()
    stage.script.say("almost ", ChatEvent("error", "The chat broke off."))
    stage.say(talk, "Tell me")
    broken = stage.last(talk, "interrupted")
    assert broken["text"] == "almost " and broken["reason"] == "The chat broke off." and "again" in broken["remedy"].lower()
    stage.script.end("all of it")
    assert owner.post(f"conversations/{talk}/messages/{broken['id']}/retry").status_code == 202
    assert stage.last(talk, "done")["text"] == "all of it"
    assert [one["text"] for one in stage.messages(talk)] == ["Tell me", "all of it"]
    assert [text for _, text in stage.script.asked] == ["Tell me", "Tell me"]
    stage.script.say(ChatEvent("error", "No."))
    stage.say(talk, "More")
    assert stage.last(talk, "failed")["text"] == ""


def test_stopping_keeps_what_came(both_stages: Stage) -> None:
    stage, owner = both_stages, both_stages.people.owner
    talk = stage.begin()
    stage.say(talk, "Talk on")
    stage.script.say("first ")
    wait_for(lambda: stage.messages(talk)[-1]["text"], what="a piece came")
    assert owner.post(f"conversations/{talk}/stop").get_json() == {"stopped": True}
    assert stage.messages(talk)[-1]["state"] == "stopped" and stage.messages(talk)[-1]["text"] == "first "
    stage.script.end("late")
    assert owner.post(f"conversations/{talk}/stop").get_json() == {"stopped": False}
    wait_for(lambda: not portal_of(stage.app).part(answers.Answers)._persons, what="its place is free again")
    assert stage.messages(talk)[-1]["text"] == "first "


def test_other_words_take_the_place_of_what_was_said(both_stages: Stage) -> None:
    stage, owner = both_stages, both_stages.people.owner
    talk = stage.begin()
    for question, answer in (("a", "A"), ("b", "B")):
        stage.exchange(talk, question, answer)
    first = stage.messages(talk)[0]
    stage.script.end("C")
    path = f"conversations/{talk}/messages/{first['id']}/edit"
    assert owner.post(path, {"text": "c"}).status_code == 202
    assert stage.last(talk, "done")["text"] == "C"
    assert [one["text"] for one in stage.messages(talk)] == ["c", "C"]
    assert owner.post(path, {"text": "d"}).status_code == 404, "it is replaced already"
    told = events_of(owner.get(f"conversations/{talk}/events?after=0"), until="replaced")
    assert told[-1][2] == {"from": first["position"]}


def test_an_answer_in_too_many_pieces_is_cut_off(both_stages: Stage) -> None:
    stage, portal = both_stages, portal_of(both_stages.app)
    talk = stage.begin()
    answer = stage.say(talk, "Flood me")["answer"]["id"]
    flood = [ChatEvent("delta", "a"), ChatEvent("thinking", "b")] * (MOST_PIECES // 2)
    with stage.app.app_context():
        keeper = answers.Keeper(portal, answers.Waiting(talk, answer))
        assert keeper.keep(flood) and not keeper.keep([ChatEvent("delta", "too much"), ChatEvent("final", "all")])
        assert db.session.scalar(select(func.count()).where(Piece.message_id == answer, Piece.kind != "ended")) == MOST_PIECES + 1
    told = stage.messages(talk)[-1]
    assert told["state"] == "interrupted" and told["text"] == "a" * (MOST_PIECES // 2)
    assert told["reason"] == "The answer came in too many pieces, so the rest was left out." and told["remedy"]
    stage.script.end()


def test_what_a_claw_took_is_stored_once_a_batch(both_stages: Stage) -> None:
    stage, portal = both_stages, portal_of(both_stages.app)
    talk = stage.begin()
    answer = stage.say(talk, "Count")["answer"]["id"]
    with stage.app.app_context():
        used = [ChatEvent("usage", usage=Usage(number, 1, "m")) for number in range(500)]
        answers.Keeper(portal, answers.Waiting(talk, answer)).keep([ChatEvent("delta", "a"), *used, ChatEvent("delta", "b")])
        found = db.session.execute(select(Piece.kind, Piece.data).where(Piece.message_id == answer).order_by(Piece.number)).all()
    assert [kind for kind, _ in found] == ["message", "delta", "usage"]
    assert found[1][1] == {"text": "ab"} and found[2][1]["input_tokens"] == 499
    stage.script.end()


@pytest.mark.postgres
@pytest.mark.parametrize("how", ["keeps a piece", "ends it"])
def test_a_conversation_is_deleted_during_its_answer(
    make_app: Callable[..., Flask], postgres: Callable[[], str], how: str
) -> None:
    """Whoever deletes and whoever keeps the answer lock in one order: neither is the victim of the other."""
    stage = make_stage(make_app(database_url=postgres()))
    portal, owner = portal_of(stage.app), stage.people.owner
    talk = stage.begin()
    answer = stage.say(talk, "Slow")["answer"]["id"]
    kept: list[bool] = []

    def keep() -> None:
        with stage.app.app_context():
            keeper = answers.Keeper(portal, answers.Waiting(talk, answer))
            kept.append(
                keeper.keep([ChatEvent("delta", "a")]) if how == "keeps a piece" else answers.conclude(portal, answer, "stopped")
            )

    other = threading.Thread(target=keep)
    with stage.app.app_context():
        with transaction():
            row = get(owner.actor, talk, lock=True)
            other.start()
            wait_for(_somebody_waits, what="the other one waits for the conversation")
            db.session.delete(row)
        other.join(20)
        assert kept == [False]
        assert [db.session.scalar(select(func.count()).select_from(one)) for one in (Conversation, Message, Piece)] == [0, 0, 0]
    stage.script.end()
    wait_for(lambda: not portal.part(answers.Answers)._persons, what="whoever waited has let go")


def _somebody_waits() -> bool:
    """For a lock, in PostgreSQL."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with db.engine.connect() as connection:
        return bool(connection.execute(text(waiting)).scalar())


@pytest.mark.parametrize("how", ["dead", "silent"])
def test_a_portal_that_was_killed_leaves_an_answer_that_says_so(both_stages: Stage, how: str) -> None:
    stage = both_stages
    portal = portal_of(stage.app)
    talk = stage.begin()
    answer = stage.say(talk, "Long story")["answer"]["id"]
    stage.script.say("Once ")
    wait_for(lambda: stage.messages(talk)[-1]["text"], what="a piece came")
    host = portal.holder.split(":")[0]
    seen = answers.now() - timedelta(seconds=answers.GONE_SECONDS)
    lost: dict[str, Any] = (
        {"holder": f"{host}:999999999:x", "beat_at": seen} if how == "dead" else {"holder": "elsewhere:1:x", "beat_at": None}
    )
    with stage.app.app_context():
        with transaction():
            db.session.execute(update(Message).where(Message.id == answer).values(**lost))
        answers.notice_lost_once(portal)
    told = stage.messages(talk)[-1]
    assert (told["state"], told["text"]) == ("interrupted", "Once ")
    assert told["reason"] == "The portal was ended in the middle of this answer." and told["remedy"] == "Try again."
    stage.script.end("late")
    wait_for(lambda: not portal.part(answers.Answers)._persons, what="whoever waited has let go")
    assert stage.messages(talk)[-1]["text"] == "Once ", "what comes after that changes nothing"


@pytest.mark.parametrize("number", ["ours", "999999999", "elsewhere"])
def test_an_answer_that_another_portal_waits_for_is_left_alone(both_stages: Stage, number: str) -> None:
    """In containers another replica may have this one's name and number, or a number that is nobody's here."""
    stage = both_stages
    talk = stage.begin()
    stage.say(talk, "Slow")
    host = portal_of(stage.app).holder.split(":")[0]
    with stage.app.app_context():
        with transaction():
            same = os.getpid() if number == "ours" else number
            holder = "elsewhere:1:x" if number == "elsewhere" else f"{host}:{same}:x"
            db.session.execute(update(Message).values(holder=holder, beat_at=answers.now()))
        answers.notice_lost_once(portal_of(stage.app))
    assert stage.messages(talk)[-1]["state"] == "running"
    stage.script.end()


def test_who_was_away_for_too_long_reads_anew(both_stages: Stage) -> None:
    stage, owner = both_stages, both_stages.people.owner
    talk = stage.begin()
    stage.exchange(talk, "a", "A")
    with stage.app.app_context():
        with transaction():
            db.session.execute(update(Piece).values(at=answers.now() - upkeep.EVENTS_KEPT * 2))
        upkeep.forget_old(portal_of(stage.app))
        assert db.session.scalar(select(func.count()).select_from(Piece)) == 0
        newest = db.session.scalar(select(Conversation.event))
        found = list(feed.follow(portal_of(stage.app), talk, 1, seconds=0.1))
        assert [(one.kind, one.number) for one in found if one] == [("reset", newest)]
        assert not [one for one in feed.follow(portal_of(stage.app), talk, newest or 0, seconds=0.1) if one]
    refused = owner.get(f"conversations/{talk}/events", headers={"Last-Event-ID": "x"})
    assert refused.status_code == 422
