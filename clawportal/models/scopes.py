"""Where rows belong, as mixins of their models. The lists and the single check of `services.rights.access` both follow from them.

A model takes one mixin and names its resource; `access` then needs to know nothing else about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from sqlalchemy import ColumnElement, String, and_, column, false, inspect, or_, select, table, true
from sqlalchemy.orm import Mapped, mapped_column

from clawportal.contracts.features import Resource
from clawportal.contracts.permissions import SELF, Actor, Everything, Grant, Permission, Scope
from clawportal.db import db
from clawportal.ids import LENGTH

_INSTANCE = table("instance", column("id"), column("tenant_id"), column("project_id"))
_PROJECT = table("project", column("id"), column("tenant_id"))


class Scoped(Protocol):
    """A model whose rows are reached by grants."""

    resource: ClassVar[Resource]

    @classmethod
    def key(cls) -> ColumnElement[Any]:
        """The column that names a row."""

    @classmethod
    def visible_to(cls, actor: Actor, permission: Permission) -> ColumnElement[bool]:
        """SQL condition: the rows on which somebody has a permission. It follows from their id and grants alone, and is kept."""

    def scope(self) -> Scope:
        """Where this row is, as a grant is held against it."""

    def reached_by(self, actor: Actor, permission: Permission) -> bool:
        """The same as `visible_to`, for this row."""

    @property
    def gone(self) -> bool:
        """Whether it can only be read any more."""

    @property
    def only_observed(self) -> bool:
        """Whether somebody else made it, so that the portal must not touch what runs."""


class _Located:
    """What all mixins share. `tenant_key`, `in_project` and `in_instance` say where the rows are."""

    resource: ClassVar[Resource]

    @property
    def gone(self) -> bool:
        return False

    @property
    def only_observed(self) -> bool:
        return False

    @classmethod
    def key(cls) -> ColumnElement[Any]:
        found: ColumnElement[Any] = inspect(cls).primary_key[0]
        return found

    @classmethod
    def tenant_key(cls) -> Any:
        return cls.tenant_id  # type: ignore[attr-defined]  # a column of every model that takes a mixin of tenants

    @classmethod
    def in_project(cls, project_id: str) -> ColumnElement[bool]:
        return false()

    @classmethod
    def in_instance(cls, instance_id: str) -> ColumnElement[bool]:
        return false()

    @classmethod
    def covered_by(cls, grant: Grant) -> ColumnElement[bool]:
        """SQL condition: the rows that a grant reaches, whatever it permits."""
        wanted: list[ColumnElement[bool]] = []
        if grant.except_tenants:
            wanted.append(or_(cls.tenant_key().is_(None), cls.tenant_key().not_in(sorted(grant.except_tenants))))
        if grant.tenant_id is not None:
            wanted.append(cls.tenant_key() == grant.tenant_id)
        if grant.project_id is not None:
            wanted.append(cls.in_project(grant.project_id))
        if grant.instance_id is not None:
            wanted.append(cls.in_instance(grant.instance_id))
        return and_(*wanted) if wanted else true()

    @classmethod
    def visible_to(cls, actor: Actor, permission: Permission) -> ColumnElement[bool]:
        grants = actor.granted(permission)
        return or_(*(cls.covered_by(grant) for grant in grants)) if grants else false()

    def scope(self) -> Scope:
        raise NotImplementedError

    def reached_by(self, actor: Actor, permission: Permission) -> bool:
        return actor.allows(permission, self.scope())


class TenantScoped(_Located):
    """Rows of a tenant (`tenant_id`), or of the whole portal where it is empty."""

    def scope(self) -> Scope:
        return Scope(self.tenant_id)  # type: ignore[attr-defined]  # as in tenant_key


class ProjectScoped(_Located):
    """Rows of a project (`tenant_id`, `project_id`). Where `project_id` is empty, they are the tenant's."""

    @classmethod
    def in_project(cls, project_id: str) -> ColumnElement[bool]:
        found: ColumnElement[bool] = cls.project_id == project_id  # type: ignore[attr-defined]  # a column of the model
        return found

    def scope(self) -> Scope:
        return Scope(self.tenant_id, self.project_id)  # type: ignore[attr-defined]  # as above


