"""Where the practice model listens."""

from __future__ import annotations

from pydantic import BaseModel, Field


class PracticeSettings(BaseModel):
    port: int = Field(
        8799, ge=0, le=65535, description="Loopback port of the practice model when it is switched on. 0: any free port."
    )
    host: str = Field(
        "127.0.0.1",
        description="Address that the practice model listens on. 0.0.0.0 so that claws in other clusters can reach it too.",
    )
