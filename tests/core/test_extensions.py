"""The extension points of the core, each with a feature that uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from markupsafe import Markup
from sqlalchemy import select, text

from clawportal import hookimpl
from clawportal.cli import keys
from clawportal.contracts.extensions import (
    ADMISSION,
    ADMISSION_PREVIEW,
    CHOICE_MARKS,
    RESEAL,
    ROLE_USES,
    SIGN_IN_WAYS,
    SIGN_OUT_WAYS,
    InstanceChange,
    SignInWay,
)
from clawportal.contracts.features import Card, EventKind, Feature
from clawportal.contracts.permissions import ALL, SELF, SYSTEM, Actor, Grant
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, FieldError
from clawportal.models import AuditEntry, CustomRole, Tenant, User
from clawportal.services.events import event_log
from clawportal.services.fleet import admission, instances
from clawportal.services.fleet.instances import NewInstance
from clawportal.services.identity import sessions, sign_in
from clawportal.services.tenancy import members
from tests.conftest import Person, make_person, portal_of
from tests.core.world import World
from tests.rights.test_rights_pages import Browser

BADGE = SignInWay("badge", "Badge", "web.login", "web.home")  # any pages that everybody may open
SOMEBODY = Actor("kim", "kim", grants=(Grant(ALL),))


@dataclass(frozen=True)
class Remark:
    sentence: str

    def as_document(self) -> dict[str, str]:
        return {"id": "1", "name": "remark", "title": "Remark"}


def admit(portal: Portal, actor: Actor, change: InstanceChange) -> Sequence[Remark]:
    """Refuses one name, and remarks on another."""
    if change.instance.name == "forbidden":
        raise Conflict(f"Nobody may {change.action} this.")
    return [Remark("Odd.")] if change.instance.name == "odd" else []


def preview(portal: Portal, actor: Actor, change: InstanceChange) -> list[FieldError]:
    return [FieldError("name", change.kind)] if change.instance.name == "forbidden" else []


def choice_marks(portal: Portal, tenant_id: str, kinds: Sequence[str], versions: Any) -> dict[str, dict[str, str]]:
    return {"adapter": {kind: f"Not in {tenant_id}" for kind in kinds if kind == "echo"}}


def ways(portal: Portal) -> list[SignInWay]:
    return [BADGE]


def way_out(portal: Portal, source: str) -> SignInWay | None:
    return BADGE if source == "badge:1" else None


def role_uses(tenant_id: str, role: str) -> int:
    return 2 if role == "worn" else 0


def reseal(portal: Portal) -> int:
    return 3


def account_section(actor: Actor, errors: dict[str, str]) -> Markup:
    return Markup("<p>Badge of {}: {}</p>").format(actor.name, errors.get("current", "no mistake"))


def extend(portal: Portal) -> None:
    """One more feature."""
    here = {ADMISSION: "admit", ADMISSION_PREVIEW: "preview", CHOICE_MARKS: "choice_marks", SIGN_IN_WAYS: "ways",
            SIGN_OUT_WAYS: "way_out", ROLE_USES: "role_uses", RESEAL: "reseal"}  # fmt: skip
    feature = Feature("extended", "Extended", extra={point: (f"{__name__}:{name}",) for point, name in here.items()},
                      cards=(Card("badge", f"{__name__}:account_section", SELF, place="account"),),
                      events=(EventKind("instance.remarked", "Somebody remarked on it.", audited=False),))  # fmt: skip
    portal.registry.add("extended", SimpleNamespace(register_features=hookimpl(lambda: (feature,))))
    portal.registry.settle()


@pytest.fixture
def extended(make_world: Any) -> World:
    world: World = make_world(start=False, password_sign_in=False)
    extend(world.portal)
    return world


@pytest.fixture
def kim(portal_app: Flask) -> Person:
    """Somebody in a portal with pages."""
    extend(portal_of(portal_app))
    return make_person(portal_app, "kim", "portal-admin")


def new(name: str) -> NewInstance:
    return NewInstance(name=name, adapter="echo", start=False)


def test_a_feature_refuses_a_change_and_nothing_is_stored(extended: World) -> None:
    with extended.context() as portal:
        with pytest.raises(Conflict, match="Nobody may create this"):
            instances.create(portal, SOMEBODY, new("forbidden"))
        assert instances.counts(SYSTEM).total == 0
        assert [error.message for error in instances.check_new(portal, SOMEBODY, new("forbidden"))] == ["instance.create"]


def test_what_a_feature_remarks_on_is_admitted_and_told(extended: World) -> None:
    with extended.context() as portal:
        odd, plain = (instances.create(portal, SOMEBODY, new(name)) for name in ("odd", "plain"))
        assert [one.sentence for one in admission.warnings_of(odd)] == ["Odd."] and admission.warnings_of(plain) == ()


def test_the_portal_finishes_what_was_admitted(extended: World) -> None:
    with extended.context() as portal:
        assert instances.create(portal, SYSTEM, new("forbidden")).name == "forbidden"


def test_another_way_to_sign_in_is_one_while_its_feature_is_there(extended: World) -> None:
    with extended.context() as portal:
        assert not sign_in.passwords_for_all(portal) and [way.title for way in sign_in.other_ways(portal)] == ["Badge"]
        portal.registry.without("extended")
        assert sign_in.passwords_for_all(portal), "there is no other way"


def test_a_feature_marks_choices_that_are_always_refused(extended: World) -> None:
    with extended.context() as portal:
        marks = admission.marks(portal, "acme", ["echo", "nanobot"], {})
        assert marks == {"adapter": {"echo": "Not in acme"}, "version": {}, "provider": {}}
        portal.registry.without("extended")
        assert admission.marks(portal, "acme", ["echo"], {})["adapter"] == {}


def test_the_audit_passes_over_what_a_feature_says_it_should(extended: World) -> None:
    with extended.context() as portal:
        row = instances.create(portal, SOMEBODY, new("plain"))
        for kind in ("instance.remarked", "instance.labelled"):
            event_log.record(portal, kind, actor=SOMEBODY, instance=row, message=kind)
        said = set(db.session.scalars(select(AuditEntry.summary)))
        assert "instance.labelled" in said and "instance.remarked" not in said


def signed_in(person: Person, source: str) -> Browser:
    browser = Browser(person)
    with person.app.app_context(), transaction():
        user = db.session.get_one(User, person.actor.id)
        row = sessions.begin(
            portal_of(person.app), user, sessions.BROWSER, sessions.Place(), source=sessions.Source(source, "Badge")
        )
        row_id = row.id
    with browser.client.session_transaction() as kept:
        kept["_user_id"] = row_id
    return browser


def test_another_way_to_sign_in_has_a_button_and_a_way_out(kim: Person) -> None:
    strange, browser = signed_in(kim, "other:1"), signed_in(kim, "badge:1")
    assert browser.client.get("/profile").status_code == 200
    assert strange.post("/logout").headers["Location"] == "/login"
    assert browser.post("/logout").headers["Location"] == "/login?out=badge"
    page = browser.page("/login?out=badge&next=/operations")
    assert 'href="/login?name=badge&amp;next=/operations"' in page and 'href="/?name=badge"' in page
    assert "still be signed in" not in browser.page("/login?out=other")
    portal_of(kim.app).registry.without("extended")
    assert "Badge" not in browser.page("/login?out=badge")


def test_a_feature_has_a_section_on_the_page_of_ones_account(kim: Person) -> None:
    browser = Browser(kim)
    assert "<p>Badge of kim: no mistake</p>" in browser.page("/profile")
    wrong = {"current": "not this one", "password": "a-long-new-one", "password_again": "a-long-new-one"}
    answer = browser.post("/profile/password", **wrong)
    assert answer.status_code == 422 and "<p>Badge of kim: This is not your present password.</p>" in answer.text
    portal_of(kim.app).registry.without("extended")
    assert "Badge" not in browser.page("/profile")


def test_a_role_that_a_feature_would_give_is_not_deleted(extended: World) -> None:
    with extended.context() as portal:
        tenant = db.session.scalars(select(Tenant.id)).one()
        rows = {name: CustomRole(tenant_id=tenant, name=name, permissions=["instance.read"]) for name in ("worn", "spare")}
        with transaction():
            db.session.add_all(rows.values())
        with pytest.raises(Conflict, match="in use 2 times"):
            members.delete_role(portal, SYSTEM, tenant, rows["worn"].id)
        members.delete_role(portal, SYSTEM, tenant, rows["spare"].id)
        assert db.session.scalars(select(CustomRole.name)).all() == ["worn"]


def test_secrets_of_features_move_to_a_new_key(extended: World) -> None:
    with extended.context() as portal:
        assert keys._resealed(portal) == 3
        portal.registry.without("extended")
        assert keys._resealed(portal) == 0


def test_whoever_keeps_secrets_and_is_not_loaded_is_named(extended: World) -> None:
    with extended.context() as portal:
        assert keys._left_behind(portal) == []
        with transaction():
            db.session.execute(text("CREATE TABLE alembic_version_parrots (version_num VARCHAR(32) NOT NULL)"))
            db.session.execute(text("INSERT INTO alembic_version_parrots (version_num) VALUES ('0001')"))
        assert keys._left_behind(portal) == ["parrots"]
