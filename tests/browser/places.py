"""The main job in a place that runs images, as it is done from the pages: the steps that are the same wherever that is."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import confirm, phase_is

PATIENCE = 60.0
CLAW = "front-desk"


def open_form(page: Page, kind: str) -> None:
    """From the first page to the form that connects a place of this kind."""
    page.goto("/")
    page.locator("aside").get_by_role("link", name="Clusters").click()
    page.get_by_role("link", name="Connect a cluster").click()
    kinds = page.get_by_role("navigation", name="Kind of place")
    kinds.get_by_role("link", name=kind).click()
    expect(kinds.locator("[aria-current=page]")).to_contain_text(kind)


def try_connection(page: Page, verdict: str) -> Locator:
    """Press the button and wait for this verdict; the findings."""
    page.get_by_role("button", name="Test the connection").click()
    report = page.locator("#report")
    expect(report).to_contain_text(verdict, timeout=PATIENCE * 1000)
    return report


def connect(page: Page, title: str) -> None:
    page.get_by_role("button", name="Connect", exact=True).click()
    page.wait_for_url(re.compile(r"/clusters/[0-9a-z]{26}$"), timeout=PATIENCE * 1000)
    expect(page.get_by_role("heading", name=title, level=1)).to_be_visible()
    page.get_by_role("link", name="Clusters").first.click()
    row = page.locator("#clusters tbody tr", has_text=title)
    expect(row).to_contain_text("Answers", timeout=PATIENCE * 1000)  # by itself


def live_and_go(page: Page, title: str) -> None:
    """Create a claw there, use everything that its pages have, and delete it."""
    _create(page, title)
    _read_the_log(page)
    _type_into_the_console(page)
    _look_at_the_charts(page)
    _restart_stop_delete(page)


def _tab(page: Page, title: str) -> None:
    page.locator("nav.tabs").get_by_role("link", name=title).click()
    expect(page.locator("nav.tabs [aria-current=page]")).to_have_text(title)


def _create(page: Page, title: str) -> None:
    page.goto("/instances/new?adapter=echo")
    page.get_by_label("Name", exact=True).fill(CLAW)
    page.get_by_label("Cluster", exact=True).select_option(label=title)
    page.get_by_label("Sign of life every").fill("0.2")
    page.get_by_role("button", name="Create and start").click()
    page.wait_for_url(re.compile(r"/instances/[0-9a-z]{26}$"))
    page.evaluate("window.neverReloaded = true")
    phase_is(page, "running", PATIENCE)
    expect(page.locator("#status")).to_have_attribute("data-health", "healthy", timeout=PATIENCE * 1000)
    expect(page.locator("#overview")).to_contain_text(title)
    assert page.evaluate("window.neverReloaded") is True


def _read_the_log(page: Page) -> None:
    _tab(page, "Logs")
    expect(page.locator(".logs-rows .log").first).to_be_visible()
    count = page.locator("[data-count]")
    expect(count).to_have_text(re.compile("[1-9]"))
    expect(count).not_to_have_text(count.inner_text())  # live


def _type_into_the_console(page: Page) -> None:
    _tab(page, "Console")
    expect(page.locator("#console [data-state]")).to_have_text("Open", timeout=PATIENCE * 1000)
    page.locator("#console .xterm-helper-textarea").press_sequentially("echo $((6*7))-sum\n")
    expect(page.locator("#console .xterm-rows")).to_contain_text("42-sum")
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator("#console [data-state]")).to_have_text("The console was closed.")


def _look_at_the_charts(page: Page) -> None:
    _tab(page, "Metrics")
    expect(page.locator("[data-chart=memory] canvas")).to_be_visible(timeout=PATIENCE * 1000)
    expect(page.locator("[data-nothing]")).to_be_hidden()
    page.reload()  # the figures above the charts are of when the page was made
    expect(page.locator("dl.figures")).to_contain_text(re.compile(r"[1-9][\d.]* [KM]i?B"))


def _restart_stop_delete(page: Page) -> None:
    page.get_by_role("button", name="Restart").click()
    expect(page.locator("#toasts")).to_contain_text(f"{CLAW} is restarting")
    _tab(page, "Operations")
    expect(page.locator("#operations tbody tr", has_text=f"Restart {CLAW}")).to_contain_text("Done", timeout=PATIENCE * 1000)
    phase_is(page, "running", PATIENCE)
    page.get_by_role("button", name="Stop").click()
    confirm(page)
    phase_is(page, "stopped", PATIENCE)
    page.get_by_label(f"More actions for {CLAW}").click()
    page.get_by_role("button", name="Delete").click()
    confirm(page, CLAW)
    page.wait_for_url("**/instances", wait_until="commit")
    expect(page.locator("#toasts")).to_contain_text(f"{CLAW} is being deleted")
    expect(page.locator("tr", has_text=CLAW)).to_have_count(0, timeout=PATIENCE * 1000)
