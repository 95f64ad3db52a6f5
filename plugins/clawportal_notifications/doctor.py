"""What `clawportal doctor` finds about mail, without sending any."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from clawportal.sdk import _m
from clawportal.sdk.features import DoctorResult
from clawportal.sdk.settings import Settings, read
from clawportal_notifications.settings import NotificationSettings


def mail(settings: Settings) -> Iterator[DoctorResult]:
    found: Any = read(settings, "notifications", NotificationSettings)
    if not (found.smtp_host or found.mail_from):
        return
    wrong, remedy = _wrong(found, settings.public_url)
    yield DoctorResult("mail", not wrong, wrong or f"{found.smtp_host}:{found.smtp_port}", remedy)


def _wrong(found: NotificationSettings, public_url: str) -> tuple[str, str]:
    if not found.mails:
        return _m("No mail is sent: there is a server or a sender, but not both."), _m("Set smtp_host and mail_from.")
    if found.smtp_user and found.smtp_tls == "none":
        return _m("The password of the mail server goes over the network as it is."), _m("Set smtp_tls to starttls or tls.")
    if not public_url:
        return _m("Mails have no links: nobody said how the portal is reached."), _m("Set CLAWPORTAL_PUBLIC_URL.")
    return "", ""
