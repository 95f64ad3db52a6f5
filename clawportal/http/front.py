"""What stands in front of everything: who asks, at which host and under which path, told by proxies that are believed.

Outermost, so that websockets too see who really asks; a token for one network would be good from everywhere otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from werkzeug.middleware.proxy_fix import ProxyFix

from clawportal import client_addresses

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PORTS = {"http": "80", "https": "443"}
_PREFIX = re.compile(r"(/[A-Za-z0-9._~!$&'()+,;=:@-]+)+")
_TELLING = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_REAL_IP", "HTTP_FORWARDED")


class Front:
    """WSGI middleware. `disbelieved` is called when a proxy of this network seems to be in front and no setting tells of it."""

    def __init__(self, app: WSGIApplication, hops: int, public_url: str, disbelieved: Callable[[str], None]) -> None:
        self._app, self._hops, self._disbelieved = app, hops, disbelieved
        self._fix = ProxyFix(self._inside, x_for=hops, x_proto=hops, x_host=hops)
        public = urlsplit(public_url)
        self._scheme, self._host = public.scheme, (public.hostname or "").lower()
        self._netloc = public.netloc.rpartition("@")[2]
        self._path = prefix_of(public.path)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        peer = client_addresses.plain(environ.get("REMOTE_ADDR", ""))
        environ["clawportal.peer"] = peer
        if not self._hops and any(name in environ for name in _TELLING) and client_addresses.near(peer):
            self._disbelieved(peer)
        return self._fix(environ, start_response)

    def _inside(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["REMOTE_ADDR"] = client_addresses.plain(environ.get("REMOTE_ADDR", "")) or environ["clawportal.peer"]
        self._name_host(environ)
        self._cut_path(environ)
        return self._app(environ, start_response)

    def _name_host(self, environ: WSGIEnvironment) -> None:
        """The public address, where a proxy passes its host and drops its port or scheme."""
        given = environ.get("HTTP_HOST", "").lower()
        if self._host and given in (self._netloc.lower(), client_addresses.bracketed(self._host)):
            environ["HTTP_HOST"], environ["wsgi.url_scheme"] = self._netloc, self._scheme

    def _cut_path(self, environ: WSGIEnvironment) -> None:
        """Proxies pass the path with its prefix or without; either way it is known once, as SCRIPT_NAME."""
        told = environ.get("HTTP_X_FORWARDED_PREFIX", "").rpartition(",")[2] if self._hops else ""
        prefix = prefix_of(told) or prefix_of(environ.get("SCRIPT_NAME", "")) or self._path
        if prefix:
            path = environ.get("PATH_INFO", "")
            if path == prefix or path.startswith(f"{prefix}/"):
                environ["PATH_INFO"] = path.removeprefix(prefix) or "/"
            environ["SCRIPT_NAME"] = prefix


def prefix_of(text: str) -> str:
    """A path without the slash at its end; empty for none, and for what is no plain path."""
    text = "/" + text.strip().strip("/")
    return text if _PREFIX.fullmatch(text) and ".." not in text else ""


def origin_of(url: str) -> str:
    """`scheme://host:port` as browsers write it: in small letters, without the port that goes without saying. Empty for none."""
    try:
        parts = urlsplit(url.strip())
        port = str(parts.port or "")
    except ValueError:
        return ""
    if not parts.scheme or not parts.hostname:
        return ""
    shown = f":{port}" if port and port != _PORTS.get(parts.scheme) else ""
    return f"{parts.scheme}://{client_addresses.bracketed(parts.hostname)}{shown}"


def own_origin(origin: str, environ: WSGIEnvironment, public_url: str) -> bool:
    """Whether a page of this portal has this origin. No page of another site can choose the headers that are believed here."""
    scheme, host = environ.get("wsgi.url_scheme", "http"), environ.get("HTTP_HOST", "")
    told = (environ.get("HTTP_X_FORWARDED_PROTO", scheme), environ.get("HTTP_X_FORWARDED_HOST", host))
    known = [f"{scheme}://{host}", public_url, "://".join(str(text).partition(",")[0].strip() for text in told)]
    return bool(origin_of(origin)) and origin_of(origin) in {origin_of(one) for one in known}
