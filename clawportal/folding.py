"""One rule by which names are the same: for accounts, for signing in, and for searching, on every database.

Databases fold differently, and SQLite only ASCII; so what is compared is made here, and stored beside the name.
"""

from __future__ import annotations

import re
import unicodedata

_ALIKE = "авсеһіїјкӏморԛѕтуѵԝхԁԍёүҽոαβεηικνορστυχγωϲϳμօսհցզԏıɑɡⅼŀʟƅḷ"
_LIKE_ = "abcehiijklmopqstyvwxdgeyenabenikvopotuxywcjuouhgqtiaglllbl"
_LATIN = dict(zip(_ALIKE, _LIKE_, strict=True)) | {"ӕ": "ae", "œ": "oe", "æ": "ae"}
"""Cyrillic, Greek, Armenian, Cherokee and unusual Latin letters (folded) that look like another: which one."""
_TOGETHER = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "LATIN"})
"""Scripts that stand in one word in the languages that use them."""
_WORD = re.compile(r"[^\W\d_]+")
_MARKS = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0]"
)
_JOINERS = frozenset("\u200c\u200d")
"""Words of some languages, and some pictures, are written with them."""


def fold(text: str) -> str:
    """Without case, width and invisible letters: `Straße`, `STRASSE` and `ｓｔｒａｓｓｅ` are the same."""
    known = unicodedata.normalize("NFKC", text).casefold()
    return _MARKS.sub("", unicodedata.normalize("NFKC", known)).strip()


def skeleton(text: str) -> str:
    """As `fold`, and letters that look like Latin ones are those: `аdmin` with a Cyrillic а is `admin`."""
    return "".join(_LATIN.get(letter, letter) for letter in fold(text))


def mixed(text: str) -> str:
    """A word in which letters of several alphabets stand that no language writes together; empty for none."""
    return next((word for word in _WORD.findall(text) if not _one_script({_script(letter) for letter in word})), "")


def _one_script(scripts: set[str]) -> bool:
    scripts.discard("")
    return len(scripts) <= 1 or scripts <= _TOGETHER


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "")
    first = name.split(" ")[0]
    return "" if first in ("MODIFIER", "COMBINING", "FEMININE", "MASCULINE", "MICRO") else first


def invisible(text: str) -> str:
    """The first letter that cannot be seen, or that turns the order of others round; empty for none. Line ends are such too."""
    return next((letter for letter in text if letter not in _JOINERS and _hidden(letter)), "")


def _hidden(letter: str) -> bool:
    return bool(_MARKS.match(letter)) or unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")


def searched(*texts: str) -> str:
    """What a search looks into."""
    return "\n".join(fold(text) for text in texts if text)
