"""Two documents side by side: what was added, taken away and changed by path, and as a unified diff of their text.

Secrets never stand in what is compared here; what looks like a credential in an address is masked all the same.
"""

from __future__ import annotations

import bisect
import difflib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clawportal import redact

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
_SMALL = 200
"""Lines that are compared each with each; longer stretches without a line in common are told as replaced."""
Opcode = tuple[str, int, int, int, int]


@dataclass(frozen=True)
class Change:
    """One value that differs."""

    path: str
    kind: str
    before: Any = None
    after: Any = None


@dataclass(frozen=True)
class Diff:
    unified: str
    changes: tuple[Change, ...]


def compare(before: Any, after: Any, names: tuple[str, str]) -> Diff:
    """Of two documents as JSON has them. `names`: what the diff calls them."""
    old, new = redact.document(before), redact.document(after)
    return Diff("\n".join(unified(lines_of(old), lines_of(new), names)), tuple(changes(old, new)))


def lines_of(document: Any) -> list[str]:
    return json.dumps(document, indent=2, ensure_ascii=False).splitlines()


# ---- by path


def changes(old: Any, new: Any, path: str = "") -> Iterator[Change]:
    """In the order of the paths; lists are compared place by place."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = [*old, *(name for name in new if name not in old)]
        for name in names:
            yield from _one(old.get(name, _NONE), new.get(name, _NONE), f"{path}.{name}" if path else str(name))
    elif isinstance(old, list) and isinstance(new, list):
        for place, (one, other) in enumerate(itertools.zip_longest(old, new, fillvalue=_NONE)):
            yield from _one(one, other, f"{path}.{place}" if path else str(place))
    elif not same(old, new):
        yield Change(path, CHANGED, old, new)


_NONE = object()


def _one(old: Any, new: Any, path: str) -> Iterator[Change]:
    if old is _NONE:
        yield Change(path, ADDED, after=new)
    elif new is _NONE:
        yield Change(path, REMOVED, before=old)
    else:
        yield from changes(old, new, path)


def same(old: Any, new: Any) -> bool:
    """As JSON sees it: True is not 1."""
    return type(old) is type(new) and bool(old == new) if isinstance(old, bool) or isinstance(new, bool) else bool(old == new)


# ---- as text


def unified(old: Sequence[str], new: Sequence[str], names: tuple[str, str], context: int = 3) -> Iterator[str]:
    """Lines of a unified diff; none where both are the same."""
    codes = [] if old == new else opcodes(old, new)
    for number, group in enumerate(_grouped(codes, context)):
        if number == 0:
            yield from (f"--- {names[0]}", f"+++ {names[1]}")
        first, last = group[0], group[-1]
        yield f"@@ -{_span(first[1], last[2])} +{_span(first[3], last[4])} @@"
        for tag, a, b, c, d in group:
            if tag == "equal":
                yield from (f" {line}" for line in old[a:b])
            else:
                yield from (f"-{line}" for line in old[a:b])
                yield from (f"+{line}" for line in new[c:d])


def _span(begin: int, end: int) -> str:
    return f"{begin + (end > begin)},{end - begin}"


def opcodes(old: Sequence[str], new: Sequence[str]) -> list[Opcode]:
    """As `difflib.SequenceMatcher` tells them, in time that grows with the number of lines and not with its square."""
    found: list[Opcode] = []
    for a, b, c, d in _stretches(old, new):
        for tag, i, j, k, m in _between(old[a:b], new[c:d]):
            found.append((tag, a + i, a + j, c + k, c + m))
    return [*_joined(found)]


def _stretches(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """Both cut at the lines that stand once in each and in the same order."""
    a = c = 0
    for i, k in [*_anchors(old, new), (len(old), len(new))]:
        yield a, i, c, k
        if i < len(old):
            yield i, i + 1, k, k + 1
        a, c = i + 1, k + 1


def _anchors(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    once = {line for line, number in Counter(old).items() if number == 1}
    places = {line: place for place, line in enumerate(new) if line in once}
    single = {line for line, number in Counter(new).items() if number == 1}
    pairs = [(i, places[line]) for i, line in enumerate(old) if line in places and line in single]
    return _longest_rising(pairs)


def _longest_rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest part in which the second number rises, too."""
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for number, (_i, k) in enumerate(pairs):
        place = bisect.bisect_left(tails, k)
        before.append(ends[place - 1] if place else -1)
        if place == len(tails):
            tails.append(k)
            ends.append(number)
        else:
            tails[place], ends[place] = k, number
    found, number = [], ends[-1] if ends else -1
    while number >= 0:
        found.append(pairs[number])
        number = before[number]
    return found[::-1]


def _between(old: Sequence[str], new: Sequence[str]) -> Iterator[Opcode]:
    start = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    rest = min(len(old), len(new)) - start
    tail = zip(reversed(old), reversed(new), strict=False)
    end = next((n for n, (a, b) in enumerate(tail) if n >= rest or a != b), rest)
    if start:
        yield "equal", 0, start, 0, start
    a, b, c, d = start, len(old) - end, start, len(new) - end
    if b - a <= _SMALL and d - c <= _SMALL:
        matcher = difflib.SequenceMatcher(None, old[a:b], new[c:d], autojunk=False)
        yield from ((tag, a + i, a + j, c + k, c + m) for tag, i, j, k, m in matcher.get_opcodes())
    elif a < b or c < d:
        yield "replace", a, b, c, d
    if end:
        yield "equal", b, len(old), d, len(new)


def _joined(found: Sequence[Opcode]) -> Iterator[Opcode]:
    """Neighbours of one kind as one; a deletion beside an insertion is a replacement."""
    last: Opcode | None = None
    for tag, a, b, c, d in found:
        kind = "equal" if tag == "equal" else "replace"
        if last is not None and last[0] == kind:
            last = (kind, last[1], b, last[3], d)
            continue
        if last is not None:
            yield last
        last = (kind, a, b, c, d)
    if last is not None:
        yield last


def _grouped(codes: Sequence[Opcode], context: int) -> Iterator[list[Opcode]]:
    """Changes with their surroundings; what is far from any change is left out."""
    group: list[Opcode] = []
    for number, (tag, a, b, c, d) in enumerate(codes):
        if tag != "equal":
            group.append((tag, a, b, c, d))
            continue
        head, tail = (0 if number == 0 else context), (0 if number == len(codes) - 1 else context)
        if b - a <= head + tail:
            group.append((tag, a, b, c, d))
            continue
        if head:
            yield [*group, (tag, a, a + head, c, c + head)]
        group = [(tag, b - tail, b, d - tail, d)] if tail else []
    if any(code[0] != "equal" for code in group):
        yield group
