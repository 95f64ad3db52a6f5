"""What a self-check of the portal reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DoctorResult:
    """One finding of `clawportal doctor`."""

    name: str
    ok: bool
    message: str
    remedy: str = ""
