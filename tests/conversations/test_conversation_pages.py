"""The pages for talking, without a browser: what each shows, to whom, and what a phone needs to keep it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clawportal.db import db
from tests.conftest import wait_for
from tests.conversations.conftest import Stage, make_claw
from tests.rights.test_rights_pages import Browser


def test_the_pages_show_what_there_is(stage: Stage) -> None:
    owner = Browser(stage.people.owner)
    assert "No conversations yet." in owner.page("/talk") and "helper" in owner.page("/talk")
    assert "Message to helper" in owner.page(f"/talk?claw={stage.claw}")
    talk = stage.begin()
    assert talk not in owner.page("/talk"), "nothing was said in it"
    stage.exchange(talk, "What is <b>new</b>?", "Nothing.")
    for path in (f"/talk/{talk}", f"/instances/{stage.claw}/chat", f"/instances/{stage.claw}/chat?conversation={talk}"):
        page = owner.page(path)
        assert f'data-conversation="{talk}"' in page and "What is &lt;b&gt;new&lt;/b&gt;?" in page, path
    assert 'data-conversation=""' in owner.page(f"/instances/{stage.claw}/chat?new=1")
    assert "Nothing matches" in owner.page(f"/instances/{stage.claw}/chat?q=absent")
    stage.people.owner.patch(f"conversations/{talk}", {"archived": True})
    assert talk not in owner.page("/talk") and talk in owner.page("/talk?archived=1")
    other = make_claw(stage.people.owner, "other")
    owner.page(f"/instances/{other}/chat?conversation={talk}", 404)
    Browser(stage.people.stranger).page(f"/talk?claw={stage.claw}", 404)
    Browser(stage.people.viewer).page("/talk", 403)
    assert "/talk/audit" in Browser(stage.people.admin).page("/talk") and "/talk/audit" not in owner.page("/talk")


def test_attaching_is_for_those_who_may_upload(stage: Stage) -> None:
    assert "data-attach" in Browser(stage.people.owner).page(f"/talk?claw={stage.claw}")
    assert "data-attach" not in Browser(stage.people.operator).page(f"/talk?claw={stage.claw}")
    echo = make_claw(stage.people.owner, "plain", "echo")
    assert "data-attach" not in Browser(stage.people.owner).page(f"/talk?claw={echo}")
    talk = stage.begin()
    stage.script.end("seen")
    stage.say(talk, "look", files=["attachments/x/plan.pdf"])
    assert stage.last(talk, "done")["text"] == "seen"
    assert stage.script.asked[-1][1] == "look\n\nAttached files, in your work folder:\n- attachments/x/plan.pdf"
    assert stage.messages(talk)[0]["files"] == ["attachments/x/plan.pdf"]


def test_it_can_be_installed(stage: Stage) -> None:
    found = stage.app.test_client().get("/talk/manifest.webmanifest")
    manifest = found.get_json(force=True)
    assert found.mimetype == "application/manifest+json" and manifest["display"] == "standalone" and manifest["scope"] == "/talk"
    assert {icon["purpose"] for icon in manifest["icons"]} == {"any", "maskable"}
    for icon in manifest["icons"]:
        assert stage.app.test_client().get(icon["src"]).data.startswith(b"\x89PNG"), icon
    page = Browser(stage.people.owner).page(f"/talk?claw={stage.claw}")
    assert 'rel="manifest" href="/talk/manifest.webmanifest"' in page
    policy = Browser(stage.people.owner).client.get("/talk").headers["Content-Security-Policy"]
    assert "unsafe" not in policy and "img-src 'self' data:" in policy


def test_exports_have_all_that_was_said(stage: Stage) -> None:
    talk, owner = stage.begin(title="Letters"), stage.people.owner
    for number in range(3):
        stage.exchange(talk, f"question {number}", f"answer {number}")
    text = owner.get(f"conversations/{talk}/export").get_data(as_text=True)
    assert text.startswith("# Letters\n") and [text.count(f"answer {number}") for number in range(3)] == [1, 1, 1]
    answer = owner.get(f"conversations/{talk}/export?format=json")
    whole = answer.get_json()
    assert [one["text"] for one in whole["messages"]] == [f"{kind} {n}" for n in range(3) for kind in ("question", "answer")]
    assert "attachment" in answer.headers["Content-Disposition"] and "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("form", ["markdown", "json"])
def test_whoever_takes_an_export_slowly_holds_nothing(both_stages: Stage, form: str) -> None:
    stage, owner = both_stages, both_stages.people.owner
    talk = stage.begin(title="Letters")
    for number in range(2):
        stage.exchange(talk, f"question {number}", f"answer {number}")
    counted = stage.app.extensions["clawportal_viewers"]
    with stage.app.app_context():
        pool: Any = db.engine.pool
    answer = owner.get(f"conversations/{talk}/export?format={form}")
    pieces = iter(answer.response)
    taken = [next(pieces)]
    for _ in ("before the first message", "between two"):
        wait_for(lambda: pool.checkedout() == 0, what="no connection is in use")  # background work uses one now and then
        assert counted.count == 1, "and it is one of those that last"
        taken.append(next(pieces))
    whole = b"".join(one if isinstance(one, bytes) else one.encode() for one in [*taken, *pieces]).decode()
    assert [whole.count(f"answer {number}") for number in range(2)] == [1, 1]
    answer.close()
    assert counted.count == 0


def test_a_conversation_that_is_deleted_while_it_is_exported(both_stages: Stage) -> None:
    stage, owner = both_stages, both_stages.people.owner
    talk = stage.begin(title="Letters")
    stage.exchange(talk, "question", "answer")
    export = owner.get(f"conversations/{talk}/export?format=json")
    pieces = iter(export.response)
    head = next(pieces)
    assert owner.delete(f"conversations/{talk}").status_code == 204
    whole = b"".join(one if isinstance(one, bytes) else one.encode() for one in [head, *pieces])
    assert json.loads(whole)["messages"] == [], "it ends well"
    export.close()
