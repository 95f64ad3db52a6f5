"""Instances made of a template are held to a version: changing the template changes none of them until somebody moves one."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import delete, select

from clawportal.contracts.core_permissions import CONFIGS_READ, CONFIGS_WRITE
from clawportal.contracts.permissions import ALL, Actor, Grant
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, Invalid, NotFound, OverQuota, PreconditionFailed, SettingForbidden
from clawportal.models import ConfigTemplate, ConfigVersion, Instance, Project, Tenant
from clawportal.services.configuration import layers, secrets, template_checks, templates
from clawportal.services.configuration.templates import NewTemplate, TemplateChange
from clawportal.services.fleet import duplicates, instances, layer_changes, moves, pinned, quotas, removals, template_choices
from clawportal.services.fleet.instances import InstanceChange, NewInstance
from clawportal.services.fleet.pinned import InUse
from clawportal.services.fleet.template_choices import Choice
from clawportal_policies import services as policies
from clawportal_policies.services import PolicyRefused, Rule
from tests.core.world import World
from tests.core_roles import ROLES

KIM = Actor("kim", "kim", grants=(Grant(ALL),))
GONE = {"synchronize_session": False}
"""Of a statement: as if another process had run it."""
VARIABLES = [
    {"name": "who", "required": True},
    {"name": "often", "type": "number", "default": 0, "set_by": "writers"},
]
BODY = {
    "spec": {"persona": "For ${who}", "settings": {"greeting": "Hello ${who}", "log_every": "${often}"}},
    "labels": {"for": "${who}"},
}


def home() -> str:
    return db.session.scalars(select(Tenant.id).where(Tenant.name == "default")).one()


def template(portal: Portal, name: str = "greeter", **more: Any) -> ConfigTemplate:
    wanted: dict[str, Any] = {"tenant": home(), "body": BODY, "variables": VARIABLES} | more
    return templates.create(portal, KIM, NewTemplate(name, wanted.pop("adapter", "echo"), **wanted))


def save(portal: Portal, row: ConfigTemplate, **change: Any) -> None:
    templates.update(portal, KIM, row.id, TemplateChange(**change), revision=row.revision)


def make(
    portal: Portal, name: str = "one", actor: Actor = KIM, config: str = "greeter", version: int | None = None, **more: Any
) -> Instance:
    given = {"who": "kim"} | more.pop("variables", {})
    wanted = NewInstance(name, start=more.pop("start", False), template=Choice(config, version, given), **more)
    return instances.create(portal, actor, wanted)


def wrong(portal: Portal, **more: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as told:
        make(portal, **more)
    return {error.path: error.code for error in told.value.errors}


def member(role: str, project: str | None = None, tenant: str = "") -> Actor:
    return Actor(f"{role}", role, grants=(Grant(ROLES[role], tenant or home(), project),))


def test_it_is_made_of_the_version_and_stays_on_it(both: World) -> None:
    with both.context() as portal:
        row = template(portal)
        one = make(portal, labels={"own": "x"}, spec={"settings": {"startup_delay": 1}})
        assert (one.adapter, one.version, one.spec["persona"]) == ("echo", "1.0", "For kim")
        assert one.spec["settings"] == {"greeting": "Hello kim", "log_every": 0, "startup_delay": 1}
        assert one.labels == {"for": "kim", "own": "x"} and one.config_variables == {"who": "kim"}
        before = (dict(one.spec), dict(one.labels), one.generation, one.config_version_id)
        save(portal, row, body={"spec": {"persona": "Other ${who}"}}, variables=VARIABLES[:1])
        save(portal, row, description="Another", labels={"a": "b"}, name="renamed")
        db.session.expire_all()
        one = instances.get(KIM, one.id)
        assert (one.spec, one.labels, one.generation, one.config_version_id) == before, "changing a template changes no claw"
        held = pinned.of_instance(KIM, one)
        assert held is not None and (held.version.number, held.template.latest, held.outdated) == (1, 2, True)
        older = make(portal, "older", config="renamed", version=1)
        assert older.spec["persona"] == "For kim"


def test_moving_one_keeps_what_it_says_itself(both: World) -> None:
    with both.context() as portal:
        row = template(portal)
        one, other = make(portal, spec={"settings": {"startup_delay": 1}}), make(portal, "two")
        save(portal, row, body={"spec": {"settings": {"greeting": "Bye ${who}", "exit_code": 3}}, "labels": {"team": "${who}"}})
        shown = pinned.preview(portal, KIM, one.id)
        assert (shown.number, shown.errors, shown.action) == (2, (), "none") and shown.diff is not None
        paths = {change.path for change in shown.diff.changes}
        assert paths == {"spec.persona", "spec.settings.greeting", "spec.settings.exit_code", "spec.settings.log_every",
                         "labels.for", "labels.team"}  # fmt: skip
        assert instances.get(KIM, one.id).generation == 1, "a preview stores nothing"
        with pytest.raises(PreconditionFailed):
            pinned.move(portal, KIM, one.id, 2, {}, generation=9)
        moved = pinned.move(portal, KIM, one.id, 2, {"who": "lee"}, generation=1)
        assert moved.spec["settings"] == {"greeting": "Bye lee", "exit_code": 3, "startup_delay": 1}
        assert (moved.spec["persona"], moved.labels, moved.generation) == ("", {"team": "lee"}, 2)
        assert instances.get(KIM, other.id).spec["persona"] == "For kim", "one was moved, and no other"
        assert pinned.preview(portal, KIM, one.id).diff.changes == ()
        back = pinned.move(portal, KIM, one.id, 1, {}, generation=2)
        assert back.spec["persona"] == "For lee" and back.spec["settings"]["startup_delay"] == 1
        with pytest.raises(NotFound):
            pinned.move(portal, KIM, one.id, 7, {}, generation=3)


def test_a_form_that_says_all_defaults_says_nothing_by_that(still: World) -> None:
    with still.context() as portal:
        row = template(portal, body={"spec": {"settings": {"greeting": "Hello ${who}"}}}, variables=VARIABLES[:1])
        one = make(portal)
        everything = {**one.spec["settings"], "log_every": 0, "exit_code": 1, "flood": 0}
        instances.update(portal, KIM, one.id, InstanceChange(spec={**one.spec, "settings": everything}), generation=1)
        save(portal, row, body={"spec": {"settings": {"greeting": "Hello ${who}", "log_every": 9}}})
        assert pinned.move(portal, KIM, one.id, None, {}, generation=2).spec["settings"]["log_every"] == 9
        changed = {**instances.get(KIM, one.id).spec["settings"], "greeting": "Mine"}
        instances.update(portal, KIM, one.id, InstanceChange(spec={**one.spec, "settings": changed}), generation=3)
        assert template_choices.sources(portal, instances.get(KIM, one.id)) == {"settings.log_every": "template"}


def test_what_is_wrong_names_the_variable(still: World) -> None:
    with still.context() as portal:
        template(portal)
        assert wrong(portal, variables={"who": None}) == {"template.variables.who": "missing"}
        assert wrong(portal, variables={"who": 5}) == {"template.variables.who": "invalid"}
        assert wrong(portal, variables={"x": "y"}) == {"template.variables.x": "unknown"}
        assert wrong(portal, config="nothing") == {"template": "unknown"}
        assert wrong(portal, version=3) == {"template.version": "unknown"}
        assert "adapter" in wrong(portal, adapter="nanobot")
        assert "spec.settings.log_every" in wrong(portal, variables={"often": -1})
        template(portal, "narrow", adapter_versions="<2")
        with pytest.raises(Invalid) as told:
            instances.create(portal, KIM, NewInstance("x", version="2.0", template=Choice("narrow", None, {"who": "kim"})))
        assert [error.path for error in told.value.errors] == ["version"]
        checked = instances.check_new(portal, KIM, NewInstance("", template=Choice("greeter")))
        assert {error.path for error in checked} == {"template.variables.who", "name"}


def test_only_writers_set_what_is_theirs(still: World) -> None:
    with still.context() as portal:
        row = template(portal)
        developer = member("developer")
        one = make(portal, actor=developer)
        assert one.spec["settings"]["log_every"] == 0
        with pytest.raises(Invalid) as told:
            make(portal, "two", developer, variables={"often": 5})
        assert [(error.path, error.code) for error in told.value.errors] == [("template.variables.often", "forbidden")]
        with pytest.raises(Invalid):
            pinned.move(portal, developer, one.id, None, {"often": 5}, generation=1)
        pinned.move(portal, KIM, one.id, None, {"often": 5}, generation=1)
        moved = pinned.move(portal, developer, one.id, None, {"who": "lee"}, generation=2)
        assert moved.spec["settings"]["log_every"] == 5, "what a writer set stays"
        hidden = [{**VARIABLES[1], "seen_by": "writers"}, VARIABLES[0]]
        save(portal, row, variables=hidden)
        moved = pinned.move(portal, KIM, one.id, None, {}, generation=3)
        held = pinned.of_instance(developer, moved)
        assert held is not None and pinned.shown_variables(developer, held) == {"who": "lee"}
        assert pinned.shown_variables(KIM, held) == {"who": "lee", "often": 5}


def test_secrets_are_sealed_and_never_told(both: World) -> None:
    with both.context() as portal:
        body: dict[str, Any] = {"spec": {"model": {"provider": "openai", "name": "m"}}, "secrets": {"model_api_key": "${key}"}}
        row = template(portal, adapter="nanobot", body=body, variables=[{"name": "key", "type": "secret", "required": True}])
        assert wrong(portal, variables={"who": None}) == {"template.variables.key": "missing"}
        one = make(portal, variables={"who": None, "key": "sk-first"})
        assert one.config_variables == {} and "sk-first" not in repr([one.spec, one.config_variables, one.labels])
        assert secrets.open_all(portal, one.id)["model_api_key"] == "sk-first"
        save(portal, row, body={**body, "spec": {**body["spec"], "persona": "New"}})
        moved = pinned.move(portal, KIM, one.id, None, {}, generation=1)
        assert moved.spec["persona"] == "New" and secrets.open_all(portal, one.id)["model_api_key"] == "sk-first"
        pinned.move(portal, KIM, one.id, None, {"key": "sk-second"}, generation=2)
        assert secrets.open_all(portal, one.id)["model_api_key"] == "sk-second"
        elsewhere = {**body, "spec": {"model": {"provider": "openai-compatible", "base_url": "http://x.example/v1", "name": "m"}}}
        save(portal, row, body=elsewhere)
        with pytest.raises(Invalid) as told:
            pinned.move(portal, KIM, one.id, None, {}, generation=3)
        assert [error.path for error in told.value.errors] == ["secrets.model_api_key"], "a key goes nowhere that nobody sent it"
        assert pinned.preview(portal, KIM, one.id).action == "refused"
        pinned.move(portal, KIM, one.id, None, {"key": "sk-third"}, generation=3)
        made = pinned.make_template(portal, KIM, one.id, "copy")
        content = templates.content(templates.version(made))
        assert "sk-third" not in repr(content) and content.body["secrets"] == {"model_api_key": "${model_api_key}"}
        assert [(item.name, item.type, item.default) for item in content.variables] == [("model_api_key", "secret", None)]


def test_a_template_of_an_instance_comes_to_the_same(both: World) -> None:
    with both.context() as portal:
        spec = {"persona": "Costs ${5}", "settings": {"greeting": "$${x}", "log_every": 4}}
        one = instances.create(portal, KIM, NewInstance("one", "echo", spec=spec, labels={"team": "x"}, start=False))
        made = pinned.make_template(portal, KIM, one.id, "of-one", description="As one")
        two = make(portal, "two", config="of-one", variables={"who": None})
        assert two.spec == one.spec and two.labels == one.labels
        assert templates.version(made).body["spec"] == {
            "model": {**one.spec["model"]}, "persona": "Costs $${5}", "settings": {"greeting": "$$${x}", "log_every": 4},
        }  # fmt: skip
        assert instances.get(KIM, one.id).config_version_id is None, "the instance itself is not held to it"


def test_a_template_in_use_is_not_deleted(both: World) -> None:
    with both.context() as portal:
        row = template(portal)
        with transaction():
            lab = Project(tenant_id=row.tenant_id, name="lab")
            db.session.add(lab)
        one, _other = make(portal), make(portal, "hidden-two", project=lab.id)
        writer = Grant(frozenset({CONFIGS_READ, CONFIGS_WRITE}), row.tenant_id)
        leader = Actor("x", "x", grants=(writer, Grant(ROLES["viewer"], row.tenant_id, one.project_id)))
        with pytest.raises(InUse) as told:
            pinned.delete_template(portal, leader, row.id)
        assert told.value.extra == {"instances": [{"id": one.id, "name": "one"}], "others": 1}
        assert "hidden-two" not in told.value.detail
        for instance in db.session.scalars(select(Instance)).all():
            instances.remove(portal, KIM, instance.id)
        with transaction():
            for instance in db.session.scalars(select(Instance)).all():
                instance.destroyed_at = instance.created_at
        pinned.delete_template(portal, KIM, row.id)
        assert db.session.scalars(select(ConfigVersion)).all() == []


def test_of_deleting_and_creating_at_once_one_wins(both: World) -> None:
    with both.context() as portal:
        row_id = template(portal).id
    barrier, outcomes = threading.Barrier(2), dict[str, str]()

    def attempt(what: str) -> None:
        with both.context() as portal:
            barrier.wait(10)
            try:
                make(portal) if what == "create" else pinned.delete_template(portal, KIM, row_id)
                outcomes[what] = "done"
            except (Invalid, Conflict, NotFound):
                outcomes[what] = "refused"

    threads = [threading.Thread(target=attempt, args=(what,)) for what in ("create", "delete")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes.values()) == ["done", "refused"], outcomes
    with both.context():
        for one in db.session.scalars(select(Instance)).all():
            assert template_choices.held(one) is not None


def test_quotas_and_rules_hold_for_what_it_comes_to(both: World) -> None:
    with both.context() as portal:
        template(portal, body={"spec": {"resources": {"memory": "4Gi"}}}, variables=VARIABLES[:1])
        quotas.set_tenant(portal, KIM, home(), quotas.Limits(memory="2Gi"))
        with pytest.raises(OverQuota):
            make(portal, start=True)
        quotas.set_tenant(portal, KIM, home(), quotas.Limits())
        policies.create(portal, KIM, home(), Rule("small", "size", {"memory": "2Gi"}))
        with pytest.raises(PolicyRefused):
            make(portal)
        assert db.session.scalars(select(Instance)).all() == []


def test_who_may_not_set_it_may_not_by_a_template(still: World) -> None:
    """Settings by which a claw runs commands need the right to a console, also when a template says them."""
    with still.context() as portal:
        adapter, name, value = _unsafe(portal)
        body = {
            "spec": {"model": {"provider": "openai", "name": "m"}, "settings": {name: value}},
            "secrets": {"model_api_key": "${key}"},
        }
        template(portal, adapter=adapter, body=body, variables=[{"name": "key", "type": "secret"}])
        with pytest.raises((SettingForbidden, Invalid)):
            make(portal, actor=member("developer"), variables={"who": None, "key": "x"})


def _unsafe(portal: Portal) -> tuple[str, str, Any]:
    for kind, adapter in portal.registry.adapters.items():
        version = adapter.versions()[0].version
        for name, schema in adapter.settings_model(version).model_json_schema()["properties"].items():
            if "x-safe" in schema and schema.get("type") == "boolean":
                return kind, name, not schema["x-safe"][0]
    raise AssertionError("no bundled adapter marks a setting by which commands are run")


def test_projects_and_tenants_are_walls(both: World) -> None:
    with both.context() as portal:
        with transaction():
            other = Tenant(name="acme", title="acme")
            db.session.add(other)
            db.session.flush()
            there, lab = Project(tenant_id=other.id, name="there"), Project(tenant_id=home(), name="lab")
            db.session.add_all([there, lab])
        own, shared = template(portal, "own", project=lab.id), template(portal)
        assert wrong(portal, config="own", project="default") == {"template.config": "invalid"}
        assert wrong(portal, config=shared.id, project=there.id) == {"template": "unknown"}
        one, own_id = make(portal, config="own", project=lab.id), own.id
        assert make(portal, "two", member("developer", lab.id), project=lab.id).config_version_id
        stranger = member("tenant-admin", tenant=other.id)
        assert pinned.of_instance(stranger, one) is None
        with pytest.raises(NotFound):
            pinned.preview(portal, stranger, one.id)
        with pytest.raises(NotFound):
            pinned.make_template(portal, stranger, one.id, "theirs")
        # a project that goes takes its templates with it; an instance that was moved away keeps what it is
        moves.move_instance(portal, KIM, one.id, "default")
        removals.delete_project(portal, KIM, lab.id, confirm="lab", with_instances=True)
        with transaction():
            for row in db.session.scalars(select(Instance).where(Instance.project_id == lab.id)).all():
                row.destroyed_at = row.created_at
        removals.finish_once(portal)
        kept = instances.get(KIM, one.id)
        assert kept.spec["persona"] == "For kim" and pinned.of_instance(KIM, kept) is None
        with pytest.raises(Conflict):
            pinned.preview(portal, KIM, one.id)
        assert db.session.get(ConfigTemplate, own_id) is None


def test_a_copy_is_held_to_the_same_version(still: World) -> None:
    with still.context() as portal:
        row = template(portal)
        one = make(portal)
        save(portal, row, body={"spec": {}}, variables=[])
        copied = duplicates.create(portal, KIM, one.id, duplicates.Wish("copy", start=False))
        assert (copied.config_version_id, copied.config_variables) == (one.config_version_id, {"who": "kim"})
        assert copied.spec == one.spec


def test_a_shared_default_of_the_organisation_is_beaten_by_the_template(still: World) -> None:
    with still.context() as portal:
        layer_changes.put(portal, KIM, home(), {
            "defaults": {"settings": {"echo": {"greeting": "Default", "exit_code": 7}}},
            "enforced": {"settings": {"echo": {"log_every": 8}}},
        })  # fmt: skip
        template(portal)
        one = make(portal)
        found = layers.of_instance(portal, one)
        assert found.spec["settings"] == {"greeting": "Hello kim", "log_every": 8, "exit_code": 7}
        verdict = template_checks.validate(portal, templates.content(templates.version(templates.find(KIM, home(), "greeter"))),
                                           (home(), None), "echo", "1.0", {"who": "kim"})  # fmt: skip
        assert verdict.errors == ()


def test_one_that_goes_while_a_claw_is_made_of_it_is_told(both: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with both.context() as portal:
        row_id, version = template(portal).id, templates.version

        def and_then_it_goes(row: ConfigTemplate, number: int | None = None) -> ConfigVersion:
            found = version(row, number)
            db.session.execute(delete(ConfigVersion).where(ConfigVersion.template_id == row_id), GONE)
            db.session.execute(delete(ConfigTemplate).where(ConfigTemplate.id == row_id), GONE)
            return found

        monkeypatch.setattr(templates, "version", and_then_it_goes)
        assert wrong(portal) == {"template": "unknown"}


def test_a_key_of_a_model_under_settings_is_a_secret(both: World) -> None:
    with both.context() as portal:
        for text, variables in (("sk-in-the-clear", []), ("${key}", [{"name": "key"}])):
            with pytest.raises(Invalid) as told:
                template(portal, adapter="nanobot", body=_with_key(text), variables=variables)
            assert [(one.path, one.code) for one in told.value.errors] == [("body.spec.settings.model_api_key", "secret_literal")]
        template(portal, adapter="nanobot", body=_with_key("${key}"), variables=[{"name": "key", "type": "secret"}])
        one = make(portal, variables={"who": None, "key": "sk-first"})
        assert "sk-first" not in repr([one.spec, one.config_variables, one.labels])
        assert secrets.open_all(portal, one.id)["model_api_key"] == "sk-first"


def _with_key(text: str) -> dict[str, Any]:
    return {"spec": {"model": {"provider": "openai", "name": "m"}, "settings": {"model_api_key": text}}}


def test_what_cannot_be_told_from_the_version_is_not_moved(still: World) -> None:
    with still.context() as portal:
        row = template(portal)
        one = make(portal)
        save(portal, row, body={"spec": {"persona": "New"}}, variables=[])
        with transaction():
            instances.get(KIM, one.id).config_variables = {"who": "kim", "often": "a text, of an earlier portal"}
        refused = pinned.preview(portal, KIM, one.id)
        assert ([error.path for error in refused.errors], refused.action) == (["template"], "refused")
        with pytest.raises(Invalid, match="cannot be told"):
            pinned.move(portal, KIM, one.id, None, {}, generation=1)
        assert instances.get(KIM, one.id).spec["persona"] == "For kim"


def test_a_claw_gets_no_version_that_its_template_is_not_for(still: World) -> None:
    with still.context() as portal:
        template(portal, adapter_versions="<2")
        one = make(portal)
        told = instances.check_change(portal, one, InstanceChange(version="2.0"))[1]
        assert any(error.path == "version" and "greeter is for versions <2" in error.message for error in told)
        with pytest.raises(Invalid, match="greeter is for versions <2"):
            instances.update(portal, KIM, one.id, InstanceChange(version="2.0"), generation=1)
        assert instances.get(KIM, one.id).version == "1.0"


def test_a_secret_that_goes_is_said_before(both: World) -> None:
    spec = {"model": {"provider": "openai", "name": "m"}}
    body: dict[str, Any] = {"spec": spec, "secrets": {"model_api_key": "${key}", "web_search_key": "${search}"}}
    known = [{"name": "key", "type": "secret", "required": True}, {"name": "search", "type": "secret"}]
    with both.context() as portal:
        row = template(portal, adapter="nanobot", body=body, variables=known)
        one = make(portal, variables={"who": None, "key": "sk-first", "search": "sk-search"})
        assert pinned.preview(portal, KIM, one.id).removed_secrets == ()
        for empty in (None, ""):
            shown = pinned.preview(portal, KIM, one.id, None, {"search": empty})
            assert (shown.errors, shown.removed_secrets) == ((), ("web_search_key",))
        needed = pinned.preview(portal, KIM, one.id, None, {"key": None})
        assert [(error.path, error.code) for error in needed.errors] == [("variables.key", "missing")]
        pinned.move(portal, KIM, one.id, None, {"search": None}, generation=1)
        assert "web_search_key" not in secrets.open_all(portal, one.id)
        pinned.move(portal, KIM, one.id, None, {"search": "sk-again"}, generation=2)
        save(portal, row, body={**body, "secrets": {"model_api_key": "${key}"}}, variables=known[:1])
        assert pinned.preview(portal, KIM, one.id).removed_secrets == ("web_search_key",)
        pinned.move(portal, KIM, one.id, None, {}, generation=3)
        assert {"model_api_key", "web_search_key"} & secrets.open_all(portal, one.id).keys() == {"model_api_key"}


def test_what_a_writer_set_is_not_taken_away_by_others(still: World) -> None:
    with still.context() as portal:
        template(portal)
        developer = member("developer")
        one = make(portal, variables={"often": 5})
        for other in (None, "", 6):
            refused = pinned.preview(portal, developer, one.id, None, {"often": other}).errors
            assert [(error.path, error.code) for error in refused] == [("variables.often", "forbidden")]
        moved = pinned.move(portal, developer, one.id, None, {"often": 5, "who": "lee"}, generation=1)
        assert moved.spec["settings"]["log_every"] == 5, "what is said again is no change"
        assert pinned.move(portal, KIM, one.id, None, {"often": None}, generation=2).spec["settings"]["log_every"] == 0


def test_a_claw_in_another_project_is_not_moved(still: World) -> None:
    with still.context() as portal:
        with transaction():
            lab = Project(tenant_id=home(), name="lab")
            db.session.add(lab)
        row = template(portal, project=lab.id)
        one = make(portal, project=lab.id)
        save(portal, row, body={"spec": {}}, variables=[])
        moves.move_instance(portal, KIM, one.id, "default")
        assert [error.path for error in pinned.preview(portal, KIM, one.id).errors] == ["template"]
        with pytest.raises(Invalid, match="another project"):
            pinned.move(portal, KIM, one.id, None, {}, generation=instances.get(KIM, one.id).generation)
