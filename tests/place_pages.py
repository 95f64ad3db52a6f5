"""The own page of an echo claw through the portal, wherever it runs: what all kinds of place are tried with."""

from __future__ import annotations

import json

from tests.apps.conftest import Scene
from tests.conftest import Person, Server, wait_for


def page_of(server: Server, who: Person, made: str) -> Scene:
    return Scene(server, {"id": made}, who)


def page_goes_both_ways(scene: Scene, patience: float) -> None:
    """The page itself, a stream without a length, and its WebSocket, also with more than fits into one piece of the way."""
    visitor = scene.open()
    page = visitor.ask()
    assert page.status == 200 and "<title>Echo</title>" in page.text, page
    said = json.dumps({"session": "s", "text": "good morning"}).encode()
    told = visitor.ask("/chat", "POST", said, Content_Type="application/json", Origin=f"http://{visitor.host}:{visitor.port}")
    assert told.status == 200 and json.loads(told.body.splitlines()[-1])["final"].startswith("You said: good morning")
    stream = visitor.socket()
    assert stream.told.status == 101
    assert stream.say("hello").startswith("You said: hello") and stream.say("x" * 100).startswith("You said: " + "x" * 100)
    assert visitor.socket(Origin="https://evil.example").told.status == 403
    scene.server.app.extensions["clawportal_apps"].watch.look()
    assert stream.say("still here").startswith("You said: still here"), "looking through what is open ends nothing"
    stream.line.close()
    wait_for(lambda: scene.server.app.extensions["clawportal_apps"].pump.count == 0, patience, "the stream is forgotten")


def page_comes_back(scene: Scene, patience: float) -> None:
    """The claw is started again: what was open ends, and the page is there again for the same browser."""
    visitor = scene.open()
    stream = visitor.socket()
    assert stream.say("hello").startswith("You said: hello")
    assert scene.developer.post(f"instances/{scene.claw['id']}/restart", {}).status_code == 202
    wait_for(stream.ended, patience, "the stream ends with the claw")
    wait_for(lambda: visitor.ask().status == 200, patience, "the page is there again")
    again = visitor.socket()
    assert again.say("again").startswith("You said: again")
    again.line.close()


def page_ends_with_rights(scene: Scene, patience: float) -> None:
    visitor = scene.open()
    stream = visitor.socket()
    assert stream.say("hello").startswith("You said: hello")
    scene.sign_out()
    scene.server.app.extensions["clawportal_apps"].watch.look()
    wait_for(stream.ended, patience, "the stream ends")
    wait_for(lambda: visitor.ask().status == 401, patience, "the page is closed")
