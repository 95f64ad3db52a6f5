"""Sentences on pages: typed `gettext` for those of the pages themselves, and reasons as people read them.

What services and plugins said is a `Message`; `http.i18n.translate` shows it in the reader's language.
"""

from __future__ import annotations

import re
from typing import Any

import flask_babel

from clawportal.http.i18n import translate_label

_WORDS_OF_REASON = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]+)+")


def gettext(text: str, **values: Any) -> str:
    return str(flask_babel.gettext(text, **values))


def ngettext(one: str, many: str, num: int, **values: Any) -> str:
    return str(flask_babel.ngettext(one, many, num, **values))


def reason(text: str) -> str:
    """A reason, which is one word for programs, as people read it: "Config refused"."""
    known = translate_label(text)
    if not _WORDS_OF_REASON.fullmatch(known):
        return known
    first, *rest = re.findall(r"[A-Z][a-z]+", known)
    return " ".join([first, *map(str.lower, rest)])
