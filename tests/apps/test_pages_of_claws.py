"""The page of a claw through the portal: coming in, HTTP, WebSocket, and who may not."""

from __future__ import annotations

from urllib.parse import urlsplit

from clawportal.db import db
from clawportal.models import AuditEntry
from tests.apps.conftest import Scene, Visitor
from tests.conftest import make_person, make_tenant, wait_for


def test_a_ticket_leads_to_the_page(scene: Scene) -> None:
    visitor = scene.open()
    page = visitor.ask()
    assert page.status == 200 and "<title>Echo</title>" in page.text
    assert page.get("Content-Security-Policy") == "frame-ancestors 'self'" and not page.get("X-Request-ID")
    assert visitor.host == f"http-{scene.claw['id']}.localhost"
    assert set(visitor.cookies) == {"clawportal-app"}


def test_its_websocket_goes_both_ways(scene: Scene) -> None:
    visitor = scene.open()
    socket = visitor.socket()
    assert socket.told.status == 101
    assert socket.say("hello") == "You said: hello (message 1)" and socket.say("x" * 100).endswith("(message 2)")
    host = scene.server.app.extensions["clawportal_apps"]
    assert host.pump.count == 1
    socket.line.close()
    wait_for(lambda: host.pump.count == 0, what="the stream is forgotten")


def test_a_ticket_is_good_once(scene: Scene) -> None:
    url = scene.ticket()
    assert Visitor(scene.server.port).follow(url).status == 303
    again = Visitor(scene.server.port).follow(url)
    assert again.status == 401 and not again.get("Set-Cookie")


def test_a_ticket_is_good_for_its_own_page(scene: Scene) -> None:
    other = scene.developer.create("other")
    scene.developer.reaches(other["id"], "running")
    parts = urlsplit(scene.ticket())
    visitor = Visitor(scene.server.port, f"http-{other['id']}.localhost")
    assert visitor.ask(f"{parts.path}?{parts.query}").status == 401
    assert visitor.ask().status == 401


def test_nobody_comes_in_without_one(scene: Scene) -> None:
    visitor = Visitor(scene.server.port, f"http-{scene.claw['id']}.localhost")
    assert visitor.ask().status == 401
    goes = visitor.ask("/deep?x=1", Accept="text/html", Sec_Fetch_Mode="navigate")
    assert goes.status == 303
    assert goes.get("Location") == (
        f"http://localhost:{scene.server.port}/instances/{scene.claw['id']}/apps/http?to=%2Fdeep%3Fx%3D1"
    )
    visitor.cookies["clawportal-app"] = "AAAA"
    assert visitor.ask().status == 401
    assert visitor.socket().told.status == 401


def test_opening_is_told_in_the_audit(scene: Scene) -> None:
    scene.open()
    with scene.server.app.app_context():
        entry = db.session.query(AuditEntry).filter_by(action="instance.app_open").one()
        assert (entry.actor_name, entry.address, entry.object_id) == ("dora", "127.0.0.1", scene.claw["id"])


def test_who_may_open_it(scene: Scene) -> None:
    app = scene.server.app
    make_tenant(app, "acme")
    wanted = {"viewer": 403, "operator": 403, "developer": 201, "tenant-admin": 201, "auditor": 403}
    for role, status in wanted.items():
        person = make_person(app, f"one-{role}", role, "default")
        assert person.post(f"instances/{scene.claw['id']}/apps/http/ticket", headers=scene.host).status_code == status, role
    stranger = make_person(app, "stranger", "tenant-admin", "acme")
    assert stranger.post(f"instances/{scene.claw['id']}/apps/http/ticket", headers=scene.host).status_code == 404
