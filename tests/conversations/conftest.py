"""A claw that says what the test wants, when it wants it, in portals on both databases."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from clawportal.contracts.adapters import AdapterIO, ChatEvent, Version
from clawportal.contracts.workloads import Context
from clawportal.db import db, transaction
from clawportal.models import Instance
from clawportal_echo import EchoAdapter
from tests.conftest import People, Person, make_people, portal_of, wait_for
from tests.core.conftest import database_url, postgres

__all__ = ["database_url", "postgres"]


@dataclass
class Script(EchoAdapter):
    """What it was asked, and what it says next."""

    kind = "scripted"
    title = "Scripted"
    capabilities = frozenset({"chat", "attachments"})
    asked: list[tuple[str, str]] = field(default_factory=list)
    said: queue.Queue[ChatEvent] = field(default_factory=queue.Queue)

    def versions(self) -> tuple[Version, ...]:
        return (Version("1.0", "Scripted 1.0", default=True),)

    def chat(self, io: AdapterIO, context: Context, session: str, text: str) -> Iterator[ChatEvent]:
        self.asked.append((session, text))
        while True:
            event = self.said.get(timeout=60)
            yield event
            if event.kind in ("final", "error"):
                return

    def say(self, *events: ChatEvent | str) -> None:
        """A text is a piece of the answer."""
        for event in events:
            self.said.put(event if isinstance(event, ChatEvent) else ChatEvent("delta", event))

    def end(self, *pieces: str) -> None:
        self.say(*pieces, ChatEvent("final", "".join(pieces)))


@dataclass
class Stage:
    """A portal with everybody in it and a claw that counts as running."""

    people: People
    claw: str
    script: Script

    @property
    def app(self) -> Flask:
        return self.people.owner.app

    def begin(self, person: Person | None = None, **more: Any) -> str:
        """A new conversation."""
        made = (person or self.people.owner).post("conversations", {"instance": self.claw, **more})
        assert made.status_code == 201, made.get_data(as_text=True)
        return str(made.get_json()["id"])

    def say(self, conversation: str, text: str, person: Person | None = None, status: int = 202, **more: Any) -> Any:
        answer = (person or self.people.owner).post(f"conversations/{conversation}/messages", {"text": text, **more})
        assert answer.status_code == status, answer.get_data(as_text=True)
        return answer.get_json()

    def messages(self, conversation: str, person: Person | None = None, query: str = "") -> list[dict[str, Any]]:
        found = (person or self.people.owner).get(f"conversations/{conversation}/messages{query}")
        assert found.status_code == 200, found.get_data(as_text=True)
        return list(found.get_json()["items"])

    def last(self, conversation: str, state: str) -> dict[str, Any]:
        """The newest message, once it is in this state."""

        def look() -> dict[str, Any] | None:
            found = self.messages(conversation)[-1]
            return found if found["state"] == state else None

        found: dict[str, Any] = wait_for(look, what=f"the answer is {state}")
        return found

    def exchange(self, conversation: str, question: str, answer: str, person: Person | None = None) -> dict[str, Any]:
        self.script.end(answer)
        self.say(conversation, question, person)
        return self.last(conversation, "done")


def make_stage(app: Flask) -> Stage:
    people, script = make_people(app), Script()
    portal_of(app).registry.adapters["scripted"] = script
    return Stage(people, make_claw(people.owner, "helper"), script)


def make_claw(person: Person, name: str, adapter: str = "scripted") -> str:
    """A claw that counts as running, though no process is there."""
    made = str(person.create(name, adapter, start=False)["id"])
    with person.app.app_context(), transaction():
        db.session.execute(
            update(Instance).where(Instance.id == made).values(phase="running", health="healthy", desired="running")
        )
    return made


@pytest.fixture
def stage(make_app: Callable[..., Flask]) -> Stage:
    return make_stage(make_app())


@pytest.fixture
def running_stage(running_app: Flask) -> Stage:
    """With a claw that really runs, so that it has files; it says what the test wants all the same."""
    people, script = make_people(running_app), Script()
    portal_of(running_app).registry.adapters["scripted"] = script
    made = str(people.owner.create("helper", "scripted")["id"])
    people.owner.reaches(made, "running")
    return Stage(people, made, script)


@pytest.fixture
def both_stages(make_app: Callable[..., Flask], database_url: str) -> Stage:
    """On each database."""
    return make_stage(make_app(**({"database_url": database_url} if database_url else {})))


def events_of(answer: Any, until: str = "") -> list[tuple[str, int, dict[str, Any]]]:
    """Events of a stream: kind, number, data; up to the first of the kind `until`."""
    found, rest = [], ""
    for piece in answer.response:
        rest += piece.decode() if isinstance(piece, bytes) else piece
        *blocks, rest = rest.split("\n\n")
        for block in blocks:
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if fields:
                found.append((fields["event"], int(fields["id"]), json.loads(fields["data"])))
                if fields["event"] == until:
                    answer.close()
                    return found
    return found
