"""Text for people in Python, typed; extraction finds the calls by their names."""

from __future__ import annotations

from typing import Any

import flask_babel


def gettext(text: str, **values: Any) -> str:
    return str(flask_babel.gettext(text, **values))


def ngettext(one: str, many: str, num: int, **values: Any) -> str:
    return str(flask_babel.ngettext(one, many, num, **values))
