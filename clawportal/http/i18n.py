"""The reader's language (own choice, then the cookie, then what the browser prefers; of programs, the header alone) and zone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, tzinfo
from typing import Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flask import Flask, current_app, g, has_request_context, request
from flask_babel import Babel, get_locale, get_translations
from markupsafe import Markup

from clawportal import catalogues
from clawportal.catalogues import Catalogues
from clawportal.contracts.permissions import Actor
from clawportal.http.security import current_actor
from clawportal.messages import BETWEEN, _m
from clawportal.pluginmanager import Registry

LANGUAGES = {"en": "English", "zh_Hans": "简体中文"}
COOKIE = "clawportal_language"
ZONE_COOKIE = "clawportal_zone"
"""Set by app.js: pages show times in the zone of the browser, so a day that somebody picks there is a day in that zone."""

babel = Babel()


def init_app(app: Flask, registry: Registry) -> None:
    found = registry.catalogues
    app.extensions["clawportal_catalogues"] = found
    app.config.setdefault("BABEL_DEFAULT_LOCALE", "en")
    app.config.setdefault("BABEL_TRANSLATION_DIRECTORIES", ";".join(map(str, reversed(found.folders))))
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
    """Of whoever gets the answer of the present request; English outside of one. Within one it changes only with who asks."""
    if not has_request_context():
        return catalogues.SOURCE_LANGUAGE
    if request.path.startswith("/api/"):
        return _of_program()
    actor = current_actor()
    kept: tuple[Actor | None, str] | None = g.get("language")
    if kept is None or kept[0] is not actor:
        kept = g.language = actor, _language(actor)
    return kept[1]


def _language(actor: Actor | None) -> str:
    for wanted in (actor.language if actor else "", request.cookies.get(COOKIE, "")):
        if wanted in LANGUAGES:
            return wanted
    return _preferred()


def _of_program() -> str:
    """Scripts of our pages send the session, and get the language of the page. Whoever asks is not looked up for this."""
    if "Authorization" not in request.headers:
        for wanted in (getattr(g.get("actor"), "language", ""), request.cookies.get(COOKIE, "")):
            if wanted in LANGUAGES:
                return wanted
    return _preferred()


def _preferred() -> str:
    best = request.accept_languages.best_match(["en", "zh-CN", "zh-Hans", "zh"], "en")
    return "zh_Hans" if best.startswith("zh") else "en"


def _catalogues() -> Catalogues:
    return cast(Catalogues, current_app.extensions["clawportal_catalogues"])


def translate(text: str) -> str:
    """A message in the language of the reader. Plain text is what somebody said or named, and stays."""
    wanted = language()
    return text if wanted == catalogues.SOURCE_LANGUAGE else _catalogues().text(text, wanted)


def translate_label(text: str) -> str:
    """A text of our code that came as a plain one, such as the title of a field in a JSON Schema, in the reader's language."""
    wanted = language()
    if wanted == catalogues.SOURCE_LANGUAGE or isinstance(text, Markup):  # what a template translated already
        return text
    return _catalogues().label(text, wanted)


OWN_TITLES = frozenset({_m("My organisation"), _m("Default project"), _m("This machine")})
"""Titles that the portal itself gave; they are stored as plain text, since anybody may change them."""


def title_of(text: str) -> str:
    """A title as people gave it; one that the portal gave, in the reader's language."""
    return translate_label(text) if text in OWN_TITLES else text


def listed(items: Iterable[object]) -> str:
    """With the commas of the reader's language."""
    return translate(BETWEEN).join(title_of(str(item)) for item in items)


def localised(value: Any) -> Any:
    """A document with the messages in it as texts in the language of the reader."""
    wanted = language()
    return value if wanted == catalogues.SOURCE_LANGUAGE else catalogues.translated(value, _catalogues(), wanted)


def zone() -> tzinfo:
    """Of the reader; UTC until the browser has told it, and for a name that this machine does not know."""
    name = request.cookies.get(ZONE_COOKIE, "").replace("%2F", "/")
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC
