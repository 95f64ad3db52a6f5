"""Saved filters, by API: kept, shared, chosen, and never telling of what somebody does not see."""

from __future__ import annotations

from typing import Any

import pytest

from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.models import DefaultFilter, Project, SavedFilter, User
from clawportal.services.fleet import saved_filters
from clawportal.services.tenancy import members
from tests.conftest import People, Person, make_person, portal_of

NIGHT = {"state": "attention", "labels": "team=support", "sort": "name"}


def save(person: Person, name: str = "night", query: dict[str, str] | None = None, **more: Any) -> Any:
    return person.post("filters", {"name": name, "query": NIGHT if query is None else query, **more})


def saved(person: Person, *given: Any, **more: Any) -> dict[str, Any]:
    answer = save(person, *given, **more)
    assert answer.status_code == 201, answer.get_data(as_text=True)
    found: dict[str, Any] = answer.get_json()
    return found


def names(person: Person) -> list[str]:
    return [item["name"] for item in person.get("filters").get_json()["items"]]


def tenant_of(people: People) -> str:
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


def make_project(people: People, name: str = "secret") -> str:
    made = people.owner.post("projects", {"tenant": tenant_of(people), "name": name})
    assert made.status_code == 201
    return str(made.get_json()["id"])


def test_ones_own_filter_is_seen_by_nobody_else(people: People) -> None:
    made = saved(people.developer)
    empty = dict.fromkeys(saved_filters.PARTS, "")
    assert made["query"] == empty | NIGHT and made["tenant"] is None and not made["default"]
    assert people.developer.get(f"filters/{made['id']}").get_json() == made and names(people.developer) == ["night"]
    for person in (people.owner, people.admin, people.stranger):
        assert names(person) == [] and person.get(f"filters/{made['id']}").status_code == 404
        assert person.patch(f"filters/{made['id']}", {"name": "x"}).status_code == 404
        assert person.delete(f"filters/{made['id']}").status_code == 404
        assert person.post(f"filters/{made['id']}/default").status_code == 404


def test_a_shared_one_is_seen_there_and_changed_by_who_may_share(people: People) -> None:
    made = saved(people.developer, tenant=tenant_of(people))
    assert made["tenant_name"] == "default" and made["created_by"] == "developer"
    assert names(people.viewer) == ["night"] and names(people.admin) == ["night"] and names(people.stranger) == []
    assert people.stranger.get(f"filters/{made['id']}").status_code == 404
    assert people.viewer.patch(f"filters/{made['id']}", {"name": "mine"}).status_code == 403
    assert people.viewer.delete(f"filters/{made['id']}").status_code == 403
    assert people.operator.patch(f"filters/{made['id']}", {"name": "late"}).get_json()["name"] == "late"
    assert save(people.viewer, tenant=tenant_of(people)).status_code == 403
    assert save(people.developer, tenant=people.acme).status_code == 422
    own = people.developer.patch(f"filters/{made['id']}", {"tenant": None}).get_json()
    assert own["tenant"] is None and names(people.viewer) == [] and names(people.developer) == ["late"]
    again = people.developer.patch(f"filters/{made['id']}", {"tenant": tenant_of(people)})
    assert again.status_code == 200 and names(people.viewer) == ["late"]


def test_what_names_a_project_is_hidden_from_who_does_not_see_it(people: People) -> None:
    project = make_project(people)
    made = saved(people.owner, "about secret", {"project": "secret"}, tenant=tenant_of(people))
    assert made["query"]["project"] == project and names(people.viewer) == ["about secret"]
    other = make_project(people, "open")
    guest = make_person(people.admin.app, "somebody", "guest", "default")
    with people.admin.app.app_context():  # with rights on the other project alone
        members.give(portal_of(people.admin.app), SYSTEM, "somebody", "developer", project_id=other)
    saved(people.owner, "about open", {"project": other}, tenant=tenant_of(people))
    assert names(guest) == ["about open"]
    assert guest.get(f"filters/{made['id']}").status_code == 404
    assert guest.get("instances?filter=about+secret").status_code == 422
    assert save(guest, "x", {"project": project}).get_json()["errors"][0]["path"] == "query.project"
    assert save(people.stranger, "x", {"project": project}).status_code == 422


def test_a_deleted_project_takes_its_filters_along(people: People) -> None:
    project = make_project(people)
    saved(people.owner, "about secret", {"project": project}, default=True)
    app = people.admin.app
    with app.app_context(), transaction():
        db.session.delete(db.session.get_one(Project, project))
    with app.app_context():
        assert db.session.query(SavedFilter).count() == db.session.query(DefaultFilter).count() == 0


