"""Where this portal is, as its visitors see it."""

from __future__ import annotations

from flask import Flask, Response, request

from clawportal.http import security


def external(path: str) -> str:
    """A path that `url_for` made, as an address for somebody outside: in an invitation, for a provider."""
    public = security.portal().settings.public_url.rstrip("/")
    if public:
        return public + path.removeprefix(request.script_root)
    return request.host_url.rstrip("/") + path


def here() -> str:
    """The page that is asked for, as a path to come back to."""
    return request.script_root + request.full_path.rstrip("?")


def init_app(app: Flask) -> None:
    app.jinja_env.globals.update(here=here, external=external)
    app.after_request(_under_prefix)


def _under_prefix(answer: Response) -> Response:
    """The API names what it made by its own paths; under a prefix they begin with it."""
    place, root = answer.headers.get("Location", ""), request.script_root
    if root and place.startswith("/api/"):
        answer.headers["Location"] = root + place
    return answer
