"""Events, operations and audit entries carry whom and what they concern, and may ask their readers for one more right."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from clawportal import hookimpl
from clawportal.contracts.core_permissions import AUDIT_READ, EVENT_READ, INSTANCE_READ, OPERATION_READ
from clawportal.contracts.features import EventKind, Feature
from clawportal.contracts.permissions import ALL, SELF, SYSTEM, Actor, Grant, Permission, narrowed, permission
from clawportal.db import db, transaction
from clawportal.errors import Forbidden, NotFound
from clawportal.models import AuditEntry, EventRow, Operation, Project, Tenant
from clawportal.services.events import event_log
from clawportal.services.live import audience
from clawportal.services.rights import access
from tests.core.world import World

NOTES = permission("notes.read", "Read notes", roles=("developer",))
READS = (EVENT_READ, AUDIT_READ, OPERATION_READ, INSTANCE_READ, SELF)
WRITER = Actor("writer", "writer", grants=(Grant(ALL),))


class Notes:
    @hookimpl
    def register_features(self) -> Iterable[Feature]:
        kinds = (
            EventKind("note.written", "A note was written", read=NOTES),
            EventKind("note.kept", "A note was kept", read=SELF),
        )
        return [Feature(name="notes", title="Notes", permissions=(NOTES,), events=kinds)]


@pytest.fixture
def rows(still: World) -> World:
    """Two tenants, each with two projects, and in each place an event and an operation of every sort."""
    still.portal.registry.add("notes", Notes())
    still.portal.registry.settle()
    assert still.portal.registry.rights_of_events == {NOTES, SELF, "configs.read", "portal.read", "quota.read"}
    with still.context(), transaction():
        for name in ("acme", "globex"):
            db.session.add(Tenant(id=name, name=name))
            db.session.flush()
            db.session.add_all(Project(id=f"{name}-{p}", tenant_id=name, name=p) for p in ("one", "two"))
            db.session.flush()
            for project in (None, f"{name}-one", f"{name}-two"):
                for kind in ("thing.done", "note.written", "note.kept"):
                    where = {
                        "tenant_id": name,
                        "project_id": project,
                        "person_id": "kim",
                        "data": {"note_id": f"{kind}-{project}"},
                    }
                    event_log.record(still.portal, kind, actor=WRITER, message="It happened.", **where)
                for asked in ("", str(NOTES), str(SELF)):
                    where = {"tenant_id": name, "project_id": project, "person_id": "kim", "read_permission": asked}
                    db.session.add(Operation(kind="note.write", **where))
    return still


def held(*grants: Grant, name: str = "lee") -> Actor:
    return Actor(name, name, grants=(Grant(frozenset({SELF})), *grants))


def actors() -> dict[str, tuple[Actor, int]]:
    """With how many rows of a kind each sees: 2 tenants, 3 places in each, 3 sorts."""
    plain, more = frozenset(READS), frozenset({*READS, NOTES})
    everything = Actor("root", "root", grants=(Grant(ALL),))
    return {
        "administrator": (everything, 18),
        "administrator inside a tenant": (narrowed(everything, "acme"), 9),
        "administrator but for a tenant": (Actor("root", "root", grants=(Grant(ALL, except_tenants=frozenset({"acme"})),)), 9),
        "reader": (held(Grant(plain, "acme")), 3),
        "reader with the right": (held(Grant(more, "acme")), 6),
        "reader with the right elsewhere": (held(Grant(plain, "acme"), Grant(frozenset({NOTES}), "globex")), 3),
        "reader with the right in a project": (held(Grant(plain, "acme"), Grant(frozenset({NOTES}), "acme", "acme-one")), 4),
        "reader of a project": (held(Grant(plain, "acme", "acme-one")), 1),
        "reader of a project with the right": (held(Grant(more, "acme", "acme-one")), 2),
        "the person": (held(Grant(plain, "acme"), name="kim"), 6),
        "the person without a right to read": (held(name="kim"), 0),
        "somebody with the right only": (held(Grant(frozenset({NOTES}), "acme")), 0),
    }  # fmt: skip


@pytest.mark.parametrize("who", actors())
@pytest.mark.parametrize("model", [EventRow, Operation, AuditEntry])
def test_lists_checks_and_live_updates_agree(rows: World, who: str, model: type) -> None:
    actor, number = actors()[who]
    right: Permission = model.resource.read
    with rows.context():
        found = [row for row in db.session.query(model) if _sort(row)]
        listed = set(db.session.scalars(db.select(model.key()).where(access.visible(model, actor))))
        seen = {row.seq if hasattr(row, "seq") else row.id for row in found if _reached(model, row, actor, right)}
        assert len(found) == 18 and len(seen) == number, who
        assert seen == {row.seq if hasattr(row, "seq") else row.id for row in found} & listed
        if model is EventRow:
            sight = audience.of(actor, rows.portal.registry.rights_of_events)
            told = {row.seq for row in found if _told(sight, row, actor)}
            # what is for one person is pushed to that person; administrators find it in the list
            assert told == seen - {row.seq for row in found if row.read_permission == SELF and actor.id != "kim"}


def _sort(row: EventRow | Operation | AuditEntry) -> bool:
    return bool(row.person_id == "kim")


def _reached(model: type, row: EventRow | Operation | AuditEntry, actor: Actor, right: Permission) -> bool:
    try:
        return access.get_or_404(model, row.seq if hasattr(row, "seq") else row.id, actor, right) is row
    except (NotFound, Forbidden):
        return False


def _told(sight: audience.Sight, row: EventRow, actor: Actor) -> bool:
    change = audience.changed(event_log.as_event(row).news())
    if change is None:  # an event about nothing that has an id
        change = audience.Changed(
            row.tenant_id, None, None, row.project_id, ("thing", "x"), row.read_permission, row.person_id
        )  # fmt: skip
    return "subjects" in audience.told(sight, [change], {}, actor.id)


def test_the_audit_says_the_same_and_verifies(rows: World) -> None:
    from clawportal.services.audit import chain

    with rows.context():
        entry = db.session.query(AuditEntry).filter_by(action="note.written", project_id="acme-one").one()
        assert (entry.tenant_id, entry.person_id, entry.read_permission) == ("acme", "kim", "notes.read")
        assert chain.verify().broken is None
        row = db.session.query(EventRow).filter_by(kind="note.written", project_id="acme-one").one()
        assert (row.subject_type, row.subject_id) == ("note", "note.written-acme-one")


def test_events_of_projects_are_seen_with_a_role_in_the_project(rows: World) -> None:
    from clawportal.services.tenancy import tenants

    with rows.context():
        tenants.rename_project(rows.portal, SYSTEM, "acme-one", "The first")
        seen = event_log.feed(held(Grant(frozenset({EVENT_READ}), "acme", "acme-one")))
        assert "project.changed" in {row.kind for row in seen}
        assert "project.changed" not in {
            row.kind for row in event_log.feed(held(Grant(frozenset({EVENT_READ}), "acme", "acme-two")))
        }
