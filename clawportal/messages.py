"""A sentence for people as data: an English text with named gaps, and what fills them.

Services and plugins know no language. They make a `Message`, which is its own English text for everything that treats it as text;
id and parameters travel with it into exceptions and rows, and whoever shows it looks the id up in a catalogue.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Union

Parameter = Union[str, int, float, bool, None, "Message", list["Parameter"]]
Lookup = Callable[["Message"], str]
"""The text of a message in some language, its gaps still open."""

_GAP = re.compile(r"%\((\w+)\)s")
_MARK = "\x1e"
"""Between the text and the document of a stored message. In plain text it is replaced, so that nothing said can look like one."""
_COUNT = "n"


class Message(str):
    """An English sentence that knows how it was made. Slices and joins of it are plain text."""

    id: str
    """The sentence with gaps: `%(name)s was created.` What a catalogue is asked for."""
    plural: str
    """The form for many, where the parameter `n` decides; empty where it does not matter."""
    parameters: Mapping[str, Parameter]
    """What fills the gaps. Text of a person, claw or cluster stays as it is; a message in it is translated with it. A list is
    told with the commas of the reader's language."""

    __slots__ = ("id", "parameters", "plural")

    def __new__(cls, id: str, parameters: Mapping[str, object] | None = None, plural: str = "") -> Message:
        values = {name: _parameter(value) for name, value in (parameters or {}).items()}
        form = plural if plural and values.get(_COUNT) != 1 else id
        made = super().__new__(cls, _filled(form, values, str))
        made.id, made.plural, made.parameters = id, plural, values
        return made

    def __str__(self) -> str:
        """Itself: an exception that carries a message gives it back as its text."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Message, (self.id, dict(self.parameters), self.plural)

    def text(self, lookup: Lookup) -> str:
        """In the language of `lookup`; the messages in it too."""

        def show(value: Parameter) -> str:
            return value.text(lookup) if isinstance(value, Message) else str(value)

        return _filled(lookup(self), self.parameters, show)

    def mapped(self, change: Callable[[str], str]) -> str:
        """The message with each text that fills a gap changed, such as without secrets.

        Where `change` still finds something in the whole, that wins and the answer is plain text.
        """
        made = Message(self.id, {name: _mapped(value, change) for name, value in self.parameters.items()}, self.plural)
        whole = change(str.__str__(made))
        return made if whole == made else whole

    def document(self) -> dict[str, Any]:
        """As JSON: `id`, `parameters`, and `plural` where there is one."""
        found: dict[str, Any] = {"id": self.id, "parameters": {name: as_json(value) for name, value in self.parameters.items()}}
        return found | {"plural": self.plural} if self.plural else found


def _m(id: str, /, **parameters: object) -> str:
    """A `Message`: `_m("%(name)s was created.", name=row.name)`. The id stands in the call, so that it is found for translation.

    Told to type checkers as the text that it is, so that it fits wherever text does.
    """
    return _checked(Message(id, parameters))


def _mn(one: str, many: str, n: int, /, **parameters: object) -> str:
    """A message about `n` things: `_mn("%(n)s file", "%(n)s files", len(files))`."""
    return _checked(Message(one, {**parameters, _COUNT: n}, many))


def _n(text: str, /) -> str:
    """A word for programs that people read as well, such as a reason: stored as it is, looked up where it is shown."""
    return text


def _checked(message: Message) -> Message:
    """What was forgotten shows where it was forgotten."""
    left = {*_GAP.findall(message.id), *_GAP.findall(message.plural)} - message.parameters.keys()
    if left:
        raise TypeError(f"the message {message.id!r} misses {', '.join(sorted(left))}")
    return message


def _parameter(value: object) -> Parameter:
    if value is None or isinstance(value, Message | bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_parameter(item) for item in value]
    text = str(value)
    return text if isinstance(text, Message) else str.__str__(text)


def _filled(form: str, values: Mapping[str, Parameter], show: Callable[[Any], str]) -> str:
    """In one pass, so that what fills a gap is never taken for one. An unknown gap stays."""

    def gap(found: re.Match[str]) -> str:
        value = values.get(found[1], found[0])
        return show(BETWEEN).join(map(show, value)) if isinstance(value, list) else show(value)

    return _GAP.sub(gap, form)


BETWEEN = _m(", ")
"""Between the items of a list that fills a gap; other languages have another comma."""


def _mapped(value: Parameter, change: Callable[[str], str]) -> Parameter:
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    return mapped(value, change) if isinstance(value, str) else value


def mapped(text: str, change: Callable[[str], str]) -> str:
    """`change` of a text; of a message, of what fills its gaps."""
    return text.mapped(change) if isinstance(text, Message) else change(text)


def joined(parts: Iterable[object], separator: str = " ") -> str:
    """Several sentences or words as one message, each in its own right."""
    values = {f"p{place}": part for place, part in enumerate(parts)}
    return Message(separator.join(f"%({name})s" for name in values), values)


def clipped(text: str, most: int, end: str = "") -> str:
    """At most so many characters. A message that fits stays one."""
    return text if len(text) <= most else text[:most] + end


# ---- as it is stored


def as_json(value: Any) -> Any:
    """Data with messages in it as plain JSON: each becomes its document."""
    if isinstance(value, Message):
        return value.document()
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, list | tuple) else value


def from_json(value: Any) -> Any:
    """The other way round."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    values = {key: from_json(item) for key, item in value.items()}
    if isinstance(value.get("id"), str) and isinstance(value.get("parameters"), dict) and value.keys() <= _MEMBERS:
        return Message(value["id"], values["parameters"], str(value.get("plural", "")))
    return values


_MEMBERS = {"id", "parameters", "plural"}


def packed(text: str) -> str:
    """A text for a column: a message has its document behind it."""
    plain = str.__str__(text).replace(_MARK, " ")
    if not isinstance(text, Message):
        return plain
    return plain + _MARK + json.dumps(text.document(), ensure_ascii=False, separators=(",", ":"))


def unpacked(stored: str) -> str:
    """The other way round; plain text is plain text."""
    text, mark, document = stored.partition(_MARK)
    if not mark:
        return stored
    found = from_json(json.loads(document))
    return found if isinstance(found, Message) else text
