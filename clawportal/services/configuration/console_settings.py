"""Settings by which a claw runs commands or leaves its work tree: whoever sets them needs the right to open a console.

An adapter marks such a setting with `x-safe`, the values that everybody may set who may configure. Any other value gives whoever
talks to the claw what a console gives. What somebody with the right set before stays when others change the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from clawportal.contracts.core_permissions import INSTANCE_CONSOLE
from clawportal.contracts.permissions import Actor, Scope
from clawportal.errors import FieldError
from clawportal.messages import _m

SENTENCES = (
    _m(
        "By this a claw can run commands or leave its work tree. Changing it needs the right to open a console here; "
        "ask an administrator of your organisation."
    ),
)
NEEDS_CONSOLE = SENTENCES[0]


@functools.lru_cache(maxsize=256)
def marked(model: type[BaseModel]) -> Mapping[str, tuple[Any, ...]]:
    """Each marked setting with its safe values."""
    properties = model.model_json_schema().get("properties", {})
    return {name: tuple(schema["x-safe"]) for name, schema in properties.items() if "x-safe" in schema}


def may(actor: Actor, scope: Scope) -> bool:
    return actor.allows(INSTANCE_CONSOLE, scope)


def is_safe(value: Any, safe: tuple[Any, ...]) -> bool:
    """Exactly one of them: what a model would read as safe, such as "off", is not told apart here and so is refused."""
    return any(type(value) is type(one) and value == one for one in safe)


def refused(
    actor: Actor, scope: Scope, model: type[BaseModel], after: Mapping[str, Any], before: Mapping[str, Any] | None = None,
    *, prefix: str = "spec.settings",
) -> list[FieldError]:  # fmt: skip
    """The settings that this actor may not set so. `before`: what is stored; a value that stays as it was is nobody's act."""
    if may(actor, scope):
        return []
    known = before or {}
    bad = [
        name for name, safe in marked(model).items()
        if name in after and not is_safe(after[name], safe) and not (name in known and is_safe(after[name], (known[name],)))
    ]  # fmt: skip
    return [FieldError(f"{prefix}.{name}", NEEDS_CONSOLE, "forbidden") for name in bad]
