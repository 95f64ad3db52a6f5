"""Who asks, and what each view requires.

Every view declares its permission with `@requires(...)` or says `@public("why")`; a test walks the URL map and fails on any that
does neither. Browsers are known by their session, programs by a bearer token; only the former need a CSRF token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast
from urllib.parse import urlsplit

from flask import Flask, Response, after_this_request, current_app, g, request, session
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from flask_wtf.csrf import CSRFProtect

from clawportal import client_addresses
from clawportal.contracts.permissions import Actor, Permission
from clawportal.engine.portal import Portal
from clawportal.errors import Forbidden, TotpRequired, Unauthenticated
from clawportal.http import inside, limits, uploads
from clawportal.http.front import own_origin
from clawportal.messages import _m
from clawportal.models import User
from clawportal.services.identity import clients, devices, identity, sessions
from clawportal.services.identity.sessions import Place
from clawportal.services.live import tickets

P = ParamSpec("P")
R = TypeVar("R")

login_manager = LoginManager()
csrf = CSRFProtect()

MARK = "clawportal_requires"
_BACKGROUND = "clawportal_background"


def portal() -> Portal:
    """The portal that this app serves."""
    return cast(Portal, current_app.extensions["clawportal"])


class SessionUser(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    """What Flask-Login keeps of a person: the actor with all grants."""

    def __init__(self, actor: Actor, session_id: str) -> None:
        self.actor = actor
        self.id = session_id


def init_app(app: Flask) -> None:
    """Wire sign-in, CSRF and throttling into an app."""
    login_manager.init_app(app)
    csrf.init_app(app)
    limits.init_app(app, _asking)
    app.before_request(uploads.hold_strangers_short)
    app.before_request(_protect)


@login_manager.user_loader  # type: ignore[untyped-decorator]  # Flask-Login has no types
def _from_session(session_id: str) -> SessionUser | None:
    quiet = getattr(current_app.view_functions.get(request.endpoint or ""), _BACKGROUND, False)
    actor = sessions.actor_from(portal(), session_id, sessions.BROWSER, touch=None if quiet else place())
    return SessionUser(actor, session_id) if actor else None


def current_actor() -> Actor | None:
    """Who asks, None for nobody. A bearer token, even a wrong one, outranks the session: it was sent on purpose."""
    if "actor" not in g:
        g.actor = _recognised()
    return cast("Actor | None", g.actor)


def _recognised() -> Actor | None:
    ticket: tickets.Bearer | None = g.get("ticket")
    if ticket is not None:
        return behind(ticket)
    return _bearer() if _bearer_text() is not None else inside.narrow(getattr(current_user, "actor", None))


def use_ticket(instance_id: str, text: str) -> None:
    """From now on this request is that of whoever the ticket was given to."""
    g.ticket = tickets.redeem(portal(), instance_id, text)
    g.pop("actor", None)


def behind(ticket: tickets.Bearer, came: Place | None = None) -> Actor | None:
    """Who stands behind it now: None once the session has ended, or the token. `came`: from where, outside of a request."""
    if ticket.token:
        return _by_token(ticket.token, came or place())
    kind = sessions.CLIENT if ticket.program else sessions.BROWSER
    found = sessions.actor_from(portal(), ticket.session_id, kind)
    return inside.applied(found, ticket.tenant_id) if found and ticket.tenant_id else found


def bearer() -> tickets.Bearer:
    """By what the present request was recognised."""
    text = _bearer_text()
    if text is None:
        return tickets.Bearer(str(getattr(current_user, "id", "")), "", inside.chosen() or "")
    client = current_session()  # an access token ends long before the sign-in that it is of
    return tickets.Bearer(client, program=True) if client else tickets.Bearer(token=text)


def _bearer_text() -> str | None:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else None


def _bearer() -> Actor | None:
    """An API token, or an access token of a program that signed in; never a refresh token."""
    return _by_token(_bearer_text() or "", place())


def _by_token(text: str, came: Place) -> Actor | None:
    if text.startswith(identity.TOKEN_PREFIX):
        return identity.actor_from_token(portal(), text, came.address)
    client = clients.actor_from_access(portal(), text, came)
    g.client_session = client.session_id if client else None
    return client.actor if client else None


def _asking() -> str:
    """Whose requests are counted together: of a token, of a person, of an address where nobody is signed in."""
    try:
        found = current_actor()
    except Exception:  # the database does not answer; the view will meet that too, and tell it
        found = None
    if found is None:
        return f"address:{client_addresses.network_of(request.remote_addr or '')}"
    return f"token:{found.token_id}" if found.token_id else f"user:{found.id}"


def actor() -> Actor:
    """Who asks; Unauthenticated for nobody. Views behind `requires` call this."""
    found = current_actor()
    if found is None:
        raise Unauthenticated(
            _m("The token is unknown, expired or revoked.") if _bearer_text() is not None else _m("Sign in to go on.")
        )
    return found


def requires(permission: Permission) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The view needs this permission somewhere; where exactly is checked with the row, in the service."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            if not actor().has(permission):
                if actor().with_second_factor().has(permission):
                    raise TotpRequired
                raise Forbidden(
                    _m("You lack the right “%(description)s”. Ask an administrator.", description=permission.description)
                )
            return view(*args, **kwargs)

        setattr(guarded, MARK, permission)
        return guarded

    return decorate


def background(view: Callable[P, R]) -> Callable[P, R]:
    """Pages ask this view by themselves: that they do so is no sign of life, and makes no session last longer."""
    setattr(view, _BACKGROUND, True)
    return view


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
    if _from_elsewhere():
        raise Forbidden(_m("This request came from another site and was refused."))
    if request.endpoint in csrf_free():
        return
    if needs_somebody() and current_actor() is None:
        # the token went with the session: "sign in" says more than "reload the page"
        raise Unauthenticated(_m("Sign in to go on."))
    csrf.protect()


def _from_elsewhere() -> bool:
    """Whether a page of another site sent this, one of the same domain included. Browsers say so themselves where the portal has
    TLS or is on their own machine; elsewhere they name the page's origin only."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        return site not in ("same-origin", "none")
    return origin is not None and not own_origin(origin, request.environ, portal().settings.public_url)


