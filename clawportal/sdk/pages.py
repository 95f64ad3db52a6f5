"""What plugins add to pages."""

from __future__ import annotations

from clawportal.contracts.pages import MenuLink

__all__ = [
    "MenuLink",
]
