"""The pages of organisations, members, rights and accounts: for every role, by mouse only, and inside one organisation."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from clawportal.db import db
from clawportal.models import EventRow
from tests.conftest import People, Person, counted_sql, make_person

_TOKEN = re.compile(r'<meta name="csrf-token" content="([^"]+)">')


class Browser:
    """A signed-in browser without a screen."""

    def __init__(self, person: Person) -> None:
        self.client: FlaskClient = person.browser()

    def page(self, path: str, status: int = 200) -> str:
        answer = self.client.get(path)
        text = answer.get_data(as_text=True)
        assert answer.status_code == status, (path, answer.status_code, text[-1500:])
        return text

    def post(self, path: str, **data: Any) -> TestResponse:
        token = _TOKEN.search(self.client.get("/profile").get_data(as_text=True))
        assert token
        return self.client.post(path, data={"csrf_token": html.unescape(token[1]), **data})

    def done(self, path: str, **data: Any) -> str:
        answer = self.post(path, **data)
        assert answer.status_code == 303, (path, answer.status_code, answer.get_data(as_text=True)[-1500:])
        return str(answer.headers["Location"])


@pytest.fixture
def home(people: People) -> str:
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


@pytest.mark.parametrize(
    ("role", "seen"),
    [
        ("portal-admin", 9), ("portal-auditor", 4), ("tenant-admin", 8), ("auditor", 4), ("operator", 2), ("developer", 2),
        ("viewer", 2), ("guest", 0),
    ],
)  # fmt: skip
def test_each_page_comes_for_each_role_or_says_no(people: People, home: str, role: str, seen: int) -> None:
    """How many of the pages somebody sees; what is left gives 403 or 404 and never breaks."""
    person = make_person(people.owner.app, "somebody", role, "" if role.startswith("portal-") else "default")
    browser = Browser(person)
    project = people.owner.post("projects", {"tenant": home, "name": "shop"}).get_json()["id"]
    made = people.owner.post(f"tenants/{home}/roles", {"name": "own", "permissions": ["instance.read"]}).get_json()["id"]
    pages = [
        f"/tenants/{home}", f"/tenants/{home}/members", f"/tenants/{home}/rights", f"/tenants/{home}/settings",
        f"/tenants/{home}/roles/{made}", f"/projects/{project}", f"/projects/{project}/delete", f"/tenants/{home}/delete",
        "/accounts",
    ]  # fmt: skip
    answers = [browser.client.get(path) for path in pages]
    assert {answer.status_code for answer in answers} <= {200, 403, 404}
    good = [answer.get_data(as_text=True) for answer in answers if answer.status_code == 200]
    assert len(good) == (7 if role == "tenant-admin" else seen), [a.status_code for a in answers]
    for text in good:
        assert "<h1>" in text and "style=" not in text and "onclick" not in text
        tables = re.findall(r"<table class=\"([^\"]+)\"", text)
        assert all("cards" in classes for classes in tables), "tables become cards on a phone"


def test_strangers_see_no_page_of_another_organisation(people: People, home: str) -> None:
    browser = Browser(people.stranger)
    project = people.owner.get("projects").get_json()["items"][0]["id"]
    one = people.owner.create("hidden-one")["id"]
    for path in (f"/tenants/{home}", f"/tenants/{home}/members", f"/tenants/{home}/rights", f"/tenants/{home}/settings",
                 f"/projects/{project}", f"/projects/{project}/delete", f"/instances/{one}/place"):  # fmt: skip
        assert "hidden-one" not in browser.page(path, 404)
    assert "My organisation" not in browser.page("/tenants")


def test_an_organisation_by_mouse_only(people: People) -> None:
    admin = Browser(people.admin)
    assert admin.post("/tenants", name="Bad Name").status_code == 422
    members = admin.done("/tenants", name="globex", title="Globex <Ltd>")
    assert "Globex &lt;Ltd&gt;" in admin.page(members) and "No members yet" in admin.page(members)
    tenant = members.rsplit("/", 2)[1]
    answer = admin.post(members, name="gina", role="tenant-admin", display_name="Gina")
    text = answer.get_data(as_text=True)
    assert answer.status_code == 200 and "new-password" in text
    assert "new-password" not in admin.page(members), "shown once"
    assert "cannot be used" in admin.post(members, name="gina", role="viewer").get_data(as_text=True)
    project = admin.done(f"/tenants/{tenant}/projects", name="shop", title="Shop")
    assert admin.done(f"/tenants/{tenant}/quota", instances="3", cpu="2", memory="1Gi", storage="20Gi").endswith(tenant)
    shown = admin.page(f"/tenants/{tenant}")
    assert "0 of 3" in shown and "0 of 20Gi" in shown
    assert admin.post(f"/tenants/{tenant}/quota", storage="lots").status_code == 422
    assert admin.post(f"/tenants/{tenant}/quota", instances="many").status_code == 422
    admin.done(f"{project}/quota", instances="1", cpu="", memory="")
    assert admin.post(f"{project}/quota", cpu="lots").status_code == 422
    assert admin.done(project, title="Workshop") == project and "Workshop" in admin.page(project)
    settings = f"/tenants/{tenant}/settings"
    admin.done(settings, title="Globex", limited="true", adapters=["echo"], default_cluster="")
    assert re.search(r'value="echo" id="kind-echo" checked', admin.page(settings))
    assert "Type shop to confirm" in admin.page(f"{project}/delete")
    assert admin.post(f"{project}/delete", confirm="no").status_code == 422
    assert admin.done(f"{project}/delete", confirm="shop").endswith(tenant)
    assert admin.done(f"/tenants/{tenant}/delete", confirm="globex") == "/tenants"
    admin.page(f"/tenants/{tenant}", 404)


def test_members_and_roles_by_mouse_only(people: People, home: str) -> None:
    owner = Browser(people.owner)
    viewer = people.viewer.actor.id
    owner.done(f"/tenants/{home}/members/{viewer}/role", role="operator")
    assert "role operator" in str(people.viewer.get("auth/me").get_json())
    owner.done(f"/tenants/{home}/roles", name="watch", permissions=["instance.read"], description="By night")
    assert owner.post(f"/tenants/{home}/roles", name="empty").status_code == 422
    role = next(r["id"] for r in people.owner.get(f"tenants/{home}/roles").get_json()["items"] if r["name"] == "watch")
    owner.done(f"/tenants/{home}/roles/{role}", permissions=["instance.read", "instance.kill"])
    text = owner.page(f"/tenants/{home}/rights?permission=instance.kill")
    assert "Member with the role operator" in text and ">developer<" not in text.split("<h2>Roles")[0]
    owner.page(f"/tenants/{home}/rights?permission=nonsense", 422)
    owner.done(f"/tenants/{home}/roles/{role}/delete")
    owner.done(f"/tenants/{home}/members/{viewer}/remove")
    assert people.viewer.get("instances").status_code == 403
    assert Browser(people.developer).done(f"/tenants/{home}/members/{people.developer.actor.id}/remove") == "/profile"


def test_sharing_and_moving_by_mouse_only(people: People, home: str) -> None:
    owner, one = Browser(people.owner), people.owner.create("one")["id"]
    make_person(people.owner.app, "gus", "guest", "default")
    place = f"/instances/{one}/place"
    assert "With nobody" in owner.page(place)
    assert owner.post(f"/instances/{one}/shares", member="nobody", role="viewer").status_code == 422
    owner.done(f"/instances/{one}/shares", member="gus", role="viewer")
    assert "gus" in owner.page(place)
    grant = people.owner.get(f"instances/{one}/shares").get_json()["items"][0]["id"]
    owner.done(f"/grants/{grant}/end")
    project = owner.done(f"/tenants/{home}/projects", name="shop")
    owner.done(f"/instances/{one}/move", project="shop")
    assert "It is in shop" in owner.page(place)
    owner.done(f"{project}/grants", member="gus", role="developer")
    assert "gus" in owner.page(project)
    assert "/place" in owner.page(f"/instances/{one}")
    shown = Browser(people.viewer).page(place).split('class="sections')[1].split("</main>")[0]
    assert "<form" not in shown


def test_an_invitation_makes_an_account(people: People, home: str) -> None:
    text = Browser(people.owner).post(f"/tenants/{home}/invitations", role="developer", note="Kim").get_data(as_text=True)
    found = re.search(r'id="new-link">http://localhost(/invitations/[^<]+)<', text)
    assert found
    nobody = people.owner.app.test_client()
    page = nobody.get(found[1])
    body = page.get_data(as_text=True)
    token = _TOKEN.search(body)
    assert page.status_code == 200 and "My organisation" in body and page.headers["Referrer-Policy"] == "no-referrer" and token
    data = {"csrf_token": html.unescape(token[1]), "username": "kim", "password": "correct horse", "password_again": "correct"}
    assert nobody.post(found[1], data=data).status_code == 422
    taken = nobody.post(found[1], data=data | {"username": "viewer", "password_again": "correct horse"})
    assert taken.status_code == 422
    joined = nobody.post(found[1], data=data | {"password_again": "correct horse"})
    assert joined.status_code == 303
    assert nobody.get("/instances").status_code == 200
    assert nobody.get(found[1]).status_code == 404, "it works once"
    assert nobody.get("/invitations/cli_guess").status_code == 404


def test_accounts_by_mouse_only(people: People) -> None:
    admin = Browser(people.admin)
    assert "stranger" in admin.page("/accounts") and "viewer" not in admin.page("/accounts?q=strang").split("<tbody")[1]
    assert "new-password" in admin.post("/accounts", name="second", role="portal-auditor").get_data(as_text=True)
    assert admin.post("/accounts", name="third", role="viewer").status_code == 422
    assert admin.post(f"/accounts/{people.admin.actor.id}/close").status_code == 409
    assert admin.post(f"/accounts/{people.admin.actor.id}/role", role="").status_code == 409
    admin.done(f"/accounts/{people.viewer.actor.id}/close")
    assert people.viewer.get("auth/me").status_code == 401
    admin.done(f"/accounts/{people.viewer.actor.id}/open")
    admin.done(f"/accounts/{people.owner.actor.id}/role", role="portal-admin")


# ---- inside one organisation


def test_a_portal_admin_looks_into_an_organisation(people: People, home: str) -> None:
    people.owner.create("ours")
    people.stranger.create("theirs")
    admin = Browser(people.admin)
    both = admin.page("/instances")
    assert "ours" in both and "theirs" in both and "You look into" not in both
    admin.done(f"/tenants/{people.acme}/enter")
    inside = admin.page("/instances")
    assert "theirs" in inside and "ours" not in inside
    assert "You look into Acme" in inside and "Your visit is recorded" in inside
    admin.page(f"/tenants/{home}", 404)
    assert admin.post("/tenants", name="more").status_code == 403, "inside one, nothing outside it can be done"
    assert admin.post("/accounts", name="x", role="portal-admin").status_code == 403
    with people.admin.app.app_context():
        row = db.session.query(EventRow).filter_by(kind="tenant.visited").one()
        assert (row.tenant_id, row.actor) == (people.acme, "admin")
    told = people.stranger.get("events").get_json()["items"]
    assert any(event["kind"] == "tenant.visited" for event in told), "the visited see who was there"
    admin.done("/tenants/leave")
    assert "ours" in admin.page("/instances")


def test_people_in_several_organisations_switch(people: People, home: str) -> None:
    people.owner.create("ours")
    people.stranger.create("theirs")
    added = people.admin.post(f"tenants/{people.acme}/members", {"name": "owner", "role": "viewer", "existing": True})
    assert added.status_code == 201
    assert (
        people.owner.post(f"tenants/{home}/members", {"name": "stranger", "role": "viewer", "existing": True}).status_code == 403
    )
    browser = Browser(people.owner)
    browser.done(f"/tenants/{people.acme}/enter")
    text = browser.page("/instances")
    assert "theirs" in text and "ours" not in text and "You look into" not in text
    people.stranger.delete(f"tenants/{people.acme}/members/{people.owner.actor.id}")
    assert "ours" in browser.page("/instances"), "a choice that gives no rights any more is forgotten"


def test_nobody_enters_an_organisation_that_is_not_theirs(people: People, home: str) -> None:
    browser = Browser(people.stranger)
    assert browser.post(f"/tenants/{home}/enter").status_code == 404
    with browser.client.session_transaction() as session:
        session["inside"] = home
    assert "My organisation" not in browser.page("/tenants")
    browser.page(f"/tenants/{home}", 404)


def test_pages_cost_the_same_whatever_their_length(people: People, home: str) -> None:
    browser, counted = Browser(people.admin), []
    paths = ("/tenants", f"/tenants/{home}", f"/tenants/{home}/members", f"/tenants/{home}/rights", "/accounts")
    for upto in (1, 7):
        for number in range(upto):
            people.owner.post(f"tenants/{home}/members", {"name": f"m{upto}-{number}", "role": "guest"})
            people.owner.post("projects", {"tenant": home, "name": f"p{upto}-{number}"})
            one = people.owner.create(f"i{upto}-{number}")["id"]
            people.owner.post(f"instances/{one}/shares", {"member": f"m{upto}-{number}"})
        for path in paths:
            browser.page(path)
        with counted_sql(people.admin.app) as told:
            for path in paths:
                browser.page(path)
        counted.append(len(told))
    assert counted[0] == counted[1]
