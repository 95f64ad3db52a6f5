"""The health of the portal, what it consists of, and the reference of the API."""

from __future__ import annotations

import functools
import json
import platform
import sys
from typing import Any

from flask import render_template, request

from clawportal import paths
from clawportal.contracts.core_permissions import CATALOG_READ, PORTAL_READ
from clawportal.db import db
from clawportal.http.security import portal, requires
from clawportal.messages import _m
from clawportal.services.clusters import clusters
from clawportal.web import api_words, health_checks
from clawportal.web.pages import page

OPENAPI = "/api/v1/openapi.json"


@page("/about")
@requires(PORTAL_READ)
def about() -> str:
    places = clusters.everything()
    return render_template(
        "about/index.html",
        checks=health_checks.everything(),
        facts=_facts(),
        capacity=health_checks.capacity(places[0])[0] if places else None,
        licences=_licences(),
    )


def _facts() -> list[tuple[str, str]]:
    engine = db.engine
    return [
        ("Python", platform.python_version()),
        (_m("Database"), f"{engine.dialect.name} {'.'.join(map(str, engine.dialect.server_version_info or ()))}".strip()),
        (_m("Data folder"), str(portal().settings.data_dir)),
        (_m("Machine"), f"{platform.node()} ({sys.platform}, {platform.machine()})"),
    ]


@functools.cache
def _licences() -> list[dict[str, Any]]:
    manifest = json.loads((paths.resource("static") / "vendor" / "MANIFEST.json").read_text(encoding="utf-8"))
    found = {entry["package"]: {key: entry[key] for key in ("package", "version", "licence")} for entry in manifest["files"]}
    return sorted(found.values(), key=lambda entry: entry["package"])


@page("/api-docs")
@requires(CATALOG_READ)
def api_docs() -> str:
    return render_template("api/docs.html", openapi_url=request.script_root + OPENAPI, words=api_words.words())
