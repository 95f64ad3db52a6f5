"""Settings that are changed while the portal runs: on both databases, over the API, on pages, and in other processes."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from clawportal import origin, pluginmanager
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.engine import current_settings
from clawportal.errors import Conflict, Invalid, PreconditionFailed
from clawportal.models import AuditEntry
from clawportal_settings import services
from clawportal_settings.models import StoredSetting
from tests.conftest import People, make_person, portal_of
from tests.core.world import World
from tests.rights.test_rights_pages import Browser

KIM = replace(SYSTEM, kind="user", name="kim")


def test_the_life_of_a_value(both: World) -> None:
    with both.context() as portal:
        made = services.change(portal, KIM, "session_hours", "2", generation=0)
        assert portal.settings.session_hours == 2.0 and (made.value, made.source, made.generation) == (2.0, "page", 1)
        assert made.row and (made.row.before, made.row.changed_by) == (12.0, "kim")
        again = services.change(portal, KIM, "session_hours", 3, generation=1)
        assert again.row and again.row.before == 2.0 and again.generation == 2
        with pytest.raises(PreconditionFailed, match="generation 2 now, you changed 1"):
            services.change(portal, KIM, "session_hours", 9, generation=1)
        services.reset(portal, KIM, "session_hours", generation=2)
        assert portal.settings.session_hours == 12.0
        left = services.get(portal, KIM, "session_hours")
        assert (left.source, left.generation, left.stored) == ("default", 3, False) and left.row and left.row.before == 3.0
        with pytest.raises(Conflict, match="nothing to reset"):
            services.reset(portal, KIM, "session_hours", generation=3)
        with pytest.raises(PreconditionFailed):
            services.change(portal, KIM, "session_hours", 9, generation=0)


def test_the_audit_keeps_what_it_was_and_what_it_is(both: World) -> None:
    with both.context() as portal, origin.during(origin.Origin("command")):
        services.change(portal, KIM, "files.trash_days", 7, generation=0)
        services.change(portal, KIM, "files.trash_days", 8, generation=1)
        first, second = db.session.scalars(
            db.select(AuditEntry).where(AuditEntry.action == "settings.change").order_by(AuditEntry.seq)
        ).all()
        assert first.object_id == "files.trash_days" and first.actor_name == "kim" and "is 7 now; it was 30" in first.summary
        assert first.after["value"] == 7 and first.after["before"] == 30
        assert (second.before["value"], second.after["value"]) == (7, 8)


@pytest.mark.parametrize(("name", "value", "said"), [
    ("session_hours", "soon", "number"), ("session_hours", 0, "more than 0"), ("upload_mib", 1.5, "whole number"),
    ("docs_public", "perhaps", "true or false"), ("files.trash_days", 4000, "3650"), ("session_hours", None, "number"),
    ("session_hours", 1e300, "8760"), ("upload_mib", [1], "whole number"),
])  # fmt: skip
def test_a_value_is_held_against_the_type(name: str, value: Any, said: str, still: World) -> None:
    with still.context() as portal:
        with pytest.raises(Invalid) as refused:
            services.change(portal, KIM, name, value, generation=0)
        assert [error.path for error in refused.value.errors] == ["value"] and said in refused.value.errors[0].message
        assert db.session.get(StoredSetting, name) is None


def test_what_is_fixed_or_needs_a_restart_says_how(make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAWPORTAL_EVENT_DAYS", "5")
    with make_world(start=False).context() as portal:
        with pytest.raises(Conflict, match="CLAWPORTAL_EVENT_DAYS in the environment"):
            services.change(portal, KIM, "event_days", 3, generation=0)
        with pytest.raises(Conflict, match=r"CLAWPORTAL_AUDIT_DAYS in the environment.*start the portal again"):
            services.change(portal, KIM, "audit_days", 3, generation=0)
        shown = services.get(portal, KIM, "event_days")
        assert (shown.source, shown.fixed, shown.changeable, shown.value) == ("environment", True, False, 5)


def test_another_process_takes_it_up(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    one, other = make_app(data_dir=tmp_path / "same"), make_app(data_dir=tmp_path / "same")
    with one.app_context():
        services.change(portal_of(one), KIM, "session_hours", 2, generation=0)
    assert portal_of(one).settings.session_hours == 2.0 and portal_of(other).settings.session_hours == 12.0
    with other.app_context():
        current_settings.look(portal_of(other))
    assert portal_of(other).settings.session_hours == 2.0
    assert one.test_client().get("/healthz").status_code == 200
    assert one.permanent_session_lifetime.total_seconds() == 7200, "cookies last as long, too"


def test_a_value_that_an_upgrade_left_behind_stops_nothing(both: World) -> None:
    with both.context() as portal:
        with transaction():
            for name, value in (("session_hours", "forever"), ("gone.days", 3)):
                db.session.add(StoredSetting(name=name, value=value, before=1, changed_by="kim"))
        current_settings.look(portal)
        assert portal.settings.session_hours == 12.0
        shown = services.get(portal, KIM, "session_hours")
        assert shown.source == "default" and "number" in shown.fault
        assert [row.name for row in services.unread(portal, KIM)] == ["gone.days"]
        (finding,) = services.findings(portal)
        assert not finding.ok and "session_hours" in finding.message
        services.reset(portal, KIM, "gone.days", generation=1)
        services.change(portal, KIM, "session_hours", 4, generation=1)
        assert not services.unread(portal, KIM) and not list(services.findings(portal)) and portal.settings.session_hours == 4.0


def test_over_the_api(people: People) -> None:
    admin = people.admin
    listed = admin.get("settings").get_json()
    found = {one["name"]: one for one in listed["items"]}
    assert found["session_hours"]["changeable"] and found["port"]["needs_restart"] and listed["seconds"] == 5.0
    answer = admin.get("settings/session_hours")
    assert answer.headers["ETag"] == '"0"' and answer.get_json() == found["session_hours"]
    assert admin.request("PUT", "settings/session_hours", json={"value": 8}).status_code == 428
    done = admin.request("PUT", "settings/session_hours", json={"value": 8}, headers={"If-Match": '"0"'})
    assert done.status_code == 200 and done.headers["ETag"] == '"1"' and done.get_json()["source"] == "page"
    assert admin.request("PUT", "settings/session_hours", json={"value": 9}, headers={"If-Match": '"0"'}).status_code == 412
    wrong = admin.request("PUT", "settings/session_hours", json={"value": "x", "generation": 1}).get_json()
    assert wrong["status"] == 422 and wrong["errors"][0]["path"] == "value"
    assert admin.request("PUT", "settings/audit_days", json={"value": 1, "generation": 0}).status_code == 409
    assert admin.request("PUT", "settings/none", json={"value": 1, "generation": 0}).status_code == 404
    assert admin.request("DELETE", "settings/session_hours", headers={"If-Match": '"1"'}).status_code == 204
    assert admin.get("settings/session_hours").get_json()["value"] == 12.0
    for person in (people.owner, people.viewer, people.stranger):
        assert person.get("settings").status_code == person.get("settings/session_hours").status_code == 403
        assert person.request("PUT", "settings/session_hours", json={"value": 8, "generation": 2}).status_code == 403


def test_an_auditor_of_the_portal_reads_and_changes_nothing(people: People) -> None:
    auditor = make_person(people.owner.app, "audrey", "portal-auditor")
    assert auditor.get("settings").status_code == 200
    assert auditor.request("PUT", "settings/session_hours", json={"value": 8, "generation": 0}).status_code == 403


def refusal(browser: Browser, status: int, name: str, **data: Any) -> str:
    answer = browser.post(f"/settings/{name}", **data)
    assert answer.status_code == status, answer.get_data(as_text=True)[-1500:]
    return answer.get_data(as_text=True)


def test_on_pages(people: People) -> None:
    browser = Browser(people.admin)
    text = browser.page("/settings")
    assert "Length of a browser session" in text and "/settings/session_hours" in text and "CLAWPORTAL_AUDIT_DAYS" in text
    form = browser.page("/settings/session_hours")
    assert re.search(r'name="generation" value="0"', form)
    refused = refusal(browser, 422, "session_hours", value="soon", generation="0")
    assert "must be a number" in refused and 'value="soon"' in refused
    browser.done("/settings/session_hours", value="8", generation="0")
    late = refusal(browser, 412, "session_hours", value="9", generation="0")
    assert "Somebody else changed this meanwhile" in late and 'name="overwrite" value="1"' in late and 'value="9"' in late
    browser.done("/settings/session_hours", value="9", generation="", overwrite="1")
    assert "before: 8" in browser.page("/settings")
    assert "It needs a restart" in browser.page("/settings/audit_days")
    refusal(browser, 409, "audit_days", value="9", generation="0")
    browser.done("/settings/session_hours/reset", generation="2")
    assert people.admin.get("settings/session_hours").get_json()["source"] == "default"
    Browser(people.owner).page("/settings", 403)
    assert 'href="/settings"' not in Browser(people.owner).page("/")


def test_secrets_are_never_shown(make_app: Callable[..., Flask]) -> None:
    app = make_app(rate_limit_storage="memory://:hunter2-secret@here")
    admin = make_person(app, "admin", "portal-admin")
    for text in (admin.get("settings").get_data(as_text=True), Browser(admin).page("/settings")):
        assert "hunter2-secret" not in text and "RATE_LIMIT_STORAGE" in text.upper()


def test_left_out_the_settings_hold_as_they_were_started_with(make_app: Callable[..., Flask]) -> None:
    app = make_app(plugins=",".join(name for name in pluginmanager.BUNDLED if name != "clawportal_settings"))
    admin = make_person(app, "admin", "portal-admin")
    assert admin.get("settings").status_code == 404 and portal_of(app).settings.session_hours == 12.0


@pytest.mark.parametrize(
    ("name", "little", "enough"), [("session_hours", 0.2, 0.25), ("access_minutes", 0.5, 1), ("cluster_timeout_seconds", 0.9, 1)]
)
def test_what_would_keep_everybody_out_is_not_stored(still: World, name: str, little: float, enough: float) -> None:
    with still.context() as portal:
        with pytest.raises(Invalid) as refused:
            services.change(portal, KIM, name, little, generation=0)
        told = refused.value.errors[0]
        assert told.path == "value" and f"CLAWPORTAL_{name.upper()} in the environment" in told.message
        default = getattr(portal.settings, name)
        with transaction():
            db.session.add(StoredSetting(name=name, value=little, before=1, changed_by="kim"))
        current_settings.look(portal)
        assert getattr(portal.settings, name) == default and "keep everybody out" in portal.current.faults[name]
        shown = services.change(portal, KIM, name, enough, generation=1)
        assert getattr(portal.settings, name) == enough == shown.bound("ge")


def test_less_may_be_said_by_the_environment(make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAWPORTAL_SESSION_HOURS", "0.1")
    with make_world(start=False).context() as portal:
        current_settings.look(portal)
        assert portal.settings.session_hours == 0.1 and not portal.current.faults


def test_nothing_older_is_put_over_what_was_read_later(still: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, later, values = threading.Event(), threading.Event(), iter([2, 3])

    def stored(_portal: Any) -> dict[str, Any]:
        found = {"session_hours": next(values)}
        if found == {"session_hours": 2}:
            reading.set()
            later.wait(1)  # with the lock nobody comes in the meantime
        return found

    def look(done: threading.Event) -> None:
        with still.context() as portal:
            current_settings.look(portal)
        done.set()

    with still.context() as portal:
        monkeypatch.setattr(type(portal.registry), "targets", lambda _registry, _point: [stored])
        first = threading.Thread(target=look, args=(threading.Event(),))
        first.start()
        assert reading.wait(10)
        second = threading.Thread(target=look, args=(later,))
        second.start()
        for thread in (first, second):
            thread.join(10)
        assert portal.settings.session_hours == 3.0


def test_looking_goes_on_after_any_error(still: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tries, enough = list[int](), threading.Event()

    @contextmanager
    def broken() -> Iterator[None]:
        tries.append(1)
        if len(tries) > 2:
            enough.set()
        raise OSError("no context today")
        yield

    monkeypatch.setattr(current_settings, "EVERY", 0.01)
    with still.context() as portal:
        stopping = threading.Event()
        monkeypatch.setattr(portal, "stopping", stopping)
        thread = current_settings.follow(portal, broken)
        try:
            assert enough.wait(10), "it went on after the first error"
        finally:
            stopping.set()
            thread.join(10)


def test_the_form_says_how_to_get_back(people: People) -> None:
    page = Browser(people.admin).page("/settings/session_hours")
    assert "CLAWPORTAL_SESSION_HOURS in the environment outranks" in page and 'min="0.25"' in page
