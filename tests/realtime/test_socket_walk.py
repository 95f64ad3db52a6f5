"""A walk over every Socket.IO event with every proof and role: who may not, gets nothing, and learns nothing.

New namespaces and events join by themselves. Each event is sent all ids there are; what it does not ask for it leaves alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask_socketio import ConnectionRefusedError, SocketIOTestClient
from sqlalchemy import delete, update

from clawportal import clock
from clawportal.contracts.permissions import Permission
from clawportal.db import db, transaction
from clawportal.models import ApiToken, Membership, User, UserSession
from clawportal.realtime.people import UNAUTHENTICATED
from clawportal.services.identity import clients
from tests.conftest import People, Person, make_person, portal_of
from tests.core_roles import ROLES
from tests.rights.proofs import ended_cookie, refused, signed_in
from tests.rights.test_isolation import FAKE, make_ids

OWN = {"connect", "disconnect"}
"""Of the protocol itself; all others are events that somebody sends."""


@dataclass
class Heard:
    """One connection, and what came over it."""

    client: SocketIOTestClient
    namespace: str

    @property
    def connected(self) -> bool:
        return bool(self.client.is_connected(self.namespace))

    def say(self, event: str, data: Any) -> list[Any]:
        """What is answered; nothing is in flight afterwards."""
        self.client.emit(event, data, namespace=self.namespace)
        return self.heard()

    def heard(self) -> list[Any]:
        """All since the last time, also after the connection ended."""
        told = [(one["name"], one["args"]) for one in self.client.queue]
        self.client.queue.clear()
        return told


Connect = Callable[..., Heard]


@pytest.fixture
def connect(portal_app: Flask) -> Connect:
    """`connect(namespace, token)`, or with `browser=` for a session's cookie."""

    def make(namespace: str, token: Any = None, *, browser: Any = None, headers: dict[str, str] | None = None) -> Heard:
        socketio = portal_app.extensions["socketio"]
        auth = None if token is None else {"token": token}
        client = socketio.test_client(portal_app, namespace=namespace, auth=auth, headers=headers, flask_test_client=browser)
        return Heard(client, namespace)

    return make


def handlers(app: Flask) -> dict[str, dict[str, Permission]]:
    """Every event by namespace with what it needs, from what the server would call."""
    needs = app.extensions["clawportal_people"].handlers
    found = app.extensions["socketio"].server.handlers
    assert not app.extensions["socketio"].server.namespace_handlers, "handlers that this walk does not know"
    return {namespace: {event: needs[namespace, event] for event in events} for namespace, events in found.items()}


def asked(ids: dict[str, str]) -> dict[str, Any]:
    return {**ids, "tail": 5}


def plain(heard: list[Any], ids: dict[str, str]) -> str:
    text = repr(heard)
    for value in ids.values():
        text = text if value.isdigit() else text.replace(value, "ID")
    return text


def test_no_namespace_takes_a_wrong_proof(portal_app: Flask, people: People, connect: Connect) -> None:
    proofs: dict[str, Any] = {
        "nobody": None,
        "empty": "",
        "a number": 7,
        "a list": [people.owner.token],
        **refused(portal_app, people),
    }
    server = portal_app.extensions["socketio"].server
    for namespace, events in handlers(portal_app).items():
        for what, proof in proofs.items():
            one = connect(namespace, proof)
            assert not one.connected, (namespace, what)
            for event in events.keys() - OWN:  # who was refused and speaks anyway
                server._trigger_event(event, namespace, "no-such-sid", asked(FAKE))
            assert one.heard() == [], (namespace, what)
        in_header = connect(namespace, headers={"Authorization": f"Bearer {proofs['refresh token']}"})
        assert not in_header.connected and not connect(namespace, browser=ended_cookie(portal_app, people.owner)).connected
    assert portal_app.extensions["clawportal_people"].viewers() == []


def test_a_wrong_token_is_not_helped_by_a_good_session(portal_app: Flask, people: People, connect: Connect) -> None:
    for namespace in handlers(portal_app):
        assert not connect(namespace, "clp_nonsense", browser=people.owner.browser()).connected


@pytest.mark.parametrize("role", ["guest", "viewer", "auditor", "operator", "developer", "tenant-admin"])
def test_each_role_does_what_its_rights_say(portal_app: Flask, people: People, connect: Connect, role: str) -> None:
    ids, person = make_ids(people), make_person(portal_app, "somebody", role, "default")
    for namespace, events in handlers(portal_app).items():
        one = connect(namespace, person.token)
        assert one.connected is (events["connect"] in ROLES[role]), (role, namespace)
        for event in events.keys() - OWN:
            if not one.connected:
                continue
            told = one.say(event, asked(ids))
            if events[event] not in ROLES[role]:
                assert "You lack the right" in repr(told), (role, namespace, event)


def test_another_tenant_is_not_there(portal_app: Flask, people: People, connect: Connect) -> None:
    """Real ids and made-up ones are answered in the same words, for who may do everything elsewhere or nothing but look here."""
    ids = make_ids(people)
    guest = make_person(portal_app, "guest-here", "guest", "default")
    join(people, guest, people.acme)
    for person in (people.stranger, guest):
        for namespace, events in handlers(portal_app).items():
            one = connect(namespace, person.token)
            assert one.connected
            for event in events.keys() - OWN:
                real, fake = one.say(event, asked(ids)), one.say(event, asked(FAKE))
                assert plain(real, ids) == plain(fake, FAKE), (namespace, event)
                assert "secret" not in repr(real) and "lines" not in {name for name, _ in real}
    assert portal_of(portal_app).logs.readers == 0