def test_a_shared_one_outlives_who_made_it(people: People) -> None:
    saved(people.developer, tenant=tenant_of(people))
    saved(people.developer, "own")
    app = people.admin.app
    with app.app_context(), transaction():
        db.session.delete(db.session.get_one(User, people.developer.actor.id))
    assert names(people.viewer) == ["night"]
    with app.app_context():
        assert db.session.query(SavedFilter).count() == 1


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"name": "", "query": NIGHT}, "name"), ({"name": "x", "query": {}}, "query"), ({"name": "a\nb", "query": NIGHT}, "name"),
        ({"name": "x", "query": {"state": "odd"}}, "query.state"), ({"name": "x", "query": {"sort": "odd"}}, "query.sort"),
        ({"name": "x", "query": {"labels": "=a"}}, "query.labels"), ({"name": "x", "query": {"project": "odd"}}, "query.project"),
        ({"name": "x", "query": NIGHT, "tenant": "odd"}, "tenant"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused_at_its_field(people: People, body: dict[str, Any], path: str) -> None:
    answer = people.owner.post("filters", body)
    assert answer.status_code == 422 and path in {error["path"] for error in answer.get_json()["errors"]}, answer.get_json()
    assert names(people.owner) == []


def test_a_name_is_one_of_a_kind_and_their_number_is_bounded(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(people.owner)
    assert save(people.owner).status_code == 409
    assert save(people.owner, tenant=tenant_of(people)).status_code == 201  # that one is the organisation's
    assert save(people.developer, tenant=tenant_of(people)).status_code == 409
    for number in range(saved_filters.MOST - 1):
        saved(people.owner, f"n{number}")
    full = save(people.owner, "one more")
    assert full.status_code == 409 and str(saved_filters.MOST) in full.get_json()["detail"]
    assert save(people.developer, "another's").status_code == 201


def test_the_default_is_everybodys_own(people: People) -> None:
    shared = saved(people.developer, tenant=tenant_of(people), default=True)
    own = saved(people.developer, "own")
    assert shared["default"]
    assert people.viewer.get(f"filters/{shared['id']}").get_json()["default"] is False
    assert people.viewer.post(f"filters/{shared['id']}/default").get_json()["default"]
    assert people.developer.post(f"filters/{own['id']}/default").status_code == 200
    told = {item["name"]: item["default"] for item in people.developer.get("filters").get_json()["items"]}
    assert told == {"night": False, "own": True}
    assert people.developer.delete(f"filters/{own['id']}/default").status_code == 204
    assert not people.developer.get(f"filters/{own['id']}").get_json()["default"]
    assert people.viewer.get(f"filters/{shared['id']}").get_json()["default"]
    assert people.developer.delete(f"filters/{shared['id']}").status_code == 204 and names(people.viewer) == []


def test_lists_are_narrowed_by_a_saved_filter(people: People) -> None:
    for name, given in (("a", {"team": "support"}), ("b", {"team": "support"}), ("c", {})):
        people.owner.create(f"claw-{name}", labels=given)
    made = saved(people.developer, "support", {"labels": "team=support", "sort": "-name"})

    def found(query: str) -> list[str]:
        answer = people.developer.get(f"instances?{query}")
        assert answer.status_code == 200, answer.get_json()
        return [item["name"] for item in answer.get_json()["items"]]

    assert found("filter=support") == ["claw-b", "claw-a"] == found(f"filter={made['id']}")
    assert found("filter=support&sort=name") == ["claw-a", "claw-b"] and found("filter=support&q=claw-a") == ["claw-a"]
    assert found("filter=support&labels=!team") == ["claw-c"]
    for person in (people.owner, people.stranger):
        answer = person.get("instances?filter=support")
        assert answer.status_code == 422 and answer.get_json()["errors"][0]["path"] == "filter"


def test_ones_own_comes_before_the_organisations(people: People) -> None:
    people.owner.create("claw-a", labels={"team": "support"})
    saved(people.owner, "which", {"labels": "!team"}, tenant=tenant_of(people))
    assert people.developer.get("instances?filter=which").get_json()["total"] == 0
    saved(people.developer, "which", {"labels": "team"})
    assert people.developer.get("instances?filter=which").get_json()["total"] == 1


def test_pages_of_the_list_and_the_audit(people: People) -> None:
    for number in range(5):
        saved(people.owner, f"n{number}")
    page = people.owner.get("filters?limit=2").get_json()
    assert [item["name"] for item in page["items"]] == ["n0", "n1"] and page["total"] == 5 and page["next"]
    after = people.owner.get(f"filters?limit=2&cursor={page['next']}").get_json()
    assert [item["name"] for item in after["items"]] == ["n2", "n3"]
    actions = {entry["action"] for entry in people.owner.get("audit").get_json()["items"]}
    assert any(action.startswith("filter.") for action in actions), actions
