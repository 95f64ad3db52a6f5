"""How much of conversations there may be, and for how long they are kept."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ConversationSettings(BaseModel):
    answers: int = Field(64, ge=1, le=1000, description="Answers that one process waits for at the same time.")
    answers_each: int = Field(4, ge=1, le=100, description="Answers that one person waits for at the same time.")
    most_each: int = Field(2000, ge=1, le=1_000_000, description="Conversations of one person, archived ones included.")
    megabytes_each: int = Field(200, ge=1, le=100_000, description="Text of all conversations of one person, MB.")
    keep_days: int = Field(
        0, ge=0, le=36_500, description="Days after which a conversation in which nothing was said is deleted; 0: never."
    )
