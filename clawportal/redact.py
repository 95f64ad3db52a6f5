"""What is secret is not shown: how that is recognised, and what stands in its place.

Four questions have one answer each, for the core and for plugins:

- Which texts are these known values in? `Masker`, for words of claws, places and tools, whose secrets the portal knows.
- Does this text hold what looks like a credential? `text`, for logs and the audit, as a last line of defence.
- Does an address say how somebody signs in? `address` and `document`.
- Does a name say that its value is a secret? `names_secret` of what we named, `may_name_secret` of what others named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from clawportal.messages import mapped

MASK = "********"
"""Stands for a secret, wherever one would be."""
CHANGED = f"{MASK} (changed)"
"""Stands for a secret after a change to another one."""
SHORTEST = 4
"""Letters of a value that is looked for: shorter ones would hide half of every line."""


# ---- values that are known


def forms(values: Iterable[str]) -> list[str]:
    """How secret values may stand in a text, the longest first: in plain, as JSON writes them, and line by line."""
    found: set[str] = set()
    for value in values:
        found |= {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
        found |= {part.strip() for part in value.splitlines()}
    return sorted((form for form in found if len(form) >= SHORTEST), key=lambda form: (-len(form), form))


class Masker:
    """Takes the values of secrets out of texts and messages. Defence only: nobody should have written them at all."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self.values = frozenset(values)
        found = forms(self.values)
        self._pattern = re.compile("|".join(map(re.escape, found))) if found else None

    def __call__(self, text: str) -> str:
        return mapped(text, self._plain)

    def _plain(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if self._pattern else text

    def lines(self, lines: Iterable[str]) -> tuple[str, ...]:
        return tuple(map(self, lines))

    def with_more(self, values: Iterable[str]) -> Masker:
        """Knows the old values too: what was written with them is still shown."""
        return Masker((*self.values, *values))


class ByteMasker:
    """The same in a stream of bytes, with as many asterisks as there were bytes: sizes stay true."""

    def __init__(self, values: Iterable[str]) -> None:
        found = sorted((form.encode() for form in forms(values)), key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, found))) if found else None
        self._longest = max(map(len, found), default=0)

    def __call__(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        pattern, held = self._pattern, b""
        if pattern is None:
            yield from pieces
            return
        for piece in pieces:
            held += piece
            safe = len(held) - self._longest + 1  # a secret that begins before here is there as a whole
            if safe <= 0:
                continue
            done, parts = 0, []
            for found in pattern.finditer(held):
                if found.start() >= safe:
                    break
                parts += [held[done : found.start()], b"*" * len(found[0])]
                done = found.end()
            upto = max(safe, done)
            parts.append(held[done:upto])
            yield b"".join(parts)
            held = held[upto:]
        yield pattern.sub(lambda found: b"*" * len(found[0]), held)


def masked(lines: Iterable[str], values: Iterable[str]) -> tuple[str, ...]:
    """Lines without any of these values."""
    return Masker(values).lines(lines)


# ---- what looks like a credential

_CREDENTIAL = re.compile(
    r"(?i)\b(bearer\s+|clp_|sk-)[A-Za-z0-9._~+/=-]{8,}|((?:password|passwd|token|api_?key|secret)[\"']?\s*[=:]\s*[\"']?)[^\s\"',&]+"
)
_LOGIN = re.compile(r"(?i)(?P<ssh>(?<![a-z0-9+.-])ssh)?(?<=[a-z0-9+.-])://(?P<login>[^/\s?#\"']*)@")
"""Sought from `://` on: beginning with the scheme would look at each letter of a long word once for every letter before it."""
_NAME_ALONE = re.compile(r"(?i)[a-z0-9._-]+")


def text(text: str) -> str:
    """A text or message without what looks like a credential."""
    return mapped(text, _without_credentials)


def _without_credentials(text: str) -> str:
    return _CREDENTIAL.sub(lambda found: (found[2] or found[1] or "") + MASK, address(text))


def address(text: str) -> str:
    """A text in which no address says how somebody signs in. The user of an SSH address is no secret and stays."""
    return _LOGIN.sub(_without_login, text) if "@" in text else text


def _without_login(found: re.Match[str]) -> str:
    if found["ssh"] and _NAME_ALONE.fullmatch(found["login"]):
        return found[0]
    return f"{found['ssh'] or ''}://{MASK}@"


def document(value: Any) -> Any:
    """A stored document as it may be shown: an earlier version let people write credentials into addresses."""
    if isinstance(value, str):
        return address(value)
    if isinstance(value, Mapping):
        return {name: document(item) for name, item in value.items()}
    return [document(item) for item in value] if isinstance(value, list | tuple) else value


# ---- names

_SECRET_NAME = re.compile(
    r"(?i)(^|[_.\- ])(pass(word|wd|phrase)?|secret|token|api_?key|private_?key|credentials?|authorization|hash|sealed)$"
)
_PERHAPS = re.compile(r"(?i)key|token|secret|pass|credential|auth|cookie|dsn")


def names_secret(name: str) -> bool:
    """Whether the end of a name of ours says that its value is a secret: `gateway_token`, not `token_limit`."""
    return bool(_SECRET_NAME.search(name))


def may_name_secret(name: str) -> bool:
    """Whether something in a name that others gave may mean a secret; where it does not, its value was hidden for nothing."""
    return bool(_PERHAPS.search(name))


def named(values: Mapping[str, str]) -> dict[str, str]:
    """Names and values that others gave, such as an environment, without what may be secret."""
    return {name: MASK if value and may_name_secret(name) else address(value) for name, value in values.items()}


def command(words: Iterable[str]) -> list[str]:
    """A command that others gave without the secrets in it: `--token=x`, `--token x` and `TOKEN=x`."""
    told: list[str] = []
    last = ""
    for word in words:
        name, equals, value = word.partition("=")
        if equals and value and may_name_secret(name):
            told.append(f"{name}={MASK}")
        elif last.startswith("-") and "=" not in last and may_name_secret(last) and not word.startswith("-"):
            told.append(MASK)
        else:
            told.append(address(word))
        last = word
    return told
