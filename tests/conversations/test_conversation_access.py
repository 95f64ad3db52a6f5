"""Who reaches which conversation: one's own, shared ones, and auditors, who are seen; the text of none is told elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask
from sqlalchemy import select, text, update

from clawportal.contracts.adapters import ChatEvent, ToolUse
from clawportal.db import db, transaction
from clawportal.models import Instance
from clawportal.services.identity import identity
from clawportal.services.rights.token_limits import Limits
from clawportal_conversations.models import Conversation
from clawportal_conversations.permissions import CONVERSATION_AUDIT
from tests.conftest import counted_sql, portal_of, wait_for
from tests.conversations.conftest import Stage, make_claw, make_stage
from tests.rights.test_rights_pages import Browser

PATHS = ("", "/messages", "/events", "/export")
SECRET = "the colour of my secret is heliotrope"


def test_each_has_their_own(stage: Stage) -> None:
    people = stage.people
    talk = stage.begin(people.developer)
    stage.script.end("A")
    stage.say(talk, SECRET, people.developer)
    wait_for(lambda: stage.messages(talk, people.developer)[-1]["state"] == "done", what="it has answered")
    for person in (people.owner, people.operator, people.admin, people.stranger):
        for path in PATHS:
            assert person.get(f"conversations/{talk}{path}").status_code == 404, (person.name, path)
        assert person.get("conversations").get_json()["total"] == 0
        assert person.patch(f"conversations/{talk}", {"title": "mine"}).status_code == 404
        assert person.delete(f"conversations/{talk}").status_code == 404
        assert person.post(f"conversations/{talk}/messages", {"text": "hi"}).status_code == 404
        assert person.post(f"conversations/{talk}/stop").status_code == 404
        Browser(person).page(f"/talk/{talk}", 404)
    for path in PATHS:
        assert people.viewer.get(f"conversations/{talk}{path}").status_code == 403, "without the right to chat"
    assert people.stranger.post("conversations", {"instance": stage.claw}).status_code == 404


def test_a_shared_one_is_for_those_who_may_use_the_claw(stage: Stage) -> None:
    people = stage.people
    talk = stage.begin()
    stage.exchange(talk, "mine", "A")
    assert people.owner.patch(f"conversations/{talk}", {"shared": True}).get_json()["shared"]
    stage.exchange(talk, "theirs", "B", people.developer)
    assert [one["author"] for one in stage.messages(talk, people.operator)] == ["owner", "helper", "developer", "helper"]
    assert {session for session, _ in stage.script.asked} == {f"open-{talk}"}, "one conversation for the claw, too"
    found = people.developer.get("conversations").get_json()["items"]
    assert [(one["person"], one["mine"]) for one in found] == [("owner", False)]
    assert people.developer.patch(f"conversations/{talk}", {"title": "mine"}).status_code == 403
    assert people.developer.delete(f"conversations/{talk}").status_code == 403
    mine = stage.messages(talk)[0]["id"]
    assert people.developer.post(f"conversations/{talk}/messages/{mine}/edit", {"text": "no"}).status_code == 403
    for person, status in ((people.stranger, 404), (people.viewer, 403)):
        assert person.get(f"conversations/{talk}").status_code == status
    assert people.owner.patch(f"conversations/{talk}", {"shared": False}).status_code == 200
    assert people.developer.get(f"conversations/{talk}").status_code == 404


def test_words_are_found_however_they_are_written(both_stages: Stage) -> None:
    people = both_stages.people
    talk, other = both_stages.begin(), both_stages.begin(people.developer)
    both_stages.exchange(talk, "Куда едем?", "В МоскВу, 100% Ärger")
    both_stages.script.end("моСКВу")
    both_stages.say(other, "Куда?", people.developer)
    wait_for(lambda: both_stages.messages(other, people.developer)[-1]["state"] == "done", what="it has answered")
    for words, there in (("мосКВУ", 1), ("äRGER", 1), ("КУДА", 1), ("argeR", 0), ("100%", 1), ("0_%", 0), ("парИЖ", 0)):
        with counted_sql(both_stages.app) as statements:
            found = people.owner.get("conversations", query_string={"q": words}).get_json()
        assert [one["id"] for one in found["items"]] == [talk] * there and found["total"] == there, words
        looked = [one for one in statements if "conversations_message" in one]
        assert looked and all("conversation_id = conversations_conversation.id" in one for one in looked), words


@pytest.mark.parametrize("path", ["/talk", "/instances/{claw}/chat?q=question", "/talk/audit", "/api/v1/conversations"])
def test_statements_do_not_grow_with_the_conversations(stage: Stage, path: str) -> None:
    browser, counts = Browser(stage.people.admin), []
    browser.page(path.format(claw=stage.claw))
    for upto in (1, 12):
        claws = [stage.claw if upto == 1 else make_claw(stage.people.owner, f"claw-{number}") for number in range(upto)]
        with stage.app.app_context(), transaction():
            for claw in claws:
                tenant = db.session.scalars(select(Instance.tenant_id).where(Instance.id == claw)).one()
                person = stage.people.admin.actor.id
                row = Conversation(tenant_id=tenant, instance_id=claw, user_id=person, title="question", position=2)
                db.session.add(row)
        with counted_sql(stage.app) as statements:
            browser.page(path.format(claw=stage.claw))
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_an_auditor_needs_a_right_of_his_own_and_is_seen(stage: Stage) -> None:
    people = stage.people
    talk = stage.begin(people.developer)
    stage.script.end("A")
    stage.say(talk, SECRET, people.developer)
    holders = [name for name, held in portal_of(stage.app).permissions.roles.items() if CONVERSATION_AUDIT in held]
    assert holders == ["portal-admin"], "no role of an organisation holds it"
    for person in (people.owner, people.viewer, people.developer):
        assert person.get("conversation-audit").status_code == 403
        assert person.get(f"conversation-audit/{talk}/messages").status_code == 403
        Browser(person).page(f"/talk/audit/{talk}", 403)
    listed = people.admin.get("conversation-audit").get_data(as_text=True)
    assert talk in listed and "heliotrope" not in listed and "heliotrope" not in Browser(people.admin).page("/talk/audit")
    assert visits(stage) == []
    assert people.admin.get(f"conversation-audit/{talk}/messages").get_json()["items"][0]["text"] == SECRET
    assert SECRET in Browser(people.admin).page(f"/talk/audit/{talk}")
    assert visits(stage) == ["admin read the conversation of developer with helper."] * 2
    assert people.admin.get(f"conversation-audit/{'0' * 26}/messages").status_code == 404


def visits(stage: Stage) -> list[str]:
    found = stage.people.admin.get("audit?limit=200").get_json()["items"]
    return [one["summary"] for one in found if one["action"] == "conversation.audited"]


def test_what_is_said_is_told_nowhere_else(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    people = stage.people
    talk = stage.begin(title="heliotrope title")
    stage.exchange(talk, SECRET, f"I keep {SECRET}")
    people.owner.patch(f"conversations/{talk}", {"title": "heliotrope again", "shared": True})
    people.owner.get(f"conversations/{talk}/export")
    people.owner.delete(f"conversations/{talk}")
    events = people.owner.get("events?limit=200").get_json()["items"]
    assert {"conversation.shared", "conversation.deleted"} <= {one["kind"] for one in events}
    audit = people.admin.get("audit?limit=200").get_data(as_text=True)
    assert "conversation.delete" in audit
    for told in (json.dumps(events), audit, caplog.text):
        assert "heliotrope" not in told
    with stage.app.app_context():
        assert not db.session.scalar(text("SELECT count(*) FROM conversations_conversation"))


def test_a_token_without_the_right_to_chat_reaches_nothing(stage: Stage) -> None:
    developer = stage.people.developer
    talk = stage.begin(developer)
    with stage.app.app_context():
        portal = portal_of(stage.app)
        made = identity.create_token(
            portal, developer.actor, developer.actor.id, "narrow", None, limits=Limits(scopes=("instance.read",))
        )
    narrow = replace(developer, token=made.text)
    assert narrow.get(f"instances/{stage.claw}").status_code == 200
    for path in PATHS:
        assert narrow.get(f"conversations/{talk}{path}").status_code == 403


def test_limits_are_told_before_anything_is_asked(stage: Stage) -> None:
    talk = stage.begin()
    refused = stage.say(talk, "x" * 1_000_000, status=422)
    assert (
        refused["errors"][0]["path"] == "text" and "1,000,000 characters; 100,000 are allowed" in refused["errors"][0]["message"]
    )
    assert stage.say(talk, "  ", status=422)["errors"][0]["path"] == "text"
    assert stage.say(talk, "a", status=422, key="not good!")["errors"][0]["path"] == "key"
    assert stage.say(talk, "a", status=422, files=["../etc/passwd"])["errors"][0]["path"] == "files"
    assert stage.script.asked == [] and stage.messages(talk) == []
    many = [stage.begin() for _ in range(5)]
    for one in many[:4]:
        stage.say(one, "wait")
    assert "You wait for 4 answers already" in stage.say(many[4], "wait", status=429)["detail"]
    other = stage.begin(stage.people.developer)
    stage.say(other, "mine", stage.people.developer)
    assert stage.messages(many[4]) == []
    for _ in range(5):
        stage.script.end("go")
    wait_for(lambda: all(stage.messages(one)[-1]["state"] == "done" for one in many[:4]), what="all are answered")
    stage.exchange(many[4], "now", "yes")


def test_bounds_of_a_person_are_settings(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAWPORTAL_CONVERSATIONS_MOST_EACH", "1")
    stage = make_stage(make_app())
    stage.begin()
    answer = stage.people.owner.post("conversations", {"instance": stage.claw})
    assert answer.status_code == 409 and "as many as one person may keep" in answer.get_json()["detail"]
    assert stage.people.developer.post("conversations", {"instance": stage.claw}).status_code == 201


def test_how_a_claw_came_to_an_answer_counts_as_text(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setenv("CLAWPORTAL_CONVERSATIONS_MEGABYTES_EACH", "1")
    stage = make_stage(make_app(**({"database_url": database_url} if database_url else {})))
    talk = stage.begin()
    for number in range(60):
        stage.script.say(ChatEvent("tool", tool=ToolUse(f"t{number}", "read", "begun", "x" * 20_000)))
    stage.exchange(talk, "Read all", "Done.")
    assert "take 1 MB, which is the limit" in stage.say(talk, "And now?", status=409)["detail"]


def test_a_claw_that_does_not_run_is_told_and_nothing_is_kept(stage: Stage) -> None:
    claw = make_claw(stage.people.owner, "sleeper")
    talk = stage.people.owner.post("conversations", {"instance": claw}).get_json()["id"]
    stage.people.owner.post(f"instances/{claw}/stop")
    with stage.app.app_context(), transaction():
        db.session.execute(update(Instance).where(Instance.id == claw).values(phase="stopped"))
    assert "cannot answer now" in stage.say(talk, "hello", status=409)["detail"]
    assert stage.messages(talk) == []