def test_the_walk_reaches_something(portal_app: Flask, people: People, connect: Connect) -> None:
    """What hides from strangers is told to the owner: else the walk would prove nothing."""
    ids = make_ids(people)
    for namespace, events in handlers(portal_app).items():
        one = connect(namespace, people.owner.token)
        told = [(one.say(event, asked(ids)), one.say(event, asked(FAKE))) for event in sorted(events.keys() - OWN)]
        assert not told or any(plain(real, ids) != plain(fake, FAKE) for real, fake in told), namespace


def join(people: People, person: Person, tenant: str) -> None:
    """A member of another organisation too, with all rights there."""
    with people.owner.app.app_context(), transaction():
        db.session.add(Membership(user_id=person.actor.id, tenant_id=tenant, role="tenant-admin"))


def _now(app: Flask, statement: Any) -> None:
    with app.app_context(), transaction():
        db.session.execute(statement)


def _of(person: Person, model: Any) -> Any:
    return update(model).where(model.user_id == person.actor.id)


ENDS: dict[str, Callable[[Person], Any]] = {
    "token revoked": lambda person: _of(person, ApiToken).values(revoked_at=clock.now()),
    "token expired": lambda person: _of(person, ApiToken).values(expires_at=clock.now() - timedelta(seconds=1)),
    "account closed": lambda person: update(User).where(User.id == person.actor.id).values(active=False),
}
SESSION_ENDS: dict[str, Callable[[Person], Any]] = {
    "session closed": lambda person: _of(person, UserSession).values(ended_at=clock.now()),
    "session over": lambda person: _of(person, UserSession).values(expires_at=clock.now() - timedelta(seconds=1)),
    "password changed": lambda person: (
        update(User).where(User.id == person.actor.id).values(session_epoch=User.session_epoch + 1)
    ),
    "account closed": ENDS["account closed"],
}
WAYS = [
    *(("api token", end, ENDS[end]) for end in ENDS),
    *((way, end, SESSION_ENDS[end]) for way in ("access token", "cookie") for end in SESSION_ENDS),
]


@pytest.mark.parametrize(("way", "_what", "end"), WAYS, ids=lambda part: part if isinstance(part, str) else "")
def test_what_ended_meanwhile_is_over(
    portal_app: Flask, people: People, connect: Connect, way: str, _what: str, end: Callable[[Person], Any]
) -> None:
    """The connection was good; the next word over it is refused, and it ends."""
    ids = make_ids(people)
    for namespace, events in handlers(portal_app).items():
        for event in sorted(events.keys() - OWN):
            meanwhile = make_person(portal_app, f"somebody-{namespace[1:]}-{event}", "tenant-admin", "default")
            one = _come(connect, namespace, way, meanwhile)
            assert one.connected
            _now(portal_app, end(meanwhile))
            told = one.say(event, asked(ids))
            assert "Sign in again" in repr(told) and "lines" not in {name for name, _ in told}, (namespace, event)
            assert not one.connected
    assert portal_of(portal_app).logs.readers == 0


def _come(connect: Connect, namespace: str, way: str, person: Person) -> Heard:
    if way == "cookie":
        return connect(namespace, browser=person.browser())
    return connect(namespace, person.token if way == "api token" else signed_in(person.app, person.name)["access_token"])


def test_an_access_token_that_ran_out_meanwhile_is_over(portal_app: Flask, people: People, connect: Connect) -> None:
    portal, ids = portal_of(portal_app), make_ids(people)
    session_id = signed_in(portal_app, "owner")["session_id"]
    claims = {"sub": people.owner.actor.id, "sid": session_id}
    for namespace, events in handlers(portal_app).items():
        for event in sorted(events.keys() - OWN):
            with portal_app.app_context():
                one = connect(namespace, clients._sign(portal, clients.ACCESS, timedelta(minutes=1), claims))
            assert one.connected
            clock.travel(timedelta(minutes=2))
            try:
                told = one.say(event, asked(ids))
            finally:
                clock.travel(timedelta(minutes=-2))
                clock.take_jump()
            assert "Sign in again" in repr(told) and not one.connected, (namespace, event)


def test_who_left_the_tenant_reads_nothing_more(portal_app: Flask, people: People, connect: Connect) -> None:
    ids = make_ids(people)
    for namespace, events in handlers(portal_app).items():
        for event in sorted(events.keys() - OWN):
            leaver = make_person(portal_app, f"leaver-{namespace[1:]}-{event}", "tenant-admin", "default")
            join(people, leaver, people.acme)
            one = connect(namespace, leaver.token)
            _now(
                portal_app,
                delete(Membership).where(Membership.user_id == leaver.actor.id, Membership.tenant_id == ids["tenant_id"]),
            )
            assert plain(one.say(event, asked(ids)), ids) == plain(one.say(event, asked(FAKE)), FAKE), (namespace, event)
    assert portal_of(portal_app).logs.readers == 0


def test_a_refused_connection_is_told_one_word(portal_app: Flask, people: People) -> None:
    """Whatever the proof: the word does not say what was wrong with it."""
    gate, said = portal_app.extensions["clawportal_people"], list[Any]()
    for namespace, events in handlers(portal_app).items():
        for proof in refused(portal_app, people).values() if not said else ["clp_nonsense"]:
            with portal_app.test_request_context("/"), pytest.raises(ConnectionRefusedError) as told:
                gate._connect(namespace, {"token": proof}, events["connect"])
            said.append(told.value.error_args)
    assert said and all(one == {"message": UNAUTHENTICATED} for one in said)
