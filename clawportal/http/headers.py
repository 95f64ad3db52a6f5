"""Headers of every answer: a strict content security policy without inline script, and a request id to find it in the log."""

from __future__ import annotations

import re
import secrets
from typing import Literal

from flask import Flask, Response, current_app, g, request
from flask.sessions import SecureCookieSessionInterface

from clawportal.http import front

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self' {ws}; "
    "manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_ADDITIONS = {"frame": "frame-src 'self'", "media": "media-src 'self'"}
_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")


class _Sessions(SecureCookieSessionInterface):
    """Over TLS the cookie is for TLS alone, also where nobody has written down the portal's public address."""

    def get_cookie_name(self, app: Flask) -> str:
        """Over TLS no other host of the same domain can set it, whatever is served there. Below a path there is no such name."""
        name = super().get_cookie_name(app)
        return f"__Host-{name}" if self.get_cookie_secure(app) and self.get_cookie_path(app) == "/" else name

    def get_cookie_path(self, app: Flask) -> str:
        """Other things may be served under other paths of the same host."""
        return request.script_root or "/"

    def get_cookie_secure(self, app: Flask) -> bool:
        return super().get_cookie_secure(app) or request.is_secure


def init_app(app: Flask) -> None:
    app.session_interface = _Sessions()
    app.before_request(_begin)
    app.after_request(_finish)


def _begin() -> None:
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if _ID.match(given) else secrets.token_hex(8)


def with_inline_styles(answer: Response) -> Response:
    """For the one page whose terminal makes its own style element; scripts stay as strict as everywhere."""
    g.inline_styles = True
    return answer


def allow(*what: Literal["frame", "media"]) -> None:
    """Let the page that is being made show frames, or sound and films, of this portal; from elsewhere nothing is loaded."""
    g.additions = tuple(_ADDITIONS[kind] for kind in what)


def _finish(answer: Response) -> Response:
    # 'self' does not cover ws: in every browser, so the own host is named
    ws = f"{'wss' if request.is_secure else 'ws'}://{request.host}"
    public = current_app.extensions["clawportal"].settings.public_url
    if public and request.host not in public:  # behind a proxy that passes another name
        ws += f" {front.origin_of(public).replace('http', 'ws', 1)}"
    policy = CSP.format(ws=ws)
    if g.get("inline_styles"):
        policy = policy.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
    policy = "; ".join((policy, *g.get("additions", ())))
    answer.headers.setdefault("Content-Security-Policy", policy)
    answer.headers.setdefault("X-Content-Type-Options", "nosniff")
    answer.headers.setdefault("Referrer-Policy", "same-origin")
    answer.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    answer.headers.setdefault("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
    answer.headers["X-Request-ID"] = g.get("request_id", "")
    if request.is_secure:
        answer.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    if request.endpoint != "static" and "Cache-Control" not in answer.headers:
        answer.headers["Cache-Control"] = "no-store"
    return answer
