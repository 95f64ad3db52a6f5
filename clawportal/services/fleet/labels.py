"""Labels of instances: how a selector such as `team=research,!old` finds them, and what a change of them says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, or_

from clawportal.errors import Invalid
from clawportal.messages import _m

MOST_TERMS = 20
_TERM = re.compile(
    r"""\s*(?:
        (?P<absent>!)\s*(?P<gone>[^\s!=(),]+)
      | (?P<name>[^\s!=(),]+)\s*(?:
            (?P<sign>==|!=|=)\s*(?P<value>[^\s!=(),]*)
          | \s(?P<word>in|notin)\s*\((?P<values>[^()]*)\)
        )?
    )\s*(?:,|$)""",
    re.VERBOSE,
)
_RULE = _m(
    "Write labels such as “team=research”, “team!=research”, “team”, “!team” or “team in (research, support)”, "
    "with commas between."
)


@dataclass(frozen=True)
class Term:
    """One part of a selector: a label that is there, or has one of these values; or, negated, is not or has none of them."""

    name: str
    values: tuple[str, ...] = ()
    negated: bool = False

    def on(self, labels: Any) -> ColumnElement[bool]:
        """Condition on a JSON column."""
        value: ColumnElement[Any] = labels[self.name].as_string()
        if not self.values:
            return value.is_(None) if self.negated else value.is_not(None)
        return or_(value.is_(None), value.not_in(self.values)) if self.negated else value.in_(self.values)


def selector(text: str, field: str = "labels") -> tuple[Term, ...]:
    """What a selector says; nothing for an empty text. Invalid, with an example, for what it cannot mean."""
    found: list[Term] = []
    place = 0
    while place < len(text) and text.strip():
        match = _TERM.match(text, place)
        if match is None or len(found) == MOST_TERMS:
            raise Invalid.field(field, _RULE)
        found.append(_term(match, field))
        place = match.end()
    return tuple(found)


def _term(match: re.Match[str], field: str) -> Term:
    if match["absent"]:
        return Term(match["gone"], negated=True)
    if match["sign"]:
        return Term(match["name"], (match["value"],), match["sign"] == "!=")
    if match["word"]:
        values = tuple(value.strip() for value in match["values"].split(",") if value.strip())
        if not values:
            raise Invalid.field(field, _RULE)
        return Term(match["name"], values, match["word"] == "notin")
    return Term(match["name"])


def changed(labels: Mapping[str, str], change: Mapping[str, str | None]) -> dict[str, str]:
    """Labels after a change, in which None removes."""
    left = {name: value for name, value in labels.items() if change.get(name, value) is not None}
    return left | {name: value for name, value in change.items() if value is not None}


def pairs(texts: Sequence[str], field: str) -> dict[str, str]:
    """`team=research` or `team` alone, each a label to set."""
    found = {}
    for text in filter(None, (text.strip() for text in texts)):
        name, _equals, value = text.partition("=")
        if not name.strip():
            raise Invalid.field(field, _m("Give each label a name, such as team=research."))
        found[name.strip()] = value.strip()
    if not found:
        raise Invalid.field(field, _m("Name at least one label, such as team=research."))
    return found
