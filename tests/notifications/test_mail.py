"""Mail of notifications, by a real mail server: what is in it, how often, once, and when the server is away."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword
from sqlalchemy import select

from clawportal.contracts.notifiers import Notice
from clawportal.db import db, transaction
from clawportal.errors import GiveUp, Retry
from clawportal.models import User
from clawportal.services.events import event_log
from clawportal.testing.certs import Authority
from clawportal_notifications import smtp, upkeep
from clawportal_notifications.models import Delivery
from clawportal_notifications.settings import NotificationSettings
from tests.conftest import Person, portal_of
from tests.notifications.conftest import Post, Stage, signed_in

KIM = "kim@example.com"


def happens(stage: Stage, **more: Any) -> None:
    stage.happens(**more)
    stage.follow()
    stage.send()


def deliveries(person: Person) -> list[tuple[str, str, int]]:
    return [(one["way"], one["state"], one["tries"]) for one in person.get("notifications/deliveries").get_json()["items"]]


def test_a_mail_says_what_happened_as_text_and_html(make_stage: Callable[..., Stage], database_url: str, mail: Post) -> None:
    mail.open()
    stage = make_stage(database_url)
    stage.reach(stage.people.viewer, email=KIM)
    happens(stage, name="<b>help & er</b>")
    assert mail.to == [KIM] and len(mail.mails) == 1
    [one] = mail.mails
    assert one["From"] == "Claws <claws@example.com>" and one["To"] == KIM and one["Auto-Submitted"] == "auto-generated"
    text, html = (one.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None and html is not None
    assert "<b>help & er</b> was created." in text.get_content()
    assert f"https://claws.example.com/instances/{stage.claw}" in text.get_content()
    assert "&lt;b&gt;help &amp; er&lt;/b&gt; was created." in html.get_content() and "<b>help" not in html.get_content()
    assert "A claw failed or ended by itself" in one["Subject"]
    assert deliveries(stage.people.viewer) == [("email", "sent", 1)] and deliveries(stage.people.owner) == []


def test_a_mail_is_in_the_language_of_whoever_gets_it(make_stage: Callable[..., Stage], mail: Post) -> None:
    mail.open()
    stage = make_stage()
    stage.reach(stage.people.viewer, email=KIM)
    with stage.app.app_context(), transaction():
        db.session.get_one(User, stage.people.viewer.actor.id).language = "zh_Hans"
    happens(stage)
    text = mail.mails[0].get_body(("plain",))
    assert text is not None and "Claw 失败或自行退出" in mail.mails[0]["Subject"]
    assert "was created" not in text.get_content() and "helper" in text.get_content()


def test_one_mail_at_most_in_some_minutes_has_all_of_it(
    make_stage: Callable[..., Stage], mail: Post, travel: Callable[[timedelta], None]
) -> None:
    mail.open()
    stage = make_stage()
    stage.reach(stage.people.viewer, email=KIM, every_minutes=15)
    happens(stage)
    for _ in range(3):
        happens(stage)
    happens(stage, kind="instance.storage_exceeded")
    assert len(mail.mails) == 1
    travel(timedelta(minutes=16))
    stage.send()
    assert len(mail.mails) == 2
    text = mail.mails[1].get_body(("plain",))
    assert text is not None and "(4 times)" in text.get_content() and "takes more room" in text.get_content()
    assert mail.mails[1]["Subject"] == "2 notifications of the portal"
    travel(timedelta(minutes=16))
    stage.send()
    assert len(mail.mails) == 2, "nothing is told twice"


def test_mail_waits_for_its_server(
    make_stage: Callable[..., Stage], database_url: str, mail: Post, travel: Callable[[timedelta], None]
) -> None:
    stage = make_stage(database_url)
    stage.reach(stage.people.viewer, email=KIM)
    happens(stage)
    [one] = stage.people.viewer.get("notifications/deliveries").get_json()["items"]
    assert one["state"] == "waiting" and one["tries"] == 1 and "does not take it now" in one["error"]
    stage.send()
    assert deliveries(stage.people.viewer) == [("email", "waiting", 1)], "not again at once"
    mail.open()
    travel(timedelta(minutes=2))
    mail.answers[:] = ["451 later"]
    stage.send()
    travel(timedelta(minutes=5))
    stage.send()
    assert len(mail.mails) == 1 and deliveries(stage.people.viewer) == [("email", "sent", 3)]


def test_what_is_not_taken_for_a_day_is_given_up(make_stage: Callable[..., Stage], travel: Callable[[timedelta], None]) -> None:
    stage = make_stage()
    stage.reach(stage.people.viewer, email=KIM)
    happens(stage)
    travel(timedelta(hours=25))
    stage.send()
    assert deliveries(stage.people.viewer) == [("email", "given-up", 2)]
    travel(timedelta(days=31))
    with stage.app.app_context():
        upkeep.forget_old(portal_of(stage.app))
    assert deliveries(stage.people.viewer) == []


def test_what_is_refused_for_good_is_not_tried_again(make_stage: Callable[..., Stage], mail: Post) -> None:
    mail.open()
    mail.answers[:] = ["550 nobody here wants it"]
    stage = make_stage()
    stage.reach(stage.people.viewer, email=KIM)
    happens(stage)
    [one] = stage.people.viewer.get("notifications/deliveries").get_json()["items"]
    assert one["state"] == "given-up" and "550 nobody here wants it" in one["error"]


def test_who_dies_while_sending_sends_the_same_mail_again(
    make_stage: Callable[..., Stage], database_url: str, mail: Post, monkeypatch: pytest.MonkeyPatch,
    travel: Callable[[timedelta], None],
) -> None:  # fmt: skip
    mail.open()
    stage = make_stage(database_url)
    stage.reach(stage.people.viewer, email=KIM)
    stage.happens()
    stage.follow()
    send = smtp.send

    def dies(*given: Any) -> None:
        send(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(smtp, "send", dies)
        stage.send()
    stage.send()
    assert len(mail.mails) == 1, "the other process may still be at it"
    travel(timedelta(minutes=2))
    stage.send()
    stage.send()
    assert len(mail.mails) == 2 and mail.mails[0]["Message-ID"] == mail.mails[1]["Message-ID"]
    assert deliveries(stage.people.viewer) == [("email", "sent", 2)]


def test_several_replicas_send_each_mail_once(make_stage: Callable[..., Stage], database_url: str, mail: Post) -> None:
    mail.open()
    stage = make_stage(database_url)
    for person in stage.people.everybody:
        stage.reach(person, email=f"{person.name}@example.com")
    stage.happens()
    stage.follow()
    threads = [threading.Thread(target=stage.send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(mail.to) == sorted(f"{one.name}@example.com" for one in stage.people.everybody if one.name != "stranger")


def test_who_lost_the_role_meanwhile_gets_no_mail(make_stage: Callable[..., Stage], database_url: str, mail: Post) -> None:
    stage = make_stage(database_url)
    stage.reach(stage.people.viewer, email=KIM)
    stage.happens()
    stage.follow()
    tenant = stage.people.owner.get("tenants").get_json()["items"][0]["id"]
    assert stage.people.owner.delete(f"tenants/{tenant}/members/{stage.people.viewer.actor.id}").status_code == 204
    mail.open()
    stage.send()
    assert mail.mails == [] and deliveries(stage.people.viewer) == [("email", "nothing-left", 1)]


def test_what_was_muted_meanwhile_is_not_sent(make_stage: Callable[..., Stage], mail: Post) -> None:
    mail.open()
    stage = make_stage()
    stage.reach(stage.people.viewer, email=KIM)
    stage.happens()
    stage.follow()
    stage.people.viewer.put(f"notifications/muted/{stage.claw}")
    stage.send()
    assert mail.mails == []


# ---- the address


def code_in(mail: Post) -> str:
    return str(mail.mails[-1]["Subject"]).split()[0]


def test_an_address_is_used_once_its_code_was_typed(
    make_stage: Callable[..., Stage], mail: Post, travel: Callable[[timedelta], None]
) -> None:
    mail.open()
    stage = make_stage()
    viewer = signed_in(stage.people.viewer)
    assert viewer.post("notifications/email", {"email": KIM}).status_code == 204
    assert viewer.post("notifications/email", {"email": KIM}).status_code == 429
    happens(stage)
    assert len(mail.mails) == 1, "only the code went there"
    assert viewer.get("notifications/preferences").get_json()["email"] == ""
    assert viewer.post("notifications/email/confirm", {"code": "nonsense"}).status_code == 422
    assert viewer.post("notifications/email/confirm", {"code": code_in(mail)}).status_code == 204
    told = viewer.get("notifications/preferences").get_json()
    assert told["email"] == KIM and told["wanted_email"] == ""
    happens(stage)
    assert mail.to == [KIM, KIM]
    assert viewer.delete("notifications/email").status_code == 204
    travel(timedelta(hours=1))
    happens(stage)
    assert ["gets no mail any more" in one["Subject"] for one in mail.mails[2:]] == [True]


def test_a_code_is_good_for_five_tries_and_an_hour(
    make_stage: Callable[..., Stage], mail: Post, travel: Callable[[timedelta], None]
) -> None:
    mail.open()
    stage = make_stage()
    owner = signed_in(stage.people.owner)
    owner.post("notifications/email", {"email": KIM})
    for _ in range(5):
        assert owner.post("notifications/email/confirm", {"code": "1"}).status_code == 422
    refused = owner.post("notifications/email/confirm", {"code": code_in(mail)})
    assert refused.status_code == 422 and "not good any more" in refused.get_json()["detail"]
    travel(timedelta(minutes=2))
    owner.post("notifications/email", {"email": KIM})
    travel(timedelta(minutes=61))
    owner = signed_in(stage.people.owner)
    assert owner.post("notifications/email/confirm", {"code": code_in(mail)}).status_code == 422
    assert owner.get("notifications/preferences").get_json()["email"] == ""


@pytest.mark.parametrize(
    "address", ["kim", "kim@x", "a@b.c, d@e.f", "Kim <kim@example.com>", "kim@example.com\r\nBcc: x@y.z", "@example.com"]
)
def test_what_is_no_address_is_refused(stage: Stage, address: str) -> None:
    refused = signed_in(stage.people.owner).post("notifications/email", {"email": address})
    assert refused.status_code == 422 and refused.get_json()["errors"][0]["path"] == "email"


# ---- the server


def settings(mail: Post, **more: Any) -> NotificationSettings:
    return NotificationSettings(smtp_host="127.0.0.1", smtp_port=mail.port, mail_from="claws@example.com", **more)


ONE = smtp.Mail(KIM, "Odd", "It happened.", "<p>It happened.</p>", "01")


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """One that this process believes."""
    made = Authority()
    (tmp_path / "root.pem").write_text(made.root)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
    return made


def test_the_way_to_the_server_is_encrypted_and_it_may_ask_who_it_is(mail: Post, authority: Authority) -> None:
    seen = []

    def known(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: LoginPassword) -> AuthResult:
        seen.append((given.login, given.password))
        return AuthResult(success=given.password == b"sesame", handled=False)

    mail.options = {"tls_context": authority.context(), "require_starttls": True, "authenticator": known, "auth_required": True}
    mail.open()
    smtp.send(settings(mail, smtp_tls="starttls", smtp_user="claws", smtp_password="sesame"), ONE)
    assert len(mail.mails) == 1 and seen == [(b"claws", b"sesame")]
    with pytest.raises(Retry) as refused:
        smtp.send(settings(mail, smtp_tls="starttls", smtp_user="claws", smtp_password="wrong"), ONE)
    assert "wrong" not in str(refused.value) and "535" in str(refused.value)


def test_a_server_that_is_encrypted_from_the_beginning(mail: Post, authority: Authority) -> None:
    mail.options = {"ssl_context": authority.context()}
    with suppress(Exception):  # its own first look at itself does not know the authority's names
        mail.open()
    smtp.send(settings(mail, smtp_tls="tls"), ONE)
    assert len(mail.mails) == 1


def test_a_server_that_nobody_vouches_for_gets_nothing(mail: Post) -> None:
    mail.options = {"tls_context": Authority().context()}
    mail.open()
    with pytest.raises(Retry, match="does not take it now"):
        smtp.send(settings(mail, smtp_tls="starttls"), ONE)
    assert mail.mails == []


def test_a_server_without_encryption_gets_nothing_where_it_is_wanted(mail: Post) -> None:
    mail.open()
    with pytest.raises(Retry):
        smtp.send(settings(mail, smtp_tls="starttls"), ONE)
    assert mail.mails == []


def test_a_server_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "SECONDS", 0.6)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            with server.accept()[0] as connection, suppress(OSError):
                end = time.monotonic() + 6
                while time.monotonic() < end:
                    connection.sendall(b"220-still here\r\n")
                    time.sleep(0.05)
                connection.sendall(b"220 here\r\n")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        with pytest.raises(Retry, match="does not take it now"):
            smtp.send(settings(Post(server.getsockname()[1]), smtp_tls="none"), ONE)
        thread.join(10)


def test_a_server_that_is_reached_when_the_time_is_over_is_cut_off() -> None:
    here, there = socket.socketpair()
    with here, there, smtp._Watch(60) as watch:
        watch._end()
        watch.over(here)
        there.settimeout(5)
        assert there.recv(1) == b""


def test_no_transaction_is_open_while_a_mail_goes_out(
    make_stage: Callable[..., Stage], mail: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail.open()
    stage, send, open_then = make_stage(), smtp.send, []

    def watched(*given: Any) -> None:
        open_then.append(db.session().in_transaction())
        send(*given)

    monkeypatch.setattr(smtp, "send", watched)
    assert signed_in(stage.people.viewer).post("notifications/email", {"email": KIM}).status_code == 204
    assert stage.people.admin.post("notifications/mail/test", {"to": KIM}).status_code == 204
    assert open_then == [False, False]


def test_no_line_is_smuggled_into_the_head(mail: Post) -> None:
    mail.open()
    smtp.send(settings(mail, smtp_tls="none"), smtp.Mail(KIM, "Odd\r\nBcc: x@y.z", "t", "h", "01"))
    assert mail.mails[0]["Bcc"] is None and mail.mails[0]["Subject"] == "Odd Bcc: x@y.z"
    with pytest.raises(GiveUp):
        smtp.send(settings(mail, smtp_tls="none"), smtp.Mail("kim@example.com\r\nBcc: x@y.z", "Odd", "t", "h", "01"))


def test_an_administrator_tries_the_server(make_stage: Callable[..., Stage], mail: Post) -> None:
    stage = make_stage()
    admin, body = stage.people.admin, {"to": KIM}
    assert stage.people.owner.post("notifications/mail/test", body).status_code == 403
    away = admin.post("notifications/mail/test", body)
    assert away.status_code == 503 and "does not take it now" in away.get_json()["detail"]
    mail.open()
    assert admin.post("notifications/mail/test", body).status_code == 204
    assert mail.mails[0]["Subject"] == "The portal can send mail"


def test_a_route_of_the_settings_goes_by_mail(make_stage: Callable[..., Stage], mail: Post) -> None:
    mail.open()
    stage = make_stage()
    with stage.app.app_context():
        row = db.session.scalars(select(event_log.EventRow).limit(1)).one()
        way = portal_of(stage.app).registry.notifiers["email"]
        assert way.check("kim") and not way.check(KIM)
        way.send(Notice(event_log.as_event(row), "Odd", "It happened."), KIM)
    assert mail.mails[0]["Subject"] == "Odd: It happened."


def test_deliveries_are_ones_own(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage()
    stage.reach(stage.people.viewer, email=KIM)
    happens(stage)
    assert deliveries(stage.people.owner) == [] == deliveries(stage.people.admin)
    with stage.app.app_context():
        assert db.session.query(Delivery).count() == 1
