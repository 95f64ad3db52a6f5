"""How notifications leave the portal, and how long they are kept."""

from __future__ import annotations

import ipaddress
from email.utils import parseaddr
from typing import Literal

from pydantic import BaseModel, Field, field_validator

from clawportal.sdk import _m
from clawportal.sdk.settings import CHANGEABLE


class NotificationSettings(BaseModel):
    """Section `[notifications]`."""

    smtp_host: str = Field("", max_length=253, description="Name of the server that sends mail; empty: no mail is sent.")
    smtp_port: int = Field(587, ge=1, le=65535, description="Its port.")
    smtp_tls: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="How the way there is encrypted: starttls (usually 587), tls (usually 465) or none."
    )
    smtp_user: str = Field("", max_length=320, description="Account on that server; empty: it asks for none.")
    smtp_password: str = Field("", max_length=1000, description="Its password.", json_schema_extra={"x-secret": True})
    mail_from: str = Field("", max_length=320, description="Sender of the mail, such as Claws <claws@example.com>.")
    mail_every_minutes: int = Field(
        5, ge=1, le=1440, title=_m("Pause between mails to one person"),
        description=_m("Least minutes between two mails to one person."), json_schema_extra=CHANGEABLE,
    )  # fmt: skip
    webhook_networks: tuple[str, ...] = Field(
        (), max_length=100,
        description="Networks that are not public and that people's own addresses may be in, such as 10.1.0.0/16.",
    )  # fmt: skip
    keep_days: int = Field(
        30, ge=1, le=3650, title=_m("Days for which notifications are kept"),
        description=_m("Days for which notifications and the log of deliveries are kept."), json_schema_extra=CHANGEABLE,
    )  # fmt: skip
    most_each: int = Field(
        500, ge=10, le=100_000, title=_m("Notifications of one person"),
        description=_m("Notifications of one person; the oldest go first."), json_schema_extra=CHANGEABLE,
    )  # fmt: skip

    @field_validator("webhook_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            ipaddress.ip_network(one)
        return value

    @field_validator("mail_from")
    @classmethod
    def _sender(cls, value: str) -> str:
        local, at, domain = parseaddr(value)[1].partition("@")
        if value and not (local and at and domain and value.isprintable()):
            raise ValueError("must be an address for mail, such as Claws <claws@example.com>")
        return value

    @property
    def mails(self) -> bool:
        return bool(self.smtp_host and self.mail_from)