class InstanceScoped(_Located):
    """Rows of an instance (`tenant_id`, `instance_id`), wherever it is moved. Without `instance_id` they are the tenant's."""

    @classmethod
    def in_project(cls, project_id: str) -> ColumnElement[bool]:
        inside = select(_INSTANCE.c.id).where(_INSTANCE.c.project_id == project_id)
        found: ColumnElement[bool] = cls.instance_id.in_(inside)  # type: ignore[attr-defined]  # a column of the model
        return found

    @classmethod
    def in_instance(cls, instance_id: str) -> ColumnElement[bool]:
        found: ColumnElement[bool] = cls.instance_id == instance_id  # type: ignore[attr-defined]  # as above
        return found

    def instance(self) -> Any:
        """The instance, None where there is none any more."""
        from clawportal.models.instances import Instance  # which is itself such a model

        return db.session.get(Instance, self.instance_id) if self.instance_id else None  # type: ignore[attr-defined]  # as above

    def scope(self) -> Scope:
        instance = self.instance()
        # of an instance that is gone the id is still known, and grants may name it
        row: Any = self
        return instance.scope() if instance else Scope(row.tenant_id, None, row.instance_id)


class Recorded(InstanceScoped):
    """Rows that record what happened or is being done: of an instance, wherever it is moved; else of a project; else of a tenant
    or of the portal. A row may ask for a right beside the one to read rows of its kind, which has to hold in the same place;
    with the right to one's own account it is for one person only."""

    project_id: Mapped[str | None] = mapped_column(String(LENGTH))
    person_id: Mapped[str | None] = mapped_column(String(LENGTH))
    """The account that it concerns."""
    read_permission: Mapped[str] = mapped_column(String(80), default="", server_default="")
    """A right that whoever reads it needs, too; empty: none."""

    @classmethod
    def in_project(cls, project_id: str) -> ColumnElement[bool]:
        row: Any = cls
        return or_(super().in_project(project_id), and_(row.instance_id.is_(None), row.project_id == project_id))

    @classmethod
    def visible_to(cls, actor: Actor, permission: Permission) -> ColumnElement[bool]:
        found = super().visible_to(actor, permission)
        if any(isinstance(grant.permissions, Everything) and grant.everywhere for grant in actor.grants):
            return found
        return and_(found, cls._readable_by(actor))

    @classmethod
    def _readable_by(cls, actor: Actor) -> ColumnElement[bool]:
        asked = cls.read_permission
        found = [asked == "", and_(asked == str(SELF), cls.person_id == actor.id)]
        for grant in actor.grants:
            if isinstance(grant.permissions, Everything):
                found.append(cls.covered_by(grant))
            elif names := sorted(map(str, grant.permissions - {SELF})):
                found.append(and_(asked.in_(names), cls.covered_by(grant)))
        return or_(*found)

    def scope(self) -> Scope:
        row: Any = self
        return super().scope() if row.instance_id else Scope(row.tenant_id, row.project_id)

    def reached_by(self, actor: Actor, permission: Permission) -> bool:
        if not super().reached_by(actor, permission):
            return False
        if self.read_permission == SELF and self.person_id == actor.id:
            return True
        return not self.read_permission or actor.holds(self.read_permission, self.scope())


class ClusterScoped(_Located):
    """Rows of a cluster (`cluster_id`): whoever may use or see the cluster reads them, everything else is up to its owner.

    A right that the cluster's own page does not ask for is held against the same places: those that the cluster is offered to.
    """

    @classmethod
    def covered_by(cls, grant: Grant) -> ColumnElement[bool]:
        from clawportal.models.clusters import Cluster  # which is itself such a model

        reached = select(Cluster.id).where(Cluster.covered_by(grant))
        found: ColumnElement[bool] = cls.cluster_id.in_(reached)  # type: ignore[attr-defined]  # a column of the model
        return found

    def scope(self) -> Scope:
        return Scope()

    def reached_by(self, actor: Actor, permission: Permission) -> bool:
        """Reading follows from the cluster, which the list has answered already."""
        return permission == self.resource.read or super().reached_by(actor, permission)


