"""Stored keys of model providers: sealed, shared by claws, bound to one address, taken up when they are replaced."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from clawportal import keyring, paths
from clawportal.contracts.permissions import SYSTEM
from clawportal.contracts.providers import ModelProviders
from clawportal.contracts.specs import InstanceSpec
from clawportal.db import db, transaction
from clawportal.errors import Conflict, GiveUp, Invalid
from clawportal.keyring import KeyringError
from clawportal.models import AuditEntry, EventRow, Instance, Project, Tenant
from clawportal.services.configuration import layers
from clawportal.services.fleet import instances, layer_changes, moves, plans
from clawportal.services.fleet.instances import InstanceChange, NewInstance
from clawportal_nanobot.adapter import NanobotAdapter
from clawportal_providers import services, testing_models, using
from clawportal_providers.checking import Change, Wanted
from clawportal_providers.models import Credential
from clawportal_providers.testing_models import Asked
from tests.core.world import World

KEY, OTHER = "sk-or-0123456789abcdef", "sk-or-fedcba9876543210"
KIM = replace(SYSTEM, kind="user", name="kim")
"""Changes of the portal itself are not held against anything."""
ROUTER = Wanted("router", "openrouter", key=KEY)
OWN = Wanted("own", "openai-compatible", "https://llm.example/v1", key=KEY)


def home() -> str:
    return str(db.session.query(Tenant).first().id)  # type: ignore[union-attr]


def stored(portal: Any, wanted: Wanted = ROUTER) -> str:
    return services.create(portal, SYSTEM, home(), wanted).id


def claw(portal: Any, credential: str, name: str = "one", **model: Any) -> Instance:
    spec = {"model": {"credential": credential, "name": "some/model", **model}}
    return instances.create(portal, SYSTEM, NewInstance(name, "nanobot", spec=spec, start=False))


def planned(world: World, portal: Any, row: Instance) -> Any:
    adapter, runtime = NanobotAdapter(), world.runtime()
    context = plans.context_of(portal, row, adapter, runtime, {"gateway": 40001, "ws": 40002})
    return plans.workload_of(adapter, context, runtime)


def test_the_life_of_a_key(both: World) -> None:
    with both.context() as portal:
        one = stored(portal)
        row = claw(portal, one)
        assert row.spec["model"]["provider"] == "openrouter", "provider and address come with the key"
        assert layers.secrets_for(portal, row)["model_api_key"] == KEY
        assert using.users(portal, SYSTEM, db.session.get_one(Credential, one)).count == 1
        services.note_use(portal)
        assert db.session.get_one(Credential, one, populate_existing=True).last_used_at is not None
        assert KEY in layers.open_secrets(portal, row).values() and KEY in layers.secrets_for(portal, row, giving=False).values()
        assert not portal.part(services.Used), "to hide it, or to talk to the claw, is no use"
        with pytest.raises(Conflict, match="1 claws use the key"):
            services.remove(portal, SYSTEM, one)
        generation = row.generation
        taking = services.rotate(portal, SYSTEM, one, OTHER)
        assert [claw.name for claw in taking.visible] == ["one"]
        row = db.session.get_one(Instance, row.id, populate_existing=True)
        assert row.generation == generation + 1 and layers.secrets_for(portal, row)["model_api_key"] == OTHER
        model = {"provider": "openrouter", "name": "x", "credential": ""}
        change = InstanceChange(spec={**row.spec, "model": model}, secrets={"model_api_key": "sk-own-1234567"})
        instances.update(portal, SYSTEM, row.id, change, generation=row.generation)
        services.remove(portal, SYSTEM, one)
        kinds = set(db.session.scalars(db.select(EventRow.kind)))
        assert {"credential.created", "credential.rotated", "credential.deleted"} <= kinds


def test_no_value_is_ever_told(both: World) -> None:
    with both.context() as portal:
        one = stored(portal)
        services.rotate(portal, SYSTEM, one, OTHER)
        row = db.session.get_one(Credential, one)
        assert KEY.encode() not in row.sealed and OTHER.encode() not in row.sealed
        told = json.dumps(services.as_document(row, 0), default=str)
        told += str([[entry.summary, entry.before, entry.after] for entry in db.session.scalars(db.select(AuditEntry))])
        assert KEY not in told and OTHER not in told
        assert services.reseal(portal) == 0
        everything = str(db.session.execute(text("SELECT * FROM credential")).all())
        assert KEY not in everything and OTHER not in everything


def test_one_key_that_does_not_open_keeps_no_other_from_the_newest_key(both: World) -> None:
    with both.context() as portal:
        lost, kept = stored(portal), stored(portal, OWN)
        with transaction():
            row = db.session.get_one(Credential, lost)
            row.sealed = row.sealed[:-1] + bytes([row.sealed[-1] ^ 1])
        keyring.rotate(both.folder / paths.KEYRING_FILE)
        assert services.reseal(portal) == 1 and services.reseal(portal) == 0
        assert services.open_key(portal, db.session.get_one(Credential, kept)) == KEY
        with pytest.raises(KeyringError):
            services.open_key(portal, db.session.get_one(Credential, lost))


def test_a_key_goes_to_its_address_only(still: World) -> None:
    with still.context() as portal:
        one = stored(portal, OWN)
        row = claw(portal, one)
        assert row.spec["model"]["base_url"] == "https://llm.example/v1"
        for model in ({"base_url": "https://thief.example/v1", "provider": "openai-compatible"}, {"provider": "openai"}):
            with pytest.raises(Invalid) as told:
                claw(portal, one, "two", **model)
            assert [error.path for error in told.value.errors] == ["spec.model.credential"]
        with pytest.raises(Invalid) as told:
            services.change(portal, SYSTEM, one, Change("openai-compatible", "https://thief.example/v1"))
        assert [(error.path, error.code) for error in told.value.errors] == [("key", "moved")]
        db.session.get_one(Instance, row.id).spec = {
            **row.spec,
            "model": {**row.spec["model"], "base_url": "https://thief.example"},
        }
        db.session.commit()
        assert "model_api_key" not in layers.secrets_for(portal, db.session.get_one(Instance, row.id))
        with pytest.raises(GiveUp, match="entered for another address"):
            planned(still, portal, db.session.get_one(Instance, row.id))


def moved(portal: Any, provider: str, base_url: str) -> None:
    """As after an update of whoever registers it."""
    known = portal.registry.providers
    portal.registry.providers = ModelProviders({**known, provider: replace(known[provider], base_url=base_url)})


def test_a_key_stays_where_it_was_entered_for_when_its_provider_moves(both: World) -> None:
    with both.context() as portal:
        one = stored(portal)
        row = claw(portal, one)
        moved(portal, "openrouter", "https://elsewhere.example/v1")
        assert "model_api_key" not in layers.secrets_for(portal, row), "nobody entered it for there"
        with pytest.raises(GiveUp, match="entered for another address"):
            planned(both, portal, row)
        with pytest.raises(Invalid) as told:
            claw(portal, one, "two")
        assert [(error.path, error.code) for error in told.value.errors] == [("spec.model.credential", "moved")]
        with pytest.raises(Invalid) as told:
            services.change(portal, SYSTEM, one, Change("openrouter", title="Another title"))
        assert [(error.path, error.code) for error in told.value.errors] == [("key", "moved")]
        with pytest.raises(Invalid) as told:
            testing_models.models(portal, SYSTEM, home(), Asked("", credential_id=one))
        assert [(error.path, error.code) for error in told.value.errors] == [("key", "moved")]
        assert services.as_document(db.session.get_one(Credential, one), 0)["goes_to"] == "https://openrouter.ai:443"
        services.rotate(portal, SYSTEM, one, OTHER)
        assert layers.secrets_for(portal, db.session.get_one(Instance, row.id))["model_api_key"] == OTHER
        moved(portal, "openrouter", "https://third.example/v1")
        assert "model_api_key" not in layers.secrets_for(portal, db.session.get_one(Instance, row.id))
        services.change(portal, SYSTEM, one, Change("openrouter", key=KEY))
        assert layers.secrets_for(portal, db.session.get_one(Instance, row.id))["model_api_key"] == KEY
        assert db.session.get_one(Credential, one).goes_to == "openrouter https://third.example:443"


def test_what_is_not_said_stays_as_it_is_by_then(both: World) -> None:
    """Not as it was when whoever changes it began."""
    with both.context() as portal:
        one = stored(portal, OWN)
        title = Change(title="Mine")
        services.change(portal, SYSTEM, one, Change("openai", "", key=OTHER))
        row = services.change(portal, SYSTEM, one, title)
        assert (row.title, row.provider, row.base_url, row.name) == ("Mine", "openai", "", "own")
        assert services.open_key(portal, row) == OTHER


def test_the_plan_changes_with_the_key_and_with_nothing_else(still: World) -> None:
    with still.context() as portal:
        one = stored(portal)
        row = claw(portal, one)
        before = planned(still, portal, row)
        assert KEY not in str(before) and before.processes[0].env[plans.KEY_VERSION] == f"{one}-1"
        services.change(portal, SYSTEM, one, Change("openrouter", title="Another title"))
        assert planned(still, portal, row).digest() == before.digest()
        services.rotate(portal, SYSTEM, one, OTHER)
        after = planned(still, portal, row)
        assert after.digest() != before.digest() and NanobotAdapter().change(before, after).action == "restart"
        own = {"model": {"provider": "openai", "name": "gpt"}}
        plain = instances.create(
            portal, SYSTEM, NewInstance("own", "nanobot", spec=own, secrets={"model_api_key": "sk-1234"}, start=False)
        )
        assert plans.KEY_VERSION not in planned(still, portal, plain).processes[0].env


def test_an_own_key_and_that_of_a_layer_give_way_to_a_named_one(still: World) -> None:
    with still.context() as portal:
        one = stored(portal, OWN)
        spec = {"model": {"provider": "openai-compatible", "base_url": "https://llm.example/v1", "name": "x"}}
        row = instances.create(
            portal, SYSTEM, NewInstance("one", "nanobot", spec=spec, secrets={"model_api_key": OTHER}, start=False)
        )
        model = {**spec["model"], "credential": one}
        instances.update(portal, SYSTEM, row.id, InstanceChange(spec={**row.spec, "model": model}), generation=row.generation)
        assert layers.secrets_for(portal, row)["model_api_key"] == KEY


def test_shared_configuration_may_name_a_key(still: World) -> None:
    with still.context() as portal:
        one = stored(portal, OWN)
        model = {"provider": "openai-compatible", "base_url": "https://llm.example/v1", "name": "big", "credential": one}
        layer_changes.put(portal, SYSTEM, home(), {"enforced": {"model": model}})
        row = instances.create(portal, SYSTEM, NewInstance("one", "nanobot", start=False))
        assert layers.secrets_for(portal, row)["model_api_key"] == KEY
        generation = row.generation
        services.rotate(portal, SYSTEM, one, OTHER)
        assert db.session.get_one(Instance, row.id, populate_existing=True).generation == generation + 1
        with pytest.raises(Conflict, match="shared configuration"):
            services.remove(portal, SYSTEM, one)
        layer_changes.put(portal, SYSTEM, home(), {"defaults": {"model": {"name": "big", "credential": one}}})
        assert layers.of(home()).defaults.model.provider == "openai-compatible", "provider and address come with the key"  # type: ignore[union-attr]
        with pytest.raises(Invalid) as told:
            layer_changes.put(portal, SYSTEM, home(), {"enforced": {"model": {**model, "credential": "nobody"}}})
        assert told.value.errors[0].path == "enforced.model.credential"


def test_a_key_of_a_project_stays_in_it(still: World) -> None:
    with still.context() as portal:
        project = db.session.query(Project).first()
        other = Project(tenant_id=home(), name="other", title="Other")
        db.session.add(other)
        db.session.commit()
        one = stored(portal, Wanted("router", "openrouter", key=KEY, project=other.name))
        assert project is not None
        with pytest.raises(Invalid) as told:
            claw(portal, one)
        assert told.value.errors[0].path == "spec.model.credential"
        spec = {"model": {"credential": one, "name": "x"}}
        row = instances.create(portal, SYSTEM, NewInstance("one", "nanobot", spec=spec, project=other.id, start=False))
        assert layers.secrets_for(portal, row)["model_api_key"] == KEY
        with pytest.raises(Conflict, match="another project"):
            moves.move_instance(portal, KIM, row.id, project.id)


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        (Wanted("Bad Name", "openai", key=KEY), "name"), (Wanted("x", "nobody", key=KEY), "provider"),
        (Wanted("x", "practice", key=KEY), "provider"), (Wanted("x", "openai"), "key"), (Wanted("x", "openai", key="  "), "key"),
        (Wanted("x", "openai", key="sk-ключ"), "key"), (Wanted("x", "openai-compatible", key=KEY), "base_url"),
        (Wanted("x", "openai", "ftp://x", key=KEY), "base_url"),
        (Wanted("x", "openai", "https://u:p@x.example", key=KEY), "base_url"),
        (Wanted("x", "openai", key=KEY, project="nowhere"), "project"), (Wanted("x", "openai", key="k" * 10_001), "key"),
        (Wanted("x", "openai", key=KEY, title="t" * 201), "title"),
        (Wanted("x", "openai", "https://x.example/" + "p" * 483, key=KEY), "base_url"),
    ],
)  # fmt: skip
def test_what_is_wrong_says_where(still: World, wanted: Wanted, path: str) -> None:
    with still.context() as portal:
        with pytest.raises(Invalid) as told:
            services.create(portal, SYSTEM, home(), wanted)
        assert path in [error.path for error in told.value.errors]
        assert db.session.query(Credential).count() == 0


def test_what_fits_just_so_is_kept(both: World) -> None:
    with both.context() as portal:
        wanted = Wanted("x" * 63, "openai", "https://" + "x" * 62 + ".example/" + "p" * 421, "t" * 200, key="k" * 10_000)
        row = db.session.get_one(Credential, stored(portal, wanted))
        assert len(row.base_url) == 500 and services.open_key(portal, row) == wanted.key


@pytest.mark.parametrize(
    ("key", "word"), [("", "Paste"), ("  ", "Paste"), ("sk-ключ", "no request can carry"), ("k" * 10_001, "10,000")]
)
def test_a_key_that_takes_the_place_of_another_is_checked_like_the_first(still: World, key: str, word: str) -> None:
    with still.context() as portal:
        one = stored(portal)
        with pytest.raises(Invalid) as told:
            services.rotate(portal, SYSTEM, one, key)
        assert [(error.path, word in error.message) for error in told.value.errors] == [("key", True)]
        row = db.session.get_one(Credential, one, populate_existing=True)
        assert services.open_key(portal, row) == KEY and row.version == 1


def test_a_name_is_taken_once(still: World) -> None:
    with still.context() as portal:
        stored(portal)
        with pytest.raises(Invalid) as told:
            stored(portal)
        assert told.value.errors[0].code == "taken"


def test_a_spec_without_the_feature_names_nothing(still: World) -> None:
    """What a spec from elsewhere names is not there, and is told at its field."""
    with still.context() as portal:
        with pytest.raises(Invalid) as told:
            claw(portal, "01h2xcejqtf2nbrexx3vqjhp41", provider="openrouter")
        assert [error.path for error in told.value.errors] == ["spec.model.credential"]
        assert InstanceSpec.model_validate({}).model.credential == ""
