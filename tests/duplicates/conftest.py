"""A kind of claw with secrets of every sort: one that can be shared, one that cannot, and a setting that cannot either."""

from __future__ import annotations

import pytest
from flask import Flask
from pydantic import BaseModel, ConfigDict, Field

from clawportal.contracts.adapters import Version
from clawportal_echo import EchoAdapter
from tests.conftest import People, make_people, portal_of
from tests.web.conftest import browse

__all__ = ["browse"]

WHY = "Two claws with one bot key take each other's messages."


class BotSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    greeting: str = Field("", title="Greeting", description="What it says first.")
    bot_key: str = Field("", title="Bot key", description="Of its bot.", json_schema_extra={"x-secret": True, "x-unique": WHY})
    search_key: str = Field("", title="Search key", description="For searching.", json_schema_extra={"x-secret": True})
    phone: str = Field("", title="Phone number", description="Of its bot.", json_schema_extra={"x-unique": WHY})


class Bot(EchoAdapter):
    kind = "bot"
    title = "Bot"

    def versions(self) -> tuple[Version, ...]:
        return (Version("1.0", "Bot 1.0", default=True),)

    def settings_model(self, version: str) -> type[BaseModel]:
        return BotSettings


@pytest.fixture
def people(portal_app: Flask) -> People:
    portal_of(portal_app).registry.adapters["bot"] = Bot()
    return make_people(portal_app)
