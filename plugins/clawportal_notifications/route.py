"""The notifier `email`: routes of the portal's settings send mail by the same server."""

from __future__ import annotations

from clawportal.sdk import _m
from clawportal.sdk.notifiers import Notice
from clawportal.sdk.pages import portal
from clawportal_notifications import smtp, words
from clawportal_notifications.settings import NotificationSettings


class ByMail:
    kind = "email"
    title = _m("Mail")

    def check(self, to: str) -> str:
        return "" if smtp.is_address(to) else "For mail, write one address, such as claws@example.com."

    def send(self, notice: Notice, to: str) -> None:
        event = notice.event
        one = words.Said(notice.title, notice.text, 1, event.at.strftime("%Y-%m-%d %H:%M UTC"), notice.link, event.level)
        text = words.of_route(portal(), one)
        smtp.send(
            portal().section(NotificationSettings), smtp.Mail(to, text.subject, text.text, text.html, f"notice-{event.seq}")
        )
