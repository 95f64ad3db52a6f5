"""Lists and single checks come from the same grants: as truth tables over every role, and over made-up grants."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from clawportal.contracts.core_permissions import CATALOG_READ, EVENT_READ, INSTANCE_KILL, INSTANCE_READ, OPERATION_READ
from clawportal.contracts.permissions import (
    ALL,
    PORTAL_ROLES,
    SYSTEM,
    Actor,
    Grant,
    Permission,
    Scope,
)
from clawportal.db import db, transaction
from clawportal.errors import Forbidden, NotFound
from clawportal.models import Cluster, EventRow, Instance, Operation, Project, Tenant
from clawportal.services.events import event_log
from clawportal.services.fleet import instances, operations
from clawportal.services.fleet.instances import Filters
from clawportal.services.rights import access
from tests.core.world import World
from tests.core_roles import CORE, ROLES

MODELS: tuple[Any, ...] = (Instance, Project, Operation, EventRow)
READS = {
    Instance: INSTANCE_READ, Project: CATALOG_READ, Operation: OPERATION_READ,
    EventRow: EVENT_READ,
}  # fmt: skip


@dataclass
class Scene:
    """Two tenants with two projects each, two instances in each project, and what belongs to them."""

    world: World
    tenants: list[str]
    projects: list[str]
    instances: list[str]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    world = World(tmp_path_factory.mktemp("access"), start=False)
    made = Scene(world, [], [], [])
    with world.context(), transaction():
        cluster = db.session.scalars(select(Cluster.id)).first()
        for t, p in itertools.product(range(2), range(2)):
            if p == 0:
                tenant = Tenant(name=f"t{t}")
                db.session.add(tenant)
                db.session.flush()
                made.tenants.append(tenant.id)
                event_log.record(world.portal, "tenant.created", actor=SYSTEM, tenant_id=tenant.id, message="A tenant.")
            project = Project(tenant_id=made.tenants[t], name=f"p{p}")
            db.session.add(project)
            db.session.flush()
            made.projects.append(project.id)
            for number in range(2):
                row = Instance(
                    tenant_id=made.tenants[t], project_id=project.id, cluster_id=cluster, name=f"i{p}{number}", adapter="echo",
                    version="1.0", spec={},
                )  # fmt: skip
                db.session.add(row)
                db.session.flush()
                made.instances.append(row.id)
                operations.open_for_instance(SYSTEM, "instance.create", row)
                event_log.record(world.portal, "instance.created", actor=SYSTEM, instance=row, message="An instance.")
        event_log.record(world.portal, "portal.started", actor=SYSTEM, message="Of nobody.")
        db.session.add(EventRow(kind="instance.deleted", tenant_id=made.tenants[0], instance_id="gone", message="Long ago."))
        db.session.add(Operation(kind=operations.INSTALL, cluster_id=cluster, subject="tiny", dedup="artifact:x:y"))
    yield made
    world.close()


def key_of(row: Any) -> Any:
    return row.seq if isinstance(row, EventRow) else row.id


def agree(actor: Actor, permission: Permission, *, reach: bool = True) -> None:
    """For every row: in the list exactly when the check allows it; `reach` also asks for it by id."""
    for model in MODELS:
        listed = {key_of(row) for row in db.session.scalars(select(model).where(access.visible(model, actor, permission)))}
        for row in db.session.scalars(select(model)).all():
            allowed = actor.allows(permission, access.scope_of(row))
            assert (key_of(row) in listed) == allowed, (model.__name__, permission, actor.grants, row.__dict__)
            if reach and model is not EventRow:
                readable = actor.allows(READS[model], access.scope_of(row))
                reached = not isinstance(_reach(model, row, actor, permission), Exception)
                assert reached == (allowed and readable)


def _reach(model: Any, row: Any, actor: Actor, permission: Permission) -> Any:
    try:
        return access.get_or_404(model, row.id, actor, permission)
    except (NotFound, Forbidden) as error:
        return error


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("permission", CORE)
def test_every_role_and_permission(scene: Scene, role: str, permission: Permission) -> None:
    with scene.world.context():
        tenant = None if role in PORTAL_ROLES else scene.tenants[0]
        actor = Actor("u", "u", grants=tuple(CORE.role_grants(role, tenant, "test")))
        agree(actor, permission)
        for index, instance_id in enumerate(scene.instances):
            mine = (index < 4 or role in PORTAL_ROLES) and role != "guest"
            row = db.session.get_one(Instance, instance_id)
            outcome: type[Exception] | None = None
            try:
                access.get_or_404(Instance, row.id, actor, permission)
            except (NotFound, Forbidden) as error:
                outcome = type(error)
            if not mine:
                assert outcome is NotFound, "a stranger cannot tell it from what does not exist"
            elif permission not in ROLES[role]:
                assert outcome in (NotFound, Forbidden)
            else:
                assert outcome is None


def test_a_reader_without_the_right_is_told_so_in_words(scene: Scene) -> None:
    with scene.world.context():
        viewer = Actor("u", "u", grants=tuple(CORE.role_grants("viewer", scene.tenants[0], "test")))
        with pytest.raises(Forbidden, match="End instances at once"):
            access.get_or_404(Instance, scene.instances[0], viewer, INSTANCE_KILL)


grants = st.lists(
    st.tuples(
        st.sets(st.sampled_from(list(READS.values())), min_size=1),
        st.sampled_from([None, 0, 1]), st.sampled_from([None, 0, 1, 2, 3]), st.sampled_from([None, 0, 1, 4, 7, "gone", "never"]),
    ),
    max_size=3,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(grants)
def test_made_up_grants(scene: Scene, wanted: list[tuple[set[Permission], Any, Any, Any]]) -> None:
    def pick(names: list[str], index: Any) -> str | None:
        return names[index] if isinstance(index, int) else index

    held = tuple(
        Grant(frozenset(rights), pick(scene.tenants, t), pick(scene.projects, p), pick(scene.instances, i))
        for rights, t, p, i in wanted
    )
    with scene.world.context():
        for permission in READS.values():
            agree(Actor("u", "u", grants=held), permission, reach=False)


def test_operations_of_another_tenant_are_not_listed(scene: Scene) -> None:
    with scene.world.context():
        mine = Actor("u", "u", grants=tuple(CORE.role_grants("operator", scene.tenants[0], "test")))
        page = operations.listing(mine)
        assert {row.tenant_id for row in page.items} == {scene.tenants[0], None}
        assert {row.kind for row in page.items if row.tenant_id is None} == {operations.INSTALL}, "installs are of the machine"
        with pytest.raises(NotFound):
            operations.listing(mine, instance_id=scene.instances[7])
        with pytest.raises(NotFound):
            event_log.feed(mine, instance_id=scene.instances[7])
        foreign = db.session.scalars(select(Operation.id).where(Operation.tenant_id == scene.tenants[1])).first()
        assert foreign
        with pytest.raises(NotFound):
            operations.get(mine, foreign)
        nobody = Actor("n", "n")
        assert operations.listing(nobody).total == 0 and event_log.feed(nobody) == []
        assert instances.listing(nobody, Filters()).total == 0 and instances.counts(nobody).total == 0


GIVEN_ON_PURPOSE = {"conversation.audit"}
"""Rights inside an organisation that no built-in role there holds."""


def test_every_permission_has_words_and_is_in_a_role() -> None:
    assert all(permission.description for permission in CORE)
    held = {role: CORE.enumerate(permissions) for role, permissions in ROLES.items()}
    assert held["portal-admin"] == CORE.declared and ROLES["portal-admin"] is ALL
    for permission in CORE:
        inside = [role for role, permissions in held.items() if permission in permissions and role not in PORTAL_ROLES]
        assert bool(inside) != permission.portal_only or permission in GIVEN_ON_PURPOSE, permission


def test_a_role_without_a_tenant_gives_nothing() -> None:
    """A membership that lost its tenant must not become one in all of them."""
    for role in ROLES:
        held = list(CORE.role_grants(role, None, "test"))
        assert (len(held) == 1) == (role in PORTAL_ROLES)
    assert list(CORE.role_grants("no-such-role", "t", "test")) == []
    for role in PORTAL_ROLES:
        assert list(CORE.role_grants(role, "t", "test")) == [], "a membership in a tenant never reaches the whole portal"


@pytest.mark.parametrize("role", ["viewer", "tenant-admin"])
def test_a_user_needs_a_tenant_for_such_a_role(still: World, role: str) -> None:
    from clawportal.errors import Invalid
    from clawportal.services.identity import identity

    with still.context() as portal:
        with pytest.raises(Invalid, match="organisation"):
            identity.create_user(portal, SYSTEM, "somebody", "correct horse", role=role)
        with pytest.raises(Invalid, match="no role"):
            identity.create_user(portal, SYSTEM, "somebody", "correct horse", role="root")


def test_an_ambiguous_project_is_asked_back(scene: Scene) -> None:
    from clawportal.errors import Invalid
    from clawportal.services.tenancy import tenancy

    with scene.world.context():
        with pytest.raises(Invalid, match="use the id"):
            tenancy.project_for_create(SYSTEM, "p0")
        assert tenancy.project_for_create(SYSTEM, scene.projects[0]).id == scene.projects[0]
        other = Actor("u", "u", grants=tuple(CORE.role_grants("tenant-admin", scene.tenants[1], "test")))
        assert tenancy.project_for_create(other, "p0").id == scene.projects[2]
        with pytest.raises(Invalid, match="no project"):
            tenancy.project_for_create(other, scene.projects[0])
        with pytest.raises(Forbidden):
            tenancy.project_for_create(Actor("n", "n"), None)


def test_covers_narrows_level_by_level() -> None:
    everything = Grant(ALL)
    inside = Grant(ALL, "t", "p", "i")
    assert everything.covers(Scope()) and everything.covers(Scope("t", "p", "i"))
    assert inside.covers(Scope("t", "p", "i"))
    for scope in (Scope(), Scope("t"), Scope("t", "p"), Scope("x", "p", "i"), Scope("t", "x", "i")):
        assert not inside.covers(scope)
