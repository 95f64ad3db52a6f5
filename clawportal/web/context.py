"""What every template can count on, without that a page which does not show it pays for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from flask import Blueprint, current_app, g, has_request_context, request, url_for
from flask_babel import get_locale
from jinja2 import Template
from markupsafe import Markup
from werkzeug.local import LocalProxy

from clawportal import __version__
from clawportal.contracts.core_permissions import PORTAL_ADMIN
from clawportal.contracts.permissions import Actor
from clawportal.http.i18n import LANGUAGES, language, listed, title_of, translate, translate_label
from clawportal.http.security import current_actor, portal
from clawportal.services.system import proxy_notice
from clawportal.web import menu, words
from clawportal.web.menu import Menu
from clawportal.web.rows import Where

log = logging.getLogger(__name__)

THEMES = ("light", "dark", "auto")
THEME_COOKIE = "clawportal_theme"


def init(blueprint: Blueprint) -> None:
    parts: dict[str, Callable[..., Any]] = {
        "translate": translate,
        "title_of": title_of,
        "listed": listed,
        "translate_label": translate_label,
        "reason_words": words.reason,
        "url_for": address,
        "once": once,
        "kept": kept,
        "cards": menu.cards,
        "tenant_tabs": menu.tenant_tabs,
        "menu_tabs": menu.menu_tabs,
    }
    for name, value in parts.items():
        blueprint.add_app_template_global(value, name)
    blueprint.app_context_processor(_context)


_ADDRESSES: dict[tuple[str, str], str] = {}


def address(endpoint: str, **values: Any) -> str:
    """`url_for`, which is asked for each link of each page; most of them are the same for everybody."""
    if values or not has_request_context():
        return url_for(endpoint, **values)
    key = endpoint, request.script_root
    if key not in _ADDRESSES:
        if len(_ADDRESSES) > 5000:  # a proxy may name any prefix
            _ADDRESSES.clear()
        _ADDRESSES[key] = url_for(endpoint)
    return _ADDRESSES[key]


def once(make: Callable[..., Any]) -> Callable[..., Any]:
    """A macro whose answer for equal keys is made once: `{% set state = once(ui.state) %}`, then `state(i, i.phase)`."""
    kept: dict[tuple[Any, ...], Any] = {}

    def answer(argument: Any, *key: Any) -> Any:
        if key not in kept:
            kept[key] = make(argument)
        return kept[key]

    return answer


_KEPT: dict[tuple[str, str], tuple[Template, Markup]] = {}


def kept(name: str) -> Markup:
    """A template that needs no context and shows everybody the same: made once for each language, again when its file changes."""
    template, key = current_app.jinja_env.get_template(name), (name, str(get_locale()))
    found = _KEPT.get(key)
    if found is None or found[0] is not template:
        found = _KEPT[key] = template, Markup(template.render())  # noqa: S704 - a template escapes what it shows
    return found[1]


def _context() -> dict[str, Any]:
    actor = _actor()
    return {
        "actor": actor,
        "language": language(),
        "languages": list(LANGUAGES.items()),
        "theme": theme(actor),
        "where": Where(actor),
        "version": __version__,
        "menu": Menu(actor),
        "unknown_proxy": LocalProxy(lambda: unknown_proxy(actor)),
    }


def _actor() -> Actor | None:
    """Error pages must also come when the database does not answer."""
    try:
        return current_actor()
    except Exception:
        log.exception("who asks cannot be told")
        g.actor = None
        return None


def theme(actor: Actor | None) -> str:
    for wanted in (actor.theme if actor else "", request.cookies.get(THEME_COOKIE, "")):
        if wanted in THEMES:
            return wanted
    return "auto"


def unknown_proxy(actor: Actor | None) -> str:
    """For administrators: the address of a proxy in front that no setting tells of."""
    if actor is None or not actor.has(PORTAL_ADMIN) or portal().settings.trusted_proxies:
        return ""
    return proxy_notice.seen(portal().settings.data_dir)
