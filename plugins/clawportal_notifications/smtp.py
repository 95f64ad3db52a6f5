"""Sends one mail to one address, within a time as a whole: a socket's own timeout begins anew with every byte."""

from __future__ import annotations

import contextlib
import os
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import MessageError
from email.message import EmailMessage
from email.utils import formatdate, parseaddr

from clawportal.sdk import _m
from clawportal.sdk.errors import GiveUp, Retry
from clawportal_notifications.settings import NotificationSettings

SECONDS = 15.0
"""For connecting, signing in and handing over one mail."""


@dataclass(frozen=True)
class Mail:
    to: str
    subject: str
    text: str
    html: str
    id: str
    """The same where it is sent again: servers and programs that know it already show it once."""


def is_address(text: str) -> bool:
    """Whether mail can be sent there: one address, without a name."""
    local, at, domain = text.rpartition("@")
    plain = text.isascii() and text.isprintable() and not any(sign in text for sign in ' ,;:<>()[]\\"')
    return bool(plain and local and at and "." in domain.strip(".") and len(text) <= 254 and parseaddr(text)[1] == text)


def send(settings: NotificationSettings, mail: Mail) -> None:
    """Raises Retry where it may go well later, GiveUp where this mail will never be taken."""
    if not settings.mails:
        raise Retry("MailNotSetUp", _m("The portal has no mail server: smtp_host and mail_from are not set."))
    try:
        message = _message(settings, mail)
    except (ValueError, MessageError) as error:
        raise GiveUp("MailUnwritable", _m("This mail cannot be written: %(why)s", why=str(error))) from error
    try:
        with _connection(settings) as server:
            server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        _refused(*next(iter(error.recipients.values())))
    except smtplib.SMTPDataError as error:
        _refused(error.smtp_code, error.smtp_error)
    except smtplib.SMTPResponseException as error:  # signing in, or the sender: the administrator can mend that
        raise _later(_said(error.smtp_code, error.smtp_error)) from error
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        raise _later(str(error) or type(error).__name__) from error


def _refused(code: int, words: bytes | str) -> None:
    if code >= 500:
        raise GiveUp("MailRefused", _m("The mail server refuses this mail: %(words)s", words=_said(code, words)))
    raise _later(_said(code, words))


def _later(words: str) -> Retry:
    return Retry("MailServerDown", _m("The mail server does not take it now: %(words)s", words=words[:300]))


def _said(code: int, words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return f"{code} {' '.join(text.split())}"


def _message(settings: NotificationSettings, mail: Mail) -> EmailMessage:
    made = EmailMessage()
    made["Subject"] = " ".join(mail.subject.split())
    made["From"] = settings.mail_from
    made["To"] = mail.to
    made["Date"] = formatdate()
    made["Message-ID"] = f"<{mail.id}@{parseaddr(settings.mail_from)[1].rpartition('@')[2] or 'clawportal.invalid'}>"
    made["Auto-Submitted"] = "auto-generated"  # so that nobody's holiday answers it
    made.set_content(mail.text)
    made.add_alternative(mail.html, subtype="html")
    return made


# ---- the connection


@contextlib.contextmanager
def _connection(settings: NotificationSettings) -> Iterator[smtplib.SMTP]:
    with _Watch(SECONDS) as watch:
        server = _Encrypted(watch) if settings.smtp_tls == "tls" else _Plain(watch)
        try:
            server.connect(settings.smtp_host, settings.smtp_port)
            if settings.smtp_tls == "starttls":
                server.starttls(context=ssl.create_default_context())
            if settings.smtp_user:
                server.login(settings.smtp_user, settings.smtp_password)
            yield server
            with contextlib.suppress(smtplib.SMTPException, OSError):
                server.quit()
        finally:
            server.close()


class _Watch:
    """Ends a connection when the time is over, whatever is being done with it."""

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._held: socket.socket | None = None
        self._is_over, self._lock = False, threading.Lock()

    def over(self, connection: socket.socket) -> None:
        """A second handle: encryption takes the first one away."""
        with self._lock:
            self._held = socket.socket(fileno=os.dup(connection.fileno()))
            if self._is_over:  # finding and reaching the server took all of it
                self._shut(self._held)

    def _end(self) -> None:
        with self._lock:
            self._is_over = True
            if self._held is not None:
                self._shut(self._held)

    @staticmethod
    def _shut(held: socket.socket) -> None:
        with contextlib.suppress(OSError):
            held.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> _Watch:
        self._timer.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()
        if self._held is not None:
            self._held.close()


class _Plain(smtplib.SMTP):
    def __init__(self, watch: _Watch) -> None:
        self.watch = watch
        super().__init__(timeout=SECONDS)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        self._host = host  # whose name the certificate has to bear
        made = socket.create_connection((host, port), timeout)
        self.watch.over(made)
        return made


class _Encrypted(_Plain):
    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return ssl.create_default_context().wrap_socket(super()._get_socket(host, port, timeout), server_hostname=host)
