"""What all pages share: the mark, the first-run gate, and how a change answers browsers with and without scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Blueprint, Response, current_app, flash, make_response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from clawportal.contracts.core_permissions import PORTAL_ADMIN
from clawportal.db import db
from clawportal.http import site
from clawportal.http.security import current_actor, safe_next
from clawportal.models import User
from clawportal.services.system import portal_settings
from clawportal.web.words import gettext as _

View = TypeVar("View", bound=Callable[..., Any])

MARK = "clawportal_pages"


@dataclass(frozen=True)
class Page:
    """One address of a page."""

    rule: str
    methods: tuple[str, ...]
    endpoint: str
    view: Callable[..., Any]


def page(rule: str, *methods: str, endpoint: str = "") -> Callable[[View], View]:
    """Mark a view as a page, such as `@page("/skills")` or `@page("/skills/new", "GET", "POST")`; GET if no method is named.

    Nothing is registered: each app collects the pages of its own features. `endpoint`: the name after `web.` if it is not that
    of the function. Put `@requires(...)` below it.
    """

    def mark(view: View) -> View:
        found = Page(rule, methods or ("GET",), endpoint or view.__name__, view)
        setattr(view, MARK, (*getattr(view, MARK, ()), found))
        return view

    return mark


_ALWAYS = {"static", "web.feature_file", "web.login", "web.logout", "web.setup", "web.language", "web.theme"}
_MUST_CHANGE = {"web.profile", "web.password"}
_DONE = "clawportal_setup_done"


def fragment() -> bool:
    """Whether htmx asks for a part. Going back in the history wants the whole page."""
    return request.headers.get("HX-Request") == "true" and request.headers.get("HX-History-Restore-Request") != "true"


def setup_done() -> bool:
    """Whether the first-run page was completed. Once true it stays true, so it is asked only until then."""
    if not current_app.extensions.get(_DONE):
        current_app.extensions[_DONE] = bool(portal_settings.read(portal_settings.SETUP_DONE, False))
    return bool(current_app.extensions[_DONE])


def own_user() -> User | None:
    """The row of who is signed in; it is in the session's identity map already."""
    actor = current_actor()
    return db.session.get(User, actor.id) if actor else None


def init(blueprint: Blueprint) -> None:
    blueprint.before_app_request(_first_things_first)


def _first_things_first() -> AnyResponse | None:
    """Nobody gets past the first-run page, nor past a password that has to be changed."""
    if request.endpoint in _ALWAYS or request.endpoint is None or request.path.startswith("/api/"):
        return None
    actor = current_actor()
    if actor is None or actor.kind != "user":
        return None
    if not setup_done() and actor.has(PORTAL_ADMIN):
        return _elsewhere(url_for("web.setup"))
    user = own_user()
    if user is not None and user.must_change_password and request.endpoint not in _MUST_CHANGE:
        flash(_("Choose a password of your own first."), "warning")
        return _elsewhere(url_for("web.profile"))
    return None


def _elsewhere(url: str) -> AnyResponse:
    if not fragment():
        return redirect(url, 303)
    answer = make_response("", 200)
    answer.headers["HX-Redirect"] = url
    return answer


def back(default: str) -> str:
    """Where somebody came from, as long as it is a page of this portal."""
    wanted = request.form.get("next")
    if not wanted and request.referrer:
        wanted = site.path_here(request.referrer)
    return safe_next(wanted, default)


def changed(
    text: str, *, level: str = "success", url: str, instances: Iterable[str] = (), operations: Iterable[str] = ()
) -> AnyResponse:
    """The answer to a change: a toast and which parts of the page are old; without scripts a message on the next page."""
    if not fragment():
        flash(text, level)
        return redirect(url, 303)
    answer = make_response("", 204)
    trigger(answer, {
        "toast": {"level": level, "text": text}, "changed": {"instances": list(instances), "operations": list(operations)},
    })  # fmt: skip
    return answer


def moved(text: str, url: str, *, level: str = "success") -> AnyResponse:
    """To another page after a change, with a message there; `toast` is one that goes away by itself."""
    flash(text, level)
    return _elsewhere(url)


def trigger(answer: Response, events: Mapping[str, Any]) -> None:
    """Events for the page's scripts; ASCII, because a header holds nothing else."""
    answer.headers["HX-Trigger"] = json.dumps(events)
