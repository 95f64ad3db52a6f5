"""What conversations bear: thousands of messages, an answer of a megabyte, and tabs that write at the same moment."""

from __future__ import annotations

import threading
from typing import Any

from sqlalchemy import insert, select, update

from clawportal.db import db, transaction
from clawportal.sdk.data import new_id, now
from clawportal_conversations.models import CLAW, PERSON, Conversation, Message
from tests.conftest import counted_sql
from tests.conversations.conftest import Stage, events_of

MANY = 5000


def fill(stage: Stage, talk: str, count: int) -> None:
    """As if so much had been said in it."""
    rows = [
        {"id": new_id(), "conversation_id": talk, "position": number, "role": CLAW if number % 2 == 0 else PERSON,
         "author": "somebody", "text": f"message {number}", "created_at": now()}
        for number in range(1, count + 1)
    ]  # fmt: skip
    with stage.app.app_context(), transaction():
        db.session.execute(insert(Message), rows)
        db.session.execute(update(Conversation).where(Conversation.id == talk).values(position=count))


def test_a_conversation_of_five_thousand_messages_opens_as_a_short_one(both_stages: Stage) -> None:
    stage, owner, costs = both_stages, both_stages.people.owner, []
    for count in (60, MANY):
        talk = stage.begin(title=f"{count}")
        fill(stage, talk, count)
        with counted_sql(stage.app) as statements:
            page = owner.get(f"conversations/{talk}/messages?limit=50").get_json()
        costs.append(len(statements))
        assert [one["position"] for one in page["items"]] == list(range(count - 49, count + 1))
    assert costs[0] == costs[1], "no more is asked of the database"
    seen, before = [one["position"] for one in page["items"]], page["older"]
    while before is not None:
        page = owner.get(f"conversations/{talk}/messages?limit=200&before={before}").get_json()
        seen, before = [one["position"] for one in page["items"]] + seen, page["older"]
    assert seen == list(range(1, MANY + 1)), "each once, in order, to the very first"
    with counted_sql(stage.app) as statements:
        owner.get(f"conversations/{talk}/messages?limit=50")
    with stage.app.app_context():
        asked = next(one for one in statements if "FROM conversations_message" in one and "LIMIT" in one)
        assert "ORDER BY conversations_message.position DESC" in asked
        assert db.session.scalar(select(Conversation.position).where(Conversation.id == talk)) == MANY


def test_an_answer_of_a_megabyte_is_whole(both_stages: Stage) -> None:
    stage, owner = both_stages, both_stages.people.owner
    talk = stage.begin()
    pieces = [f"{number:09d}\n" * 1000 for number in range(100)]
    stage.script.end(*pieces)
    said = stage.say(talk, "Tell me all")
    told = stage.last(talk, "done")
    assert told["text"] == "".join(pieces) and len(told["text"]) == 1_000_000
    heard = events_of(owner.get(f"conversations/{talk}/events?after={said['event']}"), until="ended")
    assert "".join(data["text"] for kind, _, data in heard if kind == "delta") == told["text"]
    refused = stage.say(talk, "x" * 1_000_000, status=422)
    assert "1,000,000 characters; 100,000 are allowed" in refused["detail"]
    assert len(stage.script.asked) == 1 and len(stage.messages(talk)) == 2


def test_tabs_that_write_at_the_same_moment(both_stages: Stage) -> None:
    stage, found = both_stages, list[tuple[int, Any]]()
    talk, ready = stage.begin(), threading.Barrier(4)

    def write(number: int) -> None:
        ready.wait(20)
        answer = stage.people.owner.post(f"conversations/{talk}/messages", {"text": f"tab {number}", "key": f"k{number}"})
        found.append((answer.status_code, answer.get_json()))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(status for status, _ in found) == [202, *[409] * 3], found
    assert all("nothing was sent" in told["detail"] for status, told in found if status == 409)
    stage.script.end("one of them")
    stage.last(talk, "done")
    said = next(told["question"]["text"] for status, told in found if status == 202)
    assert [one["text"] for one in stage.messages(talk)] == [said, "one of them"]
    assert [text for _, text in stage.script.asked] == [said]
