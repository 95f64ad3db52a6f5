"""Pages that stay open: while the portal is killed and comes back, while a log floods, while thousands of lines are read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Watch, phase_is, sign_in
from tests.browser.portal import PortalProcess, wait_for


def test_a_killed_portal_comes_back_under_an_open_page(
    portal: PortalProcess, page: Page, new_page: Callable[..., Page], signed_in: Any, watch: Watch
) -> None:
    watch.expect("ERR_CONNECTION", "WebSocket", "Failed to load resource", "htmx", "sendError")
    made = portal.running("survivor", spec={"settings": {"log_every": 0.5}})
    before = {process.pid for process in portal.claw_processes(made["id"])}
    assert before
    log = new_page(base_url=portal.url, storage_state=signed_in)
    log.goto(f"/instances/{made['id']}/logs")
    expect(log.locator(".logs-rows .log").first).to_be_visible()
    page.goto(f"/instances/{made['id']}")
    expect(page.locator("aside [data-link-state]")).to_have_text("Live")
    page.evaluate("window.neverReloaded = true")

    portal.kill()
    expect(page.locator("aside [data-link-state]")).to_have_text("Reconnecting")
    expect(page.get_by_text("Connection lost.")).to_be_visible(timeout=10_000)
    assert {process.pid for process in portal.claw_processes(made["id"])} == before, "claws outlive the portal"
    page.locator("#status [data-action=restart]").click()
    expect(page.locator("#toasts")).to_contain_text("The portal did not answer.")
    lines = _count(log)

    portal.start()
    expect(page.get_by_text("Connection lost.")).to_be_hidden(timeout=40_000)
    expect(page.locator("aside [data-link-state]")).to_have_text("Live")
    phase_is(page, "running")
    assert page.evaluate("window.neverReloaded") is True
    assert {process.pid for process in portal.claw_processes(made["id"])} == before, "adopted, not started anew"
    wait_for(lambda: _count(log) > lines + 3, 40, "the log goes on by itself")
    drawn = Counter(map(tuple, log.evaluate(_DRAWN)))
    written = Counter((line["at"], line["text"]) for line in portal.api("GET", f"instances/{made['id']}/logs?tail=2000")["lines"])
    assert drawn, "some lines are in sight"
    assert not drawn - written, "no line more often than the claw wrote it"
    # Changes reach the page again: it is not only drawn as live.
    portal.api("POST", f"instances/{made['id']}/stop")
    phase_is(page, "stopped")


# two lines that a claw wrote at once have one time, and may have one text
_DRAWN = """
    [...document.querySelectorAll('.logs-rows .log:not(.gap):not(.day)')]
        .map((row) => [row.querySelector('time').title, row.querySelector('.txt').textContent])
