"""An attacker in another organisation: neither the id of a key nor its name, its address, a claw, shared configuration, a move,
the audit or events lead to it."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from clawportal.contracts.permissions import ALL, SYSTEM, Actor, Grant
from clawportal.db import db, transaction
from clawportal.errors import GiveUp
from clawportal.models import AuditEntry, EventRow, Instance, Project, Tenant
from clawportal.services.configuration import layers
from clawportal.services.fleet import moves
from clawportal_providers import services
from clawportal_providers.models import Credential
from tests.conftest import People
from tests.core.world import World
from tests.providers.test_probe import LIST, serving
from tests.providers.test_stored_keys import KEY, claw, planned, stored
from tests.rights.test_rights_pages import Browser

SOMEBODY = Actor("somebody", "somebody", "user", (Grant(ALL),))
TITLE = "Secret project of the others"


@pytest.fixture
def home(people: People) -> str:
    return str(people.owner.get("tenants").get_json()["items"][0]["id"])


@pytest.fixture
def theirs(people: People, home: str) -> str:
    """The id of a key of the tenant `default`; the attacker administers `acme`."""
    body = {"tenant": home, "name": "theirs", "title": TITLE, "provider": "openrouter", "key": KEY}
    return str(people.owner.post("credentials", body).get_json()["id"])


def test_no_address_answers_an_attacker(people: People, theirs: str, home: str) -> None:
    asked = [
        ("get", f"credentials/{theirs}", None), ("patch", f"credentials/{theirs}", {"title": "x"}),
        ("delete", f"credentials/{theirs}", None), ("post", f"credentials/{theirs}/rotate", {"key": "sk-mine-0123456789"}),
        ("get", f"credentials/{theirs}/instances", None), ("post", "credentials/test", {"credential": theirs, "model": "m"}),
        ("post", "credentials/models", {"credential": theirs}), ("get", f"credentials?tenant={home}", None),
        ("post", "credentials/test", {"tenant": home, "provider": "openrouter", "key": "sk-mine-0123456789", "model": "m"}),
    ]  # fmt: skip
    for method, path, body in asked:
        answer = getattr(people.stranger, method)(path, *([body] if body is not None else []))
        assert answer.status_code in (403, 404) and TITLE not in answer.get_data(as_text=True), (path, answer.status_code)
    browser = Browser(people.stranger)
    for path in ("", "/edit", "/rotate", "/delete"):
        assert TITLE not in browser.page(f"/model-keys/{theirs}{path}", status=404)
    assert browser.post(f"/model-keys/{theirs}/test", model="m").status_code == 404
    assert people.owner.get(f"credentials/{theirs}").get_json()["title"] == TITLE


def test_its_name_is_free_elsewhere(people: People, theirs: str) -> None:
    body = {"tenant": people.acme, "name": "theirs", "provider": "openrouter", "key": "sk-mine-0123456789"}
    assert people.stranger.post("credentials", body).status_code == 201, "or its name could be guessed"
    assert people.stranger.get("credentials").get_json()["total"] == 1


def test_no_claw_and_no_shared_configuration_takes_it(people: People, theirs: str) -> None:
    model = {"provider": "openrouter", "name": "m", "credential": theirs}
    wanted = {"name": "thief", "adapter": "nanobot", "start": False, "spec": {"model": model}}
    unknown = people.stranger.post("instances", wanted)
    nowhere = people.stranger.post("instances", {**wanted, "spec": {"model": {**model, "credential": "nothing"}}})
    assert unknown.status_code == nowhere.status_code == 422 and TITLE not in unknown.get_data(as_text=True)
    assert unknown.get_json()["errors"] == nowhere.get_json()["errors"], "there is nothing to tell apart"
    for strength in ("defaults", "enforced"):
        answer = people.stranger.put(f"tenants/{people.acme}/layer", {strength: {"model": model}})
        assert answer.status_code == 422 and TITLE not in answer.get_data(as_text=True)
    without = people.stranger.put(f"tenants/{people.acme}/layer", {"defaults": {"model": {"name": "m", "credential": theirs}}})
    assert "defaults.model.provider" in str(without.get_json()["errors"]), "its provider does not come along"


def test_what_a_row_names_anyway_stays_closed(still: World) -> None:
    """As after a restore of another portal's rows, or a hand in the database."""
    with still.context() as portal:
        mine = claw(portal, stored(portal))
        with transaction():
            other = Tenant(name="other", title="Other")
            db.session.add(other)
            db.session.flush()
            project = Project(tenant_id=other.id, name="inner")
            db.session.add(project)
            db.session.flush()
            key = db.session.query(Credential).one()
            key.tenant_id, key.project_id, key.title = other.id, project.id, TITLE
        row = db.session.get_one(Instance, mine.id, populate_existing=True)
        assert KEY not in layers.secrets_for(portal, row).values() and KEY not in layers.open_secrets(portal, row).values()
        with pytest.raises(GiveUp):
            planned(still, portal, row)
        with transaction():
            there = Project(tenant_id=row.tenant_id, name="second")
            db.session.add(there)
            db.session.flush()
            name = there.id
        assert moves.move_instance(portal, SOMEBODY, row.id, name).project_id == name, "a refusal would tell its title"
        assert services.all_of(SYSTEM, row.tenant_id).items == []


def test_nobody_reads_it_afterwards(people: People, theirs: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    other = "sk-or-another-0123456789"
    with serving({"models": LIST}) as double:
        address = {"provider": "openai-compatible", "base_url": double.url}
        people.admin.patch(f"credentials/{theirs}", {**address, "key": other})
        people.admin.post("credentials/test", {"credential": theirs, "model": "big"})
        assert double.keys == [] and any(other in str(headers) for _path, headers, _body in double.seen)
    people.owner.post(f"credentials/{theirs}/rotate", {"key": KEY})
    people.owner.delete(f"credentials/{theirs}")
    with people.owner.app.app_context():
        rows: list[Any] = [*db.session.query(AuditEntry), *db.session.query(EventRow)]
        kept = json.dumps([{name: str(value) for name, value in vars(row).items()} for row in rows])
    for value in (KEY, other):
        assert value not in kept and value not in caplog.text
    for path in ("events", "audit"):
        seen = people.stranger.get(path)
        assert TITLE not in seen.get_data(as_text=True) and theirs not in seen.get_data(as_text=True)