def needs_somebody() -> bool:
    """Whether this request is for a view that is not public."""
    view = current_app.view_functions.get(request.endpoint or "")
    return isinstance(getattr(view, MARK, ""), Permission)


def csrf_free() -> set[str]:
    """Endpoints that change something without session or bearer token, such as trading a password for a token."""
    return cast("set[str]", current_app.config.setdefault("CSRF_FREE", set()))


def place() -> Place:
    """From where this request comes."""
    return Place(request.remote_addr or "", request.user_agent.string)


def begin_session(user: User, source: sessions.Source = sessions.BY_PASSWORD) -> None:
    """Sign the browser in with a fresh session: nothing that was planted in the old one survives."""
    end_session()
    session.permanent = True
    row = sessions.begin(portal(), user, sessions.BROWSER, place(), source=source)
    found = identity.actor_of(portal(), user)
    login_user(SessionUser(found, row.id))
    g.actor = found
    _keep_device(user.id)


DEVICE_COOKIE = "clawportal_device"


def device_cookie() -> str:
    """What this browser keeps since somebody signed in with it; it lets nobody in."""
    return request.cookies.get(DEVICE_COOKIE, "")


def _keep_device(user_id: str) -> None:
    text = devices.made_for(portal(), user_id)

    @after_this_request
    def _set(answer: Response) -> Response:
        secure = portal().settings.secure_cookies
        answer.set_cookie(
            DEVICE_COOKIE,
            text,
            max_age=devices.LIVES,
            httponly=True,
            samesite="Lax",
            secure=secure,
            path=request.script_root or "/",
        )
        return answer


def end_session() -> None:
    """Sign this browser out; its session is over for good, also for whoever copied the cookie."""
    former = browser_session()
    if former is not None:
        sessions.close(former)
    logout_user()
    session.clear()
    g.pop("actor", None)


def browser_session() -> str | None:
    """Id of the session that this request's cookie stands for."""
    found = getattr(current_user, "id", None)
    return str(found) if found else None


def current_session() -> str | None:
    """Id of the session through which `current_actor` asks; None for API tokens and for nobody."""
    if current_actor() is None:
        return None
    return cast("str | None", g.get("client_session")) if _bearer_text() is not None else browser_session()


def safe_next(target: str | None, default: str) -> str:
    """Where to go after signing in: only a path of this portal, never another site."""
    if not target or not target.startswith("/") or target.startswith(("//", "/\\")) or "\\" in target:
        return default
    parts = urlsplit(target)
    return default if parts.scheme or parts.netloc else target
