"""What comes along when addresses and keys are pasted."""

from __future__ import annotations

from clawportal.pasted import Tidied, address, flaw_in_header, key

__all__ = [
    "Tidied",
    "address",
    "flaw_in_header",
    "key",
]
