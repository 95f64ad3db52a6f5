"""Filters of the list of instances under a name: saved, shared with an organisation, and chosen to begin the list with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import delete, func, or_, select

from clawportal.contracts.core_permissions import FILTER_SHARE, INSTANCE_READ
from clawportal.contracts.permissions import Actor, Scope
from clawportal.db import db, transaction
from clawportal.errors import Conflict, FieldError, Invalid
from clawportal.ids import new_id
from clawportal.lifecycle import Phase
from clawportal.messages import _m
from clawportal.models import DefaultFilter, SavedFilter, Tenant
from clawportal.paging import FIRST_PAGE, Order, Slice, Which
from clawportal.services.fleet import instances
from clawportal.services.fleet.instances import Filters
from clawportal.services.fleet.labels import selector
from clawportal.services.rights import access, lists
from clawportal.services.tenancy import tenancy

STATES: dict[str, Filters] = {
    "": Filters(),
    "attention": Filters(trouble=True),
    "running": Filters(phases=(Phase.RUNNING,), calm=True),
    "progressing": Filters(phases=instances.CHANGING, calm=True),
    "stopped": Filters(phases=(Phase.STOPPED,), calm=True),
    "failed": Filters(phases=(Phase.FAILED,)),
}
"""By what stands in the address of the list; their counts add up. `failed` is no tab: what failed needs attention."""
PARTS = ("q", "state", "adapter", "project", "labels", "sort")
"""What a filter is made of, as in the address of the list."""
MOST = 50
"""That one person, or one organisation, may have."""
SHOWN = 30
LONGEST_NAME = 60
_LENGTHS = {"q": 200, "labels": 1000, "adapter": 100, "project": 100}


@dataclass(frozen=True)
class Saved:
    """One as it is listed."""

    id: str
    name: str
    query: Mapping[str, str]
    tenant_id: str | None
    tenant: str
    """Name of the organisation that it is shared with; empty for one's own."""
    default: bool
    """Whether the list begins with it for who asks."""
    created_by: str


# ---- reading


def listing(actor: Actor) -> list[Saved]:
    """The first few for the page of the list: one's own, then those of organisations, by name. One statement."""
    return [_saved(*row) for row in db.session.execute(_query(actor).limit(SHOWN))]


def page_of(actor: Actor, which: Which = FIRST_PAGE) -> Slice[Saved]:
    """All of them, by name."""
    return lists.listing(SavedFilter, actor, _BY_NAME, which).map(lambda rows: _told(actor, [row.id for row in rows]))


_BY_NAME = Order((SavedFilter.name.expression, SavedFilter.id.expression), (str, str), lambda row: (row.name, row.id))


def _told(actor: Actor, ids: Sequence[str]) -> list[Saved]:
    found = {row[0].id: _saved(*row) for row in db.session.execute(_query(actor).where(SavedFilter.id.in_(ids)))}
    return [found[one] for one in ids if one in found]


def get(actor: Actor, filter_id: str) -> Saved:
    row = access.get_or_404(SavedFilter, filter_id, actor, INSTANCE_READ)
    return _saved(*db.session.execute(_query(actor).where(SavedFilter.id == row.id)).one())


def find(actor: Actor, name_or_id: str) -> Saved:
    """By id or by name; one's own before those of organisations."""
    named = _query(actor).where(or_(SavedFilter.id == name_or_id, SavedFilter.name == name_or_id)).limit(3)
    found = [_saved(*row) for row in db.session.execute(named)]
    if not found:
        raise Invalid.field(
            "filter", _m("There is no saved filter %(name)s, or it is not yours.", name=repr(name_or_id)), "unknown"
        )
    if len(found) > 1 and found[0].tenant_id is not None and found[0].id != name_or_id:
        raise Invalid.field(
            "filter", _m("Several saved filters are named %(name)s; use the id.", name=repr(name_or_id)), "unclear"
        )
    return found[0]


def default_of(actor: Actor, found: Sequence[Saved]) -> Saved | None:
    """The one that the list begins with, also where there are more than the page of the list shows."""
    if len(found) < SHOWN:
        return next((one for one in found if one.default), None)
    row = db.session.execute(_query(actor).where(DefaultFilter.user_id.is_not(None)).limit(1)).first()
    return _saved(*row) if row else None


