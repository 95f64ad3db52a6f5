"""Tables of a plugin, through the facade: whoever reaches a row in a list reaches it by its id, and nobody else does."""

from __future__ import annotations

import pytest
from sqlalchemy import ColumnElement, ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from clawportal.errors import Forbidden, Invalid, NotFound
from clawportal.models import Cluster, ClusterTenant, Instance, Project, Tenant
from clawportal.sdk.data import (
    ClusterScoped,
    InstanceScoped,
    Offered,
    Offers,
    PersonScoped,
    ProjectScoped,
    TenantScoped,
    Which,
    by_name,
    db,
    get_or_404,
    listing,
    transaction,
)
from clawportal.sdk.features import Resource
from clawportal.sdk.permissions import ALL, SELF, Actor, Grant, Permission, permission, without_second_factor
from tests.core.world import World

READ = permission("notes.read", "Read notes")
WRITE = permission("notes.write", "Write notes")
BOTH = frozenset({READ, WRITE, SELF})


class Base(DeclarativeBase):
    """Apart from the portal's tables, so that other tests see only these."""


def _resource(table: str) -> Resource:
    return Resource(table, "note", read=READ)


class OfTenant(TenantScoped, Base):
    __tablename__ = "notes_tenant"
    resource = _resource("notes_tenant")
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str | None] = mapped_column(String(26))


class OfProject(ProjectScoped, Base):
    __tablename__ = "notes_project"
    resource = _resource("notes_project")
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(26))
    project_id: Mapped[str | None] = mapped_column(String(26))


class OfInstance(InstanceScoped, Base):
    __tablename__ = "notes_instance"
    resource = _resource("notes_instance")
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(26))
    instance_id: Mapped[str | None] = mapped_column(String(26))


class OfCluster(ClusterScoped, Base):
    __tablename__ = "notes_cluster"
    resource = _resource("notes_cluster")
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    cluster_id: Mapped[str] = mapped_column(String(26))


class OfPerson(PersonScoped, Base):
    __tablename__ = "notes_person"
    resource = _resource("notes_person")
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(26))


class Shared(Offered, Base):
    __tablename__ = "notes_shared"
    resource = _resource("notes_shared")
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str | None] = mapped_column(String(26))
    everybody: Mapped[bool] = mapped_column(default=False)

    @classmethod
    def for_all(cls) -> ColumnElement[bool]:
        return cls.everybody.is_(True)

    @classmethod
    def offers(cls) -> Offers:
        return Offers(Offer.note, tenant=Offer.tenant_id, project=Offer.project_id, instance=Offer.instance_id)


class Offer(Base):
    __tablename__ = "notes_offer"
    resource = Resource("notes_offer", unaudited="the change of the note names them")
    id: Mapped[int] = mapped_column(primary_key=True)
    note: Mapped[str] = mapped_column(ForeignKey("notes_shared.name"))
    tenant_id: Mapped[str | None] = mapped_column(String(26))
    project_id: Mapped[str | None] = mapped_column(String(26))
    instance_id: Mapped[str | None] = mapped_column(String(26))


class Kept(TenantScoped, Base):
    """Nobody changes what is locked, whatever they may do elsewhere."""

    __tablename__ = "notes_kept"
    resource = _resource("notes_kept")
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(26))
    locked: Mapped[bool] = mapped_column(default=False)

    def reached_by(self, actor: Actor, permission: Permission) -> bool:
        return super().reached_by(actor, permission) and not (self.locked and permission == WRITE)


MODELS = (OfTenant, OfProject, OfInstance, OfCluster, OfPerson, Shared)


@pytest.fixture
def notes(still: World) -> World:
    """Tenants a and b, in each the projects one and two with a claw each, and notes of every kind in every place."""
    with still.context():
        Base.metadata.create_all(db.engine)
        with transaction():
            cluster = db.session.query(Cluster).first()
            for t in "ab":
                db.session.add(Tenant(id=t, name=t))
                db.session.flush()
                db.session.add_all([OfTenant(name=f"tenant-{t}", tenant_id=t), OfProject(name=f"tenant-{t}", tenant_id=t)])
                db.session.add_all([OfInstance(name=f"tenant-{t}", tenant_id=t), Shared(name=f"owned-{t}", tenant_id=t)])
                db.session.add(Cluster(id=f"c{t}", name=f"c{t}", runtime="process", all_tenants=False))
                db.session.flush()
                db.session.add_all(
                    [ClusterTenant(cluster_id=f"c{t}", tenant_id=t), OfCluster(name=f"cluster-{t}", cluster_id=f"c{t}")]
                )
                for p in ("1", "2"):
                    db.session.add(Project(id=t + p, tenant_id=t, name=p))
                    db.session.flush()
                    place = {"tenant_id": t, "project_id": t + p, "cluster_id": cluster.id, "spec": {}}
                    db.session.add(Instance(id=f"i{t}{p}", name=f"i{t}{p}", adapter="echo", version="1", **place))
                    db.session.add(OfProject(name=f"project-{t}{p}", tenant_id=t, project_id=t + p))
                    db.session.add(OfInstance(name=f"claw-{t}{p}", tenant_id=t, instance_id=f"i{t}{p}"))
            db.session.add(OfCluster(name="cluster-all", cluster_id=cluster.id))
            db.session.add_all(
                [OfTenant(name="portal"), OfPerson(name="kims", user_id="kim"), OfPerson(name="lees", user_id="lee")]
            )
            db.session.add_all([Shared(name="open", everybody=True), *map(_shared, ("to-a", "to-a1", "to-ia2", "to-nobody"))])
            db.session.flush()
            db.session.add_all([Offer(note="to-a", tenant_id="a"), Offer(note="to-a1", project_id="a1")])
            db.session.add(Offer(note="to-ia2", instance_id="ia2"))
    return still