class PersonScoped(_Located):
    """Rows of one person (`user_id`), which nobody else reaches. The permission only has to be granted somewhere."""

    @classmethod
    def visible_to(cls, actor: Actor, permission: Permission) -> ColumnElement[bool]:
        mine: ColumnElement[bool] = cls.user_id == actor.id  # type: ignore[attr-defined]  # a column of the model
        return mine if actor.has(permission) else false()

    def scope(self) -> Scope:
        return Scope()

    def reached_by(self, actor: Actor, permission: Permission) -> bool:
        mine = bool(self.user_id == actor.id)  # type: ignore[attr-defined]  # as above
        return mine and actor.has(permission)


@dataclass(frozen=True)
class Offers:
    """The columns of a table that says to whom rows are offered by name: the row, and one for each kind of receiver."""

    row: Any
    tenant: Any = None
    project: Any = None
    instance: Any = None

    def of(self, grant: Grant) -> ColumnElement[bool]:
        """SQL condition on this table: offers to where a grant holds, to what that lies in, or to what lies in it."""
        found: list[ColumnElement[bool]] = [false()]
        if self.tenant is not None:
            found.append(self.tenant == grant.tenant_id)
        if self.project is not None:
            found.append(self._to_projects(grant))
        if self.instance is not None:
            found.append(self._to_instances(grant))
        return or_(*found)

    def _to_projects(self, grant: Grant) -> ColumnElement[bool]:
        if grant.instance_id is not None:
            return self.project.in_(select(_INSTANCE.c.project_id).where(_INSTANCE.c.id == grant.instance_id))  # type: ignore[no-any-return]  # a column
        if grant.project_id is not None:
            return self.project == grant.project_id  # type: ignore[no-any-return]  # a column
        return self.project.in_(select(_PROJECT.c.id).where(_PROJECT.c.tenant_id == grant.tenant_id))  # type: ignore[no-any-return]  # a column

    def _to_instances(self, grant: Grant) -> ColumnElement[bool]:
        if grant.instance_id is not None:
            return self.instance == grant.instance_id  # type: ignore[no-any-return]  # a column
        where = _INSTANCE.c.project_id == grant.project_id if grant.project_id else _INSTANCE.c.tenant_id == grant.tenant_id
        return self.instance.in_(select(_INSTANCE.c.id).where(where))  # type: ignore[no-any-return]  # a column


class Offered(_Located):
    """Rows that their owner offers to all, or to tenants, projects and instances by name.

    The owner is the portal, or the tenant of `tenant_id` where the model has that column. Whoever has the right to read
    somewhere that a row is offered to sees it; everything else is up to the owner.
    """

    @classmethod
    def for_all(cls) -> ColumnElement[bool]:
        """SQL condition: those that are offered to everybody there is."""
        raise NotImplementedError

    @classmethod
    def offers(cls) -> Offers:
        """To whom the others are offered."""
        raise NotImplementedError

    @classmethod
    def usable_by(cls, grant: Grant) -> ColumnElement[bool]:
        """SQL condition: those that can be used where a grant holds."""
        offers = cls.offers()
        return or_(cls.for_all(), cls.key().in_(select(offers.row).where(offers.of(grant))))

    @classmethod
    def covered_by(cls, grant: Grant) -> ColumnElement[bool]:
        owner: Any = getattr(cls, "tenant_id", None)
        if grant.tenant_id is None and grant.project_id is None and grant.instance_id is None:
            hidden = sorted(grant.except_tenants) if owner is not None else []
            return or_(owner.is_(None), owner.not_in(hidden)) if hidden else true()
        if owner is None or grant.project_id is not None or grant.instance_id is not None:
            return cls.usable_by(grant)
        return or_(owner == grant.tenant_id, cls.usable_by(grant))

    def scope(self) -> Scope:
        return Scope(getattr(self, "tenant_id", None))

    def reached_by(self, actor: Actor, permission: Permission) -> bool:
        """Reading follows from what is offered, which the list has answered already."""
        return permission == self.resource.read or super().reached_by(actor, permission)
