"""Static files by content hash: they may be cached for ever, and a new version is a new address."""

from __future__ import annotations

import hashlib
from pathlib import Path

from flask import Flask, Response, g, request, url_for


class Assets:
    """Hashes files once, again when they change (so that a checkout needs no build step)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[float, str]] = {}

    def url(self, name: str) -> str:
        kept: dict[str, str] = g.setdefault("assets", {})
        if name not in kept:  # a page shows the same icons hundreds of times
            kept[name] = self._url(name)
        return kept[name]

    def _url(self, name: str) -> str:
        file = self._folder / name
        changed = file.stat().st_mtime
        if self._known.get(name, (0.0, ""))[0] != changed:
            self._known[name] = (changed, hashlib.sha256(file.read_bytes()).hexdigest()[:12])
        return url_for("static", filename=name, v=self._known[name][1])


def init_app(app: Flask, folder: Path) -> None:
    assets = Assets(folder)
    app.jinja_env.globals["asset"] = assets.url

    @app.after_request
    def _cache(answer: Response) -> Response:
        if request.endpoint == "static":
            fresh = "public, max-age=31536000, immutable" if "v" in request.args else "public, max-age=300"
            answer.headers["Cache-Control"] = fresh
        return answer
