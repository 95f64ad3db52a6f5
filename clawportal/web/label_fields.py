"""Labels in forms: pairs of fields, as the macro `labels_field` shows them. A pair that is empty says nothing."""

from __future__ import annotations

from collections.abc import Sequence

from werkzeug.datastructures import MultiDict

from clawportal.errors import FieldError
from clawportal.messages import joined
from clawportal.web.words import gettext as _

Pairs = list[tuple[str, str]]


def read(form: MultiDict[str, str]) -> tuple[Pairs, str] | None:
    """What was typed, as it stands, and what is wrong with it. None where the form had no such fields."""
    typed = list(zip(form.getlist("labels.name"), form.getlist("labels.value"), strict=False))
    if not typed:
        return None
    pairs = [(name.strip(), value.strip()) for name, value in typed if name.strip() or value.strip()]
    names = [name for name, _value in pairs]
    if "" in names:
        return pairs, _("Give each label a name, such as team=research.")
    if len(set(names)) < len(names):
        return pairs, _("A label can have one value only; you named one twice.")
    return pairs, ""


def note(errors: dict[str, str], found: Sequence[FieldError]) -> list[FieldError]:
    """Put together what was found of single labels, as all of them are one field of the form. Returns the other errors."""
    for error in found:
        if error.path.startswith("labels."):
            name, said = error.path.removeprefix("labels."), error.message
            said = said if f" {name} " in f" {said} " else joined((name, said), ": ")
            before = errors.get("labels", "")
            errors["labels"] = before if said in before else joined(filter(None, (before, said)))
    return [error for error in found if not error.path.startswith("labels.")]
