"""Files that go with a message: told by their paths, refused before a byte is read, and shown where they are pictures."""

from __future__ import annotations

import base64

import pytest

from clawportal.contracts.adapters import ADAPTER_CAPABILITIES
from clawportal_nanobot.adapter import NanobotAdapter
from clawportal_openclaw.adapter import OpenClawAdapter
from tests.conftest import Person
from tests.conversations.conftest import Stage, make_claw

DOT = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
BYTES = "application/octet-stream"


def attach(stage: Stage, talk: str, name: str, content: bytes, status: int = 201, person: Person | None = None) -> str:
    sender = person or stage.people.owner
    answer = sender.post(f"conversations/{talk}/files", query_string={"name": name}, data=content, content_type=BYTES)
    assert answer.status_code == status, answer.get_data(as_text=True)
    return str(answer.get_json().get("path") or answer.get_json()["detail"])


def test_a_picture_goes_with_a_message_and_is_shown(running_stage: Stage) -> None:
    stage = running_stage
    talk, owner = stage.begin(), stage.people.owner
    path = attach(stage, talk, "../мой plan (1).png", DOT)
    assert path.startswith(f"attachments/{talk}/") and path.endswith("-_мой_plan_1_.png")
    other = attach(stage, talk, "notes.txt", b"<script>alert(1)</script>")
    stage.script.end("seen")
    question = stage.say(talk, "look", files=[path, other])["question"]["id"]
    assert stage.script.asked[-1][1] == f"look\n\nAttached files, in your work folder:\n- {path}\n- {other}"
    where = f"conversations/{talk}/messages/{question}/picture"
    shown = owner.get(where, query_string={"path": path})
    assert shown.status_code == 200 and shown.data == DOT and shown.mimetype == "image/png"
    assert "sandbox" in shown.headers["Content-Security-Policy"]
    for wrong in (other, "attachments/absent.png", "../state/echo.json", path + "x"):
        assert owner.get(where, query_string={"path": wrong}).status_code == 404, wrong
    assert owner.get(where.replace(question, "0" * 26), query_string={"path": path}).status_code == 404
    for person in (stage.people.stranger, stage.people.developer):
        assert person.get(where, query_string={"path": path}).status_code == 404, "the conversation is not theirs"
    stage.last(talk, "done")


def test_what_is_attached_is_bounded_before_a_byte_is_read(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    from clawportal_conversations import attachments

    talk = stage.begin()
    monkeypatch.setattr(attachments, "most_bytes", lambda _portal: 100)
    taken = []
    monkeypatch.setattr(attachments, "upload", lambda *_args, **_more: taken.append(1))
    assert "helper takes files of at most 100 B" in attach(stage, talk, "a.txt", b"x" * 101, 413)
    assert "name of a file" in attach(stage, talk, "...", b"x", 422) and not taken
    attach(stage, talk, "a.txt", b"x" * 100)
    assert taken
    wrong = stage.people.owner.post(f"conversations/{talk}/files?name=a", data=b"x", content_type="text/html")
    assert wrong.status_code == 415


def test_only_claws_that_read_files_get_some(stage: Stage) -> None:
    echo = make_claw(stage.people.owner, "plain", "echo")
    talk = str(stage.people.owner.post("conversations", {"instance": echo}).get_json()["id"])
    assert "plain takes no attached files" in attach(stage, talk, "a.txt", b"x", 422)
    assert attach(stage, talk, "a.txt", b"x", 404, stage.people.stranger)
    mine = stage.begin(stage.people.operator)
    attach(stage, mine, "a.txt", b"x", 403, stage.people.operator)
    assert "attachments" in ADAPTER_CAPABILITIES
    for adapter in (NanobotAdapter(), OpenClawAdapter()):
        assert "attachments" in adapter.capabilities


def test_the_page_says_how_large_a_file_may_be(stage: Stage) -> None:
    from tests.rights.test_rights_pages import Browser

    page = Browser(stage.people.owner).page(f"/talk?claw={stage.claw}")
    assert 'data-most-attached="25"' in page and "data-attach" in page
