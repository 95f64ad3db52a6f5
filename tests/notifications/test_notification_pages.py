"""The bell, the list and the choices in the browser, and the same from a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from flask import Flask

from clawportal.pluginmanager import BUNDLED
from tests.conftest import People, Person, portal_of
from tests.notifications.conftest import Post, Stage
from tests.rights.test_people_cli import Run, claw
from tests.rights.test_rights_pages import Browser

__all__ = ["claw"]
REST = ",".join(name for name in BUNDLED if name != "clawportal_notifications")


def test_the_bell_counts_and_the_list_leads_on(stage: Stage) -> None:
    viewer = Browser(stage.people.viewer)
    text = viewer.page("/")
    assert text.count('class="top-link bell"') == 2 and "tally bad" not in text.partition('class="top-link bell"')[2][:700]
    assert "Nothing was told yet" in viewer.page("/notifications")
    stage.happens(name="<i>helper")
    stage.happens("instance.storage_exceeded")
    stage.follow()
    assert "Notifications: 2 unread" in viewer.page("/notifications/bell")
    listed = viewer.page("/notifications")
    assert "&lt;i&gt;helper was created." in listed and "<i>helper" not in listed
    [one, _other] = stage.people.viewer.get("notifications").get_json()["items"]
    answer = viewer.client.get(f"/notifications/{one['id']}/open")
    assert answer.status_code == 303 and answer.headers["Location"] == f"/instances/{stage.claw}"
    assert "Notifications: 1 unread" in viewer.page("/notifications/bell")
    viewer.done(f"/notifications/{one['id']}/read", read="false")
    assert "Notifications: 2 unread" in viewer.page("/notifications/bell")
    viewer.done(f"/notifications/{one['id']}/read")
    assert viewer.page("/notifications?unread=1").count('class="told') == 1
    newest = max(item["at"] for item in stage.people.viewer.get("notifications").get_json()["items"])
    stage.people.viewer.put(f"notifications/muted/{stage.claw}")
    viewer.done("/notifications/read-all", upto=newest)
    assert "Nothing unread" in viewer.page("/notifications?unread=1")


def test_the_bell_keeps_nobody_signed_in(stage: Stage, travel: Callable[[timedelta], None]) -> None:
    viewer = Browser(stage.people.viewer)
    assert "data-quiet" in viewer.page("/notifications/bell")
    travel(timedelta(hours=8))
    viewer.page("/notifications/bell")
    travel(timedelta(hours=5))
    assert viewer.client.get("/notifications/bell").status_code in (302, 401), "nobody used it for 13 hours"


def test_what_comes_after_somebody_looked_stays_unread(stage: Stage) -> None:
    stage.happens()
    stage.follow()
    viewer = Browser(stage.people.viewer)
    viewer.done("/notifications/read-all", upto=(datetime.now(UTC) - timedelta(minutes=1)).isoformat())
    assert stage.people.viewer.get("notifications/unread").get_json() == {"unread": 1}
    for odd in ("soon", "2026-11-30T12:00:00", "0001-01-01T00:00:00+14:00"):
        assert viewer.post("/notifications/read-all", upto=odd).status_code == 422


def test_choices_are_made_by_ticking(stage: Stage) -> None:
    viewer = Browser(stage.people.viewer)
    text = viewer.page("/profile/notifications")
    assert "A claw failed or ended by itself" in text and 'value="instance.failed:email"' not in text
    assert 'href="/profile/notifications"' in viewer.page("/profile")
    viewer.done("/profile/notifications", there=["instance.failed:portal", "operation.done:portal"], on=["operation.done:portal"])
    chosen = {one["name"]: one["ways"] for one in stage.people.viewer.get("notifications/preferences").get_json()["choices"]}
    assert not chosen["instance.failed"]["portal"] and chosen["operation.done"]["portal"]
    assert viewer.post("/profile/notifications", there=["no.such:portal"]).status_code == 422
    stage.reach(stage.people.viewer, email="kim@example.com")
    assert 'value="instance.failed:email"' in viewer.page("/profile/notifications")
    refused = viewer.post("/profile/notifications", every_minutes="1")
    assert refused.status_code == 422 and "must be from 5 to 1440" in refused.get_data(as_text=True)


def test_a_claw_is_muted_from_the_list_and_heard_again_from_the_choices(stage: Stage) -> None:
    stage.happens()
    stage.follow()
    viewer = Browser(stage.people.viewer)
    assert "Mute this claw" in viewer.page("/notifications")
    viewer.done(f"/notifications/mute/{stage.claw}")
    assert "Mute this claw" not in viewer.page("/notifications") and "helper" in viewer.page("/profile/notifications")
    assert viewer.done(f"/notifications/mute/{stage.claw}", muted="false", back="settings").endswith("/profile/notifications")
    assert stage.people.viewer.get("notifications/preferences").get_json()["muted"] == []


def test_addresses_are_given_in_the_browser(stage: Stage, mail: Post) -> None:
    viewer = Browser(stage.people.viewer)
    answer = viewer.post("/profile/notifications/email", email="nonsense")
    assert answer.status_code == 422 and "must be an address for mail" in answer.get_data(as_text=True)
    answer = viewer.post("/profile/notifications/email", email="kim@example.com")
    assert answer.status_code == 503 and "does not take it now" in answer.get_data(as_text=True)
    mail.open()
    other = Browser(stage.people.owner)
    other.done("/profile/notifications/email", email="kim@example.com")
    assert "The code that was sent to kim@example.com" in other.page("/profile/notifications")
    assert other.post("/profile/notifications/email", act="confirm", code="1").status_code == 422
    other.done("/profile/notifications/email", act="confirm", code=str(mail.mails[0]["Subject"]).split()[0])
    assert "Get no mail any more" in other.page("/profile/notifications")
    other.done("/profile/notifications/email", act="remove")
    answer = other.post("/profile/notifications/webhook", url="https://hooks.example.com/sesame")
    text = answer.get_data(as_text=True)
    assert (
        answer.status_code == 200 and "data-secret" in text and "https://hooks.example.com:443" in text and "sesame" not in text
    )
    assert other.post("/profile/notifications/webhook", url="ftp://x").status_code == 422
    other.done("/profile/notifications/webhook", act="remove")
    assert other.post("/profile/notifications/webhook", act="test").status_code == 409


def test_administrators_try_the_mail_server_where_the_portal_is_looked_at(stage: Stage, mail: Post) -> None:
    admin = Browser(stage.people.admin)
    assert "Mail goes out by 127.0.0.1" in admin.page("/about")
    mail.open()
    admin.done("/about/mail", to="kim@example.com")
    assert mail.to == ["kim@example.com"]
    admin.done("/about/mail", to="nonsense")
    assert Browser(stage.people.owner).post("/about/mail", to="kim@example.com").status_code == 403


def test_notifications_from_a_terminal(people: People, claw: Callable[[Person], Run]) -> None:
    stage = Stage(people.owner.app, people, people.owner.create("helper")["id"])
    stage.follow()
    viewer = claw(stage.people.viewer)
    assert "No notifications." in viewer("notifications", "ls").output
    stage.happens()
    stage.happens("instance.storage_exceeded")
    stage.follow()
    assert "A claw failed or ended by itself" in viewer("notifications", "ls").output
    found = json.loads(viewer("notifications", "ls", "--unread", "-o", "json").output)
    assert len(found) == 2
    viewer("notifications", "read", code=2)
    assert "Marked as read: 1." in viewer("notifications", "read", found[0]["id"]).output
    assert json.loads(viewer("notifications", "read", "--all", "-o", "json").output) == {"marked": 1}
    assert json.loads(viewer("notifications", "ls", "--unread", "-o", "json").output) == []
    viewer("notifications", "read", "01zzzzzzzzzzzzzzzzzzzzzzzz", code=3)


def test_without_the_plugin_there_is_no_bell(make_app: Callable[..., Flask], stage: Stage) -> None:
    app = make_app(plugins=REST)
    owner = replace(stage.people.owner, app=app)
    text = Browser(owner).page("/profile")
    assert "top-link" not in text and "/profile/notifications" not in text
    assert owner.get("notifications").status_code == 404
    assert "email" not in portal_of(app).registry.notifiers
