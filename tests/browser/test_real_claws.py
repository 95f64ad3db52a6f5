"""The main job with the real claws, in the browser: installed, started, talked to, stopped, started again, deleted."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from clawportal_openclaw.adapter import OpenClawAdapter
from tests.browser.conftest import confirm, phase_is
from tests.browser.portal import PortalProcess, share_downloads, share_installed

pytestmark = [pytest.mark.claw, pytest.mark.slow]

NewPage = Callable[..., Page]


@pytest.mark.timeout(900)
def test_nanobot(fresh_portal: Callable[..., PortalProcess], new_page: NewPage) -> None:
    """Installed by the portal itself, so that its progress can be seen."""
    page = _signed_in(fresh_portal(share_downloads), new_page)
    instance = _create(page, "nanobot", "desk-helper")
    expect(page.locator("#status")).to_have_attribute("data-phase", "installing")
    bar = page.locator("#status progress")
    expect(bar).to_be_visible()
    page.wait_for_function("() => document.querySelector('#status progress')?.value > 10", timeout=120_000)
    first = bar.evaluate("(bar) => bar.value")
    page.locator("#status").get_by_role("link", name="Details").click()
    expect(page.locator("#operation-lines, .panel-body").first).to_be_visible()
    page.go_back()
    page.wait_for_function(
        "(first) => !document.querySelector('#status progress') || document.querySelector('#status progress').value >= first",
        arg=first,
        timeout=120_000,
    )
    phase_is(page, "running", 300)
    _healthy(page, 120)
    _chat(page, "desk-helper", "What is on my desk?")
    _logs_show(page, re.compile("nanobot|gateway", re.IGNORECASE))
    _stop(page)
    page.get_by_role("button", name="Start", exact=True).click()
    phase_is(page, "running", 60)
    _healthy(page, 120)
    _chat(page, "desk-helper", "Do you still know me?")
    _delete(page, "desk-helper", instance)


@pytest.mark.timeout(900)
def test_openclaw(fresh_portal: Callable[..., PortalProcess], new_page: NewPage) -> None:
    portal = fresh_portal(lambda folder: share_installed(folder, OpenClawAdapter()))
    page = _signed_in(portal, new_page)
    instance = _create(page, "openclaw", "night-shift")
    phase_is(page, "running", 240)
    _healthy(page, 240)
    _chat(page, "night-shift", "Who is on duty?")
    _stop(page)
    _delete(page, "night-shift", instance)


def _signed_in(portal: PortalProcess, new_page: NewPage) -> Page:
    from tests.browser.conftest import sign_in

    portal.set_up()
    page = new_page(base_url=portal.url)
    sign_in(page)
    return page


def _create(page: Page, kind: str, name: str) -> str:
    """With nothing but a name; returns the address of its page."""
    page.goto("/instances/new")
    page.locator(f".kind:has(input[value={kind}])").click()
    expect(page.locator("#settings-part")).to_have_attribute("data-adapter", kind)
    expect(page.get_by_role("radio", name="Practice model")).to_be_checked()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Create and start").click()
    page.wait_for_url(re.compile(r"/instances/[0-9a-z]{26}$"))
    return page.url


def _healthy(page: Page, seconds: float) -> None:
    expect(page.locator("#status")).to_have_attribute("data-health", "healthy", timeout=seconds * 1000)


def _chat(page: Page, name: str, words: str) -> None:
    page.locator("nav.tabs").get_by_role("link", name="Chat").click()
    expect(page.locator("#chat .panel-head")).to_contain_text("Practice model")
    field = page.get_by_role("textbox", name=f"Message to {name}")
    expect(field).to_be_enabled(timeout=120_000)
    field.fill(words)
    field.press("Enter")
    answer = page.locator(".turn:not(.mine)").last
    expect(answer).to_contain_text(f"You said: {words}", timeout=120_000)
    expect(answer).not_to_have_class(re.compile("live|failed"), timeout=60_000)


def _logs_show(page: Page, words: re.Pattern[str]) -> None:
    page.locator("nav.tabs").get_by_role("link", name="Logs").click()
    expect(page.locator(".logs-rows .txt").filter(has_text=words).first).to_be_visible()


def _stop(page: Page) -> None:
    page.locator("nav.tabs").get_by_role("link", name="Overview").click()
    page.get_by_role("button", name="Stop", exact=True).click()
    confirm(page)
    phase_is(page, "stopped", 60)


def _delete(page: Page, name: str, address: str) -> None:
    page.goto(address)
    page.get_by_label(f"More actions for {name}").click()
    page.get_by_role("button", name="Delete").click()
    confirm(page, name)
    page.wait_for_url("**/instances", wait_until="commit")
    expect(page.get_by_text("No claws yet")).to_be_visible(timeout=60_000)
