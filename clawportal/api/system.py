"""Whether the portal lives and is ready, what it consists of, and the document that describes this API."""

from __future__ import annotations

import logging
from typing import Any, Literal

from flask import Response, current_app, request
from pydantic import Field
from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from clawportal import api
from clawportal.api import _openapi
from clawportal.api._layer import Answer, op
from clawportal.bounded import size_in_words
from clawportal.contracts.core_permissions import INSTANCE_READ, PORTAL_READ
from clawportal.contracts.permissions import Actor
from clawportal.db import db
from clawportal.engine.portal import Portal
from clawportal.errors import NotFound
from clawportal.http import security
from clawportal.messages import _m
from clawportal.services.fleet import instances

log = logging.getLogger(__name__)

TAGS = ("System",)


class Alive(Answer):
    status: Literal["ok"]


class Part(Answer):
    ok: bool
    message: str


class Readiness(Answer):
    status: Literal["ok", "failing"]
    parts: dict[str, Part] = Field(description="Each part by its name: `database`, `jobs`, `disk`.")


class Plugin(Answer):
    """One loaded plugin."""

    name: str
    version: str
    bundled: bool
    summary: str
    hooks: list[str]


class Plugins(Answer):
    items: list[Plugin]


class Counts(Answer):
    """How many instances there are in which phase. What needs attention (`trouble`) is counted under its phase, too."""

    total: int
    running: int
    stopped: int
    failed: int
    changing: int
    trouble: int = Field(description="Failed, unhealthy, degraded or out of sync.")


@op("GET", "/healthz", public="a supervisor asks it", at_root=True, tags=TAGS, summary="Does the portal live?", returns=Alive)
def healthz() -> dict[str, str]:
    """Answers as long as the process does; looks at nothing else. Also at `/healthz`."""
    return {"status": "ok"}


@op(
    "GET", "/readyz", public="a load balancer asks it", tags=TAGS, summary="Can the portal do its work?", returns=Readiness,
    problems=(503,), at_root=True,
)  # fmt: skip
def readyz(portal: Portal) -> tuple[Readiness, int]:
    """200 when every part works; 503 names the parts that do not, in the same form. Also at `/readyz`."""
    parts = {"database": _database(), "jobs": _jobs(portal), "disk": _disk(portal)}
    good = all(part.ok for part in parts.values())
    return Readiness(status="ok" if good else "failing", parts=parts), 200 if good else 503


def _database() -> Part:
    try:
        db.session.execute(text("SELECT 1 FROM user_account LIMIT 1"))
    except SQLAlchemyError:
        # the words of the driver may hold addresses and names; they are for the log only
        log.exception("the database does not answer")
        db.session.rollback()
        return Part(ok=False, message=_m("The database does not answer, or its tables are missing. The portal's log says more."))
    return Part(ok=True, message=_m("answers"))


def _disk(portal: Portal) -> Part:
    room = portal.room.make_way()
    free, kept = size_in_words(room.free), size_in_words(room.reserve)
    if room.low:
        return Part(
            ok=False,
            message=_m(
                "%(free)s are left, and %(kept)s are to be kept free. Delete files or instances, or add room.",
                free=free,
                kept=kept,
            ),
        )
    return Part(ok=True, message=_m("%(free)s are left", free=free))


def _jobs(portal: Portal) -> Part:
    if not portal.settings.jobs:
        return Part(ok=True, message=_m("run elsewhere, by the settings of this process"))
    runner: Any = current_app.extensions.get("clawportal_runner")
    if runner is None or not runner.scheduler.running:
        return Part(ok=False, message=_m("Background work does not run in this process."))
    return Part(ok=True, message=_m("run here"))


@op("GET", "/counts", permission=INSTANCE_READ, tags=("Instances",), summary="How many in which state")
def get_counts(actor: Actor) -> Counts:
    return Counts.model_validate(instances.counts(actor), from_attributes=True)


@op("GET", "/plugins", permission=PORTAL_READ, tags=TAGS, summary="Loaded plugins")
def list_plugins(portal: Portal) -> Plugins:
    return Plugins(items=[Plugin.model_validate(plugin, from_attributes=True) for plugin in portal.registry.plugins])


@op("GET", "/plugins/{name}", permission=PORTAL_READ, tags=TAGS, summary="One loaded plugin", problems=(404,))
def get_plugin(portal: Portal, name: str) -> Plugin:
    found = next((plugin for plugin in portal.registry.plugins if plugin.name == name), None)
    if found is None:
        raise NotFound(_m("There is no plugin %(name)s. `GET /plugins` tells which are loaded.", name=repr(name)))
    return Plugin.model_validate(found, from_attributes=True)


@op("GET", "/openapi.json", public="its setting decides", tags=TAGS, summary="This document", problems=(401,), keep=True,
    returns=dict[str, Any])  # fmt: skip
def get_openapi(portal: Portal) -> Response:
    """OpenAPI 3.1, made from the code. Needs a sign-in unless the portal's `docs_public` setting says otherwise.

    In English for everybody: programs find operations by the names of their groups.
    """
    if not portal.settings.docs_public:
        security.actor()
    document = api.of_app().document | {"servers": _openapi.servers(request.script_root)}
    return Response(to_json(document), mimetype="application/json")
