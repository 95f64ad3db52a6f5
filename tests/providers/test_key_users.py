"""Who uses a stored key: by its own spec, by shared configuration, in its own organisation; and what that keeps it from."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from clawportal import clock
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.errors import Conflict
from clawportal.lifecycle import Desired
from clawportal.models import Instance, Tenant
from clawportal.services.configuration import layers
from clawportal.services.fleet import instances, layer_changes
from clawportal.services.fleet.instances import NewInstance
from clawportal_providers import services, using
from clawportal_providers.checking import Change
from clawportal_providers.models import Credential
from tests.core.world import World
from tests.providers.test_stored_keys import KEY, OTHER, OWN, claw, home, stored

ELSEWHERE = {"model": {"provider": "openai-compatible", "base_url": "https://elsewhere.example/v1", "name": "x"}}


def plain(portal: Any, name: str, spec: dict[str, Any] | None = None) -> str:
    return instances.create(portal, SYSTEM, NewInstance(name, "nanobot", spec=spec or {}, start=False)).id


def count(portal: Any, credential: str) -> int:
    row = db.session.get_one(Credential, credential)
    found = using.users(portal, SYSTEM, row)
    assert using.counts(portal, [row]) == {credential: found.count}, "the list says the same"
    return found.count


def generations() -> dict[str, int]:
    return {row.name: row.generation for row in db.session.execute(db.select(Instance.name, Instance.generation))}


def test_claws_that_get_a_key_by_shared_configuration_use_it_and_others_are_left_alone(both: World) -> None:
    with both.context() as portal:
        one = stored(portal, OWN)
        layer_changes.put(portal, SYSTEM, home(), {"defaults": {"model": {"name": "big", "credential": one}}})
        plain(portal, "silent")
        plain(portal, "going")
        instances.create(
            portal, SYSTEM, NewInstance("own", "nanobot", spec=ELSEWHERE, secrets={"model_api_key": OTHER}, start=False)
        )
        with transaction():
            db.session.query(Instance).filter_by(name="going").one().desired = Desired.DELETED
        assert count(portal, one) == 1
        before = generations()
        assert [used.name for used in services.rotate(portal, SYSTEM, one, OTHER).visible] == ["silent"]
        assert {name for name, number in generations().items() if number != before[name]} == {"silent"}


def test_a_key_that_shared_configuration_overrules_is_used_and_stirs_nobody(both: World) -> None:
    with both.context() as portal:
        one, other = stored(portal), stored(portal, OWN)
        claw(portal, one)
        layer_changes.put(portal, SYSTEM, home(), {"enforced": {"model": {"name": "big", "credential": other}}})
        assert count(portal, one) == count(portal, other) == 1
        before = generations()
        services.rotate(portal, SYSTEM, one, OTHER)
        assert generations() == before, "it runs with another one"
        services.rotate(portal, SYSTEM, other, OTHER)
        assert generations() == {"one": before["one"] + 1}


def test_the_address_of_a_key_stays_while_it_is_used(both: World) -> None:
    there = Change("openai-compatible", "https://new.example/v1", key=OTHER)
    with both.context() as portal:
        one = stored(portal, OWN)
        row = claw(portal, one)
        with pytest.raises(Conflict, match="1 claws use the key own at its address: one"):
            services.change(portal, SYSTEM, one, there)
        assert layers.secrets_for(portal, db.session.get_one(Instance, row.id))["model_api_key"] == KEY
        services.change(portal, SYSTEM, one, Change("openai-compatible", "https://llm.example/v2", key=OTHER))
        assert layers.secrets_for(portal, db.session.get_one(Instance, row.id))["model_api_key"] == OTHER, "a path is no address"
        with transaction():
            db.session.get_one(Instance, row.id).destroyed_at = clock.now()
        layer_changes.put(portal, SYSTEM, home(), {"defaults": {"model": {"name": "big", "credential": one}}})
        with pytest.raises(Conflict, match="shared configuration uses"):
            services.change(portal, SYSTEM, one, there)
        layer_changes.put(portal, SYSTEM, home(), {})
        assert services.change(portal, SYSTEM, one, there).goes_to == "openai-compatible https://new.example:443"


def test_only_claws_of_the_own_organisation_are_looked_at(both: World) -> None:
    with both.context() as portal:
        one = stored(portal)
        row = claw(portal, one)
        with transaction():
            other = Tenant(name="other", title="Other")
            db.session.add(other)
            db.session.flush()
            db.session.add(Instance(tenant_id=other.id, project_id=row.project_id, name="copy", adapter=row.adapter,
                                    version=row.version, cluster_id=row.cluster_id, spec=row.spec, created_by=""))  # fmt: skip
        asked: list[str] = []
        event.listen(db.engine, "before_cursor_execute", lambda _c, _u, statement, *_: asked.append(statement))
        assert count(portal, one) == 1
        looked = [statement for statement in asked if "FROM instance" in statement]
        assert looked and all("instance.tenant_id = " in statement for statement in looked)
