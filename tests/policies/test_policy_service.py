"""Rules in the transaction of each change: what is refused leaves nothing behind, and nobody meets the rules of others."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select

from clawportal import hookimpl
from clawportal.contracts import extensions
from clawportal.contracts.features import Feature
from clawportal.contracts.permissions import ALL, SYSTEM, Actor, Grant, narrowed
from clawportal.db import db, transaction
from clawportal.engine.portal import Portal
from clawportal.errors import Conflict, Forbidden, Invalid, NotFound
from clawportal.models import EventRow, Instance, InstanceSecret, Operation, Project, Tenant
from clawportal.services.fleet import admission, instances, moves
from clawportal.services.fleet.instances import InstanceChange, NewInstance
from clawportal.services.tenancy import tenants
from clawportal_policies import services as policies
from clawportal_policies.models import Policy
from clawportal_policies.permissions import POLICY_MANAGE, POLICY_READ
from clawportal_policies.services import PolicyRefused, Rule, Trial
from tests.core.world import World
from tests.core_roles import ROLES

NO_ECHO = Rule("no-echo", "adapters", {"allowed": ["nanobot"]}, title="Only nanobot", remedy="Choose nanobot.")
ANYBODY = Actor("kim", "kim", grants=(Grant(ALL),))


def member(tenant_id: str, role: str = "tenant-admin", project_id: str | None = None) -> Actor:
    return Actor(f"{role}-{tenant_id}", role, grants=(Grant(ROLES[role], tenant_id, project_id),))


def home() -> str:
    return db.session.scalars(select(Tenant.id).where(Tenant.name == "default")).one()


def second(name: str = "acme") -> tuple[str, str]:
    """Another tenant with a project."""
    with transaction():
        tenant = Tenant(name=name, title=name)
        db.session.add(tenant)
        db.session.flush()
        project = Project(tenant_id=tenant.id, name="lab")
        db.session.add(project)
    return tenant.id, project.id


def new(portal: Portal, actor: Actor = ANYBODY, name: str = "one", **more: Any) -> Instance:
    return instances.create(portal, actor, NewInstance(name=name, adapter="echo", **({"start": False} | more)))


def number(model: Any) -> int:
    return db.session.scalar(select(func.count()).select_from(model)) or 0


def test_refused_is_nothing_stored(both: World) -> None:
    with both.context() as portal:
        policies.create(portal, ANYBODY, home(), NO_ECHO)
        before = {model: number(model) for model in (Instance, InstanceSecret, Operation, EventRow)}
        with pytest.raises(PolicyRefused) as told:
            new(portal)
        assert {model: number(model) for model in before} == before
        problem = told.value
        assert problem.status == 409 and "Only nanobot" in problem.detail and "Choose nanobot." in problem.detail
        assert [error.path for error in problem.errors] == ["adapter"]
        [named] = problem.extra["policies"]  # type: ignore[misc]  # a list
        assert named["name"] == "no-echo" and named["outcome"] == "refuses" and "Allowed: nanobot" in named["reason"]


def test_every_rule_that_is_hit_is_named(still: World) -> None:
    with still.context() as portal:
        policies.create(portal, ANYBODY, home(), NO_ECHO)
        policies.create(portal, ANYBODY, None, Rule("teams", "labels", {"required": {"team": ""}}, message="Who owns it?"))
        policies.create(portal, ANYBODY, home(), Rule("free", "adapters", {"allowed": ["*"]}))
        policies.create(portal, ANYBODY, home(), Rule("off", "adapters", {"allowed": ["x"]}, enabled=False))
        with pytest.raises(PolicyRefused) as told:
            new(portal)
        assert [item["name"] for item in told.value.extra["policies"]] == ["teams", "no-echo"]  # type: ignore[attr-defined]
        assert "Who owns it?" in told.value.detail


def test_each_action_meets_the_rules(both: World) -> None:
    with both.context() as portal:
        one = new(portal, labels={"team": "x"}).id
        shop = tenants.create_project(portal, SYSTEM, home(), "shop").id
        rule = policies.create(portal, ANYBODY, home(), NO_ECHO)
        row = instances.get(ANYBODY, one)
        with pytest.raises(PolicyRefused):
            instances.start(portal, ANYBODY, one)
        with pytest.raises(PolicyRefused):
            instances.restart(portal, ANYBODY, one)
        with pytest.raises(PolicyRefused):
            instances.update(portal, ANYBODY, one, InstanceChange(labels={}), generation=row.generation)
        with pytest.raises(PolicyRefused):
            moves.move_instance(portal, ANYBODY, one, shop)
        db.session.expire_all()
        row = instances.get(ANYBODY, one)
        assert (row.desired, row.generation, row.labels, row.project_id == shop) == ("stopped", 1, {"team": "x"}, False)
        [outcome] = instances.bulk(portal, ANYBODY, "start", [one])
        assert outcome.error.startswith("The rule “Only nanobot” refuses")
        policies.update(portal, ANYBODY, rule.id, {"enabled": False})
        instances.start(portal, ANYBODY, one)
        policies.update(portal, ANYBODY, rule.id, {"enabled": True})
        assert instances.get(ANYBODY, one).desired == "running", "what runs is not touched by a new rule"
        instances.stop(portal, ANYBODY, one)
        instances.remove(portal, ANYBODY, one)


def test_a_version_is_looked_at_when_it_changes(still: World) -> None:
    versions = [entry.version for entry in still.portal.registry.adapters["echo"].versions()]
    only = Rule("version-stays", "expression", {"expression": "false"}, actions=("version",))
    with still.context() as portal:
        row = new(portal, version=versions[0])
        policies.create(portal, ANYBODY, home(), only)
        instances.update(portal, ANYBODY, row.id, InstanceChange(labels={"a": "b"}), generation=1)
        if len(versions) > 1:
            with pytest.raises(PolicyRefused):
                instances.update(portal, ANYBODY, row.id, InstanceChange(version=versions[1]), generation=2)


def test_killing_is_never_held_back_and_the_portal_itself_neither(still: World) -> None:
    closed = Rule("closed", "expression", {"expression": "false"}, actions=("stop", "delete", "start", "update"))
    with still.context() as portal:
        row = new(portal, start=True)
        policies.create(portal, ANYBODY, None, closed)
        for press in (instances.stop, instances.remove):
            with pytest.raises(PolicyRefused):
                press(portal, ANYBODY, row.id)
        instances.kill(portal, ANYBODY, row.id)
        instances.remove(portal, SYSTEM, row.id)


def test_a_warning_lets_through_and_is_told(both: World) -> None:
    with both.context() as portal:
        policies.create(portal, ANYBODY, home(), Rule("soft", "adapters", {"allowed": ["x"]}, mode="warn", remedy="Think."))
        row = new(portal)
        [verdict] = admission.warnings_of(row)
        assert isinstance(verdict, policies.Verdict)
        assert verdict.rule.name == "soft" and "warns" in verdict.sentence and verdict.sentence.endswith("Think.")
        event = db.session.scalars(select(EventRow).where(EventRow.kind == "instance.policy_warned")).one()
        assert event.level == "warning" and event.instance_id == row.id and event.data["policies"][0]["name"] == "soft"
        assert [o.warning for o in instances.bulk(portal, ANYBODY, "start", [row.id])] == [verdict.sentence]
        policies.update(portal, ANYBODY, verdict.rule.id, {"enabled": False})
        assert admission.warnings_of(instances.stop(portal, ANYBODY, row.id)) == ()


@pytest.mark.parametrize("expression", ['instance.labels.none == "x"', "instance.name"])
def test_what_cannot_be_evaluated_refuses_and_names_the_rule(still: World, expression: str) -> None:
    with still.context() as portal:
        row = policies.create(portal, ANYBODY, home(), Rule("odd", "expression", {"expression": expression}))
        with pytest.raises(PolicyRefused, match=r"odd.*cannot be evaluated"):
            new(portal)
        with transaction():
            db.session.get_one(Policy, row.id).parameters = {"nonsense": 1}
        with pytest.raises(PolicyRefused, match="odd"):
            new(portal)
        with transaction():
            db.session.get_one(Policy, row.id).kind = "of-a-later-release"
        with pytest.raises(PolicyRefused, match=r"odd.*cannot be evaluated"):
            new(portal)


def test_expressions_see_the_change(still: World) -> None:
    text = (
        'action == "create" && actor.name == "kim" && tenant.name == "default" && project.name == "default"'
        ' && instance.name == "one" && instance.cluster == "local" && instance.runtime == "process"'
        ' && instance.labels.team == "a" && instance.memory > 0 && has(instance.spec.settings.greeting)'
    )
    with still.context() as portal:
        policies.create(portal, ANYBODY, home(), Rule("all", "expression", {"expression": text}))
        new(portal, labels={"team": "a"})
        with pytest.raises(PolicyRefused, match="condition is not met"):
            new(portal, name="two", labels={"team": "a"})


def test_rules_of_one_tenant_neither_hit_nor_show_elsewhere(both: World) -> None:
    with both.context() as portal:
        acme, lab = second()
        mine, theirs = member(home()), member(acme)
        row = policies.create(portal, mine, home(), NO_ECHO)
        assert new(portal, theirs, project=lab).tenant_id == acme
        assert policies.listing(theirs).total == 0 and policies.listing(theirs, acme).total == 0
        for reach in (
            lambda: policies.get(theirs, row.id),
            lambda: policies.update(portal, theirs, row.id, {"enabled": False}),
            lambda: policies.remove(portal, theirs, row.id),
            lambda: policies.listing(theirs, home()),
            lambda: policies.create(portal, theirs, home(), NO_ECHO),
            lambda: policies.dry_run(portal, theirs, home(), Trial(adapter="echo")),
        ):
            with pytest.raises(NotFound):
                reach()
        everywhere = policies.create(portal, ANYBODY, None, Rule("all-teams", "labels", {"required": {"team": ""}}))
        for actor, project in ((mine, None), (theirs, lab)):
            with pytest.raises(PolicyRefused, match="all-teams"):
                new(portal, actor, name="x", project=project)
            assert everywhere.id in {found.id for found in policies.listing(actor).items}
            with pytest.raises(Forbidden):
                policies.update(portal, actor, everywhere.id, {"enabled": False})
            with pytest.raises(Forbidden):
                policies.create(portal, actor, None, NO_ECHO)
        with pytest.raises(Forbidden):
            policies.remove(portal, narrowed(ANYBODY, acme), everywhere.id)
        found = policies.breaking(portal, theirs, policies.rule_of(everywhere))
        assert [item.name for item in found.items] == ["one"], "only what one sees"


@pytest.mark.parametrize("role", [role for role in ROLES if not role.startswith("portal-")])
def test_who_reads_and_who_writes(still: World, role: str) -> None:
    with still.context() as portal:
        actor = member(home(), role)
        row = policies.create(portal, ANYBODY, home(), NO_ECHO)
        reads, writes = POLICY_READ in ROLES[role], POLICY_MANAGE in ROLES[role]
        assert reads == (role != "guest") and writes == (role == "tenant-admin")
        assert policies.listing(actor).total == int(reads)
        if reads:
            assert policies.get(actor, row.id).id == row.id
        else:
            with pytest.raises(NotFound):
                policies.get(actor, row.id)
        if writes:
            policies.remove(portal, actor, row.id)
        else:
            with pytest.raises((NotFound, Forbidden)):
                policies.remove(portal, actor, row.id)
        inside = member(home(), "tenant-admin", db.session.scalars(select(Project.id)).first())
        with pytest.raises((NotFound, Forbidden)):
            policies.create(portal, inside, home(), Rule("x", "adapters", {"allowed": ["a"]}))


def test_what_is_wrong_is_told_by_field(still: World) -> None:
    with still.context() as portal:
        bad = Rule("No Name", "expression", {"expression": "1 +"}, mode="loud", actions=("fly",), title="x" * 300)
        with pytest.raises(Invalid) as told:
            policies.create(portal, ANYBODY, home(), bad)
        assert {error.path for error in told.value.errors} == {"name", "title", "mode", "actions", "parameters.expression"}
        assert "Line 1, column 4" in next(e.message for e in told.value.errors if e.path.startswith("parameters"))
        with pytest.raises(Invalid, match="kind"):
            policies.create(portal, ANYBODY, home(), Rule("a", "magic", {}))
        policies.create(portal, ANYBODY, home(), NO_ECHO)
        with pytest.raises(Invalid, match="already"):
            policies.create(portal, ANYBODY, home(), NO_ECHO)
        policies.create(portal, ANYBODY, None, NO_ECHO)
        with pytest.raises(Invalid, match="already"):
            policies.create(portal, ANYBODY, None, NO_ECHO)
        with transaction():
            for n in range(policies.MOST - 1):
                db.session.add(Policy(tenant_id=home(), name=f"r{n}", kind="adapters", parameters={"allowed": ["*"]}))
        with pytest.raises(Conflict, match="100 rules"):
            policies.create(portal, ANYBODY, home(), Rule("one-more", "adapters", {"allowed": ["*"]}))


def test_one_statement_reads_the_rules_of_a_change(still: World) -> None:
    with still.context() as portal:
        row = new(portal)
        for n in range(20):
            policies.create(portal, ANYBODY, home(), Rule(f"r{n}", "adapters", {"allowed": ["*"]}))
        with still.statements() as told:
            instances.start(portal, ANYBODY, row.id)
        assert sum("FROM policy" in text for text in told) == 1
        with still.statements() as told:
            instances.listing(ANYBODY, instances.Filters())
            instances.get(ANYBODY, row.id)
        assert not any("policy" in text for text in told)


def test_what_breaks_a_rule_now_is_listed_and_bounded(both: World) -> None:
    with both.context() as portal:
        for n in range(60):
            new(portal, name=f"n{n}", labels={"team": "a"} if n < 5 else {})
        rule = Rule("teams", "labels", {"required": {"team": ""}}, tenant_id=home())
        with both.statements() as told:
            found = policies.breaking(portal, ANYBODY, rule)
        assert len(told) <= 5
        assert (found.broken, len(found.items), found.looked_at, found.complete) == (55, policies.LISTED, 60, True)
        assert found.items[0].name == "n59" and "team is missing" in found.items[0].reason
        text = Rule("odd", "expression", {"expression": 'instance.name.endsWith("7")'}, tenant_id=home())
        assert policies.breaking(portal, ANYBODY, text).broken == 54
        assert not policies.breaking(portal, ANYBODY, Rule("h", "hours", {})).asked
        assert policies.breaking(portal, member(second()[0]), rule).items == []


def test_trying_says_what_each_rule_would_do(both: World) -> None:
    with both.context() as portal:
        row = new(portal, labels={"team": "a"})
        policies.create(portal, ANYBODY, home(), NO_ECHO)
        policies.create(portal, ANYBODY, home(), Rule("soft", "labels", {"required": {"owner": ""}}, mode="warn"))
        policies.create(portal, ANYBODY, home(), Rule("night", "hours", {"from": "08:00", "to": "18:00"}, actions=("delete",)))
        policies.create(portal, ANYBODY, None, Rule("off", "clusters", {"allowed": ["eu"]}, enabled=False))

        def tried(trial: Trial, draft: Rule | None = None, actor: Actor = ANYBODY) -> dict[str, str]:
            return {verdict.rule.name: verdict.outcome for verdict in policies.dry_run(portal, actor, home(), trial, draft)}

        told = tried(Trial("start", row.id))
        assert told == {"off": "refuses", "night": "not-asked", "no-echo": "refuses", "soft": "warns"}
        assert tried(Trial("start", row.id, adapter="nanobot"))["no-echo"] == "passes"
        assert tried(Trial(adapter="nanobot", labels={"owner": "kim"}))["soft"] == "passes"
        sunday, monday = datetime(2026, 11, 22, 9, tzinfo=UTC), datetime(2026, 11, 23, 9, tzinfo=UTC)
        assert tried(Trial("delete", row.id, at=sunday))["night"] == "refuses"
        assert tried(Trial("delete", row.id, at=monday))["night"] == "passes"
        big = Rule("", "size", {"memory": "1Gi"})
        assert tried(Trial("update", row.id, memory="2Gi"), big)["not-saved"] == "refuses"
        assert tried(Trial("update", row.id, memory="1Gi"), big)["not-saved"] == "passes"
        model = Rule("", "models", {"providers": ["openai"]})
        assert tried(Trial(adapter="nanobot", provider="anthropic"), model)["not-saved"] == "refuses"
        assert tried(Trial(adapter="nanobot", provider="openai"), model)["not-saved"] == "passes"
        named = Rule("", "models", {"models": ["qwen*"]})
        assert tried(Trial(adapter="nanobot", provider="openai"), named)["not-saved"] == "refuses", "it names no model"
        assert tried(Trial(adapter="nanobot", provider="practice"), named)["not-saved"] == "passes"
        chosen = {"model": {"provider": "practice", "name": "another"}}
        assert tried(Trial(adapter="nanobot", spec=chosen), named)["not-saved"] == "passes", "the portal serves it itself"
        opened = Rule("", "settings", {"forbidden": ["expose"]})
        assert tried(Trial(adapter="echo", spec={"expose": True}), opened)["not-saved"] == "refuses"
        assert number(Policy) == 4 and number(Instance) == 1, "nothing is stored"
        wrong_ones = {
            "adapter": Trial(), "action": Trial("fly", row.id), "cluster": Trial(adapter="echo", cluster="moon"),
            "project": Trial(adapter="echo", project="moon"),
        }  # fmt: skip
        for field, trial in wrong_ones.items():
            with pytest.raises(Invalid) as wrong:
                tried(trial)
            assert wrong.value.errors[0].path == field
        with pytest.raises(Invalid):
            tried(Trial(adapter="echo"), Rule("", "expression", {"expression": "1 +"}))
        assert tried(Trial(adapter="echo"), actor=member(home(), "viewer"))["no-echo"] == "refuses"
        with pytest.raises(Forbidden):
            tried(Trial(adapter="echo"), big, member(home(), "viewer"))
        acme, lab = second()
        other = new(portal, name="other", project=lab)
        with pytest.raises(NotFound):
            policies.dry_run(portal, ANYBODY, home(), Trial("start", other.id))
        with pytest.raises(NotFound):
            policies.dry_run(portal, member(home()), home(), Trial("start", other.id))
        assert acme


def test_forms_hear_of_it_while_one_types(still: World) -> None:
    with still.context() as portal:
        wanted = NewInstance("one", "echo")
        assert instances.check_new(portal, ANYBODY, wanted) == []
        policies.create(portal, ANYBODY, home(), NO_ECHO)
        policies.create(portal, ANYBODY, home(), Rule("soft", "adapters", {"allowed": ["x"]}, mode="warn"))
        [error] = instances.check_new(portal, ANYBODY, wanted)
        assert (error.path, error.code) == ("adapter", "policy")
        found = admission.marks(portal, home(), ["echo", "nanobot"], {"echo": ["1"]})
        assert found == {"adapter": {"echo": "Not allowed by the rule Only nanobot"}, "version": {}, "provider": {}}
        policies.create(portal, ANYBODY, home(), Rule("v", "versions", {"adapter": "echo", "allowed": ["2.*"]}))
        policies.create(portal, ANYBODY, home(), Rule("p", "models", {"providers": ["open*"]}))
        found = admission.marks(portal, home(), ["echo"], {"echo": ["1", "2.0"]})
        assert found["version"] == {"echo 1": "Not allowed by the rule v"}
        others = [one for one in portal.registry.providers if not one.startswith("open")]
        assert {"practice", "anthropic"} <= set(others)
        assert found["provider"] == dict.fromkeys(others, "Not allowed by the rule p")


ASKED: list[str] = []


def ask(portal: Portal, actor: Actor, change: extensions.InstanceChange) -> tuple[()]:
    ASKED.append(change.kind)
    if change.kind == "instance.start":
        raise Conflict("The plugin says no.")
    return ()


class Asker:
    @hookimpl
    def register_features(self) -> list[Feature]:
        return [Feature("asker", "Asker", extra={extensions.ADMISSION: (f"{__name__}:ask",)})]


def test_plugins_are_still_asked(still: World) -> None:
    ASKED.clear()
    still.portal.registry.add("asker", Asker())
    still.portal.registry.settle()
    with still.context() as portal:
        row = new(portal)
        with pytest.raises(Conflict, match="plugin says no"):
            instances.start(portal, ANYBODY, row.id)
        shop = tenants.create_project(portal, SYSTEM, home(), "shop").id
        moves.move_instance(portal, ANYBODY, row.id, shop)
        instances.remove(portal, ANYBODY, row.id)
    assert ASKED == ["instance.create", "instance.start", "instance.move", "instance.delete"]


def test_a_rule_holds_for_those_who_hurry(both: World) -> None:
    """Many at once: what is refused is never stored, and what is allowed always is."""
    with both.context() as portal:
        policies.create(portal, ANYBODY, home(), Rule("odd", "expression", {"expression": 'instance.name.endsWith("7")'}))
    outcomes: list[str] = []
    gate = threading.Barrier(8)

    def hurry(worker: int) -> None:
        gate.wait(30)
        for n in range(worker, 40, 8):
            with both.context() as portal:
                try:
                    new(portal, name=f"n{n}")
                    outcomes.append("made")
                except PolicyRefused:
                    outcomes.append("refused")
                finally:
                    db.session.remove()

    threads = [threading.Thread(target=hurry, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(outcomes) == ["made"] * 4 + ["refused"] * 36
    with both.context():
        assert sorted(db.session.scalars(select(Instance.name))) == ["n17", "n27", "n37", "n7"]


def test_the_audit_has_every_change_of_a_rule(still: World) -> None:
    from clawportal.models import AuditEntry
    from tests.audit.conftest import asked

    with asked(still) as portal:
        row = policies.create(portal, ANYBODY, home(), NO_ECHO)
        policies.update(portal, ANYBODY, row.id, {"mode": "warn", "parameters": {"allowed": ["x"]}})
        policies.update(portal, ANYBODY, row.id, {"enabled": False})
        policies.remove(portal, ANYBODY, row.id)
        entries = list(db.session.scalars(select(AuditEntry).order_by(AuditEntry.seq)))
    assert [entry.action for entry in entries] == ["policy.create", "policy.change", "policy.change", "policy.delete"]
    assert {entry.object_name for entry in entries} == {"no-echo"} and len({entry.tenant_id for entry in entries}) == 1
    assert entries[1].before == {"mode": "enforce", "parameters.allowed": ["nanobot"]}
    assert entries[1].after == {"mode": "warn", "parameters.allowed": ["x"]}
    assert entries[2].after == {"enabled": False}
