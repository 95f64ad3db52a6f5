"""Settings of the portal: what holds and why, changing what may change while it runs, and going back to the default."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from clawportal.sdk.adapters import Strict
from clawportal.sdk.api import Answer, Portal, Query, agreed_generation, op
from clawportal.sdk.permissions import PORTAL_ADMIN, PORTAL_READ, Actor
from clawportal.sdk.settings import EVERY
from clawportal_settings import services
from clawportal_settings.services import Shown

TAGS = ("Settings",)
_BIGGEST = 2**31 - 1


class SettingDocument(Answer):
    name: str = Field(description="In the portal, such as `session_hours`, or `files.trash_days` of a feature.")
    title: str
    description: str
    variable: str = Field(description="Its name in the environment.")
    value: Any = Field(description="What holds now. Secrets are masked.")
    default: Any = Field(description="Null for secrets.")
    source: Literal["default", "environment", "file", "command", "page"] = Field(
        description="Where the value comes from. `page`: it is stored in the portal."
    )
    changeable: bool = Field(description="Whether a value that is stored now would hold at once.")
    needs_restart: bool = Field(description="It is read at the start only, from the environment or the file.")
    fault: str = Field(description="Why the stored value does not hold, so that the default does; empty: it does.")
    generation: int = Field(description="Grows with each change; the ETag. 0: nothing was ever stored.")
    before: Any = Field(description="What held until the last change; null: nothing was ever stored.")
    changed_by: str | None
    changed_at: datetime | None


class UnreadSetting(Answer):
    name: str
    generation: int


class SettingsAnswer(Answer):
    items: list[SettingDocument]
    unread: list[UnreadSetting] = Field(description="Stored for settings that nothing here reads; `DELETE` takes them away.")
    seconds: float = Field(description="So long after a change it may take until it holds in every process and replica.")


class SettingPut(Strict):
    value: Any
    generation: int | None = Field(None, ge=0, le=_BIGGEST, description="What was read, where If-Match cannot be sent.")


class SettingReset(Query):
    generation: int | None = Field(None, ge=0, le=_BIGGEST, description="What was read, where If-Match cannot be sent.")


def document(shown: Shown) -> dict[str, Any]:
    setting, row = shown.setting, shown.row
    return {
        "name": setting.name, "title": setting.info.title or setting.field, "description": setting.info.description or "",
        "variable": setting.variable, "value": shown.value, "default": shown.default, "source": shown.source,
        "changeable": shown.changeable, "needs_restart": not setting.changeable, "fault": shown.fault,
        "generation": shown.generation, "before": row.before if row else None, "changed_by": row.changed_by if row else None,
        "changed_at": row.changed_at if row else None,
    }  # fmt: skip


@op("GET", "/settings", permission=PORTAL_READ, tags=TAGS, summary="Settings of the portal", returns=SettingsAnswer)
def list_settings(actor: Actor, portal: Portal) -> dict[str, Any]:
    """All of them, with where each value comes from. The environment and the file outrank what is stored."""
    unread = [{"name": row.name, "generation": row.generation} for row in services.unread(portal, actor)]
    items = [document(shown) for shown in services.everything(portal, actor)]
    return {"items": items, "unread": unread, "seconds": EVERY}


@op("GET", "/settings/{name}", permission=PORTAL_READ, tags=TAGS, summary="One setting", returns=SettingDocument, etag=True,
    problems=(404,))  # fmt: skip
def get_setting(actor: Actor, portal: Portal, name: str) -> Any:
    return _answer(services.get(portal, actor, name))


@op("PUT", "/settings/{name}", permission=PORTAL_ADMIN, tags=TAGS, summary="Change a setting", returns=SettingDocument, etag=True,
    problems=(404, 409, 412, 428), example={"value": 8})  # fmt: skip
def put_setting(actor: Actor, portal: Portal, name: str, body: SettingPut, if_match: int | None) -> Any:
    """It holds here at once, and within seconds in every other process. Needs If-Match with the ETag that was read.

    409: it is fixed by the environment or the file, or it needs a restart.
    """
    generation = agreed_generation(body.generation, if_match)
    return _answer(services.change(portal, actor, name, body.value, generation=generation))


@op("DELETE", "/settings/{name}", permission=PORTAL_ADMIN, tags=TAGS, summary="Reset a setting", status=204,
    problems=(404, 409, 412, 428))  # fmt: skip
def delete_setting(actor: Actor, portal: Portal, name: str, query: SettingReset, if_match: int | None) -> None:
    """Its default holds again. Needs If-Match with the ETag that was read."""
    services.reset(portal, actor, name, generation=agreed_generation(query.generation, if_match))


def _answer(shown: Shown) -> Any:
    return document(shown), 200, {"ETag": f'"{shown.generation}"'}
