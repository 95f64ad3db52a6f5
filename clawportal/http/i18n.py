"""Which language an answer is in (the person's choice, then the cookie, then what the browser prefers), and the reader's zone."""

from __future__ import annotations

from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flask import Flask, g, request
from flask_babel import Babel, get_locale, get_translations
from markupsafe import Markup

from clawportal.http.security import current_actor

LANGUAGES = {"en": "English", "zh_Hans": "简体中文"}
COOKIE = "clawportal_language"
ZONE_COOKIE = "clawportal_zone"
"""Set by app.js: pages show times in the zone of the browser, so a day that somebody picks there is a day in that zone."""

babel = Babel()


def init_app(app: Flask) -> None:
    app.config.setdefault("BABEL_DEFAULT_LOCALE", "en")
    app.config.setdefault("BABEL_TRANSLATION_DIRECTORIES", str(Path(__file__).resolve().parent.parent / "translations"))
    babel.init_app(app, locale_selector=language)
    # a page has hundreds of words: the catalogue is chosen once for each request and not for each word
    app.jinja_env.install_gettext_callables(  # type: ignore[attr-defined]  # of the extension that Flask-Babel adds
        lambda text: _catalogue().ugettext(text), lambda one, many, num: _catalogue().ungettext(one, many, num), newstyle=True
    )
    app.jinja_env.globals["_"] = Words()
    app.jinja_env.globals["current_language"] = language
    app.jinja_env.globals["languages"] = LANGUAGES


def _catalogue() -> Any:
    if "catalogue" not in g:
        g.catalogue = get_translations()
    return g.catalogue


class Words:
    """What `_` is in templates: as Jinja's own, but a word without a placeholder is looked up once for each language."""

    MOST = 20_000
    """Templates have some thousand sentences; more would be words of others."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Markup]] = {}

    def __call__(self, text: str, **placeholders: Any) -> Markup:
        if placeholders:
            return Markup(_catalogue().ugettext(text)) % placeholders  # noqa: S704 - a sentence of ours; what is put in is escaped
        known = self._of_language()
        word = known.get(text)
        if word is None:
            word = Markup(_catalogue().ugettext(text)) % {}  # noqa: S704 - a sentence of ours
            if len(known) < self.MOST:
                known[text] = word
        return word

    def _of_language(self) -> dict[str, Markup]:
        found: dict[str, Markup] | None = g.get("words")
        if found is None:
            found = g.words = self._known.setdefault(str(get_locale()), {})
        return found


def language() -> str:
    actor = current_actor()
    for wanted in (actor.language if actor else "", request.cookies.get(COOKIE, "")):
        if wanted in LANGUAGES:
            return wanted
    best = request.accept_languages.best_match(["en", "zh-CN", "zh-Hans", "zh"], "en")
    return "zh_Hans" if best.startswith("zh") else "en"


def zone() -> tzinfo:
    """Of the reader; UTC until the browser has told it, and for a name that this machine does not know."""
    name = request.cookies.get(ZONE_COOKIE, "").replace("%2F", "/")
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC
