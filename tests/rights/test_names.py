"""One rule for names on both databases: what reads the same is the same, and nobody looks like somebody else."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text

from clawportal import folding
from clawportal.app import prepare_rows
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.errors import Invalid
from clawportal.models import User
from clawportal.services.audit import trail
from clawportal.services.clusters import clusters
from clawportal.services.clusters.clusters import NewCluster
from clawportal.services.identity import accounts, identity, names
from clawportal.services.tenancy import members, tenants
from tests.conftest import PASSWORD, People, portal_of
from tests.core.migrating import legacy, upgrade_all
from tests.core.world import World


def make(portal: Portal, name: str) -> User:
    return identity.create_user(portal, SYSTEM, name, PASSWORD, role="portal-admin")


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("Ärger", "ärger"),
        ("straße", "STRASSE"),
        ("Anna", "ANNA"),
        ("ΑΣ", "ας"),
        ("İpek", "i̇pek"),
        ("ﬁn", "FIN"),
        ("ｋｉｍ", "kim"),
    ],
)
def test_the_same_name_is_one_account(both: World, one: str, same: str) -> None:
    assert folding.fold(one) == folding.fold(same)
    with both.context() as portal:
        first = make(portal, unicodedata.normalize("NFKC", one))
        with pytest.raises(Invalid):
            make(portal, same)
        assert identity.authenticate(portal, same, PASSWORD).id == first.id, "and signs in however it is written"
        assert identity.find_user(same).id == first.id


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("аdmin", "mixes letters"), ("ѕуѕтем", "looks like 'system'"), ("pаypal", "mixes letters"),
        ("ad\u200bmin", "U+200B"), ("kim\u202e", "U+202E"), ("kim\n", "U+000A"), ("ｒｏｏｔ", "usual form"),
        ("kim\ufeff", "U+FEFF"),
    ],
)  # fmt: skip
def test_nobody_looks_like_somebody_else(both: World, name: str, words: str) -> None:
    with both.context() as portal:
        make(portal, "admin")
        with pytest.raises(Invalid, match=words.replace("+", r"\+")):
            make(portal, name)


def test_a_whole_word_in_other_letters_is_found_too(both: World) -> None:
    with both.context() as portal:
        make(portal, "scope")
        with pytest.raises(Invalid, match="'scope', which reads the same"):
            make(portal, "ѕсоре")


@pytest.mark.parametrize("name", ["анна", "王小明", "王wang", "たなか", "김철수", "müller", "Ελένη", "anna.smith-2@example.com"])
def test_names_of_everybody_are_good(both: World, name: str) -> None:
    with both.context() as portal:
        make(portal, name)
        assert accounts.listing(SYSTEM, text=name[:3]).total == 1


@pytest.mark.parametrize("query", ["straße", "STRASSE", "Straße", "ｓｔｒａｓｓｅ"])
def test_every_search_folds(both: World, query: str) -> None:
    with both.context() as portal:
        tenant = tenants.create(portal, SYSTEM, "one", title="Lange Straße")
        made = members.create(portal, SYSTEM, tenant.id, "kim", "viewer", display_name="Kim von der Straße")
        clusters.create(portal, SYSTEM, NewCluster("lab", "docker", title="Hohe Straße"))
        assert accounts.listing(SYSTEM, text=query).total == 1
        assert members.listing(SYSTEM, tenant.id, text=query).total == 1
        assert tenants.listing(SYSTEM, text=query).total == 1
        assert len(clusters.listing(SYSTEM, text=query).items) == 1
        assert made.user.name == "kim"


def test_a_search_of_the_audit_folds(people: People) -> None:
    people.admin.post("tenants", {"name": "street", "title": "Lange Straße"})
    with people.admin.app.app_context():
        assert (
            trail.listing(SYSTEM, trail.Filters(text="Straße")).total == trail.listing(SYSTEM, trail.Filters(text="STRAßE")).total
        )


def test_what_is_renamed_is_folded_anew(both: World) -> None:
    with both.context() as portal:
        tenant = tenants.create(portal, SYSTEM, "one", title="Nord")
        tenants.update(portal, SYSTEM, tenant.id, tenants.TenantChange(title="Süd"))
        assert (tenants.listing(SYSTEM, text="NORD").total, tenants.listing(SYSTEM, text="SÜD").total) == (0, 1)


def test_an_address_links_only_itself() -> None:
    assert names.same_address("Anna@Example.com", "anna@example.com")
    for other in ("аnna@example.com", "anna@exampIe.com", "annä@example.com", "ﬁn@example.com"):
        assert not names.same_address(other, "anna@example.com")
    assert not names.same_address("straße@example.com", "strasse@example.com")


def test_twins_from_before_stay_and_are_named(make_world: Callable[..., World], database_url: str) -> None:
    world = make_world(start=False, create=False, database_url=database_url)
    row = (
        "INSERT INTO user_account (id, name, display_name, password_hash, session_epoch, must_change_password, active, language, "
        "theme, created_at) VALUES (:id, :name, '', :hash, 1, :no, :yes, '', '', '2026-01-0{n} 00:00:00')"
    )
    with world.context() as portal:
        legacy("upgrade", "0061")
        with db.engine.begin() as connection:
            for number, name in enumerate(("Ärger", "ärger", "kim"), 1):
                values: dict[str, Any] = {
                    "id": f"user-{number}",
                    "name": name,
                    "hash": identity._hasher.hash(f"{name} {PASSWORD}"),
                }
                connection.execute(text(row.format(n=number)), values | {"no": False, "yes": True})
        for step in (("upgrade", "head"), ("downgrade", "0061")):
            legacy(*step)
        upgrade_all(world.app)
        found = dict(db.session.execute(select(User.name, User.folded)).tuples().all())
        assert found == {"Ärger": "ärger", "ärger": "ärger#user-2", "kim": "kim"}
        assert names.twins() == ["ärger"]
        for name in ("Ärger", "ärger"):
            assert identity.authenticate(portal, name, f"{name} {PASSWORD}").name == name, "each with their own password"
        with pytest.raises(Invalid):
            make(portal, "ÄRGER")
        prepare_rows()


def test_signing_in_takes_either(portal_app: Flask) -> None:
    with portal_app.app_context():
        make(portal_of(portal_app), "Ärger")
    client = portal_app.test_client()
    answer = client.post("/api/v1/auth/login", json={"name": "ärger", "password": PASSWORD})
    assert answer.status_code == 200, answer.get_json()
