"""Start, stop, delete and the like by pressing buttons, with and without scripts, one and many."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from werkzeug.datastructures import MultiDict

from clawportal import clock
from clawportal.db import db
from clawportal.models import Instance, Operation
from clawportal.services.clusters import clusters
from clawportal.services.fleet import operations
from tests.conftest import People, Person, portal_of
from tests.web.conftest import Browser, trigger_of

Browse = Callable[[Person], Browser]


def wanted(app: Flask, instance_id: str) -> str:
    with app.app_context():
        return db.session.get_one(Instance, instance_id).desired


@pytest.mark.parametrize("htmx", [True, False])
def test_buttons_change_what_is_wanted(admin: Person, browse: Browse, htmx: bool) -> None:
    made = admin.create("pressed")["id"]
    browser = browse(admin)
    for action, state in (("stop", "stopped"), ("start", "running"), ("restart", "running"), ("kill", "stopped")):
        answer = browser.post(f"/instances/{made}/{action}", htmx=htmx)
        if htmx:
            told = trigger_of(answer)
            assert answer.status_code == 204 and told["changed"]["instances"] == [made] and "pressed" in told["toast"]["text"]
        else:
            assert answer.status_code == 303 and "pressed is" in browser.page(answer.headers["Location"])
        assert wanted(admin.app, made) == state


def test_what_does_not_fit_is_told(admin: Person, browse: Browse) -> None:
    made = admin.create("twice")["id"]
    browser = browse(admin)
    assert browser.post(f"/instances/{made}/stop", htmx=True).status_code == 204
    answer = browser.post(f"/instances/{made}/stop", htmx=True)
    assert answer.status_code == 409 and "already" in answer.get_data(as_text=True)
    assert "<html" not in answer.get_data(as_text=True)
    assert browser.post(f"/instances/{made}/explode").status_code in (404, 405)
    assert browser.get(f"/instances/{made}/stop").status_code in (404, 405)


def test_delete_asks_for_the_name_without_scripts(admin: Person, browse: Browse) -> None:
    made = admin.create("precious")["id"]
    browser = browse(admin)
    text = browser.post(f"/instances/{made}/delete").get_data(as_text=True)
    assert "would be lost" in text and "memory" in text and "Type precious to confirm" in text
    answer = browser.post(f"/instances/{made}/delete", {"confirm_name": "previous"})
    assert answer.status_code == 422 and 'value="previous"' in answer.get_data(as_text=True)
    assert wanted(admin.app, made) == "running"
    assert browser.post(f"/instances/{made}/delete", {"confirm_name": "precious", "keep_data": "true"}).status_code == 303
    with admin.app.app_context():
        row = db.session.get_one(Instance, made)
        assert row.desired == "deleted" and row.keep_data and not row.kill_wanted


def test_delete_with_scripts_was_asked_for_by_the_dialog(admin: Person, browse: Browse) -> None:
    made = admin.create("asked")["id"]
    browser = browse(admin)
    text = browser.page(f"/instances/{made}")
    assert 'data-confirm-typed="asked"' in text and "data-confirm-losses" in text
    assert browser.post(f"/instances/{made}/delete", htmx=True).status_code == 204
    assert wanted(admin.app, made) == "deleted"


def test_many_at_once_name_what_failed(people: People, browse: Browse) -> None:
    made = [people.owner.create(f"m-{number}")["id"] for number in range(3)]
    browser = browse(people.owner)
    browser.post(f"/instances/{made[0]}/stop", htmx=True)
    answer = browser.post(
        "/instances/bulk", MultiDict([("action", "stop"), *(("ids", one) for one in [*made, "ghost"])]), htmx=True
    )
    toast = trigger_of(answer)["toast"]
    assert toast["level"] == "warning"
    assert "2 instances are stopping" in toast["text"] and "2 failed" in toast["text"] and "m-0" in toast["text"]
    assert "ghost" in toast["text"]
    answer = browse(people.viewer).post("/instances/bulk", {"action": "start", "ids": made[0]}, htmx=True)
    assert trigger_of(answer)["toast"]["level"] == "error" and "lack the right" in trigger_of(answer)["toast"]["text"]


def test_many_are_deleted_after_one_question(admin: Person, browse: Browse) -> None:
    made = [admin.create(f"d-{number}")["id"] for number in range(2)]
    browser = browse(admin)
    form = MultiDict([("action", "delete"), *(("ids", one) for one in made)])
    text = browser.post("/instances/bulk", form).get_data(as_text=True)
    assert "Delete 2 instances?" in text and "d-0" in text and "d-1" in text
    assert wanted(admin.app, made[0]) == "running"
    form.add("confirmed", "yes")
    assert browser.post("/instances/bulk", form).status_code == 303
    assert {wanted(admin.app, one) for one in made} == {"deleted"}


@pytest.mark.parametrize("form", [{"action": "explode", "ids": "x"}, {"action": "stop"}])
def test_a_bad_bulk_request_is_refused(admin: Person, browse: Browse, form: dict[str, str]) -> None:
    assert browse(admin).post("/instances/bulk", form, htmx=True).status_code == 422


def test_operations_are_cancelled_and_tried_again(people: People, browse: Browse) -> None:
    app = people.admin.app
    with app.app_context():
        cluster = clusters.everything()[0].id
        row = operations.ensure_install(portal_of(app), cluster, "thing", "thing 1.0", {"adapter": "echo"}, clock.now())
        made = row.id
    browser, viewer = browse(people.operator), browse(people.viewer)
    assert f"/operations/{made}/cancel" in browser.page(f"/operations/{made}")
    assert f"/operations/{made}/cancel" not in viewer.page(f"/operations/{made}")
    assert viewer.post(f"/operations/{made}/cancel").status_code == 403
    assert trigger_of(browser.post(f"/operations/{made}/cancel", htmx=True))["changed"]["operations"] == [made]
    assert browser.post(f"/operations/{made}/cancel", htmx=True).status_code == 409
    assert "Cancelled" in browser.page(f"/operations/{made}")
    answer = browser.client.post(
        f"/operations/{made}/retry",
        data={"csrf_token": browser.token()},
        headers={"HX-Request": "true", "HX-Current-URL": f"http://localhost/operations/{made}"},
    )
    assert answer.status_code == 200 and answer.headers["HX-Redirect"] != f"/operations/{made}"
    with app.app_context():
        assert db.session.query(Operation).filter_by(kind=operations.INSTALL).count() == 2


def test_last_words_are_shown_as_text(people: People, browse: Browse) -> None:
    app = people.admin.app
    with app.app_context():
        cluster = clusters.everything()[0].id
        row = operations.ensure_install(portal_of(app), cluster, "bad", "bad 1.0", {"adapter": "echo"}, clock.now())
        operations.finish(portal_of(app), row.id, "failed", error="pip failed", lines=["first", "<b>last</b> word"])
        made = row.id
    text = browse(people.viewer).page(f"/operations/{made}")
    assert "pip failed" in text and "&lt;b&gt;last&lt;/b&gt; word" in text and "Install bad 1.0" in text
    assert "bad 1.0" in browse(people.viewer).page("/operations?state=failed")
