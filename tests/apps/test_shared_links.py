"""Links to a claw's page for people without an account."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from clawportal import clock
from clawportal.db import db
from clawportal.models import AuditEntry, Membership
from clawportal_apps.settings import AppSettings
from tests.apps.conftest import Scene, Visitor
from tests.conftest import make_person, make_tenant, portal_of, wait_for
from tests.rights.test_rights_pages import Browser


def shared(scene: Scene, **body: Any) -> dict[str, Any]:
    answer = scene.developer.post(
        f"instances/{scene.claw['id']}/apps/http/shared-links", body or {"hours": 2}, headers=scene.host
    )
    assert answer.status_code == 201, answer.get_data(as_text=True)
    return dict(answer.get_json())


def test_a_link_opens_the_page_for_whoever_has_it(scene: Scene) -> None:
    link = shared(scene, hours=2, note="for the review")
    for _ in range(2):
        visitor = Visitor(scene.server.port)
        assert visitor.follow(link["url"]).status == 303
        assert "<title>Echo</title>" in visitor.ask().text
    (told,) = scene.developer.get(f"instances/{scene.claw['id']}/shared-links").get_json()["items"]
    assert (told["note"], told["port"]) == ("for the review", "http") and told["used_at"] and "url" not in told
    with scene.server.app.app_context():
        actions = [entry.action for entry in db.session.query(AuditEntry).filter(AuditEntry.action.startswith("app_share"))]
    assert actions == ["app_share.create", "app_share.use", "app_share.use"]


def test_what_was_taken_back_ends_also_where_it_is_open(scene: Scene) -> None:
    link = shared(scene)
    visitor = Visitor(scene.server.port)
    visitor.follow(link["url"])
    socket = visitor.socket()
    assert socket.say("hello") == "You said: hello (message 1)"
    assert scene.developer.delete(f"shared-links/{link['id']}").status_code == 204
    scene.server.app.extensions["clawportal_apps"].watch.look()
    wait_for(socket.ended, what="the stream is closed")
    assert Visitor(scene.server.port).follow(link["url"]).status == 401
    wait_for(lambda: visitor.ask().status == 401, what="the page is closed")


def test_a_link_ends_at_its_time(scene: Scene) -> None:
    link = shared(scene, hours=1)
    visitor = Visitor(scene.server.port)
    visitor.follow(link["url"])
    clock.travel(timedelta(hours=1, seconds=1))
    try:
        assert Visitor(scene.server.port).follow(link["url"]).status == 401
    finally:
        clock.travel(-timedelta(hours=1, seconds=1))


def test_a_link_gives_no_more_than_its_maker_has(scene: Scene) -> None:
    link = shared(scene)
    with scene.server.app.app_context():
        db.session.query(Membership).filter_by(user_id=scene.developer.actor.id).delete()
        db.session.commit()
    assert Visitor(scene.server.port).follow(link["url"]).status in (401, 404)


def test_who_loses_the_right_to_share_takes_their_links_along(scene: Scene) -> None:
    """Also where they still may open the page themselves, and also from what is open."""
    link = shared(scene)
    visitor = Visitor(scene.server.port)
    visitor.follow(link["url"])
    stream = visitor.socket()
    assert stream.say("hello")
    home = next(one["id"] for one in scene.server.admin.get("tenants").get_json()["items"] if one["name"] == "default")
    rights = {"name": "visitor", "permissions": ["instance.read", "app.open"]}
    assert scene.server.admin.post(f"tenants/{home}/roles", rights).status_code == 201
    with scene.server.app.app_context():
        db.session.query(Membership).filter_by(user_id=scene.developer.actor.id).update({"role": "visitor"})
        db.session.commit()
    scene.server.app.extensions["clawportal_apps"].watch.look()
    wait_for(stream.ended, what="the stream is closed")
    assert Visitor(scene.server.port).follow(link["url"]).status in (401, 403)
    assert scene.open().ask().status == 200, "whoever made it may still open it"


def test_links_end_where_sharing_is_switched_off(scene: Scene) -> None:
    link = shared(scene)
    visitor = Visitor(scene.server.port)
    visitor.follow(link["url"])
    stream = visitor.socket()
    assert stream.say("hello")
    portal_of(scene.server.app).section(AppSettings).share_hours = 0
    scene.server.app.extensions["clawportal_apps"].watch.look()
    wait_for(stream.ended, what="the stream is closed")
    assert Visitor(scene.server.port).follow(link["url"]).status == 401


def test_who_comes_by_a_link_takes_no_turn_of_its_maker(scene: Scene) -> None:
    gate = scene.server.app.extensions["clawportal_apps"].gate
    visitor = Visitor(scene.server.port)
    visitor.follow(shared(scene)["url"])
    stream = visitor.socket()
    assert stream.say("hello")
    pump = scene.server.app.extensions["clawportal_apps"].pump
    (person,) = pump.owners()
    assert person.startswith("link ") and person != scene.developer.actor.id
    with ExitStack() as held:
        for _ in range(6):
            held.enter_context(gate.turn(person))
        assert gate.full(person) and not gate.full(scene.developer.actor.id)
        assert scene.open().ask().status == 200


def test_a_link_is_no_other_link(scene: Scene) -> None:
    link = shared(scene)
    assert Visitor(scene.server.port).follow(link["url"][:-4] + "AAAA").status == 401
    other = scene.developer.create("other")
    scene.developer.reaches(other["id"], "running")
    assert Visitor(scene.server.port).follow(link["url"].replace(scene.claw["id"], other["id"])).status == 401


def test_who_may_share(scene: Scene) -> None:
    path = f"instances/{scene.claw['id']}/apps/http/shared-links"
    for role, status in {"viewer": 403, "operator": 403, "developer": 201, "tenant-admin": 201}.items():
        person = make_person(scene.server.app, f"one-{role}", role, "default")
        assert person.post(path, {"hours": 1}, headers=scene.host).status_code == status, role
    assert scene.developer.post(path, {"hours": 10_000}, headers=scene.host).status_code == 422
    assert scene.developer.post(path, {"hours": 200}, headers=scene.host).status_code == 422, "more than the settings allow"
    make_tenant(scene.server.app, "acme")
    stranger, link = make_person(scene.server.app, "stranger", "tenant-admin", "acme"), shared(scene)
    assert stranger.post(path, {"hours": 1}, headers=scene.host).status_code == 404
    assert stranger.delete(f"shared-links/{link['id']}").status_code == 404
    assert stranger.get(f"instances/{scene.claw['id']}/shared-links").status_code == 404


def test_the_page_of_links(scene: Scene) -> None:
    browser = Browser(scene.developer)
    where = f"/instances/{scene.claw['id']}/shared"
    assert "No page of this claw was shared." in browser.page(where)
    made = browser.post(where, port="http", hours="3", note="for Kim")
    assert made.status_code == 200 and "/.clawportal/shared?link=" in made.text and "for Kim" in made.text
    assert browser.post(where, port="http", hours="0").status_code == 422
    (link,) = scene.developer.get(f"instances/{scene.claw['id']}/shared-links").get_json()["items"]
    assert browser.post(f"{where}/{link['id']}/revoke").status_code == 303
    assert "taken back" in browser.page(where) and "/.clawportal/shared" not in browser.page(where)
