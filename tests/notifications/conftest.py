"""Portals on both databases with everybody in them, a claw of which things happen, and a mail server."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from flask import Flask

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.messages import _m
from clawportal.models import Instance
from clawportal.services.events import event_log
from clawportal_notifications import gathering, sending
from clawportal_notifications.models import Line, Ways
from tests.conftest import People, Person, make_people, portal_of
from tests.core.conftest import database_url, postgres, travel

__all__ = ["database_url", "postgres", "travel"]


@dataclass
class Post:
    """A real mail server on loopback. It answers recipients as told, one answer after the other; 250 when there are none left."""

    port: int
    answers: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    to: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    _controller: Controller | None = None

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        answer = self.answers.pop(0) if self.answers else "250 taken"
        if answer.startswith("250"):
            self.mails.append(message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
            self.to += envelope.rcpt_tos
        return answer

    def open(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **self.options)
        self._controller.start()

    def close(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None


@pytest.fixture
def mail() -> Iterator[Post]:
    """Closed at first."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        made = Post(free.getsockname()[1])
    yield made
    made.close()


@dataclass
class Stage:
    app: Flask
    people: People
    claw: str

    def happens(self, kind: str = "instance.exited", level: str = "warning", *, claw: str | None = None, **more: Any) -> int:
        """Something about the claw, as the portal records it."""
        with self.app.app_context(), transaction():
            instance = db.session.get_one(Instance, claw or self.claw)
            message = _m("%(name)s was created.", name=more.pop("name", "helper"))
            return event_log.record(
                portal_of(self.app), kind, actor=SYSTEM, instance=instance, level=level, message=message, **more
            ).seq

    def follow(self) -> None:
        with self.app.app_context():
            gathering.follow_once(portal_of(self.app))

    def send(self) -> None:
        with self.app.app_context():
            sending.send_once(portal_of(self.app))

    def told(self, person: Person, query: str = "") -> list[tuple[str, int]]:
        """What somebody finds in the portal: interests with their counts, newest first."""
        answer = person.get(f"notifications{query}")
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return [(one["interest"], one["count"]) for one in answer.get_json()["items"]]

    def lines(self) -> int:
        with self.app.app_context():
            return db.session.query(Line).count()

    def reach(self, person: Person, **values: Any) -> None:
        """As if they had confirmed it."""
        with self.app.app_context(), transaction():
            db.session.merge(Ways(user_id=person.actor.id, **values))


def signed_in(person: Person) -> Person:
    """With their password, not with a token: what they are told of is theirs alone to change."""
    login = {"name": person.name, "password": person.password}
    answer = person.app.test_client().post("/api/v1/auth/login", json=login)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return replace(person, token=answer.get_json()["access_token"])


@pytest.fixture
def make_stage(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, mail: Post) -> Callable[..., Stage]:
    """A portal whose feed is followed from now on. Settings of the section by name."""

    def make(database_url: str = "", **section: Any) -> Stage:
        given = {"smtp_host": "127.0.0.1", "smtp_port": mail.port, "smtp_tls": "none", "mail_from": "Claws <claws@example.com>"}
        for name, value in (given | section).items():
            monkeypatch.setenv(f"CLAWPORTAL_NOTIFICATIONS_{name.upper()}", str(value))
        more = {"database_url": database_url} if database_url else {}
        app = make_app(public_url="https://claws.example.com", **more)
        people = make_people(app)
        made = Stage(app, people, people.owner.create("helper")["id"])
        made.follow()
        return made

    return make


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage()


@pytest.fixture
def both_stages(make_stage: Callable[..., Stage], database_url: str) -> Stage:
    """On each database."""
    return make_stage(database_url)
