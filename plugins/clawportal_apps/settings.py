"""How claws' own pages are reached, and how much of the portal they may take."""

from __future__ import annotations

import re

from pydantic import BaseModel, Field, field_validator

from clawportal.sdk import _m
from clawportal.sdk.settings import CHANGEABLE

_DOMAIN = re.compile(r"(?=.{1,190}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*(:\d{1,5})?")


class AppSettings(BaseModel):
    domain: str = Field(
        "",
        description="Domain below which each page has a host name of its own, such as apps.example.com, also with a port. "
        "*.apps.example.com has to lead to the portal, with a certificate for it. Empty: PORT-ID.localhost, for browsers on the "
        "portal's own machine.",
    )
    ports: str = Field(
        "",
        description="Ports at which the portal listens besides, such as 8810-8829, for browsers of other machines where no "
        "domain is set: each page of a claw gets one, for good. They share the portal's host, so a domain is better where not "
        "every claw is trusted. Empty: none.",
    )
    idle_seconds: float = Field(
        3600,
        ge=10,
        le=86_400,
        description="A WebSocket or stream of a page ends when nothing passes for so long, seconds.",
    )
    first_byte_seconds: float = Field(
        60, ge=1, le=3600, description="A claw that does not begin to answer within so many seconds is told as one that does not."
    )
    at_once: int = Field(24, ge=2, le=200, description="Requests for claws' pages of one person that are worked on at a time.")
    streams: int = Field(
        1000, ge=8, le=20_000, description="Open WebSockets and streams of claws' pages in all; one person may have a tenth."
    )
    share_hours: int = Field(
        168,
        ge=0,
        le=8760,
        title=_m("Longest life of a shared link"),
        description=_m(
            "A shared link to a claw's page is good for so many hours at most. 0: none can be made, and none is good."
        ),
        json_schema_extra=CHANGEABLE,
    )

    @field_validator("ports")
    @classmethod
    def _ports(cls, value: str) -> str:
        first, dash, last = value.strip().partition("-")
        last = last if dash else first
        known = first.isascii() and first.isdigit() and last.isascii() and last.isdigit()
        if value.strip() and not (known and 1024 <= int(first) <= int(last) <= 65_535 and int(last) - int(first) < 1000):
            raise ValueError("must be a port or two with a dash between, such as 8810-8829, from 1024 to 65535 and at most 1000")
        return value.strip()

    @property
    def port_numbers(self) -> range:
        """Empty where there are none, or where pages have host names anyway."""
        first, dash, last = self.ports.partition("-")
        return range(int(first), int(last if dash else first) + 1) if first and not self.domain else range(0)

    @field_validator("domain")
    @classmethod
    def _domain(cls, value: str) -> str:
        value = value.strip().lower().removeprefix("*.").rstrip(".")
        if value and not _DOMAIN.fullmatch(value):
            raise ValueError("must be a domain such as apps.example.com, without https:// and without a path")
        return value