def _shared(name: str) -> Shared:
    return Shared(name=name)


def kim(*grants: Grant) -> Actor:
    return Actor("kim", "kim", grants=grants)


CLUSTERS_A = {"cluster-a", "cluster-all"}
TENANT_A = CLUSTERS_A | {
    "tenant-a", "project-a1", "project-a2", "claw-a1", "claw-a2", "kims", "owned-a", "open", "to-a", "to-a1", "to-ia2",
}  # fmt: skip
EVERYBODY = {
    "nobody": (kim(), set()),
    "tenant": (kim(Grant(BOTH, "a")), TENANT_A),
    "project": (kim(Grant(BOTH, "a", "a1")), {"project-a1", "claw-a1", "kims", "open", "to-a", "to-a1"} | CLUSTERS_A),
    "instance": (kim(Grant(BOTH, "a", None, "ia2")), {"claw-a2", "kims", "open", "to-a", "to-ia2"} | CLUSTERS_A),
    "instance in the project": (kim(Grant(BOTH, "a", None, "ia1")), {"claw-a1", "kims", "open", "to-a", "to-a1"} | CLUSTERS_A),
    "other tenant": (kim(Grant(BOTH, "b", "b1")), {"project-b1", "claw-b1", "kims", "open", "cluster-b", "cluster-all"}),
}


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("model", MODELS)
def test_lists_and_checks_agree(notes: World, model: type, who: str) -> None:
    actor, wanted = EVERYBODY[who]
    with notes.context():
        everything = {row.name for row in db.session.query(model)}
        listed = {row.name for row in listing(model, actor, by_name(model)).items}
        assert listed == wanted & everything - ({"tenant-b"} if who == "tenant" else set())
        for name in everything:
            assert _reached(model, name, actor) is (name in listed), name


def _reached(model: type, name: str, actor: Actor) -> bool:
    try:
        return bool(get_or_404(model, name, actor, READ).name == name)
    except NotFound:
        return False


def test_administrators_see_all_but_what_is_a_persons_own(notes: World) -> None:
    root = Actor("root", "root", grants=(Grant(ALL),))
    with notes.context():
        for model in MODELS:
            assert listing(model, root, by_name(model)).total == (0 if model is OfPerson else db.session.query(model).count())
        asking = without_second_factor(root, frozenset({"a"}))
        assert "owned-a" not in {row.name for row in listing(Shared, asking, by_name(Shared)).items}


def test_what_is_offered_is_read_and_changed_by_its_owner_only(notes: World) -> None:
    with notes.context():
        assert get_or_404(Shared, "to-a", EVERYBODY["tenant"][0], READ).name == "to-a"
        with pytest.raises(Forbidden, match="Write notes"):
            get_or_404(Shared, "to-a", EVERYBODY["tenant"][0], WRITE)
        assert get_or_404(Shared, "owned-a", EVERYBODY["tenant"][0], WRITE).name == "owned-a"
        with pytest.raises(NotFound, match="There is no note"):
            get_or_404(Shared, "owned-b", EVERYBODY["tenant"][0], READ)


def test_pages_go_on_from_a_cursor(notes: World) -> None:
    with notes.context():
        actor = EVERYBODY["tenant"][0]
        first = listing(OfInstance, actor, by_name(OfInstance), Which(limit=2))
        then = listing(OfInstance, actor, by_name(OfInstance), Which(limit=2, cursor=first.next))
        assert [row.name for row in (*first.items, *then.items)] == ["claw-a1", "claw-a2", "tenant-a"] and first.total == 3
        with pytest.raises(Invalid, match="other filters"):
            listing(OfInstance, actor, by_name(OfInstance), Which(limit=2, cursor=first.next), about="another search")


def test_what_a_row_itself_refuses_is_not_reached(notes: World) -> None:
    """Also by whoever holds the right where the row is."""
    owner, reader = kim(Grant(BOTH, "a")), kim(Grant(frozenset({READ}), "a"))
    with notes.context():
        with transaction():
            db.session.add_all([Kept(name="open", tenant_id="a"), Kept(name="locked", tenant_id="a", locked=True)])
        assert get_or_404(Kept, "open", owner, WRITE).name == "open" and get_or_404(Kept, "locked", owner, READ).locked
        with pytest.raises(NotFound):
            get_or_404(Kept, "locked", owner, WRITE)
        with pytest.raises(Forbidden):
            get_or_404(Kept, "locked", reader, WRITE)
