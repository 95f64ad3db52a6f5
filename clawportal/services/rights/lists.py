"""Pages of lists that hold what somebody may see."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, select

from clawportal import paging
from clawportal.contracts.permissions import Actor, Permission
from clawportal.db import db
from clawportal.paging import FIRST_PAGE, Order, Slice, Which
from clawportal.services.rights import access
from clawportal.services.rights.access import Row


def listing(
    model: type[Row],
    actor: Actor,
    order: Order,
    which: Which = FIRST_PAGE,
    *,
    where: Sequence[ColumnElement[bool]] = (),
    about: object = None,
    permission: Permission | None = None,
) -> Slice[Row]:
    """One page of the rows that `actor` may read, or has `permission` on, with the number of all of them. Two statements.

    `where` narrows the list; `about` says by what, so that a cursor is good for the same filters only.
    """
    conditions = (access.visible(model, actor, permission), *where)
    total = db.session.scalar(select(func.count()).select_from(model).where(*conditions)) or 0
    query = select(model).where(*conditions)
    return paging.page(
        query, order, which, about=(model.resource.table, about), total=total, fetch=lambda found: db.session.scalars(found).all()
    )
