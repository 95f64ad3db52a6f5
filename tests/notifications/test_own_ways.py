"""Who takes an account over does not take its warnings away, and nobody has the portal fill the mailboxes of others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from clawportal.contracts.permissions import SELF
from clawportal.db import db, transaction
from clawportal.services.events import event_log
from clawportal_notifications import sending
from clawportal_notifications.models import Delivery, Line
from tests.conftest import Person, counted_sql, portal_of
from tests.notifications.conftest import Post, Stage, signed_in

KIM = "kim@example.com"


def comes_from_elsewhere(stage: Stage, person: Person) -> None:
    with stage.app.app_context(), transaction():
        portal, own = portal_of(stage.app), {"person_id": person.actor.id, "read": SELF}
        event_log.record(portal, "session.new_place", actor=person.actor, message="odd", **own)  # type: ignore[arg-type]
    stage.follow()


def told(mail: Post) -> list[tuple[str, str]]:
    return [(to, str(one["Subject"])) for to, one in zip(mail.to, mail.mails, strict=True)]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", "email", {"email": KIM}), ("POST", "email/confirm", {"code": "1"}), ("DELETE", "email", None),
     ("PUT", "webhook", {"url": "https://hooks.example.com/"}), ("DELETE", "webhook", None), ("POST", "webhook/test", None),
     ("PATCH", "preferences", {"every_minutes": 1440}),
     ("PATCH", "preferences", {"choices": {"session.new_place": {"email": False}}})],
)  # fmt: skip
def test_a_token_changes_no_way(stage: Stage, method: str, path: str, body: Any) -> None:
    stage.reach(stage.people.viewer, email=KIM)
    refused = stage.people.viewer.request(method, f"notifications/{path}", json=body)
    assert refused.status_code == 403 and "An API token cannot do this" in refused.get_json()["detail"]
    assert stage.people.viewer.get("notifications/preferences").get_json()["email"] == KIM
    other = {"choices": {"instance.failed": {"email": False}}}
    assert stage.people.viewer.patch("notifications/preferences", other).status_code == 200


def test_the_address_that_is_left_hears_of_it_and_of_what_came_before(
    make_stage: Callable[..., Stage], database_url: str, mail: Post
) -> None:
    mail.open()
    stage = make_stage(database_url)
    viewer = signed_in(stage.people.viewer)
    stage.reach(viewer, email=KIM)
    stage.happens()
    comes_from_elsewhere(stage, viewer)
    assert viewer.delete("notifications/email").status_code == 204
    comes_from_elsewhere(stage, viewer)
    stage.send()
    assert told(mail) == [(KIM, "2 notifications of the portal")]
    text = mail.mails[0].get_body(("plain",))
    assert text is not None and "odd" in text.get_content() and "gets no mail any more" in text.get_content()
    assert "helper" not in text.get_content(), "the rest goes where they are reached, which is nowhere"


def test_what_is_on_its_way_goes_to_the_address_of_then(
    make_stage: Callable[..., Stage], mail: Post, travel: Callable[[timedelta], None]
) -> None:
    stage = make_stage()
    viewer = signed_in(stage.people.viewer)
    stage.reach(viewer, email=KIM)
    stage.happens()
    comes_from_elsewhere(stage, viewer)
    stage.send()  # the server is away
    viewer.delete("notifications/email")
    mail.open()
    travel(timedelta(minutes=5))
    stage.send()
    assert mail.to == [KIM, KIM]
    texts = [str(one.get_body(("plain",))) for one in mail.mails]
    assert sum("odd" in text for text in texts) == 1 and not any("helper" in text for text in texts)


def test_an_address_that_is_replaced_hears_of_it(make_stage: Callable[..., Stage], mail: Post) -> None:
    mail.open()
    stage = make_stage()
    viewer = signed_in(stage.people.viewer)
    stage.reach(viewer, email=KIM)
    viewer.post("notifications/email", {"email": "thief@example.com"})
    assert viewer.post("notifications/email/confirm", {"code": str(mail.mails[0]["Subject"]).split()[0]}).status_code == 204
    viewer.put("notifications/webhook", {"url": "https://hooks.example.com/"})
    stage.send()
    (to, said), (to_new, said_there) = told(mail)[1:]
    assert to == KIM and "confirmed an address for mail" in said
    assert to_new == "thief@example.com" and "gave an address that is called" in said_there


def test_a_sign_in_from_elsewhere_waits_for_no_pause(make_stage: Callable[..., Stage], database_url: str, mail: Post) -> None:
    mail.open()
    stage = make_stage(database_url)
    stage.reach(stage.people.viewer, email=KIM, every_minutes=1440)
    for _ in range(2):
        stage.happens()
        stage.follow()
        stage.send()
    assert len(mail.mails) == 1
    comes_from_elsewhere(stage, stage.people.viewer)
    stage.send()
    assert len(mail.mails) == 2


def test_codes_are_few_for_an_account_and_for_an_address(
    make_stage: Callable[..., Stage], database_url: str, mail: Post, travel: Callable[[timedelta], None]
) -> None:
    mail.open()
    stage = make_stage(database_url)
    viewer, owner = signed_in(stage.people.viewer), signed_in(stage.people.owner)
    for n in range(5):
        assert viewer.post("notifications/email", {"email": f"kim+{n}@Example.com"}).status_code == 204
        code = {"code": str(mail.mails[-1]["Subject"]).split()[0]}
        assert viewer.post("notifications/email/confirm", code).status_code == 204
        travel(timedelta(minutes=2))
    refused = viewer.post("notifications/email", {"email": "lee@example.com"})
    assert refused.status_code == 429 and refused.headers["Retry-After"], "confirming gives nothing back"
    assert owner.post("notifications/email", {"email": KIM}).status_code == 429, "nor may another fill the same box"
    assert owner.post("notifications/email", {"email": "lee@example.com"}).status_code == 204
    assert len(mail.mails) == 6


def test_who_waits_costs_no_transaction(make_stage: Callable[..., Stage], mail: Post) -> None:
    mail.open()
    stage = make_stage()
    everybody = [one for one in stage.people.everybody if one.name != "stranger"]
    for person in everybody:
        stage.reach(person, email=f"{person.name}@example.com")
    for _ in range(2):
        stage.happens()
        stage.follow()
        with counted_sql(stage.app) as statements:
            stage.send()
    assert len(mail.mails) == len(everybody)
    assert len(statements) <= 6, "one look at each way, whoever waits"


def test_what_was_due_long_ago_is_not_sent(
    make_stage: Callable[..., Stage], mail: Post, travel: Callable[[timedelta], None]
) -> None:
    mail.open()
    stage = make_stage()
    stage.reach(stage.people.viewer, email=KIM)
    stage.happens()
    stage.follow()
    travel(timedelta(days=2, minutes=1))
    stage.send()
    assert mail.mails == []
    with stage.app.app_context():
        assert db.session.query(Line).filter_by(user_id=stage.people.viewer.actor.id).count() == 1


def test_slow_calls_hold_up_no_mail(make_stage: Callable[..., Stage], mail: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that are due before come after."""
    mail.open()
    stage = make_stage()
    order: list[str] = []
    send = sending._send

    def noted(portal: Any, row: Any, lines: Any) -> None:
        order.append(row.way)
        send(portal, row, lines)

    monkeypatch.setattr(sending, "_send", noted)
    stage.happens()
    stage.follow()
    with stage.app.app_context(), transaction():
        for line in db.session.query(Line).all():
            db.session.add(Delivery(user_id=line.user_id, way="webhook", lines=[line.id]))
        calls = db.session.query(Line).count()
    stage.reach(stage.people.operator, email=KIM)
    stage.happens("instance.storage_exceeded")
    stage.follow()
    stage.send()
    assert order == ["email", *["webhook"] * calls] and calls > 1 and mail.to == [KIM]
