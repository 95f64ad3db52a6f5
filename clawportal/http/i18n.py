"""Which language an answer is in: the person's choice, then the cookie, then what the browser prefers."""

from __future__ import annotations

from pathlib import Path

from flask import Flask, request
from flask_babel import Babel

from clawportal.http.security import current_actor

LANGUAGES = {"en": "English", "zh_Hans": "简体中文"}
COOKIE = "clawportal_language"

babel = Babel()


def init_app(app: Flask) -> None:
    app.config.setdefault("BABEL_DEFAULT_LOCALE", "en")
    app.config.setdefault("BABEL_TRANSLATION_DIRECTORIES", str(Path(__file__).resolve().parent.parent / "translations"))
    babel.init_app(app, locale_selector=language)
    app.jinja_env.globals["current_language"] = language
    app.jinja_env.globals["languages"] = LANGUAGES


def language() -> str:
    actor = current_actor()
    for wanted in (actor.language if actor else "", request.cookies.get(COOKIE, "")):
        if wanted in LANGUAGES:
            return wanted
    best = request.accept_languages.best_match(["en", "zh-CN", "zh-Hans", "zh"], "en")
    return "zh_Hans" if best.startswith("zh") else "en"