"""


def _count(page: Page) -> int:
    return int(re.sub(r"\D", "", page.locator("[data-count]").inner_text()) or "0")


def test_what_asks_by_itself_waits_while_nobody_looks(page: Page) -> None:
    page.goto("/")
    page.evaluate("""
        const part = document.createElement("p");
        Object.assign(part, { id: "asks" }).dataset.quiet = "";
        document.body.append(part);
        window.hidden = true;
        Object.defineProperty(document, "hidden", { get: () => window.hidden });
    """)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "asks=" in request.url else None)
    ask = "(n) => window.htmx.ajax('GET', `/?asks=${n}`, { source: '#asks', target: '#asks', swap: 'none' })"
    page.evaluate(f"void ({ask})(1)")
    page.evaluate("window.hidden = false")
    page.evaluate(ask, 2)
    assert [url.rpartition("asks=")[2] for url in asked] == ["2"]


def test_a_page_whose_session_ended_leads_to_the_sign_in_page(
    portal: PortalProcess, new_page: Callable[..., Page], watch: Watch
) -> None:
    watch.expect("401", "WebSocket")
    made = portal.running("orphaned")
    page = new_page(base_url=portal.url)
    sign_in(page)
    page.goto(f"/instances/{made['id']}")
    phase_is(page, "running")
    token = page.locator("input[name=csrf_token]").first.input_value()
    assert page.request.post("/logout", form={"csrf_token": token}).ok  # as in another tab
    with suppress(PlaywrightError):  # a part of the page that is refreshed just now may lead there first
        page.locator("#status [data-action=restart]").click(timeout=5000)
    page.wait_for_url(re.compile(r"/login\?next="))


def test_a_flood_is_told_and_does_not_stall_the_page(portal: PortalProcess, page: Page) -> None:
    made = portal.running("torrent", spec={"settings": {"flood": 2000}})
    page.goto(f"/instances/{made['id']}/logs")
    expect(page.locator(".logs-rows .log").first).to_be_visible()
    # The longest time that the page did not draw: what a person feels as stutter.
    page.evaluate("""() => {
        window.gaps = [];
        let last = performance.now();
        const tick = (now) => { window.gaps.push(now - last); last = now; requestAnimationFrame(tick); };
        requestAnimationFrame(tick);
    }""")
    # A viewer that is not read for a while: its share of the flood has to be left out somewhere, and said.
    expect(page.locator("[data-count]")).to_have_text(re.compile(r"\d[\d,.]{4,} lines"), timeout=30_000)
    page.locator("[data-follow]").click()
    expect(page.locator("[data-follow]")).to_have_text("Follow")
    page.locator("[data-level]").select_option("warning")
    page.locator("[data-level]").select_option("")
    search = page.get_by_role("searchbox", name="Search in the log")
    search.fill("flood line 1")
    expect(page.locator("[data-hits]")).not_to_be_empty()
    search.press("Enter")
    search.fill("")
    page.locator("[data-follow]").click()
    # no speed is asserted here, only that the page never stands still: each step above had to be answered meanwhile
    gaps = page.evaluate("window.gaps")
    assert len(gaps) > 20 and max(gaps) < 10_000, f"{len(gaps)} frames, the longest wait {max(gaps):.0f} ms"
    portal.api("POST", f"instances/{made['id']}/kill")


def test_dropped_lines_are_said(portal: PortalProcess, page: Page) -> None:
    """Faster than a machine writes for its reader: the runtime drops, counts and says so in the log itself."""
    made = portal.running("burst", spec={"settings": {"flood": 20_000}})
    page.goto(f"/instances/{made['id']}/logs")
    page.get_by_role("searchbox", name="Search in the log").fill("dropped")
    expect(page.locator("[data-hits]")).to_have_text(re.compile(r"of \d"), timeout=30_000)
    portal.api("POST", f"instances/{made['id']}/kill")


def test_a_search_can_leave_out_all_other_lines(portal: PortalProcess, page: Page) -> None:
    made = portal.running("talkative", spec={"settings": {"log_every": 0.2}})
    page.goto(f"/instances/{made['id']}/logs")
    rows = page.locator(".logs-rows .log:not(.day)")
    expect(page.locator(".logs-rows .log.day")).to_have_count(1)  # the date, above the first line
    wait_for(lambda: _count(page) > 8, 20, "lines arrived")
    page.get_by_role("searchbox", name="Search in the log").fill("listening")
    page.get_by_role("button", name="Only matching lines").click()
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("listening")
    page.get_by_role("button", name="Only matching lines").click()
    wait_for(lambda: _count(page) > 8, 20, "all are back")


def test_ten_thousand_lines_scroll(portal: PortalProcess, page: Page) -> None:
    made = portal.running("long-story", spec={"settings": {"flood": 1500}})
    page.goto(f"/instances/{made['id']}/logs")
    wait_for(lambda: _count(page) >= 10_000, 40, "ten thousand lines arrived")
    portal.api("POST", f"instances/{made['id']}/stop")
    portal.reaches(made["id"], "stopped")
    scroller = page.locator(".logs-scroll")
    scroller.focus()
    page.keyboard.press("Home")
    expect(page.locator("[data-follow]")).to_have_text("Follow")
    first = page.locator(".logs-rows .log .txt").first
    expect(first).to_be_visible()
    for share in (0.25, 0.5, 0.75, 0.1, 1.0, 0.33):
        took = page.evaluate(_SCROLL, share)
        assert took < 10_000, f"scrolling to {share:.0%} took {took:.0f} ms: the page stood still"
        assert page.locator(".logs-rows .log").count() < 150, "only what is in sight is drawn"
        numbers = [int(found) for text in page.locator(".logs-rows .txt").all_inner_texts() if (found := _flood_number(text))]
        assert numbers == sorted(numbers) and numbers, "in order"
    page.keyboard.press("End")
    expect(page.locator("[data-follow]")).to_have_text("Pause")
    page.get_by_role("button", name="Wrap long lines").click()
    expect(page.locator(".logs-rows .log").last).to_be_in_viewport()


_SCROLL = """(share) => new Promise((resolve) => {
    const box = document.querySelector('.logs-scroll'), begun = performance.now();
    box.scrollTop = share * box.scrollHeight;
    requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - begun)));
})"""


def _flood_number(text: str) -> str:
    found = re.search(r"flood line (\d+)", text)
    return found[1] if found else ""


# ---- answers that come late


def _hold(page: Page, matches: Callable[[Any], bool]) -> list[Route]:
    """Requests that match wait until `_let_go`."""
    held: list[Route] = []

    def decide(route: Route) -> None:
        if matches(route.request):
            held.append(route)
        else:
            route.continue_()

    page.route("**/instances**", decide)
    return held


def _let_go(page: Page, held: list[Route]) -> None:
    for route in held:
        route.continue_()
    page.unroute("**/instances**")
    page.wait_for_load_state("networkidle")


def test_a_late_refresh_does_not_undo_a_search(portal: PortalProcess, page: Page) -> None:
    portal.running("findable")
    page.goto("/instances")
    expect(page.locator("aside [data-link-state]")).to_have_text("Live")
    expect(page.locator("#instances")).to_contain_text("findable")
    held = _hold(page, lambda request: request.url.endswith("/instances"))
    page.evaluate("htmx.trigger('#instances', 'live')")
    wait_for(lambda: page.wait_for_timeout(50) is None and bool(held), 20, "the list asks for itself")
    page.get_by_label("Find an instance").fill("no such claw")
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    with page.expect_response(lambda answer: answer.url.endswith("/instances")):
        _let_go(page, held)
    page.wait_for_timeout(500)
    expect(page.get_by_text("Nothing matches")).to_be_visible()


def test_what_changes_while_a_part_asks_is_asked_for_again(portal: PortalProcess, page: Page) -> None:
    """Also where the answer puts another element in the place of the one that asked."""
    made = portal.running("chatty")
    page.goto(f"/instances/{made['id']}/chat")
    expect(page.locator("aside [data-link-state]")).to_have_text("Live")
    field = page.get_by_role("textbox", name="Message to chatty")
    expect(field).to_be_enabled()
    portal.api("POST", f"instances/{made['id']}/stop")
    expect(page.locator("#chat-closed")).to_contain_text("chatty is not running")
    held = _hold(page, lambda request: request.url.endswith("/chat"))
    page.evaluate("htmx.trigger('#chat-closed', 'live')")
    wait_for(lambda: page.wait_for_timeout(50) is None and bool(held), 20, "it asks")
    late = held[0].fetch()  # what the portal says of the claw that is stopped still
    portal.api("POST", f"instances/{made['id']}/start")
    phase_is(page, "running")
    page.wait_for_timeout(1000)  # it would have asked again by now
    held.pop(0).fulfill(response=late)
    _let_go(page, held)
    expect(field).to_be_enabled()
    expect(page.locator("#chat-closed")).to_be_empty()


def test_what_is_typed_before_the_scripts_counts(page: Page) -> None:
    held = []
    page.route("**/htmx.min.js*", lambda route: held.append(route))
    page.goto("/instances", wait_until="commit")
    page.get_by_label("Find an instance").fill("no such claw")
    wait_for(lambda: page.wait_for_timeout(50) is None and bool(held), 20, "the page asks for its scripts")
    held[0].continue_()
    expect(page.get_by_text("Nothing matches")).to_be_visible()


def test_what_a_save_said_is_not_undone_by_validation(portal: PortalProcess, page: Page, watch: Watch) -> None:
    watch.expect("status of (409|412|422)", "Status Error Code")
    page.goto("/instances/new?adapter=echo")
    held = _hold(page, lambda request: "validate=1" in (request.post_data or ""))
    name = page.get_by_label("Name", exact=True)
    name.fill("Not A Name!")
    wait_for(lambda: page.wait_for_timeout(50) is None and bool(held), 20, "the form is validated")
    page.get_by_role("button", name="Create and start").click()
    expect(page.locator("#form-errors")).to_contain_text("nothing was stored")
    _let_go(page, held)
    expect(page.locator("#form-errors")).to_contain_text("1 thing to correct")
    with page.expect_response(lambda answer: "validate=1" in (answer.request.post_data or "")):
        name.fill("Not A Name either!")
    expect(page.locator("#form-errors")).to_contain_text("nothing was stored")
    expect(name).to_have_attribute("aria-invalid", "true")
    name.fill("a-name")
    expect(page.locator("#form-errors")).not_to_contain_text("nothing was stored")

    made = portal.running("edited-twice")
    page.goto(f"/instances/{made['id']}/edit")
    portal.api("PATCH", f"instances/{made['id']}", {"spec": {"settings": {"log_every": 7}}}, If_Match=str(made["generation"]))
    every = page.get_by_label("Sign of life every")
    every.fill("9")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#form-errors")).to_contain_text("Somebody else changed this meanwhile")
    with page.expect_response(lambda answer: "validate=1" in (answer.request.post_data or "")):
        every.fill("-1")
    expect(every).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#form-errors")).to_contain_text("Somebody else changed this meanwhile")
