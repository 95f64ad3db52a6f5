"""Who asks, and what each view requires.

Every view declares its permission with `@requires(...)` or says `@public("why")`; a test walks the URL map and fails on any that
does neither. Browsers are known by their session, programs by a bearer token; only the former need a CSRF token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast
from urllib.parse import urlsplit

from flask import Flask, current_app, g, request, session
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from flask_wtf.csrf import CSRFProtect

from clawportal.errors import Forbidden, TooManyRequests, Unauthenticated
from clawportal.models import User
from clawportal.permissions import DESCRIPTIONS, Actor, Permission
from clawportal.services import identity
from clawportal.services.portal import Portal

P = ParamSpec("P")
R = TypeVar("R")

login_manager = LoginManager()
csrf = CSRFProtect()
limiter = Limiter(get_remote_address, strategy="moving-window", headers_enabled=True, default_limits=[])

MARK = "clawportal_requires"
SIGN_IN_LIMITS = "10 per minute; 60 per hour"
"""Wrong sign-ins of one name from one address. Both are in the key, so that nobody can lock out somebody elsewhere."""


def portal() -> Portal:
    """The portal that this app serves."""
    return cast(Portal, current_app.extensions["clawportal"])


class SessionUser(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    """What Flask-Login keeps of a person: the actor with all grants."""

    def __init__(self, actor: Actor, epoch: int) -> None:
        self.actor = actor
        self.id = f"{actor.id}.{epoch}"


def init_app(app: Flask) -> None:
    """Wire sign-in, CSRF and throttling into an app."""
    login_manager.init_app(app)
    csrf.init_app(app)
    limiter.init_app(app)
    app.before_request(_protect)


@login_manager.user_loader  # type: ignore[untyped-decorator]  # Flask-Login has no types
def _from_session(session_id: str) -> SessionUser | None:
    user_id, _, epoch = session_id.partition(".")
    if not epoch.isdigit():
        return None
    actor = identity.actor_from_session(portal(), user_id, int(epoch))
    return SessionUser(actor, int(epoch)) if actor else None


def current_actor() -> Actor | None:
    """Who asks, None for nobody. A bearer token, even a wrong one, outranks the session: it was sent on purpose."""
    if "actor" not in g:
        g.actor = _bearer() if _bearer_text() is not None else getattr(current_user, "actor", None)
    return cast("Actor | None", g.actor)


def _bearer_text() -> str | None:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else None


def _bearer() -> Actor | None:
    return identity.actor_from_token(portal(), _bearer_text() or "")


def actor() -> Actor:
    """Who asks; Unauthenticated for nobody. Views behind `requires` call this."""
    found = current_actor()
    if found is None:
        raise Unauthenticated("The token is unknown, expired or revoked." if _bearer_text() is not None else "Sign in to go on.")
    return found


def requires(permission: Permission) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The view needs this permission somewhere; where exactly is checked with the row, in the service."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            if not actor().has(permission):
                raise Forbidden(f"You lack the right “{DESCRIPTIONS[permission]}”. Ask an administrator.")
            return view(*args, **kwargs)

        setattr(guarded, MARK, permission)
        return guarded

    return decorate


def public(why: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The view is for everybody, for this reason."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        setattr(view, MARK, f"public: {why}")
        return view

    return decorate


def _protect() -> None:
    """CSRF for requests that a browser sends by itself; a bearer token is never sent by itself."""
    if request.method in ("GET", "HEAD", "OPTIONS") or _bearer_text() is not None:
        return
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("This request came from another site and was refused.")
    if request.endpoint in csrf_free():
        return
    if _needs_somebody() and current_actor() is None:
        # the token went with the session: "sign in" says more than "reload the page"
        raise Unauthenticated("Sign in to go on.")
    csrf.protect()


def _needs_somebody() -> bool:
    view = current_app.view_functions.get(request.endpoint or "")
    return isinstance(getattr(view, MARK, ""), Permission)


def csrf_free() -> set[str]:
    """Endpoints that change something without session or bearer token, such as trading a password for a token."""
    return cast("set[str]", current_app.config.setdefault("CSRF_FREE", set()))


def sign_in(name: str, password: str) -> User:
    """Check the password, throttled by name and address. The caller decides whether a session begins."""
    key = _throttle_key(name)
    for limit in _limits():
        if not limiter.limiter.test(limit, key):
            raise TooManyRequests("Too many wrong sign-ins. Wait a minute, then try again.", headers={"Retry-After": "60"})
    try:
        return identity.authenticate(portal(), name, password)
    except Unauthenticated:
        for limit in _limits():
            limiter.limiter.hit(limit, key)
        raise


def _limits() -> list[Any]:
    from limits import parse_many

    return parse_many(SIGN_IN_LIMITS.replace(";", ","))


def _throttle_key(name: str) -> str:
    return hashlib.sha256(f"{name.casefold()}|{get_remote_address()}".encode()).hexdigest()


def begin_session(user: User) -> None:
    """Sign the browser in with a fresh session: nothing that was planted in the old one survives."""
    session.clear()
    session.permanent = True
    found = identity.actor_of(portal(), user)
    login_user(SessionUser(found, user.session_epoch))
    g.actor = found


def end_session() -> None:
    logout_user()
    session.clear()
    g.pop("actor", None)


def safe_next(target: str | None, default: str) -> str:
    """Where to go after signing in: only a path of this portal, never another site."""
    if not target or not target.startswith("/") or target.startswith(("//", "/\\")) or "\\" in target:
        return default
    parts = urlsplit(target)
    return default if parts.scheme or parts.netloc else target
