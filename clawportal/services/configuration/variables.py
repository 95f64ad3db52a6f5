"""The variables of a template: what is asked, what may be entered, and what holds where nothing is entered."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from clawportal import validation
from clawportal.contracts.specs import Strict
from clawportal.errors import FieldError
from clawportal.messages import _m
from clawportal.services.configuration.placeholders import LONGEST, TooLong, filled_in, names_in, number_text, too_long

MOST_VARIABLES, MOST_ENTRIES = 100, 1_000
"""Variables of a template, and entries of a list."""
_NAME = re.compile(r"^[a-z][a-z0-9_]{0,39}$")

Kind = Literal["string", "number", "boolean", "choice", "list", "secret"]
Whom = Literal["everybody", "writers"]


class Variable(Strict):
    """Something that is asked when an instance is made of a template."""

    name: str = Field(max_length=40, description=_m("Small letters, digits and underscores. The body writes `${name}`."))
    type: Kind = "string"
    title: str = Field("", max_length=200, description=_m("What the form calls it; empty: the name."))
    description: str = Field("", max_length=1000)
    default: Any = Field(
        None, description=_m("Taken where nothing is entered. A text may name other variables. Secrets have none.")
    )
    required: bool = False
    choices: list[str] = Field(default_factory=list, max_length=100, description=_m("What can be chosen, of the type `choice`."))
    pattern: str = Field(
        "", max_length=500, description=_m("A regular expression that a text, or each entry of a list, has to match.")
    )
    minimum: float | None = Field(
        None, allow_inf_nan=False, description=_m("Of a number; of a text its letters, of a list its entries.")
    )
    maximum: float | None = Field(None, allow_inf_nan=False, description=_m("As `minimum`."))
    seen_by: Whom = Field("everybody", description=_m("`writers`: the form shows it only to who may write templates."))
    set_by: Whom = Field(
        "everybody", description=_m("`writers`: only who may write templates enters a value; for others the default holds.")
    )

    @property
    def called(self) -> str:
        return self.title or self.name

    @property
    def secret(self) -> bool:
        return self.type == "secret"


# ---- declaring them


def declared(documents: Any) -> tuple[list[Variable], list[FieldError]]:
    """The variables of a template, or everything that is wrong with them by `variables.NUMBER.FIELD`."""
    if not isinstance(documents, Sequence) or isinstance(documents, str):
        return [], [FieldError("variables", _m("must be a list"))]
    if len(documents) > MOST_VARIABLES:
        return [], [FieldError("variables", _m("may have %(most)s entries at most", most=MOST_VARIABLES))]
    found, errors = list[Variable](), list[FieldError]()
    for place, document in enumerate(documents):
        path = f"variables.{place}"
        variable, flaws = validation.judge(Variable, document, path)
        errors += flaws
        if variable is not None:
            errors += _flaws(path, variable, {other.name for other in found})
            found.append(variable)
    return found, errors


def _flaws(path: str, variable: Variable, taken: Collection[str]) -> Iterator[FieldError]:
    if not _NAME.fullmatch(variable.name):
        words = _m("must be small letters, digits and underscores, with a letter first, such as team_name")
        yield FieldError(f"{path}.name", words)
    if variable.name in taken:
        yield FieldError(f"{path}.name", _m("There are two variables of this name."), "taken")
    if (variable.type == "choice") != bool(variable.choices):
        yield FieldError(f"{path}.choices", _m("A variable of the type choice needs choices, and no other has any."))
    if variable.pattern and (flaw := _pattern_flaw(variable.pattern)):
        yield FieldError(f"{path}.pattern", flaw)
    elif flaw := _default_flaw(variable):
        yield FieldError(f"{path}.default", flaw, "secret" if variable.secret else "invalid")
    yield from _audience_flaws(path, variable)


def _default_flaw(variable: Variable) -> str:
    if variable.default is None:
        return ""
    if variable.secret:
        return _m("A secret has no default: everybody who reads the template would see it.")
    return "" if names_in(variable.default) else value_of(variable, variable.default)[1]


def _audience_flaws(path: str, variable: Variable) -> Iterator[FieldError]:
    if variable.set_by == "everybody" and variable.seen_by == "writers":
        yield FieldError(f"{path}.seen_by", _m("Whoever may enter a value has to see it: narrow both, or only who sets it."))
    if variable.required and variable.set_by == "writers" and variable.default is None:
        yield FieldError(f"{path}.default", _m("Others cannot enter a value, so it needs a default."), "missing")


def _pattern_flaw(pattern: str) -> str:
    try:
        _pattern(pattern)
    except (SchemaError, ValueError) as error:
        return _m("is not a regular expression: %(error)s", error=str(error).strip().splitlines()[-1].strip())
    return ""


@functools.lru_cache(maxsize=256)
def _pattern(pattern: str) -> TypeAdapter[str]:
    """Its engine looks at each letter once: people write these."""
    return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])


# ---- one value


def value_of(variable: Variable, given: Any) -> tuple[Any, str]:
    """What somebody entered, and what is wrong with it."""
    return given, _JUDGES.get(variable.type, _text_flaw)(variable, given)


def _boolean_flaw(variable: Variable, given: Any) -> str:
    return "" if isinstance(given, bool) else _m("must be true or false")


def _number_flaw(variable: Variable, given: Any) -> str:
    if isinstance(given, bool) or not isinstance(given, int | float):
        return _m("must be a number")
    return _unstorable(given) or _bounds(variable, given)


def too_large(value: Any) -> bool:
    """Whether it is a whole number beyond 64 bits: no database and few readers of JSON keep one."""
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def _unstorable(number: float) -> str:
    if too_large(number):
        return _m("is a number that is too large")
    return "" if math.isfinite(number) else _m("must be a number that is not infinite")


def _list_flaw(variable: Variable, given: Any) -> str:
    if not isinstance(given, list) or not all(isinstance(item, str | int | float) for item in given):
        return _m("must be a list of texts, numbers, or true and false")
    if len(given) > MOST_ENTRIES:
        return _m("may have %(most)s entries at most", most=f"{MOST_ENTRIES:,}")
    if sum(len(item) for item in given if isinstance(item, str)) > LONGEST:
        return too_long()
    if flaw := next((flaw for item in given if not isinstance(item, str) and (flaw := _unstorable(item))), ""):
        return flaw
    flaws = (_matches(variable, item) for item in given if isinstance(item, str))
    return _bounds(variable, len(given)) or next((flaw for flaw in flaws if flaw), "")


def _choice_flaw(variable: Variable, given: Any) -> str:
    return "" if given in variable.choices else _m("must be one of %(join)s", join=[*variable.choices])


def _text_flaw(variable: Variable, given: Any) -> str:
    if not isinstance(given, str):
        return _m("must be a text")
    if len(given) > LONGEST:
        return too_long()
    return _bounds(variable, len(given)) or _matches(variable, given)


_JUDGES: dict[str, Callable[[Variable, Any], str]] = {
    "boolean": _boolean_flaw, "number": _number_flaw, "list": _list_flaw, "choice": _choice_flaw,
}  # fmt: skip


def _bounds(variable: Variable, number: float) -> str:
    what = {"number": _m("The number"), "list": _m("The number of entries")}.get(variable.type, _m("The number of letters"))
    if variable.minimum is not None and number < variable.minimum:
        return _m("%(what)s must be %(limit)s or more.", what=what, limit=number_text(variable.minimum))
    if variable.maximum is not None and number > variable.maximum:
        return _m("%(what)s must be %(limit)s or less.", what=what, limit=number_text(variable.maximum))
    return ""


def _matches(variable: Variable, given: str) -> str:
    if not variable.pattern:
        return ""
    try:
        _pattern(variable.pattern).validate_python(given)
    except ValidationError:
        return _m("does not have the form that is asked for here (%(pattern)s)", pattern=variable.pattern)
    return ""


def from_text(variable: Variable, text: str) -> Any:
    """What a form or a terminal sends, with the type of the variable where it can be read so."""
    if variable.type == "boolean":
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    if variable.type == "list":
        return [line.strip() for line in text.splitlines() if line.strip()]
    if variable.type != "number":
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


# ---- all values


def values(
    variables: Sequence[Variable], given: Mapping[str, Any], kept: Collection[str] = ()
) -> tuple[dict[str, Any], list[FieldError]]:
    """The value of each variable, as given or by its default; what has none is absent. Errors name `variables.NAME`.

    `kept`: secrets that are stored already, and need not be entered.
    """
    known = {variable.name: variable for variable in variables}
    given = {name: value for name, value in given.items() if value is not None and value != ""}
    errors = [
        FieldError(f"variables.{name}", _m("is no variable of this template. Known: %(join)s.", join=[*known]), "unknown")
        for name in given
        if name not in known
    ]
    found = {name: value for name, value in given.items() if name in known}
    for name, value in found.items():
        if flaw := value_of(known[name], value)[1]:
            errors.append(FieldError(f"variables.{name}", flaw))
    defaults = _Defaults(known, found)
    for name in known:
        defaults.value(name, ())
    errors += defaults.errors
    wrong = {error.path for error in errors}
    return found, errors + [
        FieldError(f"variables.{name}", _m("%(called)s is needed.", called=variable.called), "missing")
        for name, variable in known.items()
        if variable.required and name not in found and name not in kept and f"variables.{name}" not in wrong
    ]


class _Defaults:
    """Defaults that may name other variables, each worked out once."""

    def __init__(self, known: Mapping[str, Variable], found: dict[str, Any]) -> None:
        self._known, self._found, self._done = known, found, set(found)
        self.errors: list[FieldError] = []

    def value(self, name: str, way: tuple[str, ...]) -> Any:
        if name in way:
            circle = (*way[way.index(name) :], name)
            return self._tell(name, _m("The defaults go round in a circle: %(way)s.", way=" → ".join(circle)), "loop")
        if name not in self._done:
            default = self._known[name].default
            value = self._filled(name, default, (*way, name)) if names_in(default) else default
            self._done.add(name)
            if value is not None:
                self._keep(name, value)
        return self._found.get(name)

    def _keep(self, name: str, value: Any) -> None:
        if flaw := value_of(self._known[name], value)[1]:
            self._tell(name, flaw)
        else:
            self._found[name] = value

    def _filled(self, name: str, default: Any, way: tuple[str, ...]) -> Any:
        if isinstance(default, list):
            return [self._filled(name, item, way) for item in default]
        wanted = names_in(default)
        if unknown := [one for one in wanted if one not in self._known]:
            words = _m("Its default names %(join)s, which is no variable of this template.", join=unknown)
            return self._tell(name, words, "unknown_variable")
        if secret := [one for one in wanted if self._known[one].secret]:
            words = _m("Its default names the secret %(join)s, which would be shown with it.", join=secret)
            return self._tell(name, words, "secret_printed")
        inside = {one: self.value(one, way) for one in wanted}
        try:
            return filled_in(default, inside) if wanted else default
        except TooLong:
            return self._tell(name, too_long())

    def _tell(self, name: str, words: str, code: str = "invalid") -> None:
        error = FieldError(f"variables.{name}", words, code)
        if error not in self.errors:
            self.errors.append(error)
