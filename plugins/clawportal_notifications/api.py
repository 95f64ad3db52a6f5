"""Notifications over the API: what one was told, what one wants to be told of, and by which ways."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from clawportal.sdk.adapters import Strict
from clawportal.sdk.api import Answer, Page, Paged, Portal, op, paged
from clawportal.sdk.permissions import PORTAL_ADMIN, SELF, Actor
from clawportal_notifications import choices, inbox, log, ways
from clawportal_notifications.models import WAYS, Line
from clawportal_notifications.settings import NotificationSettings

TAGS = ("Notifications",)


class NotificationDocument(Answer):
    id: str
    interest: str = Field(description="What one asked to be told of, such as `instance.failed`.")
    title: str = Field(description="The same in words.")
    message: str = Field(description="What happened last.")
    level: Literal["info", "warning", "error"]
    count: int = Field(description="How often it happened since `first_at`.")
    first_at: datetime
    at: datetime
    read: bool
    instance_id: str | None
    path: str = Field(description="The page of what it is about; may be empty.")


class UnreadAnswer(Answer):
    unread: int = Field(description="100 stands for so many or more.")


class MarkedAnswer(Answer):
    marked: int = Field(description="How many were unread.")


class InterestDocument(Answer):
    name: str
    title: str
    ways: dict[str, bool] = Field(description="By way (`portal`, `email`, `webhook`): whether one is told.")


class MutedDocument(Answer):
    instance_id: str
    name: str


class PreferencesAnswer(Answer):
    choices: list[InterestDocument]
    email: str = Field(description="To which mail goes; empty: none is confirmed.")
    wanted_email: str = Field(description="An address that waits for its code.")
    webhook: str = Field(description="Scheme, host and port of the address that is called; empty: there is none.")
    every_minutes: int = Field(description="One mail at most in so many minutes.")
    mail: bool = Field(description="Whether the portal can send mail at all.")
    muted: list[MutedDocument] = Field(description="Instances of which one hears nothing.")


class PreferencesBody(Strict):
    choices: dict[str, dict[str, bool]] = Field({}, max_length=200, description="By interest and way. What is left out stays.")
    every_minutes: int | None = Field(None, description="One mail at most in so many minutes.")


class EmailBody(Strict):
    email: str = Field(max_length=254)


class MailCodeBody(Strict):
    code: str = Field(max_length=20, description="As it came by mail.")


class WebhookBody(Strict):
    url: str = Field(max_length=2000, description="With http or https; kept sealed, and shown without what comes after the port.")


class WebhookAnswer(Answer):
    secret: str = Field(description="Signs each call; it is not told again.")


class TestMailBody(Strict):
    to: str = Field(max_length=254)


class DeliveryDocument(Answer):
    id: str
    way: Literal["email", "webhook"]
    state: Literal["waiting", "sent", "given-up", "nothing-left"]
    notifications: int
    tries: int
    created_at: datetime
    ended_at: datetime | None
    error: str


class NotificationsQuery(Paged):
    unread: bool = Field(False, description="Only those that were not read.")


def _document(portal: Portal, line: Line) -> dict[str, Any]:
    known = choices.interests(portal).get(line.interest)
    return {
        "id": line.id, "interest": line.interest, "title": known.title if known else line.interest, "message": line.message,
        "level": line.level, "count": line.count, "first_at": line.first_at, "at": line.at, "read": line.read_at is not None,
        "instance_id": line.instance_id, "path": line.path,
    }  # fmt: skip


@op("GET", "/notifications", permission=SELF, tags=TAGS, summary="What one was told", returns=Page[NotificationDocument])
def list_notifications(actor: Actor, portal: Portal, query: NotificationsQuery) -> Any:
    """Newest first; only what one may still see."""
    page = inbox.page(actor, unread=query.unread, which=query.which)
    return paged(page, query, [_document(portal, line) for line in page.items])


@op("GET", "/notifications/unread", permission=SELF, tags=TAGS, summary="How many are unread", returns=UnreadAnswer)
def count_unread_notifications(actor: Actor) -> dict[str, Any]:
    return {"unread": inbox.unread(actor)}


@op("POST", "/notifications/{notification_id}/read", permission=SELF, tags=TAGS, summary="Mark one as read",
    returns=NotificationDocument, problems=(404,))  # fmt: skip
def read_notification(actor: Actor, portal: Portal, notification_id: str) -> Any:
    return _document(portal, inbox.mark(actor, notification_id))


@op("POST", "/notifications/read-all", permission=SELF, tags=TAGS, summary="Mark all as read", returns=MarkedAnswer)
def read_all_notifications(actor: Actor) -> dict[str, Any]:
    return {"marked": inbox.mark_all(actor)}


# ---- what one wants


@op("GET", "/notifications/preferences", permission=SELF, tags=TAGS, summary="What one is told of, and how",
    returns=PreferencesAnswer)  # fmt: skip
def get_notification_preferences(actor: Actor, portal: Portal) -> Any:
    chosen, reached = choices.chosen(actor.id), ways.of(actor.id)
    return {
        "choices": [
            {"name": one.name, "title": one.title, "ways": {way: chosen.wants(actor.id, one, way) for way in WAYS}}
            for one in choices.interests(portal).values()
        ],
        "email": reached.email, "wanted_email": reached.wanted_email, "webhook": reached.webhook,
        "every_minutes": reached.every_minutes, "mail": portal.section(NotificationSettings).mails,
        "muted": [{"instance_id": one.id, "name": one.name} for one in choices.muted(actor)],
    }  # fmt: skip


@op("PATCH", "/notifications/preferences", permission=SELF, tags=TAGS, summary="Choose what one is told of",
    returns=PreferencesAnswer, example={"choices": {"instance.failed": {"email": True}}})  # fmt: skip
def change_notification_preferences(actor: Actor, portal: Portal, body: PreferencesBody) -> Any:
    if body.every_minutes is not None:
        ways.set_pause(portal, actor, body.every_minutes)
    choices.choose(portal, actor, body.choices)
    return get_notification_preferences(actor, portal)


@op("PUT", "/notifications/muted/{instance_id}", permission=SELF, tags=TAGS, summary="Hear nothing of an instance", status=204,
    problems=(404,))  # fmt: skip
def mute_instance(actor: Actor, instance_id: str) -> None:
    choices.mute(actor, instance_id, True)


@op("DELETE", "/notifications/muted/{instance_id}", permission=SELF, tags=TAGS, summary="Hear of an instance again", status=204,
    problems=(404,))  # fmt: skip
def unmute_instance(actor: Actor, instance_id: str) -> None:
    choices.mute(actor, instance_id, False)


@op("POST", "/notifications/email", permission=SELF, tags=TAGS, summary="Give an address for mail", status=204,
    problems=(409, 429, 503), example={"email": "kim@example.com"})  # fmt: skip
def ask_notification_email(actor: Actor, portal: Portal, body: EmailBody) -> None:
    """A code is sent there; mail follows once it was confirmed. What was confirmed before stays until then."""
    ways.ask_email(portal, actor, body.email)


@op("POST", "/notifications/email/confirm", permission=SELF, tags=TAGS, summary="Confirm an address by its code", status=204)
def confirm_notification_email(actor: Actor, portal: Portal, body: MailCodeBody) -> None:
    ways.confirm_email(portal, actor, body.code)


@op("DELETE", "/notifications/email", permission=SELF, tags=TAGS, summary="Get no mail any more", status=204)
def remove_notification_email(actor: Actor, portal: Portal) -> None:
    ways.remove_email(portal, actor)


@op("PUT", "/notifications/webhook", permission=SELF, tags=TAGS, summary="Give an address that is called", returns=WebhookAnswer,
    example={"url": "https://hooks.example.com/me"})  # fmt: skip
def set_notification_webhook(actor: Actor, portal: Portal, body: WebhookBody) -> dict[str, Any]:
    """Each address has a secret of its own; giving one anew makes a new secret."""
    return {"secret": ways.set_webhook(portal, actor, body.url)}


@op("DELETE", "/notifications/webhook", permission=SELF, tags=TAGS, summary="Take away the address that is called", status=204)
def remove_notification_webhook(actor: Actor, portal: Portal) -> None:
    ways.remove_webhook(portal, actor)


@op("POST", "/notifications/webhook/test", permission=SELF, tags=TAGS, summary="Call one's address now", status=204,
    problems=(409, 429, 503))  # fmt: skip
def test_notification_webhook(actor: Actor, portal: Portal) -> None:
    """409 where there is none, or where it refuses for good; 503 says what went wrong otherwise."""
    ways.test_webhook(portal, actor)


@op("GET", "/notifications/deliveries", permission=SELF, tags=TAGS, summary="Mails and calls to oneself",
    returns=Page[DeliveryDocument])  # fmt: skip
def list_notification_deliveries(actor: Actor, query: Paged) -> Any:
    page = log.page(actor, query.which)
    return paged(page, query, [
        {"id": row.id, "way": row.way, "state": row.state, "notifications": len(row.lines), "tries": row.tries,
         "created_at": row.created_at, "ended_at": row.ended_at, "error": row.error} for row in page.items
    ])  # fmt: skip


@op("POST", "/notifications/mail/test", permission=PORTAL_ADMIN, tags=TAGS, summary="Send a mail, to see whether it works",
    status=204, problems=(409, 503), example={"to": "kim@example.com"})  # fmt: skip
def test_portal_mail(actor: Actor, portal: Portal, body: TestMailBody) -> None:
    """With the mail server of the settings; 409 where none is set. 503 says what went wrong."""
    ways.send_test(portal, body.to, actor.language)
