"""A portal whose plugin for conversations was left out: nothing of it is there, its claws still answer, its data stays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask
from sqlalchemy import text

from clawportal.db import db
from clawportal.pluginmanager import BUNDLED
from tests.conftest import portal_of
from tests.conversations.conftest import Script, make_stage
from tests.rights.test_rights_pages import Browser

REST = ",".join(name for name in BUNDLED if name != "clawportal_conversations")


def test_tab_right_words_and_api_are_gone_and_the_data_stays(make_app: Callable[..., Flask]) -> None:
    stage = make_stage(make_app())
    talk = stage.begin()
    stage.exchange(talk, "hello", "good day")
    page = Browser(stage.people.owner).page(f"/instances/{stage.claw}")
    assert f"/instances/{stage.claw}/chat" in page and 'href="/talk"' in page
    paths = stage.people.owner.get("openapi.json").get_json()["paths"]
    assert len([path for path in paths if "conversation" in path]) == 12, "all of it is documented"
    script = Script()
    app = make_app(plugins=REST)
    portal_of(app).registry.adapters["scripted"] = script
    owner = replace(stage.people.owner, app=app)
    page = Browser(owner).page(f"/instances/{stage.claw}")
    assert f"/instances/{stage.claw}/chat" not in page and "/talk" not in page and f"/instances/{stage.claw}/logs" in page
    Browser(owner).page(f"/instances/{stage.claw}/chat", 404)
    Browser(owner).page("/instances")
    assert owner.get("conversations").status_code == 404
    document = owner.get("openapi.json").get_json()
    assert not [path for path in document["paths"] if "conversation" in path]
    assert not [right for right in portal_of(app).permissions if right.startswith("conversation")]
    assert "conversation" not in portal_of(app).registry.nouns
    there = [one.extensions["clawportal_catalogues"].label("Conversations of others", "zh_Hans") for one in (stage.app, app)]
    assert there == ["他人的对话", "Conversations of others"]
    script.end("still here")
    assert owner.post(f"instances/{stage.claw}/chat", {"text": "hi"}).get_json()["text"] == "still here"
    with app.app_context():
        assert db.session.scalars(text("SELECT text FROM conversations_message ORDER BY position")).all() == ["hello", "good day"]
    back = replace(stage.people.owner, app=make_app())
    assert back.get(f"conversations/{talk}/messages").get_json()["items"][1]["text"] == "good day"


@pytest.mark.parametrize(("plugins", "there"), [("", True), (REST, False)])
def test_the_command_for_conversations_comes_and_goes(plugins: str, there: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clawportal.cli.claw", "conversation", "--help"],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "CLAWPORTAL_PLUGINS": plugins},
    )  # fmt: skip
    assert (done.returncode == 0) is there, done.stdout + done.stderr
