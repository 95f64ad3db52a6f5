"""The one place where every change of an instance is held against what features and plugins have to say about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from weakref import WeakKeyDictionary

from clawportal.contracts.extensions import ADMISSION, ADMISSION_PREVIEW, CHOICE_MARKS, InstanceChange, Warned
from clawportal.contracts.permissions import SYSTEM, Actor
from clawportal.engine.portal import Portal
from clawportal.errors import FieldError
from clawportal.models import Instance, Project

_warned: WeakKeyDictionary[Instance, tuple[Warned, ...]] = WeakKeyDictionary()


def admit(
    portal: Portal, actor: Actor, kind: str, instance: Instance, *, action: str = "", project: Project | None = None
) -> None:
    """Raises the `Problem` of whoever does not allow it. Called inside the transaction of the change.

    `kind`: as plugins know it, such as `instance.create`. `action`: as `InstanceChange` calls it, where that differs. `project`:
    where the instance shall come to.
    """
    _warned.pop(instance, None)
    if actor.kind != SYSTEM.kind:  # the portal finishes what was admitted when somebody asked for it
        change = _change(kind, action, instance, project)
        said = tuple(one for target in portal.registry.targets(ADMISSION) for one in target(portal, actor, change))
        if said:
            _warned[instance] = said


def preview(portal: Portal, actor: Actor, kind: str, instance: Instance, *, action: str = "") -> list[FieldError]:
    """With what a change would be refused; for forms that are checked while one types.

    `instance`: a row that was never added to the session.
    """
    change = _change(kind, action, instance, None)
    return [error for target in portal.registry.targets(ADMISSION_PREVIEW) for error in target(portal, actor, change)]


def marks(
    portal: Portal, tenant_id: str, kinds: Iterable[str], versions: Mapping[str, Iterable[str]]
) -> dict[str, dict[str, str]]:
    """Choices that are refused in every case, and why: `adapter`, `version` and `provider`."""
    found: dict[str, dict[str, str]] = {"adapter": {}, "version": {}, "provider": {}}
    for target in portal.registry.targets(CHOICE_MARKS):
        for what, refused in target(portal, tenant_id, list(kinds), versions).items():
            found[what] = refused | found[what]
    return found


def warnings_of(instance: Instance) -> tuple[Warned, ...]:
    """What was remarked on the change of this row just now; for the answer to it."""
    return _warned.get(instance, ())


def _change(kind: str, action: str, instance: Instance, project: Project | None) -> InstanceChange:
    return InstanceChange(kind, action or kind.partition(".")[2], instance, project.id if project else instance.project_id)
