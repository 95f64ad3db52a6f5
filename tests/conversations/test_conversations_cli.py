"""`claw conversation` against a portal that listens."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.conftest import People, Person, portal_of
from tests.conversations.conftest import Script, make_claw
from tests.rights.test_people_cli import Run, claw

__all__ = ["claw"]


def test_a_conversation_from_a_terminal(people: People, claw: Callable[[Person], Run]) -> None:
    script, owner = Script(), claw(people.owner)
    portal_of(people.owner.app).registry.adapters["scripted"] = script
    make_claw(people.owner, "helper")
    assert "No conversations." in owner("conversation", "list").output
    script.end("I am ", "well.")
    assert owner("conversation", "say", "helper", "How", "are", "you?").output.strip() == "I am well."
    script.end("Good.")
    again = json.loads(owner("conversation", "say", "helper", "More", "--in", "How are you?", "-o", "json").output)
    assert again["text"] == "Good." and again["state"] == "done"
    assert "helper" in owner("conversation", "list", "helper", "--search", "WELL").output
    shown = owner("conversation", "show", "How are you?").output
    assert shown.index("I am well.") < shown.index("Good.")
    owner("conversation", "change", "How are you?", "--title", "Health", "--share")
    assert "Health" in claw(people.developer)("conversation", "list").output
    claw(people.developer)("conversation", "delete", "Health", "--yes", code=4)
    exported = json.loads(owner("conversation", "export", "Health", "--format", "json").output)
    assert [one["text"] for one in exported["messages"]] == ["How are you?", "I am well.", "More", "Good."]
    owner("conversation", "change", "Health", "--archive")
    owner("conversation", "show", "Health", code=3)
    owner("conversation", "change", "Health", "--unarchive")
    owner("conversation", "change", "Health", code=2)
    owner("conversation", "delete", "Health", "--yes")
    owner("conversation", "show", "Health", code=3)
