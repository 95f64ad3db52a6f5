"""Pages that stay open: while the portal is killed and comes back, while a log floods, while thousands of lines are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch, phase_is
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
    texts = log.evaluate(
        "[...document.querySelectorAll('.logs-rows .log')].map((e) => e.querySelector('time')?.title + e.textContent)"
    )
    assert len(texts) == len(set(texts)), "no line twice"
    # Changes reach the page again: it is not only drawn as live.
    portal.api("POST", f"instances/{made['id']}/stop")
    phase_is(page, "stopped")


def _count(page: Page) -> int:
    return int(re.sub(r"\D", "", page.locator("[data-count]").inner_text()) or "0")


def test_a_page_whose_session_ended_leads_to_the_sign_in_page(portal: PortalProcess, page: Page, watch: Watch) -> None:
    watch.expect("401", "WebSocket")
    made = portal.running("orphaned")
    page.goto(f"/instances/{made['id']}")
    phase_is(page, "running")
    page.context.clear_cookies()
    page.locator("#status [data-action=restart]").click()
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
        assert took < 500, f"scrolling to {share:.0%} took {took:.0f} ms"
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
