"""How much of conversations there may be, and for how long they are kept."""

from __future__ import annotations

from pydantic import BaseModel, Field

from clawportal.sdk import _m
from clawportal.sdk.settings import CHANGEABLE


class ConversationSettings(BaseModel):
    answers: int = Field(
        64,
        ge=1,
        le=1000,
        title=_m("Answers at the same time"),
        description=_m("Answers that one process waits for at the same time."),
        json_schema_extra=CHANGEABLE,
    )
    answers_each: int = Field(
        4,
        ge=1,
        le=100,
        title=_m("Answers of one person at the same time"),
        description=_m("Answers that one person waits for at the same time."),
        json_schema_extra=CHANGEABLE,
    )
    most_each: int = Field(
        2000,
        ge=1,
        le=1_000_000,
        title=_m("Conversations of one person"),
        description=_m("Conversations of one person, archived ones included."),
        json_schema_extra=CHANGEABLE,
    )
    megabytes_each: int = Field(
        200,
        ge=1,
        le=100_000,
        title=_m("Text of one person"),
        description=_m("Text of all conversations of one person, MB."),
        json_schema_extra=CHANGEABLE,
    )
    attached_megabytes: int = Field(25, ge=1, le=10_000, description="The largest file that can be attached to a message, MB.")
    keep_days: int = Field(
        0,
        ge=0,
        le=36_500,
        title=_m("How long conversations are kept"),
        description=_m("Days after which a conversation in which nothing was said is deleted; 0: never."),
        json_schema_extra=CHANGEABLE,
    )
