"""Chat through the portal: with the real echo claw, with a claw that answers slowly, and with everything that can go wrong."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from flask import Flask

from clawportal.api import chat as api_chat
from clawportal.contracts.adapters import ChatEvent, ToolUse, Usage, Version
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.workloads import Context, File, Process, Workload
from clawportal.db import transaction
from clawportal.errors import GiveUp, Invalid, Unavailable
from clawportal.redact import Masker
from clawportal.services.events import event_log
from clawportal.services.live import chat
from clawportal_echo import EchoAdapter
from tests.conftest import Person, Server, make_person, make_tenant, portal_of, wait_for

STREAM = {"Accept": "text/event-stream"}

# says a word every tenth of a second, for ever
DRIPPING_CLAW = """
import json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'{"status": "ok"}')
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.end_headers()
        while True:
            self.wfile.write(json.dumps({"delta": "drip "}).encode() + b"\\n"); self.wfile.flush(); time.sleep(0.1)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class DrippingAdapter(EchoAdapter):
    kind = "dripping"
    title = "Dripping"
    capabilities = frozenset({"chat"})

    def versions(self) -> tuple[Version, ...]:
        return (Version("1.0", "Dripping 1.0", default=True),)

    def plan(self, context: Context) -> Workload:
        program = ("python3", "-I", "-S", f"{context.layout.state}/claw.py", str(context.ports["http"]))
        return Workload((File("claw.py", DRIPPING_CLAW),), (Process("dripping", program),), ports=dict(context.ports))


class SilentAdapter(EchoAdapter):
    kind = "silent"
    title = "Silent"
    capabilities = frozenset()