def filters_of(query: Mapping[str, str]) -> Filters:
    """What it lets through."""
    adapters = (query["adapter"],) if query.get("adapter") else ()
    return replace(
        STATES[query.get("state", "")], adapters=adapters, project=query.get("project", ""), text=query.get("q", ""),
        labels=selector(query.get("labels", "")),
    )  # fmt: skip


def _query(actor: Actor) -> Any:
    chosen = (DefaultFilter.filter_id == SavedFilter.id) & (DefaultFilter.user_id == actor.id)
    query = (
        select(SavedFilter, Tenant.name, DefaultFilter.user_id)
        .outerjoin(Tenant, Tenant.id == SavedFilter.tenant_id)
        .outerjoin(DefaultFilter, chosen)
    )
    order = (SavedFilter.tenant_id.is_not(None), SavedFilter.name, SavedFilter.id)
    return query.where(access.visible(SavedFilter, actor)).order_by(*order)


def _saved(row: SavedFilter, tenant: str | None, default: str | None) -> Saved:
    return Saved(row.id, row.name, row.query, row.tenant_id, tenant or "", default is not None, row.created_by)


# ---- changing


def save(actor: Actor, name: str, query: Mapping[str, str], *, tenant: str | None = None, default: bool = False) -> Saved:
    """Keep a filter: for oneself, or with `tenant` (id) for everybody there."""
    name, parts, project = _checked(actor, name, query)
    with transaction():
        row = SavedFilter(id=new_id(), name=name, query=parts, project_id=project[0] if project else None, created_by=actor.name)
        _own(actor, row, tenant, project)
        _ensure_few(actor, row)
        _ensure_free(actor, row, name)
        db.session.add(row)
        db.session.flush()
        if default:
            _make_default(actor, row.id)
        return get(actor, row.id)


@dataclass(frozen=True)
class Change:
    """None keeps what is there."""

    name: str | None = None
    query: Mapping[str, str] | None = None
    shared: bool | None = None
    """Whether the organisation of `tenant` sees it; False makes it one's own again."""
    tenant: str | None = None


def change(actor: Actor, filter_id: str, wanted: Change) -> Saved:
    with transaction():
        row = access.get_or_404(SavedFilter, filter_id, actor, FILTER_SHARE, lock=True)
        given = row.query if wanted.query is None else wanted.query
        name, parts, project = _checked(actor, row.name if wanted.name is None else wanted.name, given)
        before = row.tenant_id
        shared = before is not None if wanted.shared is None else wanted.shared
        if shared and not (wanted.tenant or before):
            raise Invalid.field("tenant", _m("Say with which organisation to share it."), "missing")
        _own(actor, row, (wanted.tenant or before) if shared else None, project)
        if row.tenant_id != before:
            _ensure_few(actor, row)
        _ensure_free(actor, row, name)
        row.name, row.query, row.project_id = name, parts, project[0] if project else None
        db.session.flush()
        return get(actor, row.id)


def remove(actor: Actor, filter_id: str) -> None:
    with transaction():
        db.session.delete(access.get_or_404(SavedFilter, filter_id, actor, FILTER_SHARE, lock=True))


def set_default(actor: Actor, filter_id: str) -> Saved:
    """The list begins with it from now on, for this person alone."""
    with transaction():
        row = access.get_or_404(SavedFilter, filter_id, actor, INSTANCE_READ)
        _make_default(actor, row.id)
        return get(actor, row.id)


def unset_default(actor: Actor, filter_id: str) -> None:
    with transaction():
        row = access.get_or_404(SavedFilter, filter_id, actor, INSTANCE_READ)
        mine = (DefaultFilter.user_id == actor.id, DefaultFilter.filter_id == row.id)
        db.session.execute(delete(DefaultFilter).where(*mine))


def _make_default(actor: Actor, filter_id: str) -> None:
    db.session.execute(delete(DefaultFilter).where(DefaultFilter.user_id == actor.id))
    db.session.add(DefaultFilter(user_id=actor.id, filter_id=filter_id))
    db.session.flush()


