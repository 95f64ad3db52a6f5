"""Where this portal is, as its visitors see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from flask import Flask, Response, g, request, url_for

from clawportal.http import security

_PLACE = frozenset({"part", "offset", "cursor"})
"""Arguments that say where in a list one is, and what part of a page was asked for."""
_KEPT_AS_THEY_ARE = "!$'()*,/:;?@"
"""As `url_for` writes them."""


def external(path: str) -> str:
    """A path that `url_for` made, as an address for somebody outside: in an invitation, for a service elsewhere."""
    public = security.portal().settings.public_url.rstrip("/")
    if public:
        return public + path.removeprefix(request.script_root)
    return request.host_url.rstrip("/") + path


def home() -> str:
    """Where whoever asks finds the portal: its address with the path that it is under, without a slash at the end."""
    return external(request.script_root).rstrip("/")


def here() -> str:
    """The page that is asked for, as a path to come back to."""
    return request.script_root + request.full_path.rstrip("?")


def page_url(changes: Mapping[str, Any]) -> str:
    """The page that is asked for, from its beginning, with other arguments; None leaves one out. A list has a dozen of these."""
    if "page_url" not in g:
        path = url_for(request.endpoint or "", **(request.view_args or {}))
        g.page_url = path, {name: values for name, values in request.args.lists() if name not in _PLACE}
    path, given = g.page_url
    wanted = {name: value for name, value in {**given, **changes}.items() if value is not None}
    query = urlencode(wanted, doseq=True, safe=_KEPT_AS_THEY_ARE)
    return f"{path}?{query}" if query else path


def init_app(app: Flask) -> None:
    app.jinja_env.globals.update(here=here, external=external, page_url=page_url)
    app.after_request(_under_prefix)


def _under_prefix(answer: Response) -> Response:
    """The API names what it made by its own paths; under a prefix they begin with it."""
    place, root = answer.headers.get("Location", ""), request.script_root
    if root and place.startswith("/api/"):
        answer.headers["Location"] = root + place
    return answer


def path_in(address: str) -> str:
    """The path of an address that a browser sent along; empty where that is no address, as anybody can send."""
    return _split(address).path


def path_here(address: str) -> str | None:
    """Path and query of a page of this portal; None for any other."""
    parts = _split(address)
    return parts.path + (f"?{parts.query}" if parts.query else "") if parts.netloc == request.host else None


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:
        return SplitResult("", "", "", "", "")
