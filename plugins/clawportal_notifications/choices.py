"""What there is to be told of, and what somebody chose."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select

from clawportal.sdk import _m
from clawportal.sdk.data import changed_rows, db, get_or_404, transaction, visible
from clawportal.sdk.errors import Invalid
from clawportal.sdk.features import Interest
from clawportal.sdk.fleet import Instance, Portal
from clawportal.sdk.people import require_person
from clawportal.sdk.permissions import INSTANCE_READ, Actor
from clawportal_notifications.models import NEW_PLACE, WAYS, Choice, Muted


def interests(portal: Portal) -> dict[str, Interest]:
    """By name, in the order in which they are declared."""
    found: dict[str, Interest] = {}
    for kind in portal.registry.event_kinds():
        for one in kind.interests:
            found.setdefault(one.name, one)
    return found


def by_kind(portal: Portal) -> dict[str, Sequence[Interest]]:
    """Kinds of events that anybody could be told of."""
    return {kind.name: kind.interests for kind in portal.registry.event_kinds() if kind.interests}


@dataclass(frozen=True)
class Chosen:
    """What people chose, where it is not what is declared, and of which instances they want to hear nothing."""

    made: Mapping[tuple[str, str, str], bool]
    muted: Collection[tuple[str, str]]

    def wants(self, user_id: str, interest: Interest, way: str) -> bool:
        return self.made.get((user_id, interest.name, way), interest.default)

    def is_muted(self, user_id: str, instance_id: str | None) -> bool:
        return instance_id is not None and (user_id, instance_id) in self.muted


def chosen(user_id: str | None = None) -> Chosen:
    """By one person, or by everybody."""
    made, muted = select(Choice), select(Muted)
    if user_id is not None:
        made, muted = made.where(Choice.user_id == user_id), muted.where(Muted.user_id == user_id)
    return Chosen(
        {(row.user_id, row.interest, row.way): row.wanted for row in db.session.scalars(made)},
        {(row.user_id, row.instance_id) for row in db.session.scalars(muted)},
    )


def choose(portal: Portal, actor: Actor, wanted: Mapping[str, Mapping[str, bool]]) -> None:
    """By interest and way. What is not named stays."""
    known = interests(portal)
    if False in wanted.get(NEW_PLACE, {}).values():
        require_person(actor)  # whoever stole a token must not go on unseen
    for name, ways in wanted.items():
        if name not in known:
            raise Invalid.field(f"choices.{name}", _m("is nothing to be told of; GET lists all"), "unknown")
        if unknown := set(ways) - set(WAYS):
            raise Invalid.field(f"choices.{name}.{min(unknown)}", _m("must be one of %(ways)s", ways=list(WAYS)))
    with transaction():
        for name, ways in wanted.items():
            for way, on in ways.items():
                db.session.merge(Choice(user_id=actor.id, interest=name, way=way, wanted=on))


def mute(actor: Actor, instance_id: str, muted: bool) -> None:
    """Be told nothing more of an instance that one may see; nobody needs to see one to hear of it again."""
    with transaction():
        if muted:
            get_or_404(Instance, instance_id, actor, INSTANCE_READ)
            db.session.merge(Muted(user_id=actor.id, instance_id=instance_id))
        else:
            gone = delete(Muted).where(Muted.user_id == actor.id, Muted.instance_id == instance_id)
            if changed_rows(gone) == 0:
                get_or_404(Instance, instance_id, actor, INSTANCE_READ)


def muted(actor: Actor) -> list[Instance]:
    """Those that one may still see."""
    query = select(Instance).join(Muted, Muted.instance_id == Instance.id)
    return list(db.session.scalars(query.where(Muted.user_id == actor.id, visible(Instance, actor)).order_by(Instance.name)))
