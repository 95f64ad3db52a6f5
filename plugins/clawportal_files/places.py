"""Names and places for what people make, move or bring back: which names cannot be, and what to do where one is taken."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from clawportal.sdk import _m
from clawportal.sdk.errors import Conflict, FieldError, Invalid
from clawportal.sdk.files import OWN_FOLDER, Exists, Reach, Spot, file_spot, map_errors

Taken = Literal["refuse", "keep-both", "replace"]
"""What to do where something has the name already."""

_LONGEST = 255


def named(path: str, field: str = "path") -> Spot:
    """A file or folder that people name; Invalid at `field` for what none can be called, Conflict for what is the portal's."""
    try:
        place = file_spot(path.rstrip("/"))
    except Invalid as problem:
        raise Invalid(problem.detail, errors=[FieldError(field, one.message, one.code) for one in problem.errors]) from problem
    for part in place.inner.split("/"):
        _good_name(part, field)
    if is_own(place):
        raise Conflict(_m("%(path)s belongs to the portal. What was deleted is in the trash.", path=place.path))
    return place


def _good_name(name: str, field: str) -> None:
    if len(name.encode("utf-8", "surrogatepass")) > _LONGEST:
        raise Invalid.field(field, _m("has a name that is too long: shorten it to %(most)s bytes", most=_LONGEST), "too_long")
    if any(ord(letter) < 32 or ord(letter) == 127 or 0xD800 <= ord(letter) < 0xE000 for letter in name):
        raise Invalid.field(field, _m("has a letter in its name that cannot be written; leave it out"), "unsafe")


def written(text: str) -> str:
    """Text that can be sent: JSON may say halves of letters, which nothing can."""
    return text.encode("utf-8", "replace").decode()


def is_own(place: Spot) -> bool:
    """Whether it lies in the portal's folder, where the trash is."""
    return place.root == "home" and place.inner.split("/")[0] == OWN_FOLDER


def below(place: Spot, other: Spot) -> bool:
    """Whether `place` is `other`, or lies in it."""
    return place.root == other.root and f"{place.inner}/".startswith(f"{other.inner}/")


def names_beside(files: Reach, place: Spot) -> Collection[str]:
    """What there is in the folder of a place; nothing where that is not there yet."""
    with map_errors(files.name, place):
        try:
            return {entry.name for entry in files.runtime.list_files(files.ref, place.root, place.above)}
        except (FileNotFoundError, NotADirectoryError):
            return ()


def free_beside(files: Reach, place: Spot) -> Spot:
    """The place itself, or `name (2).txt` beside it."""
    there = names_beside(files, place)
    name = next(one for one in _variants(place.name) if one not in there)
    return Spot(place.root, f"{place.above}/{name}" if place.above else name)


def _variants(name: str) -> list[str]:
    stem, dot, ending = name.rpartition(".")
    if not stem:
        stem, dot, ending = name, "", ""
    tails = ["", *(f" ({number})" for number in range(2, 10_000))]
    return [f"{_cut(stem, tail + dot + ending)}{tail}{dot}{ending}" for tail in tails]


def _cut(stem: str, rest: str) -> str:
    room = max(1, _LONGEST - len(rest.encode()))
    return stem.encode()[:room].decode(errors="ignore")


def refuse_taken(place: Spot) -> Exists:
    return Exists(_m("%(path)s is there already. Say that it may be replaced, or choose another name.", path=place.path))
