"""What comes along when addresses and keys are pasted: blanks, quotes, invisible letters, endings that clients add themselves."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import urlsplit

from clawportal import addresses
from clawportal.messages import _m

_INVISIBLE = frozenset("\ufeff\u200b\u200c\u200d\u200e\u200f\u2060\u00ad\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_QUOTES = "\"'`<>«»‹›„“”‚‘’"
_ENDING = re.compile(
    r"/(?:chat/completions|completions|responses|messages|embeddings|models|moderations|rerank|images/generations"
    r"|audio/(?:speech|transcriptions|translations))$",
    re.IGNORECASE,
)
_HOST = re.compile(r"(?:[^\s/?#@\[\]:]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?(?=[/?#]|$)")
_NOT_HTTP = _m("must start with http:// or https:// and name a host")


@dataclass(frozen=True)
class Tidied:
    """A text as it is taken, and a sentence about what was left out; empty where nothing was, or only a slash at the end."""

    text: str
    note: str = ""


# ---- keys


def key(text: str, name: str) -> Tidied:
    """Without what stands around it and can be no part of a key. `name`: as people know the field."""
    found = _stripped(text)
    return Tidied(found, _m("Blanks or invisible letters around %(name)s were left out.", name=name) if found != text else "")


def flaw_in_header(text: str) -> str:
    """What is wrong with a text that an HTTP header has to carry, with the place of the letter; empty where nothing is."""
    for place, letter in enumerate(text, 1):
        if not " " <= letter <= "~":
            return _m(
                "has %(letter)s as letter number %(place)s, which no request can carry; paste it again without that",
                letter=_called(letter),
                place=place,
            )
    return ""


def _called(letter: str) -> str:
    if letter in "\r\n":
        return _m("a line break")
    name = unicodedata.name(letter, "a control character").lower()
    shown = f"“{letter}”, " if letter.isprintable() and letter not in _INVISIBLE else ""
    return f"{shown}{name} (U+{ord(letter):04X})"


def _stripped(text: str) -> str:
    begin, end = 0, len(text)
    while begin < end and _is_around(text[begin]):
        begin += 1
    while end > begin and _is_around(text[end - 1]):
        end -= 1
    return text[begin:end]


def _is_around(letter: str) -> bool:
    return letter.isspace() or letter in _INVISIBLE


# ---- addresses


def address(text: str) -> Tidied:
    """The base address of an API. ValueError says why it is none."""
    found = _stripped(_stripped(text).strip(_QUOTES))
    if not found:
        return Tidied("")
    if any(_is_around(letter) or unicodedata.category(letter) == "Cc" for letter in found):
        raise ValueError(_m("has a blank or an invisible letter inside; copy the address once more"))
    if addresses.carries_credentials(found):
        return Tidied(found)  # refused elsewhere, in words of its own
    scheme, rest = _scheme_of(found)
    host = _HOST.match(rest)
    if not host or not _port_is_right(f"{scheme}://{host[0]}"):
        raise ValueError(_NOT_HTTP)
    path, _, query = rest[host.end() :].partition("#")[0].partition("?")
    shorter, endings = _without_endings(path, host[0])
    tidied = f"{scheme}://{host[0]}{shorter}" + (f"?{query}" if query else "")
    return Tidied(tidied, _note(text.strip(), tidied, endings))


def _note(found: str, tidied: str, endings: str) -> str:
    if endings:
        return _m(
            "The address of the model was taken as %(address)s: a claw adds %(endings)s itself.", address=tidied, endings=endings
        )
    if found.rstrip("/") != tidied:
        return _m("The address of the model was taken as %(address)s.", address=tidied)
    return ""


def _scheme_of(text: str) -> tuple[str, str]:
    scheme, mark, rest = text.partition("://")
    if mark:
        if scheme.lower() not in ("http", "https"):
            raise ValueError(_NOT_HTTP)
        return scheme.lower(), rest
    rest = text.removeprefix("//")
    host = _HOST.match(rest)
    named = host[0] if host else ""
    if not named or rest.lower().startswith(("http:", "https:")) or not ("." in named or ":" in named or named == "localhost"):
        raise ValueError(_NOT_HTTP)
    return ("http" if _is_near(named) else "https"), rest


def _is_near(host: str) -> bool:
    """On this machine or in a private network, where models are mostly served without TLS."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_private
    except ValueError:
        return "." not in name or name.endswith((".local", ".internal", ".lan", ".localhost"))


def _port_is_right(text: str) -> bool:
    try:
        return urlsplit(text).port != 0
    except ValueError:
        return False


def _without_endings(path: str, host: str) -> tuple[str, str]:
    """The path, and what was taken off its end."""
    whole = path = path.rstrip("/")
    first = "/models" if host.lower().endswith(".services.ai.azure.com") else ""  # there it is the beginning
    while (found := _ENDING.search(path)) and path.lower() != first:
        path = path[: found.start()].rstrip("/")
    return path, whole[len(path) :]
