"""Where a person can be reached outside of the portal: an address for mail, which they confirm, and one that is called."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, select, update

from clawportal.sdk import Message, _m, _n
from clawportal.sdk.addresses import endpoint
from clawportal.sdk.data import db, new_id, now, transaction
from clawportal.sdk.errors import Conflict, GiveUp, Invalid, Retry, TooManyRequests, Unavailable
from clawportal.sdk.events import EventRow, record
from clawportal.sdk.fleet import Portal
from clawportal.sdk.people import User, require_person, spend
from clawportal.sdk.permissions import SELF, Actor
from clawportal.sdk.secrets import KeyringError
from clawportal_notifications import callbacks, smtp, words
from clawportal_notifications.models import EMAIL, NEW_PLACE, WAY_CHANGED, WEBHOOK, Delivery, Line, Ways
from clawportal_notifications.settings import NotificationSettings

GOOD_FOR = timedelta(hours=1)
PAUSE = timedelta(minutes=1)
TRIES = 5
CODES_A_DAY = 5
"""For one account, and to one address whoever asks: the portal must not be what fills somebody's mailbox."""
TEST_PAUSE = timedelta(seconds=10)


def of(user_id: str) -> Ways:
    """What somebody gave; a row that is not stored where it is nothing yet."""
    return db.session.get(Ways, user_id) or Ways(user_id=user_id, email="", wanted_email="", webhook="", every_minutes=15)


def _stored(user_id: str) -> Ways:
    row = db.session.get(Ways, user_id, with_for_update=True)
    if row is None:
        row = Ways(user_id=user_id)
        db.session.add(row)
        db.session.flush()
    return row


def _tell(portal: Portal, actor: Actor, words_id: str, until_now: str) -> None:
    """`until_now`: the address for mail that was good before. Whoever reads there hears of it, and of what was due about the
    account: only so somebody learns that another person has the portal talk to somebody else."""
    message = Message(words_id, {"name": actor.name})
    event = record(portal, "notification.way_changed", actor=actor, message=message, person_id=actor.id, read=SELF)
    if until_now and portal.section(NotificationSettings).mails:
        due = _due(actor.id, EMAIL, Line.interest == NEW_PLACE)
        lines = [*due, _line(actor.id, event)]
        db.session.add(Delivery(user_id=actor.id, way=EMAIL, address=until_now, lines=lines))
        _not_due(due, EMAIL)


def _line(user_id: str, event: EventRow) -> str:
    """Not shown in the portal: it is for whoever reads the mail."""
    line = Line(
        user_id=user_id, interest=WAY_CHANGED, about=event.kind, seq=event.seq, level="warning", message=event.message,
        path="/profile/notifications", first_at=event.at, at=event.at, shown=False,
    )  # fmt: skip
    db.session.add(line)
    db.session.flush()
    return line.id


def _due(user_id: str, way: str, *where: ColumnElement[bool]) -> list[str]:
    """In the order in which all lock them."""
    query = select(Line.id).where(Line.user_id == user_id, getattr(Line, f"{way}_due"), *where)
    return list(db.session.scalars(query.order_by(Line.id).with_for_update()))


def _not_due(lines: Sequence[str], way: str) -> None:
    db.session.execute(update(Line).where(Line.id.in_(lines)).values({f"{way}_due": False}))


def set_pause(portal: Portal, actor: Actor, minutes: int) -> None:
    require_person(actor)
    least = portal.section(NotificationSettings).mail_every_minutes
    if not least <= minutes <= 1440:
        raise Invalid.field("every_minutes", _m("must be from %(least)s to 1440", least=least))
    with transaction():
        _stored(actor.id).every_minutes = minutes


# ---- mail


def ask_email(portal: Portal, actor: Actor, address: str) -> None:
    """Send a code to an address. Nothing else goes there until it was typed here: nobody has the portal write to others."""
    require_person(actor)
    settings, address = portal.section(NotificationSettings), address.strip()
    if not settings.mails:
        raise Conflict(_m("The portal sends no mail. Ask an administrator to set up a mail server."))
    if not smtp.is_address(address):
        raise Invalid.field("email", _m("must be an address for mail, such as kim@example.com"))
    code, language = f"{secrets.randbelow(10**8):08d}", _language(actor.id)
    with transaction():
        row = _stored(actor.id)
        if row.code_at is not None and row.code_at > now() - PAUSE:
            raise TooManyRequests(_m("A code was sent a moment ago. Wait a minute."))
        spend("mail-code", (f"account {actor.id}", f"to {_mailbox(address)}"), CODES_A_DAY)
        row.wanted_email, row.code_hash, row.code_at, row.code_tries = address, _hash(actor.id, code), now(), 0
    _send_now(settings, address, words.of_code(portal, actor.name, code, language))


def _mailbox(address: str) -> str:
    """What many servers put into one box counts as one."""
    local, _at, domain = address.lower().rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


