"""What plugins add to pages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MenuLink:
    title: str
    href: str
    icon: str = "puzzle"
