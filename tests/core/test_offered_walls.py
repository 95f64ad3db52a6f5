"""A cluster where nothing keeps claws apart is for the portal's own organisation, until somebody says otherwise in words."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from clawportal import clock
from clawportal.contracts.doctor import DoctorResult
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.runtimes import Separation, SeparationLevel
from clawportal.db import db, transaction
from clawportal.models import AuditEntry, Cluster, EventRow
from clawportal.services.clusters import clusters, reachability, separation
from clawportal.services.tenancy import tenants
from tests.conftest import People, Person, portal_of
from tests.rights.test_people_cli import claw
from tests.rights.test_rights_pages import Browser

__all__ = ["claw"]
OPEN = Separation(SeparationLevel.NONE, (DoctorResult("separation: key ring", False, "A claw read the key ring."),))
APART = Separation(SeparationLevel.USER, (DoctorResult("separation: key ring", True, "It cannot read the key ring."),))


def measure(app: Flask, found: Separation) -> None:
    """What the next look at the local cluster finds."""
    with app.app_context():
        row = clusters.get(SYSTEM, "local")
        facts = reachability.Facts("v1", None, ["logs"], found)
        reachability.answered(portal_of(app), row.id, facts)


def sees(person: Person) -> bool:
    return "local" in [item["name"] for item in person.get("clusters").get_json()["items"]]


def creates(person: Person, name: str) -> bool:
    answer = person.post("instances", {"name": name, "adapter": "echo", "start": False})
    assert answer.status_code in (201, 422), answer.get_json()
    assert answer.status_code == 201 or [item["path"] for item in answer.get_json()["errors"]] == ["cluster"]
    return bool(answer.status_code == 201)


def change(admin: Person, **body: Any) -> Any:
    read = admin.get("clusters/local").get_json()["generation"]
    return admin.patch("clusters/local", {"generation": read, **body})


def test_a_fresh_portal_offers_it_to_its_own_organisation_only(people: People) -> None:
    app, admin = people.admin.app, people.admin
    assert creates(people.stranger, "before"), "nobody has looked yet"
    measure(app, OPEN)
    assert sees(people.owner) and creates(people.owner, "mine")
    assert not sees(people.stranger) and not creates(people.stranger, "theirs")
    found = admin.get("clusters/local").get_json()
    assert found["separation"] == "none" and found["for_all"] and found["shared_unseparated"] is False
    assert found["separation_findings"][0]["message"] == "A claw read the key ring."
    assert people.owner.get("clusters/local").get_json()["separation_findings"] is None, "only for those who look after it"
    assert people.stranger.get("instances").get_json()["total"] == 1, "what they have there goes on"
    measure(app, APART)
    assert sees(people.stranger) and creates(people.stranger, "again")
    with app.app_context():
        kinds = list(db.session.scalars(select(EventRow.kind).where(EventRow.kind.like("cluster.%sep%")).order_by(EventRow.seq)))
        assert kinds == ["cluster.unseparated", "cluster.separated"]


@pytest.mark.parametrize("audience", [None, ["acme"], ["default", "acme"]])
def test_offering_it_to_others_takes_words(people: People, audience: list[str] | None) -> None:
    app, admin = people.admin.app, people.admin
    measure(app, OPEN)
    assert change(admin, tenants=["default"]).status_code == 200, "its own organisation needs no words"
    for typed, code in (("", "missing"), ("yes", "invalid")):
        answer = change(admin, tenants=audience, confirm_unseparated=typed)
        assert answer.status_code == 422
        assert [(item["path"], item["code"]) for item in answer.get_json()["errors"]] == [("confirm_unseparated", code)]
    assert not sees(people.stranger)
    answer = change(admin, tenants=audience, confirm_unseparated="local")
    assert answer.status_code == 200
    found = answer.get_json()
    assert found["shared_unseparated"] and found["unseparated_confirmed_by"] == "admin" and found["unseparated_confirmed_at"]
    assert sees(people.stranger) and creates(people.stranger, "theirs")
    assert change(admin, title="Ours").status_code == 200, "what was confirmed is not asked again"
    with app.app_context():
        entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "cluster.shared_unseparated")).one()
        assert entry.actor_name == "admin"
        made = tenants.create(portal_of(app), SYSTEM, "later", "Later")
        assert clusters.allowed(made.id) == [], "a new organisation never gets it"
        doctor = separation.finding(clusters.get(SYSTEM, "local"), db.session())
        assert not doctor.ok and "admin confirmed it" in doctor.message and doctor.remedy
    assert change(admin, tenants=["default"]).status_code == 200
    found = admin.get("clusters/local").get_json()
    assert not found["shared_unseparated"] and found["unseparated_confirmed_by"] == "" and not sees(people.stranger)


def test_what_was_shared_before_goes_on_and_is_marked(people: People) -> None:
    """As the migration leaves it: shared, and nobody has confirmed it."""
    app, admin = people.admin.app, people.admin
    with app.app_context(), transaction():
        clusters.get(SYSTEM, "local").trusted_at = clock.now()
    measure(app, OPEN)
    assert sees(people.stranger) and creates(people.stranger, "goes-on")
    found = admin.get("clusters/local").get_json()
    assert found["shared_unseparated"] and found["unseparated_confirmed_by"] == ""
    page = Browser(admin).page("/clusters/local")
    assert "Shared without separation" in page and "nobody confirmed it" in page and "A claw read the key ring." in page
    assert "Shared without separation" in Browser(admin).page("/clusters")
    with app.app_context():
        assert "nobody confirmed it" in separation.finding(clusters.get(SYSTEM, "local"), db.session()).message
    assert change(admin, confirm_unseparated="local").get_json()["unseparated_confirmed_by"] == "admin"
    assert "admin confirmed that" in Browser(admin).page("/clusters/local")
    measure(app, APART)
    measure(app, OPEN)
    assert not sees(people.stranger), "the words were said of another state of things"
    assert "only your own organisation gets it" in Browser(admin).page("/clusters/local")


def test_the_form_asks_for_the_words(people: People) -> None:
    app, browser = people.admin.app, Browser(people.admin)
    edit = f"/clusters/{people.admin.get('clusters/local').get_json()['id']}/edit"
    assert "confirm_unseparated" not in browser.page(edit)
    measure(app, OPEN)
    change(people.admin, tenants=["default"])
    page = browser.page(edit)
    assert "type local" in page and "Only your own organisation gets it" in page
    generation = str(people.admin.get("clusters/local").get_json()["generation"])
    form = {"title": "This machine", "audience": "all", "generation": generation, "labels": ""}
    refused = browser.post(edit, **form)
    assert refused.status_code == 422 and "Type local to offer it" in refused.text
    assert browser.post(edit, **form, confirm_unseparated="local").status_code == 303
    assert "Shared without separation" in browser.page("/clusters/local")


def test_the_command_asks_for_the_words(people: People, claw: Any) -> None:
    admin = claw(people.admin)
    measure(people.admin.app, OPEN)
    admin("cluster", "edit", "local", "--tenant", "default")
    assert "Type local to offer it" in admin("cluster", "edit", "local", "--for-all", code=6).output
    admin("cluster", "edit", "local", "--for-all", "--confirm-unseparated", "local")
    assert "none, and yet offered to others (confirmed by admin)" in admin("cluster", "show", "local").output
    measure(people.admin.app, APART)
    assert "user+landlock" in admin("cluster", "show", "local").output


@pytest.mark.parametrize("level", list(SeparationLevel))
def test_each_level_has_its_words(people: People, level: SeparationLevel) -> None:
    measure(people.admin.app, Separation(level, (DoctorResult("separation: neighbour", level != "none", "It was tried."),)))
    page = Browser(people.owner).page("/clusters/local")
    words = {
        "container": "a container for each claw", "user+landlock": "a user of its own", "none": "none",
        "namespace+landlock": "namespaces of its own", "landlock+seccomp": "no local sockets",
    }  # fmt: skip
    assert words[level] in page and people.owner.get("clusters/local").get_json()["separation"] == level
    with people.admin.app.app_context():
        assert db.session.scalar(select(func.count()).select_from(Cluster)) == 1


@pytest.mark.parametrize(
    ("capabilities", "words"), [(["limits.kernel", "limits.memory"], "by the kernel"), (["logs"], "by measuring")]
)
def test_pages_say_who_holds_limits(people: People, capabilities: list[str], words: str) -> None:
    made, browser = people.owner.create("one", start=False), Browser(people.owner)
    assert "by measuring" not in browser.page(f"/instances/{made['id']}"), "nobody knows yet"
    with people.admin.app.app_context():
        row = clusters.get(SYSTEM, "local")
        reachability.answered(portal_of(people.admin.app), row.id, reachability.Facts("v1", None, capabilities, APART))
    for path in (f"/instances/{made['id']}", f"/clusters/{made['cluster']['id']}"):
        assert re.search(rf"<dt>Limits</dt><dd>{words}</dd>", browser.page(path)), path
