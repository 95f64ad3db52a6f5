"""What an operator chooses about notes: section `[notes]`, or `CLAWPORTAL_NOTES_*`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, Field

from clawportal.sdk.runtimes import DoctorResult
from clawportal.sdk.settings import Settings, read


class NoteSettings(BaseModel):
    most: int = Field(100, ge=1, le=10_000, description="Open notes that one claw may have.")
    close_after_seconds: float = Field(
        90 * 86400, gt=0, description="A note that is not urgent is closed by itself after this time, seconds."
    )


def look(settings: Settings) -> Iterator[DoctorResult]:
    """For `clawportal doctor`; the portal may not start when it is asked."""
    found: Any = read(settings, "notes", NoteSettings)
    well = found.close_after_seconds >= 60
    remedy = "Set CLAWPORTAL_NOTES_CLOSE_AFTER_SECONDS to a minute at least."
    yield DoctorResult("notes", well, f"closed by themselves after {found.close_after_seconds:g} s", remedy)
