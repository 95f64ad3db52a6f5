"""Saved filters in the browser: tabs of the list, saving what is shown, and the page that keeps them."""

from __future__ import annotations

import html
from collections.abc import Callable

from clawportal.db import db, transaction
from clawportal.models import SavedFilter
from clawportal.services.fleet import saved_filters
from tests.conftest import People, counted_sql
from tests.filters.test_saved_filters import make_project, names, saved, tenant_of
from tests.web.conftest import Browser

Browse = Callable[..., Browser]


def test_what_is_shown_is_saved_and_becomes_a_tab(people: People, browse: Browse) -> None:
    browser = browse(people.developer)
    assert "Save this filter" not in browser.page("/instances")
    shown = html.unescape(browser.page("/instances?state=attention&labels=team%3Dsupport&q="))
    assert "/instances/filters/new?state=attention&labels=team%3Dsupport" in shown
    form = browser.page("/instances/filters/new?state=attention&labels=team%3Dsupport")
    assert "Need attention" in form and "team=support" in form and "Everybody in" in form
    sent = {"name": "night", "state": "attention", "labels": "team=support"}
    answer = browser.post("/instances/filters/new", sent)
    assert answer.status_code == 303 and answer.headers["Location"].endswith("/instances?state=attention&labels=team%3Dsupport")
    page = browser.page(answer.headers["Location"])
    tab = page[: page.index(">night<")]
    assert 'aria-current="true"' in tab[tab.rindex("<a ") :] and "Save this filter" not in page
    again = browser.post("/instances/filters/new", sent)
    text = again.get_data(as_text=True)
    assert again.status_code == 409 and "Choose another name." in text and 'value="night"' in text
    assert browser.post("/instances/filters/new", {"name": "x"}).status_code == 422


def test_the_list_begins_with_the_default_and_all_shows_all(people: People, browse: Browse) -> None:
    people.owner.create("claw-a", labels={"team": "support"})
    people.owner.create("claw-b")
    made = saved(people.developer, "support", {"labels": "team=support"}, default=True)
    browser = browse(people.developer)
    answer = browser.get("/instances")
    assert answer.status_code == 302 and answer.headers["Location"].endswith("/instances?labels=team%3Dsupport")
    page = browser.page(answer.headers["Location"])
    assert "claw-a" in page and "claw-b" not in page and '<a href="/instances?state=">All' in page
    assert "claw-b" in browser.page("/instances?state=") and browse(people.owner).get("/instances").status_code == 200
    assert browser.get("/instances", htmx=True).status_code == 200  # the live part stays where it is
    answer = browser.post(f"/instances/filters/{made['id']}", {"action": "plain"})
    assert answer.status_code == 303 and browser.get("/instances").status_code == 200


def test_filters_are_renamed_shared_and_deleted_on_their_page(people: People, browse: Browse) -> None:
    browser, made = browse(people.developer), saved(people.developer)
    path = f"/instances/filters/{made['id']}"
    assert "Share with" in browser.page("/instances/filters") and ">night<" in browser.page("/instances/filters")
    assert browser.post(path, {"action": "rename", "name": "late"}).status_code == 303 and names(people.developer) == ["late"]
    refused = browser.post(path, {"action": "rename", "name": "x" * 61})
    assert refused.status_code == 422 and "1 to 60 letters" in refused.get_data(as_text=True)
    assert browser.post(path, {"action": "share", "tenant": tenant_of(people)}).status_code == 303
    shown = browse(people.viewer).page("/instances/filters")
    assert ">late<" in shown and 'value="delete"' not in shown and 'value="default"' in shown
    assert browse(people.viewer).post(path, {"action": "delete"}).status_code == 403
    assert browse(people.stranger).post(path, {"action": "delete"}).status_code == 404
    assert browser.post(path, {"action": "keep"}).status_code == 303 and names(people.viewer) == []
    assert browser.post(path, {"action": "odd"}).status_code == 422
    assert browser.post(path, {"action": "delete"}).status_code == 303
    assert "No saved filters yet" in browser.page("/instances/filters")


def test_tabs_cost_one_statement_however_many(people: People, browse: Browse) -> None:
    browser, counts = browse(people.owner), []
    make_project(people)
    for upto in (1, 12):
        for number in range(len(names(people.owner)), upto):
            saved(people.owner, f"n{number}", tenant=tenant_of(people) if number % 2 else None)
        browser.page("/instances?state=")
        with counted_sql(people.admin.app) as statements:
            page = browser.page("/instances?state=")
        counts.append(len(statements))
        assert page.count('filter-name">n') == upto
    assert counts[0] == counts[1]


def test_the_list_begins_with_the_default_however_many_there_are(people: People, browse: Browse) -> None:
    first = saved(people.developer, "a-first", {"state": "failed"})
    with people.developer.app.app_context(), transaction():
        mine = db.session.get_one(SavedFilter, first["id"]).user_id
        for number in range(saved_filters.SHOWN + 5):
            db.session.add(SavedFilter(name=f"f{number:02}", query={"state": "failed"}, user_id=mine, created_by="x"))
    saved(people.developer, "zz-last", {"state": "running"}, default=True)
    answer = browse(people.developer).get("/instances")
    assert answer.status_code == 302 and answer.headers["Location"].endswith("/instances?state=running")
