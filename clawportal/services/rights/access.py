"""The only place where rules meet rows: what an actor sees, and the one way to reach a row.

Both answers come from the same grants, so that a list never shows what a check would refuse. Who may not even read a row gets
404, as if it did not exist; who may read it but not do this gets 403.
"""

from __future__ import annotations

import functools
from typing import TypeVar

from sqlalchemy import ColumnElement, select

from clawportal.contracts.permissions import Actor, Grant, Permission, Scope
from clawportal.db import db
from clawportal.errors import Conflict, Forbidden, NotFound, TotpRequired
from clawportal.messages import _m
from clawportal.models.scopes import Scoped

Row = TypeVar("Row", bound=Scoped)


def visible(model: type[Row], actor: Actor, permission: Permission | None = None) -> ColumnElement[bool]:
    """SQL condition: the rows of `model` on which `actor` has `permission` (default: may read)."""
    return _visible(model, permission or reading(model), actor.id, actor.grants)


@functools.lru_cache(maxsize=1024)
def _visible(model: type[Scoped], permission: Permission, actor_id: str, grants: tuple[Grant, ...]) -> ColumnElement[bool]:
    """Kept, because making a condition takes longer than asking with it: people ask again and again for the same."""
    return model.visible_to(Actor(actor_id, "", grants=grants), permission)


def reading(model: type[Scoped]) -> Permission:
    """The right to read rows of this kind."""
    if model.resource.read is None:
        raise TypeError(
            f"The table {model.resource.table} is only reached through other rows: its resource names no right to read."
        )
    return model.resource.read


def scope_of(row: Scoped) -> Scope:
    """Where a row is, for the single check."""
    return row.scope()


def get_or_404(model: type[Row], row_id: str | int, actor: Actor, permission: Permission, *, lock: bool = False) -> Row:
    """The row, if `actor` may do this with it. `lock` reads it anew and keeps others from changing it until the commit."""
    found = model.key() == row_id
    query = select(model).where(found, visible(model, actor))
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    row = db.session.scalars(query).one_or_none()
    if row is None or (row.gone and permission != reading(model)):
        if row is None and actor.withheld and _would_see(model, found, actor):
            raise TotpRequired
        raise NotFound(_m("There is no %(noun)s with this id, or it is not yours.", noun=model.resource.noun))
    if not row.reached_by(actor, permission):
        require(actor, permission, row.scope())
        raise NotFound(_m("There is no %(noun)s with this id, or it is not yours.", noun=model.resource.noun))
    if permission.touches_workload and row.only_observed:
        raise Conflict(
            _m(
                "%(name)s is only observed: somebody else made it, and the portal does nothing to it. "
                "Adopt it first, or forget it.",
                name=getattr(row, "name", model.resource.noun),
            )
        )
    return row


def _would_see(model: type[Row], where: ColumnElement[bool], actor: Actor) -> bool:
    """Whether only a second factor is missing. Asked after a refusal, so that nobody else pays for it."""
    could = actor.with_second_factor()
    return db.session.scalars(select(model).where(where, visible(model, could))).one_or_none() is not None


def require(actor: Actor, permission: Permission, scope: Scope) -> None:
    """403 with the missing right in words."""
    if not actor.allows(permission, scope):
        if actor.withheld and actor.with_second_factor().allows(permission, scope):
            raise TotpRequired
        raise Forbidden(
            _m(
                "You lack the right “%(description)s” here. Ask an administrator of your organisation.",
                description=permission.description,
            )
        )
