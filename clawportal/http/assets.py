"""Static files by content hash: they may be cached for ever, and a new version is a new address.

The core's lie in `static/`, those of a feature in its package, at `/static/<feature>/`. Templates of a feature lie in
`templates/<feature>/` of its package and are named so; none can take the place of one of the core.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from flask import Flask, Response, abort, g, request, send_from_directory, url_for
from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, PrefixLoader
from markupsafe import Markup

from clawportal.http.security import public

FEATURE_FILE = "web.feature_file"
_ENDPOINTS = ("static", FEATURE_FILE)
_ICON = Markup('<svg class="ico {}" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>')


class Assets:
    """Hashes files once, again when they change (so that a checkout needs no build step)."""

    MOST = 5_000
    """Addresses that are kept: a proxy in front may name any prefix."""

    def __init__(self, folder: Path, features: Mapping[str, Path]) -> None:
        self._folder, self._features = folder, features
        self._known: dict[tuple[str, str], tuple[float, str]] = {}
        """By name and prefix: the file's time, and its address."""
        self._icons: dict[tuple[str, str, str], Markup] = {}

    def url(self, name: str) -> str:
        """Of `app.css`, or of `skills:skills.css` for a file of a feature."""
        kept: dict[str, str] = g.setdefault("assets", {})
        if name not in kept:  # a page shows the same icons hundreds of times
            kept[name] = self._url(name)
        return kept[name]

    def _url(self, name: str) -> str:
        feature, _, inside = name.rpartition(":")
        file, key = (self._features[feature] if feature else self._folder) / inside, (name, request.script_root)
        changed = file.stat().st_mtime
        known = self._known.get(key)
        if known is None or known[0] != changed:
            if len(self._known) >= self.MOST:
                self._known.clear()
            version = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
            owner = {"feature": feature} if feature else {}
            address = url_for(FEATURE_FILE if feature else "static", filename=inside, v=version, **owner)  # type: ignore[arg-type]  # names of the rule
            known = self._known[key] = (changed, address)
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


def init_app(app: Flask, folder: Path, packages: Mapping[str, Path]) -> None:
    """`packages`: folder of the package of each feature that has one."""
    features = {name: package / "static" for name, package in packages.items() if (package / "static").is_dir()}
    assets = Assets(folder, features)
    app.jinja_env.globals.update(asset=assets.url, icon=assets.icon)
    _templates(app, packages)

    @public("scripts and styles say nothing")
    def feature_file(feature: str, filename: str) -> Response:
        if feature not in features:
            abort(404)
        return send_from_directory(features[feature], filename)

    if features:
        app.add_url_rule(f"/static/<any({', '.join(sorted(features))}):feature>/<path:filename>", FEATURE_FILE, feature_file)

    @app.after_request
    def _cache(answer: Response) -> Response:
        if request.endpoint in _ENDPOINTS:
            fresh = "public, max-age=31536000, immutable" if "v" in request.args else "public, max-age=300"
            answer.headers["Cache-Control"] = fresh
        return answer


def _templates(app: Flask, packages: Mapping[str, Path]) -> None:
    folders = {name: package / "templates" / name for name, package in packages.items()}
    own: dict[str, BaseLoader] = {name: FileSystemLoader(folder) for name, folder in folders.items() if folder.is_dir()}
    core = app.jinja_loader
    if own and core is not None:
        app.jinja_loader = ChoiceLoader([core, PrefixLoader(own)])
