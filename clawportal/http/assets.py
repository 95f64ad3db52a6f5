"""Static files by content hash: they may be cached for ever, and a new version is a new address."""

from __future__ import annotations

import hashlib
from pathlib import Path

from flask import Flask, Response, g, request, url_for
from markupsafe import Markup

_ICON = Markup('<svg class="ico {}" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>')


class Assets:
    """Hashes files once, again when they change (so that a checkout needs no build step)."""

    MOST = 5_000
    """Addresses that are kept: a proxy in front may name any prefix."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[str, str], tuple[float, str]] = {}
        """By name and prefix: the file's time, and its address."""
        self._icons: dict[tuple[str, str, str], Markup] = {}

    def url(self, name: str) -> str:
        kept: dict[str, str] = g.setdefault("assets", {})
        if name not in kept:  # a page shows the same icons hundreds of times
            kept[name] = self._url(name)
        return kept[name]

    def _url(self, name: str) -> str:
        file, key = self._folder / name, (name, request.script_root)
        changed = file.stat().st_mtime
        known = self._known.get(key)
        if known is None or known[0] != changed:
            if len(self._known) >= self.MOST:
                self._known.clear()
            version = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
            known = self._known[key] = (changed, url_for("static", filename=name, v=version))
        return known[1]

    def icon(self, name: str, class_: str = "") -> Markup:
        """One picture of icons.svg. Not a macro, as a page has up to a hundred."""
        key = (self.url("icons.svg"), name, class_)
        found = self._icons.get(key)
        if found is None:
            if len(self._icons) >= self.MOST:
                self._icons.clear()
            found = self._icons[key] = _ICON.format(class_, key[0], name)
        return found


def init_app(app: Flask, folder: Path) -> None:
    assets = Assets(folder)
    app.jinja_env.globals.update(asset=assets.url, icon=assets.icon)

    @app.after_request
    def _cache(answer: Response) -> Response:
        if request.endpoint == "static":
            fresh = "public, max-age=31536000, immutable" if "v" in request.args else "public, max-age=300"
            answer.headers["Cache-Control"] = fresh
        return answer
