"""Every page comes, for every role, empty and full; strangers see nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask, Response

from clawportal import clock
from clawportal.engine import metric_history
from clawportal.http.headers import allow
from clawportal.http.security import MARK
from tests.conftest import People, Person, counted_sql
from tests.web.conftest import Browser

Browse = Callable[[Person], Browser]

PAGES = ("/", "/instances", "/operations", "/profile", "/plugins", "/api-docs")
TABS = ("", "/chat", "/logs", "/files", "/events", "/config", "/operations", "/edit")


@pytest.mark.parametrize("role", ["admin", "viewer", "developer", "operator", "owner", "stranger"])
def test_each_page_comes_empty_and_full(people: People, browse: Browse, role: str) -> None:
    browser = browse(getattr(people, role))
    for path in PAGES:
        browser.page(path)
    for number in range(3):
        people.owner.create(f"claw-{number}")
    for path in PAGES:
        browser.page(path)


def test_each_tab_comes(people: People, browse: Browse) -> None:
    made = people.owner.create("tabs", spec={"persona": "A <b>bold</b> one"})["id"]
    browser = browse(people.admin)
    for tab in TABS:
        text = browser.page(f"/instances/{made}{tab}")
        assert "tabs" in text and "<b>bold</b>" not in text
    for part in ("overview", "status", "row", "menu"):
        assert "<html" not in browser.page(f"/instances/{made}?part={part}", htmx=True)


def test_htmx_gets_only_the_live_part(people: People, browse: Browse) -> None:
    made = people.owner.create("part")["id"]
    browser = browse(people.viewer)
    for path, start in (
        ("/instances", 'id="instances"'),
        ("/operations", 'id="operations"'),
        (f"/instances/{made}/events", 'id="events"'),
    ):
        text = browser.page(path, htmx=True)
        assert "<html" not in text and start in text[:800]
    assert 'id="now"' in browser.page("/?part=now", htmx=True)


def test_a_stranger_finds_nothing(people: People, browse: Browse) -> None:
    made = people.owner.create("hidden-one")["id"]
    operation = people.owner.get("operations").get_json()["items"][0]["id"]
    browser = browse(people.stranger)
    for tab in TABS:
        text = browser.page(f"/instances/{made}{tab}", status=404)
        assert "hidden-one" not in text
    browser.page(f"/operations/{operation}", status=404)
    for action in ("start", "stop", "restart", "kill", "delete"):
        assert browser.post(f"/instances/{made}/{action}").status_code == 404
    assert "hidden-one" not in browser.page("/instances") and "hidden-one" not in browser.page("/")
    answer = browser.post("/instances/bulk", {"action": "stop", "ids": made}, htmx=True)
    assert "hidden-one" not in answer.headers["HX-Trigger"] and "failed" in answer.headers["HX-Trigger"]


def test_a_viewer_lacks_the_buttons_and_the_rights(people: People, browse: Browse) -> None:
    made = people.owner.create("seen")["id"]
    browser = browse(people.viewer)
    text = browser.page(f"/instances/{made}")
    assert "data-action=" not in text and f"/instances/{made}/edit" not in text and f"/instances/{made}/logs" not in text
    assert "/instances/new" not in browser.page("/instances")
    for tab in ("/logs", "/chat", "/edit"):
        browser.page(f"/instances/{made}{tab}", status=403)
    for action in ("start", "stop", "restart", "kill", "delete"):
        assert browser.post(f"/instances/{made}/{action}").status_code == 403
    assert browser.post(f"/instances/{made}/edit", {"generation": "1"}).status_code == 403
    assert browser.post("/instances/new", {"adapter": "echo", "name": "mine"}).status_code == 403
    browser.page("/about", status=403)
    assert browser.post("/about/practice", {"practice": "true"}).status_code == 403
    assert browse(people.admin).page("/about")


def test_a_claw_that_is_on_its_way_need_not_be_started_to_talk_to_it(people: People, browse: Browse) -> None:
    made, browser = people.owner.create("coming")["id"], browse(people.owner)
    text = browser.page(f"/instances/{made}/chat")
    assert "does not answer yet" in text and "Start it to talk to it" not in text
    people.owner.post(f"instances/{made}/stop")
    assert "Start it to talk to it" in browser.page(f"/instances/{made}/chat")


def test_every_view_declares_what_it_requires(portal_app: Flask) -> None:
    bare = [
        rule.endpoint
        for rule in portal_app.url_map.iter_rules()
        if rule.endpoint.startswith("web.") and not hasattr(portal_app.view_functions[rule.endpoint], MARK)
    ]
    assert not bare


def test_without_a_session_every_page_leads_to_the_sign_in(nobody: Browser) -> None:
    for path in (*PAGES, "/instances/x", "/about", "/instances/new"):
        answer = nobody.get(path)
        assert answer.status_code == 302 and answer.headers["Location"].startswith("/login?next="), path
    answer = nobody.get("/instances", htmx=True)
    assert answer.headers["HX-Redirect"] == "/login"


def test_filters_stand_in_the_address(people: People, browse: Browse) -> None:
    for name in ("alpha", "beta"):
        people.owner.create(name)
    browser = browse(people.admin)
    text = browser.page("/instances?q=alp&state=progressing&sort=-name")
    assert "alpha" in text and ">beta<" not in text and 'value="alp"' in text
    assert "Nothing matches" in browser.page("/instances?state=running")
    for path in ("/instances?state=nonsense", "/instances?sort=spec", "/instances?limit=x", "/operations?state=x"):
        assert "must be" in browser.page(path, status=422) or "Sort by" in browser.page(path, status=422)


def test_the_pager_counts_truly(people: People, browse: Browse) -> None:
    for number in range(5):
        people.owner.create(f"p-{number}")
    text = browse(people.admin).page("/instances?limit=2&offset=2&sort=name")
    assert "3–4 of 5" in text and "p-2" in text and "p-0" not in text


def test_events_are_read_on_from_a_number(people: People, browse: Browse) -> None:
    made = people.owner.create("events")["id"]
    for action in ("stop", "start", "stop", "start"):
        people.owner.post(f"instances/{made}/{action}")
    browser = browse(people.admin)
    text = browser.page(f"/instances/{made}/events?limit=2")
    assert "before=" in text and "was created" not in text
    path = f"/instances/{made}/events?limit=2"
    seen = 0
    while 'rel="next"' in text:
        before = text.split("before=")[-1].split('"')[0].split("&")[0]
        text = browser.page(f"{path}&before={before}")
        seen += 1
    assert "was created" in text and seen >= 2
    browser.page(f"/instances/{made}/events?before=abc", status=422)
    browser.page(f"/instances/{made}/events?level=loud", status=422)


@pytest.mark.parametrize("path", ["/", "/instances?limit=200", "/operations?limit=200"])
def test_statements_do_not_grow_with_the_fleet(people: People, browse: Browse, path: str) -> None:
    browser = browse(people.admin)
    with counted_sql(people.admin.app) as statements:
        browser.page(path)
    assert len(statements) <= (30 if path == "/" else 20), "with what a new portal asks for its first steps"
    people.admin.put("checklist", {"put_aside": True})  # a portal that is set up
    counts = []
    for upto in (5, 100):
        for number in range(0 if upto == 5 else 5, upto):
            people.owner.create(f"n-{number}")
        browser.page(path)
        with counted_sql(people.admin.app) as statements:
            browser.page(path)
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 20, counts


def test_errors_are_pages_and_parts(people: People, browse: Browse) -> None:
    browser = browse(people.viewer)
    assert "no such page" in browser.page("/nothing/here", status=404)
    text = browser.page("/instances/none", htmx=True, status=404)
    assert "<html" not in text and "not yours" in text


@pytest.mark.parametrize("path", [*PAGES, "/about", "/instances/new"])
def test_the_policy_is_strict_everywhere(people: People, browse: Browse, path: str) -> None:
    assert "unsafe" not in browse(people.admin).get(path).headers["Content-Security-Policy"]


def test_a_page_may_show_frames_and_sound_of_this_portal_alone(people: People) -> None:
    app = people.admin.app
    with app.test_request_context("/"):
        allow("frame", "media")
        policy = app.process_response(Response()).headers["Content-Security-Policy"]
    assert policy.endswith("; frame-src 'self'; media-src 'self'") and "script-src 'self'; " in policy
    with app.test_request_context("/"):
        assert "frame-src" not in app.process_response(Response()).headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", [*PAGES, "/about", "/instances/new", "/login"])
def test_no_page_has_inline_script_or_style(people: People, browse: Browse, path: str) -> None:
    import re

    people.owner.create("inline")
    text = (Browser(people.admin.app.test_client()) if path == "/login" else browse(people.admin)).page(path)
    assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", text)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"", text)


def test_the_list_draws_the_last_hours(people: People, browse: Browse) -> None:
    """In one statement for all rows; for a row alone, too, and nothing where nothing was measured."""
    measured, _new = (people.owner.create(name)["id"] for name in ("measured", "new"))
    step, now = metric_history.FIVE.step, int(clock.now().timestamp())
    rows: dict[tuple[str, int], list[metric_history.Point]] = {}
    for number in range(1, 13):
        at, used = (now // step - number) * step, 1e6 * number
        rows.setdefault((measured, metric_history.FIVE.start(at)), []).append(
            metric_history.Point(at, 20, 0, number, number, used, used, 1)
        )
    with people.admin.app.app_context():
        metric_history._upsert(metric_history.FIVE, {key: metric_history.pack(key[1], points) for key, points in rows.items()})
    browser = browse(people.viewer)
    with counted_sql(people.admin.app) as statements:
        text = browser.page("/instances")
    assert len([one for one in statements if "FROM sample_chunk" in one]) == 1
    for part in (text, browser.page(f"/instances/{measured}?part=row", htmx=True)):
        assert part.count('<svg class="spark"') == 2 and "style=" not in part
        assert "<title>CPU in the last two hours: 1 % to 12 %</title>" in part and "0.95 MiB" not in part
        assert "Memory in the last two hours: 976.6 KiB to 11.4 MiB" in part
    assert "spark" not in browser.page("/")