def events_of(text: str) -> list[tuple[str, Any]]:
    """Server-sent events as name and data; comments left out."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


@pytest.fixture
def echo(running_admin: Person) -> str:
    instance_id = str(running_admin.create("echo")["id"])
    running_admin.reaches(instance_id, "running")
    return instance_id


# ---- with the echo claw


def test_a_whole_answer(running_admin: Person, echo: str) -> None:
    answer = running_admin.post(f"instances/{echo}/chat", {"text": "hello"})
    assert answer.get_json() == {"text": "You said: hello (message 1)", "usage": None, "session": "default"}


def test_an_answer_piece_by_piece(running_admin: Person, echo: str) -> None:
    answer = running_admin.post(f"instances/{echo}/chat", {"text": "hello 你好", "session": "s-1"}, headers=STREAM)
    assert answer.content_type.startswith("text/event-stream")
    events = events_of(answer.get_data(as_text=True))
    assert [name for name, _ in events] == ["delta"] * 6 + ["final"]
    assert events[-1] == ("final", {"text": "You said: hello 你好 (message 1)"})
    assert "".join(data["text"] for name, data in events if name == "delta").strip() == events[-1][1]["text"]


def test_a_long_message_comes_through_and_a_longer_one_does_not(running_admin: Person, echo: str) -> None:
    long = "x" * 100_000
    assert long in running_admin.post(f"instances/{echo}/chat", {"text": long}).get_json()["text"]
    refused = running_admin.post(f"instances/{echo}/chat", {"text": long + "x"})
    assert (refused.status_code, refused.get_json()["errors"][0]["path"]) == (422, "text")


def test_the_timeline_knows_that_but_not_what(running_app: Flask, running_admin: Person, echo: str) -> None:
    running_admin.post(f"instances/{echo}/chat", {"text": "my darkest secret"})
    with running_app.app_context():
        (row,) = [row for row in event_log.feed(SYSTEM, instance_id=echo) if row.kind == "instance.chatted"]
        assert row.actor == "admin"
        assert "darkest" not in f"{row.message} {row.data}"


def test_two_people_never_share_a_conversation(running_app: Flask, running_admin: Person, echo: str) -> None:
    other = make_person(running_app, "owner", "tenant-admin", "default")
    for person in (running_admin, other):
        person.post(f"instances/{echo}/chat", {"text": "hi", "session": "same"})
    lines = running_admin.get(f"instances/{echo}/logs").get_json()["lines"]
    sessions = {line["text"].rpartition(" in session ")[2] for line in lines if " in session " in line["text"]}
    assert sessions == {f"{running_admin.actor.id}-same", f"{other.actor.id}-same"}


# ---- what is refused


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"text": ""}, "text"),
        ({"text": "  \n"}, "text"),
        ({}, "text"),
        ({"text": 5}, "text"),
        ({"text": "hi", "session": ""}, "session"),
        ({"text": "hi", "session": "a b"}, "session"),
        ({"text": "hi", "session": "x" * 65}, "session"),
        ({"text": "hi", "session": "../x"}, "session"),
        ({"text": "hi", "sesion": "x"}, "sesion"),
    ],
)
def test_bad_messages(admin: Person, body: dict[str, Any], path: str) -> None:
    instance_id = admin.create("echo")["id"]
    refused = admin.post(f"instances/{instance_id}/chat", body)
    assert (refused.status_code, refused.get_json()["errors"][0]["path"]) == (422, path)


def test_a_stopped_claw_says_so(running_admin: Person) -> None:
    instance_id = running_admin.create("echo", start=False)["id"]
    running_admin.reaches(instance_id, "stopped")
    refused = running_admin.post(f"instances/{instance_id}/chat", {"text": "hi"}, headers=STREAM)
    assert refused.status_code == 409
    assert refused.get_json()["detail"] == "echo is stopped and cannot answer now. Start it first."


def test_a_claw_without_chat_says_so(portal_app: Flask, admin: Person) -> None:
    portal_of(portal_app).registry.adapters["silent"] = SilentAdapter()
    instance_id = admin.create("quiet", adapter="silent")["id"]
    refused = admin.post(f"instances/{instance_id}/chat", {"text": "hi"})
    assert (refused.status_code, refused.get_json()["code"]) == (409, "unsupported")


def test_rights(running_app: Flask, running_admin: Person) -> None:
    make_tenant(running_app, "acme")
    owner = make_person(running_app, "owner", "tenant-admin", "default")
    instance_id = owner.create("echo")["id"]
    for role, tenant, status in (("viewer", "default", 403), ("tenant-admin", "acme", 404)):
        person = make_person(running_app, f"{role}-{tenant}", role, tenant)
        assert person.post(f"instances/{instance_id}/chat", {"text": "hi"}).status_code == status


# ---- what goes wrong on the way


def test_a_claw_that_is_killed_in_the_middle_of_its_answer(server: Server) -> None:
    portal_of(server.app).registry.adapters["dripping"] = DrippingAdapter()
    instance_id = server.admin.create("drip", adapter="dripping")["id"]
    server.admin.reaches(instance_id, "running")
    address, text = f"{server.url}/api/v1/instances/{instance_id}/chat", ""
    with httpx.stream("POST", address, json={"text": "hi"}, headers={**server.admin.headers, **STREAM}, timeout=20) as answer:
        for piece in answer.iter_text():
            if text.count("drip") < 3 <= (text + piece).count("drip"):
                assert server.admin.post(f"instances/{instance_id}/kill").status_code < 300
            text += piece
    events = events_of(text)
    assert [name for name, _ in events].count("error") == 1 and events[-1][0] == "error"
    assert events[-1][1]["message"] and events[-1][1]["remedy"]
    assert "Traceback" not in text


def test_a_caller_who_leaves_ends_the_turn(server: Server) -> None:
    portal_of(server.app).registry.adapters["dripping"] = DrippingAdapter()
    instance_id = server.admin.create("drip", adapter="dripping")["id"]
    server.admin.reaches(instance_id, "running")
    counted = server.app.extensions["clawportal_viewers"]
    address = f"{server.url}/api/v1/instances/{instance_id}/chat"
    with httpx.stream("POST", address, json={"text": "hi"}, headers={**server.admin.headers, **STREAM}, timeout=20) as answer:
        next(answer.iter_text())
        assert counted.count == 1
    wait_for(lambda: counted.count == 0, what="the place is free")
    wait_for(lambda: not [one for one in threading.enumerate() if one.name.startswith("chat-")], what="the thread has ended")


def turn(app: Flask, *events: ChatEvent | Exception, key: str = "k", secret: str = "") -> list[ChatEvent]:
    """What a caller hears when the adapter says these."""

    def ask() -> Iterator[ChatEvent]:
        for event in events:
            if isinstance(event, Exception):
                raise event
            yield event

    found = chat._events(portal_of(app), chat._Turn(key, ask, Masker([secret])))
    return [event for event in found if event is not None]


def test_usage_and_text_go_through(portal_app: Flask) -> None:
    said = (ChatEvent("delta", "a"), ChatEvent("usage", usage=Usage(3, 4, "m")), ChatEvent("final", "ab"))
    assert turn(portal_app, *said) == list(said)


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "The claw does not answer: Connection refused."),
        (TimeoutError("timed out"), "The claw does not answer: timed out."),
        (Unavailable("It said sk-very-secret."), "It said ********."),
        (GiveUp("Broken", "It is broken.", "Mend it."), "It is broken."),
        (KeyError("choices"), "The portal could not read the claw's answer (KeyError)."),
        (ChatEvent("error", "no key sk-very-secret"), "no key ********"),
    ],
)
def test_every_failure_is_one_error_with_words_and_a_remedy(portal_app: Flask, problem: Any, words: str) -> None:
    events = turn(portal_app, ChatEvent("delta", "a"), problem, ChatEvent("final", "never"), secret="sk-very-secret")
    assert [event.kind for event in events] == ["delta", "error"]
    assert events[-1].text == words and events[-1].remedy


def test_how_a_claw_comes_to_its_answer_is_no_part_of_it(portal_app: Flask) -> None:
    use = ToolUse("1", "read_file", "done", '{"path": "a"}', "x" * 30_000)
    said = (ChatEvent("thinking", "hm"), ChatEvent("tool", tool=use), ChatEvent("delta", "a"), ChatEvent("final", "a"))
    found = turn(portal_app, *said)
    assert found[1].tool and len(found[1].tool.output) < 21_000 and found[1].tool.input == use.input
    assert [event.kind for event in found] == ["thinking", "tool", "delta", "final"]
    with portal_app.test_request_context(headers=STREAM):
        assert [event.name for event in api_chat._pieces(iter(said)) if event] == ["delta", "final"]
        assert api_chat._whole(iter(said), "s").get_json() == {"text": "a", "usage": None, "session": "s"}


def test_what_came_meanwhile_comes_together(portal_app: Flask) -> None:
    said = [ChatEvent("delta", str(number)) for number in range(5)] + [ChatEvent("final", "01234")]
    batches = chat._batches(portal_of(portal_app), chat._Turn("k", lambda: iter(said), Masker()))
    first = next(batches)
    wait_for(lambda: not [one for one in threading.enumerate() if one.name == "chat-k"], what="the claw has said all")
    rest = list(batches)
    assert first + [event for batch in rest for event in batch] == said and len(rest) <= 1


def test_a_session_that_is_nobodys_own_is_apart_from_those_of_people(running_admin: Person, echo: str) -> None:
    portal, name = portal_of(running_admin.app), running_admin.actor.id
    with running_admin.app.app_context():
        for session in ("desk", "x" * 65):
            try:
                with closing(chat.gathered(portal, running_admin.actor, echo, session, "hello")) as batches:
                    assert [event.text for batch in batches for event in batch][-1].startswith("You said: hello")
            except Invalid as problem:
                assert session != "desk" and "session" in str(problem)
        assert list(chat.chat(portal, running_admin.actor, echo, "desk", "hello"))[-1].kind == "final"
        lines = running_admin.get(f"instances/{echo}/logs").get_data(as_text=True)
    assert "in session open-desk" in lines and f"in session {name}-desk" in lines


def test_a_turn_is_noted_with_what_its_caller_stores(running_admin: Person, echo: str) -> None:
    portal, kind = portal_of(running_admin.app), "instance.chatted"

    def noted() -> int:
        return [one["kind"] for one in running_admin.get(f"instances/{echo}/events").get_json()["items"]].count(kind)

    def logged() -> str:
        return str(running_admin.get(f"instances/{echo}/logs").get_data(as_text=True))

    with running_admin.app.app_context():
        ready = chat.prepare(portal, running_admin.actor, echo, "desk", "hello")
        with pytest.raises(ZeroDivisionError), transaction():
            ready.record()
            raise ZeroDivisionError
        assert noted() == 0, "taken back with the rest"
        ready.record()
        assert noted() == 1
        with closing(ready.begin()) as batches:
            wait_for(lambda: "in session open-desk" in logged(), what="the claw is asked before anybody listens")
            assert [event.kind for batch in batches for event in batch][-1] == "final"


def test_an_answer_without_end_is_told(portal_app: Flask) -> None:
    assert turn(portal_app, ChatEvent("delta", "a"))[-1].text == "The claw broke off in the middle of its answer."


def test_turns_of_one_conversation_follow_each_other(portal_app: Flask) -> None:
    busy: list[str] = []
    overlap: list[int] = []

    def asking(name: str) -> chat._Turn:
        def ask() -> Iterator[ChatEvent]:
            busy.append(name)
            overlap.append(len(busy))
            time.sleep(0.1)
            try:
                yield ChatEvent("final", name)
            finally:
                busy.remove(name)

        return chat._Turn("one", ask, Masker())

    answers: list[str] = []

    def say(name: str) -> None:
        answers.extend(event.text for event in chat._events(portal_of(portal_app), asking(name)) if event)

    threads = [threading.Thread(target=say, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(answers) == ["0", "1", "2", "3"]
    assert max(overlap) == 1
    wait_for(lambda: not chat._lines._locks, what="no lock is kept")


def test_a_turn_ends_when_the_portal_does(portal_app: Flask) -> None:
    portal = portal_of(portal_app)
    go_on = threading.Event()

    def ask() -> Iterator[ChatEvent]:
        go_on.wait(30)
        yield ChatEvent("final", "late")

    events = chat._events(portal, chat._Turn("k", ask, Masker()))
    portal.stopping.set()
    (last,) = [event for event in events if event is not None]
    assert (last.kind, last.text) == ("error", "The portal is being stopped.")
    go_on.set()


@pytest.mark.parametrize(
    "event",
    [
        ChatEvent("delta", "."), ChatEvent("thinking", ""), ChatEvent("usage", usage=Usage(1, 1)),
        ChatEvent("tool", tool=ToolUse("", "")), ChatEvent("tool", tool=ToolUse("i" * 50_000, "n" * 50_000)),
    ],
    ids=["words", "nothing", "usage", "tool", "names"],
)  # fmt: skip
def test_a_claw_that_says_little_for_ever_is_cut_off(portal_app: Flask, event: ChatEvent) -> None:
    def ask() -> Iterator[ChatEvent]:
        while True:
            yield event

    told = list(chat._spoken(chat._Turn("k", ask, Masker())))
    assert told[-1].kind == "error" and "The answer is longer than" in told[-1].text
    assert len(told) <= {"delta": 2**18, "thinking": 2**18, "usage": 2**14, "tool": 2**14}[event.kind] + 1
    assert len(told) < 60 or not event.tool or not event.tool.id, "the names of tools count, too"
