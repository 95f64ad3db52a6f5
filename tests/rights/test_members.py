"""Members, roles, grants and accounts: who may give what to whom, and that nobody gets more than that."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from clawportal.contracts.core_permissions import INSTANCE_LOGS, PORTAL_READ
from clawportal.contracts.permissions import SELF, SYSTEM
from clawportal.db import db, transaction
from clawportal.errors import Conflict
from clawportal.models import Membership, User
from clawportal.services.identity import accounts, identity
from tests.conftest import People, Person, counted_sql, make_person, make_tenant, portal_of
from tests.core.world import World
from tests.core_roles import CORE, ROLES


@pytest.fixture
def home(people: People) -> str:
    """Id of the tenant `default`."""
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


def id_of(person: Person) -> str:
    return person.actor.id


def give(by: Person, to: Person, role: str, **place: str) -> Any:
    return by.post("grants", {"member": to.name, "role": role, **place})


# ---- members


def test_an_owner_adds_a_member_who_then_signs_in(people: People, home: str) -> None:
    made = people.owner.post(f"tenants/{home}/members", {"name": "kim", "role": "developer", "display_name": "Kim Lee"})
    assert made.status_code == 201
    with people.owner.app.app_context():
        user = identity.authenticate(portal_of(people.owner.app), "kim", made.get_json()["password"])
        assert user.must_change_password
    page = people.owner.get(f"tenants/{home}/members?q=lee").get_json()
    assert page["total"] == 1 and page["items"][0]["role"] == "developer"
    again = people.owner.post(f"tenants/{home}/members", {"name": "stranger", "role": "viewer"})
    assert again.status_code == 422 and again.get_json()["errors"][0]["code"] == "taken"
    assert people.owner.get(f"tenants/{home}/members?limit=1").get_json()["total"] == 5


def test_roles_change_and_members_leave(people: People, home: str) -> None:
    path = f"tenants/{home}/members/{id_of(people.viewer)}"
    assert people.owner.patch(path, {"role": "operator"}).get_json()["role"] == "operator"
    assert "instance.kill" in people.viewer.get("auth/me").get_json()["permissions"], "from the next request on"
    assert people.owner.delete(path).status_code == 204
    assert people.viewer.get("auth/me").get_json()["permissions"] == ["self"]
    assert people.viewer.get("instances").status_code == 403
    assert people.owner.delete(path).status_code == 404
    own = f"tenants/{home}/members/{id_of(people.developer)}"
    assert people.developer.delete(own).status_code == 204, "everybody may leave"


@pytest.mark.parametrize("who", ["viewer", "developer", "operator"])
def test_others_manage_nobody(people: People, home: str, who: str) -> None:
    person = getattr(people, who)
    assert person.post(f"tenants/{home}/members", {"name": "kim", "role": "viewer"}).status_code == 403
    assert person.patch(f"tenants/{home}/members/{id_of(person)}", {"role": "tenant-admin"}).status_code == 403
    assert person.delete(f"tenants/{home}/members/{id_of(people.owner)}").status_code == 403
    assert person.post(f"tenants/{home}/roles", {"name": "mine", "permissions": ["instance.read"]}).status_code == 403
    assert person.post(f"tenants/{home}/invitations", {"role": "viewer"}).status_code == 403
    assert person.get("users").status_code == 403


# ---- nobody gives more than they have


@pytest.mark.parametrize("role", ["portal-admin", "portal-auditor"])
def test_no_portal_role_inside_a_tenant(people: People, home: str, role: str) -> None:
    for person in (people.owner, people.admin):
        assert person.post(f"tenants/{home}/members", {"name": "eve", "role": role}).status_code == 422
        assert person.patch(f"tenants/{home}/members/{id_of(people.viewer)}", {"role": role}).status_code == 422
        assert person.post(f"tenants/{home}/invitations", {"role": role}).status_code == 422
    with people.admin.app.app_context(), pytest.raises(Exception, match="whole portal"):
        from clawportal.models import Tenant

        tenant = db.session.get_one(Tenant, home)
        identity.create_user(portal_of(people.admin.app), SYSTEM, "eve", "a long password", role=role, tenant=tenant)


def test_a_manager_with_few_rights_gives_few(people: People, home: str) -> None:
    made = people.owner.post(
        f"tenants/{home}/roles",
        {"name": "hr", "permissions": ["member.read", "member.manage", "role.manage", "tenant.read", "instance.read"]},
    )
    assert made.status_code == 201
    hr = make_person(people.owner.app, "hilda", "hr", "default")
    assert hr.post(f"tenants/{home}/members", {"name": "g1", "role": "guest"}).status_code == 201
    for role in ("viewer", "developer", "operator", "tenant-admin"):
        assert hr.post(f"tenants/{home}/members", {"name": "eve", "role": role}).status_code == 403, role
        assert hr.patch(f"tenants/{home}/members/{id_of(hr)}", {"role": role}).status_code == 403
        assert hr.post(f"tenants/{home}/invitations", {"role": role}).status_code == 403
    assert hr.delete(f"tenants/{home}/members/{id_of(people.owner)}").status_code == 403, "nor takes what they could not give"
    wide = {"name": "wide", "permissions": ["instance.kill"]}
    assert hr.post(f"tenants/{home}/roles", wide).status_code == 403
    own = made.get_json()["id"]
    assert hr.put(f"tenants/{home}/roles/{own}", {"permissions": ["member.manage", "instance.delete"]}).status_code == 403
    strong = people.owner.post(f"tenants/{home}/roles", wide | {"name": "strong"}).get_json()["id"]
    assert hr.put(f"tenants/{home}/roles/{strong}", {"permissions": ["instance.read"]}).status_code == 403
    assert hr.delete(f"tenants/{home}/roles/{strong}").status_code == 403


@pytest.mark.parametrize("permission", sorted({*(str(p) for p in CORE if p.portal_only), "self", "no.such"}))
def test_a_role_of_a_tenant_never_reaches_beyond_it(people: People, home: str, permission: str) -> None:
    for person in (people.owner, people.admin):
        answer = person.post(f"tenants/{home}/roles", {"name": "beyond", "permissions": [permission]})
        assert answer.status_code == 422
    with people.admin.app.app_context(), transaction():
        from clawportal.models import CustomRole

        db.session.add(CustomRole(tenant_id=home, name="planted", permissions=[permission, "instance.read"]))
    planted = make_person(people.admin.app, "planted", "planted", "default")
    assert set(planted.get("auth/me").get_json()["permissions"]) == {"instance.read", "self"}


def test_a_limited_token_gives_no_more_than_it_has(people: People, home: str) -> None:
    made = people.owner.post("tokens", {"name": "hr", "scopes": ["member.manage", "member.read", "tenant.read", "self"]})
    assert made.status_code == 201, made.get_json()
    token = Person(people.owner.app, "owner", people.owner.actor, made.get_json()["token"])
    assert token.get(f"tenants/{home}/members").status_code == 200
    assert token.post(f"tenants/{home}/members", {"name": "eve", "role": "tenant-admin"}).status_code == 403


# ---- roles


def test_a_role_lives_with_those_who_have_it(people: People, home: str) -> None:
    role = people.owner.post(
        f"tenants/{home}/roles", {"name": "watch", "permissions": ["instance.read", "catalog.read"]}
    ).get_json()
    watch = make_person(people.owner.app, "wanda", "watch", "default")
    one = people.owner.create("one")["id"]
    assert watch.get(f"instances/{one}").status_code == 200
    assert watch.post(f"instances/{one}/stop").status_code == 403
    changed = {"permissions": ["instance.read", "instance.operate"], "description": "By night"}
    assert people.owner.put(f"tenants/{home}/roles/{role['id']}", changed).status_code == 200
    assert watch.post(f"instances/{one}/stop").status_code == 202
    in_use = people.owner.delete(f"tenants/{home}/roles/{role['id']}")
    assert in_use.status_code == 409 and "in use 1 times" in in_use.get_json()["detail"]
    people.owner.patch(f"tenants/{home}/members/{id_of(watch)}", {"role": "viewer"})
    assert people.owner.delete(f"tenants/{home}/roles/{role['id']}").status_code == 204
    for bad in ({"name": "viewer"}, {"name": "Big Role"}, {"name": "x", "permissions": []}):
        body = {"name": "ok", "permissions": ["instance.read"]} | bad
        assert people.owner.post(f"tenants/{home}/roles", body).status_code == 422, body


def test_a_role_of_one_tenant_means_nothing_in_another(people: People, home: str) -> None:
    role = people.owner.post(f"tenants/{home}/roles", {"name": "watch", "permissions": ["instance.read"]}).get_json()
    assert people.stranger.post(f"tenants/{people.acme}/members", {"name": "eve", "role": "watch"}).status_code == 422
    assert people.stranger.put(f"tenants/{people.acme}/roles/{role['id']}", {"permissions": ["instance.read"]}).status_code == 404
    assert people.stranger.delete(f"tenants/{home}/roles/{role['id']}").status_code == 404


# ---- grants


def test_sharing_one_instance(people: People, home: str) -> None:
    guest = make_person(people.owner.app, "gus", "guest", "default")
    one, two = people.owner.create("one")["id"], people.owner.create("two")["id"]
    assert guest.get("instances").status_code == 403
    answer = people.developer.post(f"instances/{one}/shares", {"member": "gus", "role": "viewer"})
    assert answer.status_code == 201, answer.get_json()
    assert [row["id"] for row in guest.get("instances").get_json()["items"]] == [one]
    assert guest.get(f"instances/{two}").status_code == 404
    assert guest.post(f"instances/{one}/stop").status_code == 403
    assert people.developer.post(f"instances/{one}/shares", {"member": "gus", "role": "operator"}).status_code == 403
    assert people.operator.post(f"instances/{one}/shares", {"member": "gus"}).status_code == 403
    assert people.owner.post(f"instances/{one}/shares", {"member": "gus", "role": "operator"}).status_code == 201
    assert guest.post(f"instances/{one}/stop").status_code == 202
    assert people.developer.delete(f"grants/{answer.get_json()['id']}").status_code == 403, "it is more than they have"
    shared = people.owner.get(f"instances/{one}/shares").get_json()["items"]
    assert [(row["user"], row["role"], row["created_by"]) for row in shared] == [("gus", "operator", "owner")]
    assert guest.delete(f"grants/{shared[0]['id']}").status_code == 204, "one's own can be given up"
    assert guest.get("instances").status_code == 403
    for name in ("stranger", "nobody-at-all"):
        refused = people.owner.post(f"instances/{one}/shares", {"member": name})
        assert refused.status_code == 422 and refused.get_json()["errors"][0]["message"].startswith("There is no member")
    assert people.stranger.post(f"instances/{one}/shares", {"member": "stranger"}).status_code == 404


def test_a_role_in_one_project(people: People, home: str) -> None:
    shop = people.owner.post("projects", {"tenant": home, "name": "shop"}).get_json()["id"]
    guest = make_person(people.owner.app, "gus", "guest", "default")
    inside = people.owner.create("inside", project="shop")["id"]
    outside = people.owner.create("outside")["id"]
    assert give(people.owner, guest, "tenant-admin", project=shop).status_code == 201
    assert guest.get(f"instances/{inside}").status_code == 200 and guest.get(f"instances/{outside}").status_code == 404
    assert guest.create("more")["project"]["name"] == "shop"
    assert guest.post(f"instances/{inside}/move", {"project": "default"}).status_code == 422
    assert guest.get(f"tenants/{home}").status_code == 404 and guest.get(f"tenants/{home}/members").status_code == 404
    assert guest.post(f"tenants/{home}/members", {"name": "eve", "role": "guest"}).status_code == 404
    assert guest.post("projects", {"tenant": home, "name": "mine"}).status_code == 404
    assert give(guest, people.viewer, "developer", project=shop).status_code == 201, "inside the project they may"
    default = people.owner.get("projects").get_json()["items"][0]["id"]
    assert give(guest, people.viewer, "developer", project=default).status_code == 404
    people.owner.post(f"instances/{inside}/move", {"project": "default"})
    assert guest.get(f"instances/{inside}").status_code == 404, "the grant follows the project, not the instance"


def test_a_grant_ends_with_the_membership(people: People, home: str) -> None:
    one = people.owner.create("one")["id"]
    people.owner.post(f"instances/{one}/shares", {"member": "viewer", "role": "operator"})
    people.owner.delete(f"tenants/{home}/members/{id_of(people.viewer)}")
    assert people.viewer.get("auth/me").get_json()["permissions"] == ["self"]
    assert people.owner.get(f"tenants/{home}/grants").get_json()["items"] == []


def test_who_can_do_what_and_why(people: People, home: str) -> None:
    one = people.owner.create("one")["id"]
    people.owner.post(f"instances/{one}/shares", {"member": "viewer", "role": "operator"})
    told = people.owner.get(f"tenants/{home}/rights").get_json()["items"]
    kill = {(r["user"], r["kind"], r["place"], r["given_by"]) for r in told if "instance.kill" in r["permissions"]}
    assert kill == {
        ("admin", "portal", "", ""), ("operator", "member", "", ""), ("owner", "member", "", ""),
        ("viewer", "instance", "one", "owner"),
    }  # fmt: skip
    assert people.viewer.get(f"tenants/{home}/rights").status_code == 403
    sources = [grant["source"] for grant in people.viewer.get("auth/me").get_json()["grants"]]
    assert "role operator on the instance one in default" in sources


def test_an_auditor_reads_everything_and_changes_nothing(people: People, home: str) -> None:
    auditor = make_person(people.owner.app, "ada", "auditor", "default")
    one = people.owner.create("one")["id"]
    for path in (
        "instances", f"instances/{one}", "events", "operations", f"tenants/{home}", f"tenants/{home}/members",
        f"tenants/{home}/rights", f"tenants/{home}/quota", f"tenants/{home}/roles", f"instances/{one}/shares",
    ):  # fmt: skip
        assert auditor.get(path).status_code == 200, path
    reads = {p for p in CORE if str(p).endswith(".read")} | {INSTANCE_LOGS, SELF}
    assert (
        set(CORE.enumerate(ROLES["auditor"])) == reads - {PORTAL_READ} and set(CORE.enumerate(ROLES["portal-auditor"])) == reads
    )
    wide = make_person(people.owner.app, "paul", "portal-auditor")
    assert wide.get("tenants").get_json()["total"] == 2 and wide.post("tenants", {"name": "x"}).status_code == 403


# ---- invitations


def test_an_invitation_is_used_once(people: People, home: str) -> None:
    made = people.owner.post(f"tenants/{home}/invitations", {"role": "developer", "note": "for Kim"}).get_json()
    text = made["path"].rsplit("/", 1)[1]
    from clawportal.errors import NotFound
    from clawportal.services.tenancy import members

    app = people.owner.app
    with app.app_context():
        offer = members.look_at(portal_of(app), text)
        assert (offer.tenant_id, offer.role, offer.by) == (home, "developer", "owner")
        members.accept(portal_of(app), people.stranger.actor, text)
        with pytest.raises(NotFound):
            members.accept(portal_of(app), people.stranger.actor, text)
    assert {row["name"] for row in people.stranger.get("tenants").get_json()["items"]} == {"acme", "default"}
    assert people.owner.get(f"tenants/{home}/invitations").get_json()["items"] == []


def test_an_invitation_ends_with_the_rights_of_who_made_it(people: People, home: str) -> None:
    from clawportal.errors import NotFound
    from clawportal.services.tenancy import members

    boss = make_person(people.owner.app, "boss", "tenant-admin", "default")
    texts = [
        boss.post(f"tenants/{home}/invitations", {"role": role}).get_json()["path"].rsplit("/", 1)[1]
        for role in ("tenant-admin", "guest")
    ]
    people.owner.patch(f"tenants/{home}/members/{id_of(boss)}", {"role": "viewer"})
    with people.owner.app.app_context():
        for text in texts:
            with pytest.raises(NotFound):
                members.look_at(portal_of(people.owner.app), text)


# ---- the last administrator


def test_the_last_portal_admin_stays(people: People) -> None:
    own = f"users/{id_of(people.admin)}"
    for change in ({"active": False}, {"portal_role": ""}, {"portal_role": "portal-auditor"}):
        answer = people.admin.patch(own, change)
        assert answer.status_code == 409 and "last administrator" in answer.get_json()["detail"]
    assert people.admin.patch(f"users/{id_of(people.owner)}", {"portal_role": "portal-admin"}).status_code == 200
    assert people.admin.patch(own, {"portal_role": ""}).status_code == 200
    assert people.admin.get("users").status_code == 403
    assert people.owner.patch(own, {"active": False}).status_code == 200
    assert people.admin.get("auth/me").status_code == 401, "a closed account is out at once"


def test_a_closed_admin_does_not_count(people: People) -> None:
    second = make_person(people.admin.app, "second", "portal-admin")
    assert people.admin.patch(f"users/{id_of(second)}", {"active": False}).status_code == 200
    assert people.admin.patch(f"users/{id_of(people.admin)}", {"active": False}).status_code == 409


def test_two_who_leave_at_once_cannot_both(both: World) -> None:
    with both.context() as portal:
        ids = [identity.create_user(portal, SYSTEM, f"a{n}", "a long password", role="portal-admin").id for n in range(2)]
    gate, outcomes = threading.Barrier(2), []

    def leave(user_id: str) -> None:
        with both.context() as portal:
            gate.wait(10)
            try:
                accounts.set_portal_role(portal, SYSTEM, user_id, "")
                outcomes.append("left")
            except Conflict:
                outcomes.append("stayed")
            finally:
                db.session.remove()

    threads = [threading.Thread(target=leave, args=(user_id,)) for user_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["left", "stayed"]
    with both.context():
        assert len(db.session.scalars(select(Membership.user_id).where(Membership.tenant_id.is_(None))).all()) == 1


# ---- what it costs


def test_rights_cost_two_statements_whatever_one_has(people: People, home: str, portal_app: Flask) -> None:
    counted = []
    for upto in (0, 12):
        for number in range(upto):
            one = people.owner.create(f"s{number}")["id"]
            people.owner.post(f"instances/{one}/shares", {"member": "viewer", "role": "operator"})
            make_tenant(portal_app, f"more{number}")
        people.viewer.get("tokens")
        with counted_sql(portal_app) as told:
            assert people.viewer.get("tokens").status_code == 200
        counted.append([text for text in told if not text.startswith(("BEGIN", "PRAGMA"))])
    assert len(counted[0]) == len(counted[1]) <= 3, "two for who asks and what they may, one for the tokens"


@pytest.mark.parametrize("path", ["tenants", "tenants/{home}/members", "tenants/{home}/rights", "tenants/{home}/quota", "users"])
def test_lists_cost_the_same_whatever_their_length(people: People, home: str, portal_app: Flask, path: str) -> None:
    counted = []
    people.admin.get("tokens")  # the first use of a token is noted
    for upto in (1, 8):
        with portal_app.app_context(), transaction():
            for number in range(upto):
                user = User(name=f"u{upto}-{number}", password_hash="x")
                db.session.add(user)
                db.session.flush()
                db.session.add(Membership(user_id=user.id, tenant_id=home, role="viewer"))
        make_tenant(portal_app, f"t{upto}")
        people.owner.create(f"i{upto}")
        with counted_sql(portal_app) as told:
            assert people.admin.get(path.format(home=home)).status_code == 200
        counted.append(len(told))
    assert counted[0] == counted[1]
