"""Templates and their versions in the tables: what is saved stays as it was saved, whoever writes."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from sqlalchemy import func, inspect, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from clawportal.contracts.core_permissions import CONFIGS_READ, CONFIGS_WRITE
from clawportal.contracts.permissions import ALL, Actor, Grant
from clawportal.db import db, transaction
from clawportal.disk_reserve import Room
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionFailed, PreconditionRequired
from clawportal.models import ConfigTemplate, ConfigVersion, EventRow, Project, Tenant
from clawportal.models.configuration import VersionChanged
from clawportal.services.configuration import template_checks, template_files, templates
from clawportal.services.configuration.templates import Filters, NewTemplate, TemplateChange
from clawportal.services.system.disk_guard import NoRoom
from tests.core.world import World
from tests.core_roles import ROLES

KIM = Actor("kim", "kim", grants=(Grant(ALL),))
BODY = {"spec": {"settings": {"greeting": "Hello ${who}"}}}
HEAD = "apiVersion: clawportal.io/v1\nkind: ConfigTemplate"
WHO = [{"name": "who", "default": "you"}]


def tenant_of(name: str = "default") -> str:
    return db.session.scalars(select(Tenant.id).where(Tenant.name == name)).one()


def make(portal: Portal, name: str = "greeter", actor: Actor = KIM, **more: Any) -> ConfigTemplate:
    wanted = {"tenant": tenant_of(), "body": BODY, "variables": WHO} | more
    return templates.create(portal, actor, NewTemplate(name, "echo", **wanted))


def save(portal: Portal, row: ConfigTemplate, **change: Any) -> ConfigTemplate:
    return templates.update(portal, KIM, row.id, TemplateChange(**change), revision=row.revision)


def greeting(number: int | str) -> dict[str, Any]:
    return {"spec": {"settings": {"greeting": f"Hello {number}"}}}


def test_saving_makes_a_version_and_the_same_content_none(both: World) -> None:
    with both.context() as portal:
        row = make(portal)
        assert (row.latest, row.revision, templates.version(row).author) == (1, 1, "kim")
        assert save(portal, row, body={"spec": {"settings": {"greeting": "Hello ${who}"}}}).revision == 1, "nothing is different"
        assert save(portal, row, description="For all").latest == 1 and row.revision == 2
        assert save(portal, row, body=greeting(2), variables=[], message="Shorter").latest == 2
        assert [(v.number, v.message) for v in templates.versions(KIM, row.id).items] == [(2, "Shorter"), (1, "")]
        kinds = db.session.scalars(select(EventRow.kind).where(EventRow.kind.startswith("config."))).all()
        assert kinds == ["config.created", "config.changed", "config.changed"]


def test_a_stored_version_is_never_changed(both: World) -> None:
    with both.context() as portal:
        row = make(portal)
        stored = templates.version(row)
        with pytest.raises(VersionChanged), transaction():
            stored.message = "another"
        for statement in (update(ConfigVersion).values(number=7), text("UPDATE config_version SET author = 'somebody'")):
            with pytest.raises((SQLAlchemyError, Conflict)), transaction():
                db.session.execute(statement)
        db.session.expire_all()
        assert (templates.version(row).number, templates.version(row).author, templates.version(row).message) == (1, "kim", "")
        templates.delete(portal, KIM, row.id)
        assert db.session.scalar(select(func.count()).select_from(ConfigVersion)) == 0


def test_restoring_makes_a_new_version(both: World) -> None:
    with both.context() as portal:
        row = make(portal)
        first = templates.version(row).content_hash
        save(portal, row, body=greeting("all"))
        assert templates.restore(portal, KIM, row.id, 1).latest == 3
        assert templates.version(row).content_hash == first and "Version 1 again" in templates.version(row).message
        with pytest.raises(Conflict):
            templates.restore(portal, KIM, row.id, 1)
        with pytest.raises(NotFound):
            templates.restore(portal, KIM, row.id, 9)


def test_of_two_who_save_at_once_one_is_told(both: World) -> None:
    with both.context() as portal:
        row = make(portal)
        row_id, outcomes = row.id, list[str]()
    barrier = threading.Barrier(4)

    def one(number: int) -> None:
        with both.context() as portal:
            barrier.wait(10)
            try:
                templates.update(portal, KIM, row_id, TemplateChange(body=greeting(number)), revision=1)
                outcomes.append("saved")
            except (PreconditionFailed, Conflict):
                outcomes.append("told")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["saved", "told", "told", "told"]
    with both.context():
        assert templates.versions(KIM, row_id).total == 2


def test_what_no_value_can_mend_is_refused(still: World) -> None:
    def wrong(**more: Any) -> dict[str, str]:
        with pytest.raises(Invalid) as told:
            make(portal, **more)
        return {error.path: error.code for error in told.value.errors}

    with still.context() as portal:
        assert "body.spec.settings.colour" in wrong(body={"spec": {"settings": {"colour": "red"}}})
        assert "body.spec.other" in wrong(body={"spec": {"other": 1}})
        assert "body.spec.settings.log_every" in wrong(body={"spec": {"settings": {"log_every": "often"}}})
        assert wrong(body={"spec": {"persona": "${nobody}"}}) == {"body.spec.persona": "unknown_variable"}
        assert "body.labels.a b" in wrong(body={"labels": {"a b": "x"}})
        assert wrong(adapter_versions=">=9") == {"adapter_versions": "invalid"}
        assert wrong(adapter_versions="newest") == {"adapter_versions": "invalid"}
        assert wrong(name="Big Name") == {"name": "invalid"} and wrong(labels={"?": "x"}) == {"labels.?": "invalid"}
        secret = {"name": "key", "type": "secret"}
        assert wrong(body={"spec": {"settings": {"greeting": "${key}"}}}, variables=[secret]) == {
            "body.spec.settings.greeting": "secret_printed"
        }
        assert wrong(body={}, variables=[{"name": "a", "default": "${b}"}, {"name": "b", "default": "${a}"}]) == {
            "variables.a": "loop"
        }
        assert "model.base_url" in "".join(wrong(body={"spec": {"model": {"base_url": "http://kim:pw@x/v1"}}}))
        with pytest.raises(Invalid):
            templates.create(portal, KIM, NewTemplate("x", "no-such-claw", tenant=tenant_of()))
        make(portal)
        assert wrong() == {"name": "taken"}
        # what waits for a value is not judged yet
        make(portal, "later", body={"spec": {"settings": {"log_every": "${seconds}"}}}, variables=[{"name": "seconds"}])


def test_validating_says_it_with_values(still: World) -> None:
    with still.context() as portal:
        seconds = {"name": "seconds", "type": "number", "required": True}
        row = make(portal, body={"spec": {"settings": {"log_every": "${seconds}"}}}, variables=[seconds])
        content, where = templates.content(templates.version(row)), (row.tenant_id, None)

        def errors(**given: Any) -> list[tuple[str, str]]:
            found = template_checks.validate(portal, content, where, "echo", "1.0", given)
            return [(error.path, error.code) for error in found.errors]

        assert errors() == [("variables.seconds", "missing")] and errors(seconds=5) == []
        assert errors(seconds="5") == [("variables.seconds", "invalid")]
        assert errors(seconds=-5) == [("body.spec.settings.log_every", "invalid")]
        assert template_checks.validate(portal, content, where, "echo", "9", {"seconds": 1}).errors[0].path == "adapter_version"
        assert template_checks.validate(portal, content, where, "gone", "9", {"seconds": 1}).errors[0].path == "adapter"


def test_who_reads_and_who_writes(still: World) -> None:
    with still.context() as portal:
        home, shared = tenant_of(), make(portal)
        with transaction():
            other = Tenant(name="acme", title="acme")
            lab = Project(tenant_id=home, name="lab")
            db.session.add_all([other, lab])
        own = make(portal, "own", project=lab.id)
        default = db.session.scalars(select(Project.id).where(Project.tenant_id == home, Project.name == "default")).one()

        def someone(role: str, tenant: str, project: str | None = None) -> Actor:
            return Actor(f"{role}-{project}", role, grants=(Grant(ROLES[role], tenant, project),))

        def seen(actor: Actor) -> set[str]:
            listed = {row.name for row in templates.listing(actor, Filters()).items}
            for row in (shared, own):
                if row.name in listed:
                    assert templates.get(actor, row.id).id == row.id
                else:
                    with pytest.raises(NotFound):
                        templates.get(actor, row.id)
            return listed

        assert seen(someone("viewer", home)) == {"greeter", "own"} and seen(someone("tenant-admin", other.id)) == set()
        assert seen(someone("developer", home, lab.id)) == {"greeter", "own"}
        assert seen(someone("developer", home, default)) == {"greeter"}, "another project's are not theirs"
        for role, rights in ROLES.items():
            actor = someone(role, home)
            assert (CONFIGS_READ in rights) or role in ("guest", "portal-admin", "portal-auditor")
            if CONFIGS_WRITE not in rights:
                with pytest.raises((Forbidden, NotFound)):
                    templates.delete(portal, actor, shared.id)
                with pytest.raises((Forbidden, NotFound)):
                    make(portal, "mine", actor)
        leader = someone("tenant-admin", home, lab.id)
        assert make(portal, "theirs", leader, project=lab.id, tenant=None).project_id == lab.id
        with pytest.raises((Forbidden, NotFound)):
            templates.delete(portal, leader, shared.id)
        with pytest.raises((Forbidden, NotFound)):
            make(portal, "wide", leader)
        assert templates.update(portal, leader, own.id, TemplateChange(description="x"), revision=1).description == "x"
        with pytest.raises(PreconditionRequired):
            templates.update(portal, KIM, own.id, TemplateChange(), revision=None)
        with pytest.raises(PreconditionFailed):
            templates.update(portal, KIM, own.id, TemplateChange(description="y"), revision=1)


def test_as_a_file_and_back(both: World) -> None:
    with both.context() as portal:
        variables = [{"name": "who", "default": "you", "title": "谁"}, {"name": "n", "type": "number", "default": 3}]
        row = make(portal, labels={"a": "b"}, description="Two\nlines", variables=variables, adapter_versions=">=1")
        home, written = row.tenant_id, template_files.as_yaml(template_files.document_of(row))
        assert "谁" in written and "required" not in written
        again = template_files.apply(portal, KIM, written, home, None)
        assert (again.action, again.template.latest) == ("unchanged", 1)
        changed = template_files.apply(portal, KIM, written.replace("Hello", "Bye"), home, None, "Politer")
        assert (changed.action, changed.template.latest, templates.version(changed.template).message) == ("changed", 2, "Politer")
        made = template_files.apply(portal, KIM, written.replace("name: greeter", "name: second"), home, None)
        assert (
            made.action == "created"
            and templates.version(made.template).content_hash == templates.versions(KIM, row.id).items[1].content_hash
        )
        partly = "apiVersion: clawportal.io/v1\nkind: ConfigTemplate\nmetadata: {name: second, description: New}\n"
        left = template_files.apply(portal, KIM, partly, home, None).template
        assert (left.description, left.labels, left.latest) == ("New", {"a": "b"}, 1), "what is not named stays"
        copied = templates.duplicate(portal, KIM, row.id, "third")
        assert copied.latest == 1 and "Copy of greeter, version 2" in templates.version(copied).message


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ("{", "document"),
        ("a: &a [1]\nb: *a", "document"),
        ("- 1", "document"),
        ("!!python/object/apply:os.system ['true']", "document"),
        ("kind: ConfigTemplate", "document.apiVersion"),
        ("apiVersion: clawportal.io/v1\nkind: Other", "document.kind"),
        ("apiVersion: clawportal.io/v1\nkind: ConfigTemplate\nspec: {colour: red}", "document.spec.colour"),
        ("apiVersion: clawportal.io/v1\nkind: ConfigTemplate\nmetadata: {name: 5}", "document.metadata.name"),
        (f"{HEAD}\nmetadata: {{name: x}}\nspec: {{adapter: echo, body: {{1: 2}}}}", "body.1"),
        (f"{HEAD}\nmetadata: {{name: x}}\nspec: {{adapter: echo, body: {{spec: {{x: 1e999}}}}}}", "body"),
        ("x" * 1_000_001, "document"),
    ],
)
def test_files_that_are_none(still: World, document: str, path: str) -> None:
    with still.context() as portal, pytest.raises(Invalid) as told:
        template_files.apply(portal, KIM, document, tenant_of(), None)
    assert path in {error.path for error in told.value.errors}


def test_dates_in_files_stay_texts(still: World) -> None:
    assert template_files.parsed("version: 2026-11-30") == {"version": "2026-11-30"}


def test_differences_of_versions(still: World) -> None:
    with still.context() as portal:
        row = make(portal)
        save(portal, row, body=greeting("all"), variables=[*WHO, {"name": "more"}])
        found = templates.diff(KIM, row.id, 1, 2)
        assert {change.path for change in found.changes} == {"variables.more", "body.spec.settings.greeting"}
        assert '-        "greeting": "Hello ${who}"' in found.unified and "greeter 2" in found.unified
        assert templates.diff(KIM, row.id, 2, 2).unified == ""
        assert json.dumps([change.__dict__ for change in found.changes])


@pytest.mark.parametrize("text", ["1:30", "-1:30:45.5", "0x1F", "0b11", "017", "1_000", "+5", ".5", "5.", ".inf", ".nan"])
def test_numbers_that_only_yaml_knows_stay_texts(text: str) -> None:
    assert template_files.parsed(f"value: {text}") == {"value": text}


@pytest.mark.parametrize(
    "value", [0, -7, 10**18, 0.5, -1.5e-7, 1e20, "1e5", "12", "1:30", "2026-11-30", "yes", "-1E+2", "", None]
)
def test_what_is_written_is_read_again(value: Any) -> None:
    found = template_files.parsed(template_files.as_yaml({"value": value}))["value"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        "!!float " + ":".join(["59"] * 400), "!!int " + ":".join(["59"] * 400), '!!int ""', '!!float ""', "!!bool perhaps",
        "!!timestamp never", "!!binary x", "!!set {a}", "9" * 5_000, "[" * 4_000,
    ],
)  # fmt: skip
def test_values_that_break_yaml_are_told(value: str) -> None:
    with pytest.raises(Invalid) as told:
        template_files.parsed(f"value: {value}")
    assert [error.path for error in told.value.errors] == ["document"]


@pytest.mark.parametrize("inside", ["{1: a, b: c}", "{true: a, b: c}", "{null: a, b: c}", "9223372036854775808", "1e999"])
def test_values_that_no_database_keeps_are_told(still: World, inside: str) -> None:
    spec = f"{{adapter: echo, body: {{spec: {{settings: {{greeting: {inside}}}}}}}}}"
    document = f"{HEAD}\nmetadata: {{name: odd}}\nspec: {spec}"
    with still.context() as portal, pytest.raises(Invalid) as told:
        template_files.apply(portal, KIM, document, tenant_of(), None)
    assert [error.path for error in told.value.errors] == ["body"]


def test_a_list_of_versions_reads_no_bodies(still: World) -> None:
    with still.context() as portal:
        row_id = make(portal).id
        db.session.expunge_all()
        found = templates.versions(KIM, row_id).items
        assert [inspect(one).unloaded for one in found] == [{"body", "variables"}]
        assert templates.content(found[0]).body == BODY


def test_none_is_saved_while_the_disk_is_full(still: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with still.context() as portal:
        row = make(portal)
        save(portal, row, body=greeting(2))
        monkeypatch.setattr(portal.room, "look", lambda *, fresh=False: Room(0, 0, 1))
        for write in (
            lambda: make(portal, "two"),
            lambda: save(portal, row, body=greeting(3)),
            lambda: templates.restore(portal, KIM, row.id, 1),
        ):
            with pytest.raises(NoRoom):
                write()
        assert templates.version(row).number == 2