def confirm_email(portal: Portal, actor: Actor, code: str) -> str:
    """The address, once the code is right."""
    require_person(actor)
    with transaction():
        row = _stored(actor.id)
        good = row.wanted_email and row.code_at is not None and row.code_at > now() - GOOD_FOR and row.code_tries < TRIES
        row.code_tries += 1
        right = good and hmac.compare_digest(row.code_hash, _hash(actor.id, code.strip()))
        if right:
            before = row.email if row.email != row.wanted_email else ""
            row.email, row.wanted_email, row.code_hash, row.code_at = row.wanted_email, "", "", None
            _tell(portal, actor, _CONFIRMED, before)
        found = row.email
    if not good:
        raise Invalid.field("code", _m("is not good any more; ask for a new one"))
    if not right:
        raise Invalid.field("code", _m("is not the code that was sent"))
    return found


def remove_email(portal: Portal, actor: Actor) -> None:
    require_person(actor)
    with transaction():
        row = _stored(actor.id)
        before, row.email, row.wanted_email, row.code_hash = row.email, "", "", ""
        _tell(portal, actor, _NO_MAIL, before)
        _not_due(_due(actor.id, EMAIL), EMAIL)


def send_test(portal: Portal, address: str, language: str) -> None:
    """By an administrator, who wants to know whether the settings are right."""
    if not smtp.is_address(address.strip()):
        raise Invalid.field("to", _m("must be an address for mail, such as kim@example.com"))
    _send_now(portal.section(NotificationSettings), address.strip(), words.of_test(portal, language))


def _send_now(settings: NotificationSettings, to: str, text: words.Text) -> None:
    db.session.rollback()  # whoever is told may take seconds: hold no snapshot of the database meanwhile
    try:
        if not settings.mails:
            raise Conflict(_m("The portal has no mail server: smtp_host and mail_from are not set."))
        smtp.send(settings, smtp.Mail(to, text.subject, text.text, text.html, new_id()))
    except Retry as error:
        raise Unavailable(error.message or error.reason) from error
    except GiveUp as error:  # it is not set up, or refused for good
        raise Conflict(error.message or error.reason) from error


def _hash(user_id: str, code: str) -> str:
    return hashlib.sha256(f"{user_id}:{code}".encode()).hexdigest()


def _language(user_id: str) -> str:
    return db.session.scalar(select(User.language).where(User.id == user_id)) or "en"


# ---- an address that is called


def set_webhook(portal: Portal, actor: Actor, url: str) -> str:
    """The secret that signs, which is told once."""
    require_person(actor)
    url = url.strip()
    if len(url) > 2000 or (found := callbacks.wrong(url)):
        raise Invalid.field("url", found if len(url) <= 2000 else _m("may have 2000 characters at most"))
    secret = secrets.token_urlsafe(32)
    with transaction():
        row = _stored(actor.id)
        row.webhook = endpoint(url)[:300]
        row.sealed = portal.keyring.seal(json.dumps({"url": url, "secret": secret}), _place(actor.id))
        _tell(portal, actor, _CALLED, row.email)
    return secret


def remove_webhook(portal: Portal, actor: Actor) -> None:
    require_person(actor)
    with transaction():
        row = _stored(actor.id)
        row.webhook, row.sealed = "", None
        _not_due(_due(actor.id, WEBHOOK), WEBHOOK)
        _tell(portal, actor, _NO_CALLS, row.email)


def webhook(portal: Portal, row: Ways) -> tuple[str, str]:
    """Address and secret; GiveUp where there is none."""
    if row.sealed is None:
        raise GiveUp("WebhookGone", _m("The address was taken away."))
    try:
        kept = json.loads(portal.keyring.open(row.sealed, _place(row.user_id)))
    except KeyringError as error:
        raise GiveUp("WebhookSealed", _m("The address cannot be read any more; give it again.")) from error
    return kept["url"], kept["secret"]


def test_webhook(portal: Portal, actor: Actor) -> None:
    """Call it now, with a document that says so."""
    require_person(actor)
    row, networks = of(actor.id), portal.section(NotificationSettings).webhook_networks
    try:
        url, secret = webhook(portal, row)
        spend("hook-test", (actor.id,), 1, TEST_PAUSE)
        db.session.rollback()  # whoever is called may take seconds
        callbacks.post(url, secret, {"test": True, "notifications": []}, new_id(), networks)
    except Retry as error:
        raise Unavailable(error.message or error.reason) from error
    except GiveUp as error:  # it is not set up, or refused for good
        raise Conflict(error.message or error.reason) from error


def reseal(portal: Portal) -> int:
    """Move every address to the newest key; returns how many were moved. What does not open stays as it is."""
    with transaction():
        rows = db.session.scalars(select(Ways).where(Ways.sealed.is_not(None)).order_by(Ways.user_id).with_for_update()).all()
        return sum(_moved(portal, row) for row in rows if not portal.keyring.is_current(row.sealed or b""))


def _moved(portal: Portal, row: Ways) -> bool:
    try:
        row.sealed = portal.keyring.seal(portal.keyring.open(row.sealed or b"", _place(row.user_id)), _place(row.user_id))
    except KeyringError:
        return False
    return True


def _place(user_id: str) -> str:
    return f"notifications.webhook.{user_id}"


_CONFIRMED = _n("%(name)s confirmed an address for mail.")
_NO_MAIL = _n("%(name)s gets no mail any more.")
_CALLED = _n("%(name)s gave an address that is called.")
_NO_CALLS = _n("%(name)s took away the address that is called.")