Named = tuple[str, str] | None
"""Id of the project that a filter names, and of its tenant."""


def _checked(actor: Actor, name: str, query: Mapping[str, str]) -> tuple[str, dict[str, str], Named]:
    name, errors = name.strip(), list[FieldError]()
    if not 1 <= len(name) <= LONGEST_NAME or any(ord(letter) < 32 for letter in name):
        errors.append(FieldError("name", _m("must have 1 to %(most)s letters", most=LONGEST_NAME)))
    parts = {part: query[part].strip() for part in PARTS if query.get(part, "").strip()}
    if not parts:
        errors.append(
            FieldError("query", _m("says nothing: choose a state, a kind, a project, labels, a word or an order first"))
        )
    errors += _flaws(parts)
    project, wrong = _project(actor, parts.get("project", ""))
    if errors or wrong:
        errors += wrong
        raise Invalid(errors[0].message, errors=errors)
    return name, parts | ({"project": project[0]} if project else {}), project


def _flaws(parts: Mapping[str, str]) -> list[FieldError]:
    errors = [
        FieldError(f"query.{part}", _m("may have %(most)s letters at most", most=most))
        for part, most in _LENGTHS.items()
        if len(parts.get(part, "")) > most
    ]
    if parts.get("state", "") not in STATES:
        errors.append(FieldError("query.state", _m("must be one of %(join)s", join=[*filter(None, STATES)])))
    if "sort" in parts and parts["sort"].removeprefix("-") not in instances.SORTS:
        errors.append(FieldError("query.sort", _m("must be one of %(join)s", join=[*instances.SORTS])))
    try:
        selector(parts.get("labels", ""), "query.labels")
    except Invalid as problem:
        errors += problem.errors
    return errors


def _project(actor: Actor, wanted: str) -> tuple[Named, list[FieldError]]:
    """By id or name, of those that the actor sees."""
    if not wanted:
        return None, []
    found = [choice for choice in tenancy.projects(actor) if wanted in (choice.id, choice.name)]
    if len(found) == 1:
        return (found[0].id, found[0].tenant_id), []
    words = _m("There is no project %(wanted)s that you see.", wanted=repr(wanted))
    if found:
        words = _m("Several projects are named %(wanted)s; use the id.", wanted=repr(wanted))
    return None, [FieldError("query.project", words, "unknown")]


def _own(actor: Actor, row: SavedFilter, tenant: str | None, project: Named) -> None:
    """Whose it is: the person's, or the organisation's, where the person may share."""
    if tenant is None:
        row.user_id, row.tenant_id = actor.id, None
        return
    if tenant not in {choice.tenant_id for choice in tenancy.projects(actor)}:
        raise Invalid.field("tenant", _m("There is no organisation with this id that you see."), "unknown")
    access.require(actor, FILTER_SHARE, Scope(tenant))
    if project is not None and project[1] != tenant:
        raise Invalid.field("tenant", _m("The filter names a project of another organisation."), "elsewhere")
    row.user_id, row.tenant_id = None, tenant


def _ensure_few(actor: Actor, row: SavedFilter) -> None:
    where = SavedFilter.tenant_id == row.tenant_id if row.tenant_id else SavedFilter.user_id == actor.id
    with db.session.no_autoflush:
        number = db.session.scalar(select(func.count()).select_from(SavedFilter).where(where)) or 0
    if number >= MOST:
        raise Conflict(_m("There are %(most)s saved filters already. Delete one first.", most=MOST))


def _ensure_free(actor: Actor, row: SavedFilter, name: str) -> None:
    mine = SavedFilter.tenant_id == row.tenant_id if row.tenant_id else (SavedFilter.user_id == actor.id)
    with db.session.no_autoflush:
        taken = db.session.scalar(select(SavedFilter.id).where(mine, SavedFilter.name == name, SavedFilter.id != row.id))
    if taken is not None:
        raise Conflict(_m("There is already a saved filter named %(name)s. Choose another name.", name=name))
