"""Facts about instances that features of the portal offer: which of them expressions use, and what they say."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from clawportal.sdk.fleet import InstanceFact, Portal, instance_facts, read_instance_facts

Told = Mapping[str, Any]
"""What facts say of one instance, by their name. One that cannot be read is missing."""


def types(portal: Portal) -> dict[str, str]:
    """The type of each fact that there is."""
    return {fact.name: fact.type for fact in instance_facts(portal)}


def used(portal: Portal, expressions: Iterable[str]) -> list[InstanceFact]:
    """Those that are named, so that nothing is read that no rule asks for."""
    named = {name for text in expressions for name in re.findall(r"\bfacts\s*\.\s*(\w+)", text)}
    return [fact for fact in instance_facts(portal) if fact.name in named]


def of(portal: Portal, expressions: Iterable[str], ids: Collection[str]) -> dict[str, Told]:
    """What they say of each of these instances; the id of one that is new is empty."""
    found = read_instance_facts(portal, used(portal, expressions), ids)
    return {one: {name: values[one] for name, values in found.items()} for one in ids}
