"""What the page of an instance says of how its claw is reached, and what to do where its own page is switched off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from clawportal.contracts.workloads import PortSpec
from clawportal.db import db, transaction
from clawportal.lifecycle import Phase
from clawportal.models import Cluster, Instance
from clawportal_echo import EchoAdapter
from tests.apps.conftest import OddScene
from tests.conftest import make_person, portal_of
from tests.rights.test_rights_pages import Browser

BOTH = "People open its own page above, or talk to it in the chat here."
PAGE = "People open its own page above."
CHAT = "People talk to it in the chat here."
ON_MACHINE = "These addresses work on the machine where the claw runs."
NOWHERE = "It has no address outside of the place where it runs."


class Pageless(EchoAdapter):
    def ports(self, version: str) -> tuple[PortSpec, ...]:
        return tuple(replace(port, page=False) for port in super().ports(version))


class Silent(EchoAdapter):
    capabilities = EchoAdapter.capabilities - {"chat"}


class Switched(EchoAdapter):
    """Has its page only where a setting says so."""

    def ports(self, version: str) -> tuple[PortSpec, ...]:
        return tuple(replace(port, page_needs="ignore_sigterm") for port in super().ports(version))


def said(scene: OddScene, role: str = "developer", kind: type[EchoAdapter] = EchoAdapter) -> str:
    portal_of(scene.server.app).registry.adapters["echo"] = kind()
    person = scene.developer if role == "developer" else make_person(scene.server.app, f"one-{role}", role, "default")
    return Browser(person).page(f"/instances/{scene.claw['id']}")


def sentences(page: str) -> set[str]:
    return {one for one in (BOTH, PAGE, CHAT, ON_MACHINE, NOWHERE) if one in page}


@pytest.mark.parametrize(
    ("role", "kind", "told"),
    [
        ("developer", EchoAdapter, [BOTH]), ("developer", Silent, [PAGE]), ("developer", Pageless, [CHAT]),
        ("developer", Switched, [CHAT]), ("operator", EchoAdapter, [CHAT]), ("viewer", EchoAdapter, []),
    ],
)  # fmt: skip
def test_only_what_whoever_reads_it_may_do(odd_scene: OddScene, role: str, kind: type[EchoAdapter], told: Sequence[str]) -> None:
    assert sentences(said(odd_scene, role, kind)) == {NOWHERE, *told}


def test_addresses_on_a_shared_machine(odd_scene: OddScene) -> None:
    with odd_scene.server.app.app_context(), transaction():
        row = db.session.query(Cluster).filter_by(name="odd").one()
        row.capabilities = [*row.capabilities, "allocated-ports"]
    page = said(odd_scene)
    assert sentences(page) == {ON_MACHINE, BOTH} and "http://127.0.0.1:8700" in page


def test_one_that_does_not_run_is_not_reached(odd_scene: OddScene) -> None:
    with odd_scene.server.app.app_context(), transaction():
        db.session.get_one(Instance, odd_scene.claw["id"]).phase = Phase.STOPPED
    page = said(odd_scene)
    assert not sentences(page) and "addresses show up when it runs" in page


def test_a_page_that_is_switched_off_says_what_to_do(odd_scene: OddScene) -> None:
    assert "data-open-app" in said(odd_scene, kind=Switched)
    browser = Browser(odd_scene.developer)
    address = f"/instances/{odd_scene.claw['id']}"
    told = browser.client.get(f"{address}/apps/http", headers={"Sec-Fetch-Site": "same-origin"})
    text = told.get_data(as_text=True)
    assert told.status_code == 409 and f'href="{address}/edit"' in text
    assert "switch “Ignore being asked to stop” on under “Advanced settings”" in text
    with odd_scene.server.app.app_context(), transaction():
        row = db.session.get_one(Instance, odd_scene.claw["id"])
        row.spec = {**row.spec, "settings": {"ignore_sigterm": True}}
    on = browser.client.get(f"{address}/apps/http", headers={"Sec-Fetch-Site": "same-origin"})
    assert on.status_code == 303 and "ticket=" in on.headers["Location"]
    assert BOTH in said(odd_scene, kind=Switched)


def test_who_may_not_switch_it_on_is_told_whom_to_ask(odd_scene: OddScene) -> None:
    app, admin = odd_scene.server.app, odd_scene.server.admin
    home = next(one["id"] for one in admin.get("tenants").get_json()["items"] if one["name"] == "default")
    rights = {"name": "visitor", "permissions": ["instance.read", "app.open"]}
    assert admin.post(f"tenants/{home}/roles", rights).status_code == 201
    portal_of(app).registry.adapters["echo"] = Switched()
    browser = Browser(make_person(app, "vera", "visitor", "default"))
    address = f"/instances/{odd_scene.claw['id']}"
    text = browser.client.get(f"{address}/apps/http", headers={"Sec-Fetch-Site": "same-origin"}).get_data(as_text=True)
    assert "Ask somebody who may change its configuration" in text and f"{address}/edit" not in text
