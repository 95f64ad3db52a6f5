"""/changes over real websockets: who may connect, and who hears of what."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import socketio
from sqlalchemy import select

from clawportal.contracts.permissions import SYSTEM, Permission
from clawportal.db import db, transaction
from clawportal.models import Membership, Tenant, User
from clawportal.services.fleet import moves
from clawportal.services.identity import identity
from clawportal.services.tenancy import members, tenants
from tests.conftest import Person, Server, make_person, make_tenant, portal_of, wait_for
from tests.realtime.conftest import Browser

MakeBrowser = Callable[..., Browser]


def cookie_of(person: Person) -> str:
    client = person.browser()
    cookie = client.get_cookie("clawportal")
    assert cookie is not None
    return f"clawportal={cookie.value}"


@pytest.mark.parametrize("token", [None, "", "clp_wrong", 7, ["x"]])
@pytest.mark.parametrize("namespace", ["/changes", "/logs"])
def test_nobody_in_particular_is_refused(browser: MakeBrowser, namespace: str, token: object) -> None:
    one = browser(namespace)
    with pytest.raises(socketio.exceptions.ConnectionError):
        one.connect(token)  # type: ignore[arg-type]  # wrong on purpose
    assert one.refused == ["unauthenticated"] or one.refused[0]["message"] == "unauthenticated"


def test_a_session_cookie_and_a_token_are_let_in(browser: MakeBrowser, server: Server) -> None:
    browser("/changes").connect(cookie=cookie_of(server.admin))
    browser("/changes", server.admin)
    assert len(server.app.extensions["clawportal_people"].viewers()) == 2


def test_only_those_who_may_see_it_hear_of_a_change(browser: MakeBrowser, server: Server) -> None:
    make_tenant(server.app, "acme")
    viewer = make_person(server.app, "viewer", "viewer", "default")
    owner = make_person(server.app, "owner", "tenant-admin", "default")
    stranger = make_person(server.app, "stranger", "tenant-admin", "acme")
    near, far, top = (browser("/changes", who) for who in (viewer, stranger, server.admin))
    instance_id = owner.create("quiet", start=False)["id"]
    owner.reaches(instance_id, "stopped")
    heard = near.hears("changed")
    assert instance_id in heard["instances"] and set(heard) == {"instances", "operations"}
    top.hears("changed")
    own = stranger.create("own", start=False)["id"]
    stranger.reaches(own, "stopped")
    far.hears("changed")
    wait_for(lambda: own in {one for told in top.all("changed") for one in told["instances"]}, what="the administrator hears it")
    assert {one for told in far.all("changed") for one in told["instances"]} == {own}
    assert own not in {one for told in near.all("changed") for one in told["instances"]}


def test_changes_come_in_batches_of_ids_without_words(browser: MakeBrowser, server: Server) -> None:
    one = browser("/changes", server.admin)
    made = {server.admin.create(f"batch-{number}", start=False)["id"] for number in range(5)}
    for each in made:
        server.admin.reaches(each, "stopped")
    wait_for(lambda: made <= {each for told in one.all("changed") for each in told["instances"]}, what="it hears of all")
    told = one.all("changed")
    assert len(told) < 10  # ten and more events, told in few messages
    assert "batch" not in str(told)


def test_a_right_that_is_taken_away_ends_what_is_heard(browser: MakeBrowser, server: Server) -> None:
    viewer = make_person(server.app, "viewer", "viewer", "default")
    one, other = browser("/changes", viewer), browser("/changes", server.admin)

    def ids(heard: Browser) -> set[str]:
        return {each for told in heard.all("changed") for each in told["instances"]}

    before = server.admin.create("before", start=False)["id"]
    wait_for(lambda: before in ids(one), what="a member hears of it")
    with server.app.app_context(), transaction():
        db.session.query(Membership).filter_by(user_id=viewer.actor.id).delete()
    server.app.extensions["clawportal_recheck"].once()
    after = server.admin.create("after", start=False)["id"]
    wait_for(lambda: after in ids(other), what="the administrator hears of it")
    later = server.admin.create("later", start=False)["id"]
    wait_for(lambda: later in ids(other), what="and of the next")
    assert not {after, later} & ids(one)
    assert not one.all("disconnect")  # the account is still theirs, so the page stays connected


def test_who_hears_of_a_claw_moves_with_it(browser: MakeBrowser, server: Server) -> None:
    """Rights in one project: its claws are told, until they are moved away, and those that are moved in."""
    day, night = (make_person(server.app, name, "guest", "default") for name in ("day", "night"))
    portal = portal_of(server.app)
    with server.app.app_context():
        tenant = db.session.scalars(select(Tenant.id).where(Tenant.name == "default")).one()
        places = {name: tenants.create_project(portal, SYSTEM, tenant, name).id for name in ("day", "night")}
        for name, place in places.items():
            members.give(portal, SYSTEM, name, "viewer", project_id=place)
    of_day, of_night = browser("/changes", day), browser("/changes", night)

    def ids(heard: Browser) -> set[str]:
        return {each for told in heard.all("changed") for each in told["instances"]}

    claw = server.admin.create("commuter", project="day", start=False)["id"]
    wait_for(lambda: claw in ids(of_day), what="the day hears of its claw")
    server.admin.reaches(claw, "stopped")
    assert claw not in ids(of_night)
    with server.app.app_context():
        moves.move_instance(portal, SYSTEM, claw, "night")
    wait_for(lambda: claw in ids(of_night), what="the night hears of what was moved to it")
    before = len(of_day.all("changed"))
    server.admin.post(f"instances/{claw}/start")
    server.admin.reaches(claw, "running")
    last = server.admin.create("last", project="day", start=False)["id"]
    wait_for(lambda: last in ids(of_day), what="the day still hears of its own")
    assert claw not in {each for told in of_day.all("changed")[before:] for each in told["instances"]}


def test_a_closed_account_and_a_revoked_token_are_shown_out(browser: MakeBrowser, server: Server) -> None:
    viewer = make_person(server.app, "viewer", "viewer", "default")
    developer = make_person(server.app, "developer", "developer", "default")
    by_cookie, by_token, other = browser("/changes").connect(cookie=cookie_of(viewer)), browser("/changes", developer), browser(
        "/changes", server.admin
    )  # fmt: skip
    with server.app.app_context():
        with transaction():
            db.session.get_one(User, viewer.actor.id).session_epoch += 1
        token = identity.list_tokens(developer.actor.id)[0]
        identity.revoke_token(portal_of(server.app), SYSTEM, developer.actor.id, token.id)
    server.app.extensions["clawportal_recheck"].once()
    by_cookie.hears("disconnect")
    by_token.hears("disconnect")
    assert not other.all("disconnect")


def test_no_handler_is_without_a_permission(server: Server) -> None:
    people = server.app.extensions["clawportal_people"]
    registered = {(namespace, event) for namespace, handlers in people.socketio.server.handlers.items() for event in handlers}
    assert registered == set(people.handlers)
    assert all(isinstance(needed, Permission) for needed in people.handlers.values())
    assert not people.socketio.server.namespace_handlers
    assert {namespace for namespace, _ in registered} == {"/changes", "/console", "/logs", "/metrics"}


def test_rights_are_asked_for_at_each_event(browser: MakeBrowser, server: Server) -> None:
    """A token that was revoked a moment ago reads nothing more, even before the next round."""
    instance_id = server.admin.create("one", start=False)["id"]
    owner = make_person(server.app, "owner", "tenant-admin", "default")
    one = browser("/logs", owner)
    with server.app.app_context():
        token = identity.list_tokens(owner.actor.id)[0]
        identity.revoke_token(portal_of(server.app), SYSTEM, owner.actor.id, token.id)
    one.say("join", {"instance_id": instance_id, "tail": 10})
    assert "Sign in again" in one.hears("problem")["detail"]
    one.hears("disconnect")
    assert portal_of(server.app).logs.readers == 0


def test_inside_a_tenant_only_its_changes_are_heard(browser: MakeBrowser, server: Server) -> None:
    """An administrator who looks into a tenant hears of nothing else, until they leave it."""
    acme = make_tenant(server.app, "acme")
    stranger, owner = (make_person(server.app, name, "tenant-admin", t) for name, t in (("sam", "acme"), ("olga", "default")))
    client = server.admin.browser()
    with client.session_transaction() as session:
        session["inside"] = acme
    cookie = client.get_cookie("clawportal")
    assert cookie is not None
    visitor = browser("/changes").connect(cookie=f"clawportal={cookie.value}")
    everywhere = browser("/changes").connect(cookie=cookie_of(server.admin))
    there, here = stranger.create("there", start=False)["id"], owner.create("here", start=False)["id"]
    wait_for(lambda: {there, here} <= {one for told in everywhere.all("changed") for one in told["instances"]})
    wait_for(lambda: there in {one for told in visitor.all("changed") for one in told["instances"]})
    assert here not in {one for told in visitor.all("changed") for one in told["instances"]}
