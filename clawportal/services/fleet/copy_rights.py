"""Who may have files copied from one instance to another; asked when it is wished, tried again, and carried out."""

from __future__ import annotations

from typing import Any

from clawportal.contracts.core_permissions import INSTANCE_CONSOLE, INSTANCE_FILES_READ, INSTANCE_FILES_WRITE, INSTANCE_OPERATE
from clawportal.contracts.permissions import Actor
from clawportal.models import Instance, Operation
from clawportal.services.rights import access


def sides(actor: Actor, source_id: str, target_id: str) -> tuple[Instance, Instance]:
    """Source and target, if `actor` may read the files of the one and write those of the other."""
    source = access.get_or_404(Instance, source_id, actor, INSTANCE_FILES_READ)
    return source, access.get_or_404(Instance, target_id, actor, INSTANCE_FILES_WRITE)


def masked(actor: Actor, source: Instance) -> bool:
    """Whether asterisks are copied in place of the secrets of the source."""
    return not actor.allows(INSTANCE_CONSOLE, access.scope_of(source))


def again(actor: Actor, row: Operation) -> tuple[Instance, dict[str, Any]]:
    """Target and payload of the same copy for whoever tries it again, who need not be who wished it first."""
    source, target = sides(actor, row.payload["source"], row.instance_id or "")
    return target, {
        **row.payload,
        "actor": actor.id,
        "masked": masked(actor, source),
        "start": row.payload["start"] and actor.allows(INSTANCE_OPERATE, access.scope_of(target)),
        "resume": False,  # it was started again when the former try ended
    }
