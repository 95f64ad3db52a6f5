"""The own pages of the real claws, in a browser through the portal: they open without a question, and their sockets live."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from playwright.sync_api import Page, expect

from clawportal_nanobot.adapter import NanobotAdapter
from clawportal_openclaw.adapter import OpenClawAdapter
from tests.browser.conftest import ARTIFACTS, Portals, Watch, sign_in
from tests.browser.portal import PortalProcess, share_installed, wait_for

pytestmark = [pytest.mark.claw, pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
NewPage = Callable[..., Page]


def opened(portal: PortalProcess, new_page: NewPage, claw: dict[str, Any]) -> Page:
    """The page of a claw, by the button on its page in the portal."""
    page = new_page(base_url=portal.url)
    sign_in(page)
    page.goto(f"/instances/{claw['id']}")
    with page.context.expect_page() as found:
        page.get_by_role("link", name="Open", exact=True).click()
    return found.value


def keep(page: Page, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"page-of-{name}.png")


def told_nothing(page: Page, portal: PortalProcess, claw: dict[str, Any]) -> None:
    """Neither address, nor page, nor log of the portal has the claw's own token."""
    reveal = page.evaluate("() => JSON.stringify({...localStorage, ...sessionStorage}) + document.documentElement.outerHTML")
    tokens = set(_tokens(claw["id"]))
    assert tokens, "the claw has one"
    for token in tokens:
        assert token not in page.url and token not in reveal and token not in portal.output


def _tokens(instance_id: str) -> Iterator[str]:
    """As they stand in the environment of the claw's processes."""
    for process in psutil.process_iter():
        try:
            environ = process.environ()
        except psutil.Error:
            continue
        if any(instance_id in value for value in environ.values()):
            yield from (environ[name] for name in ("OPENCLAW_GATEWAY_TOKEN", "CLAWPORTAL_WS_TOKEN") if environ.get(name))


def test_the_page_of_nanobot(fresh_portal: Portals, new_page: NewPage, watch: Watch) -> None:
    watch.expect("Failed to load resource.*404.*webui-thread")  # it asks for a talk before the claw has written its first word
    portal = fresh_portal(lambda folder: share_installed(folder, NanobotAdapter()))
    portal.set_up()
    claw = portal.create("desk-helper", "nanobot")
    portal.reaches(claw["id"], "running", 240)
    wait_for(lambda: portal.get(claw["id"])["health"] == "healthy", 120, "it is well")
    page = opened(portal, new_page, claw)
    expect(page).to_have_url(re.compile(rf"^http://ws-{claw['id']}\.localhost:"))
    box = page.get_by_role("textbox").first
    expect(box).to_be_visible()
    box.fill("What is on my desk?")
    box.press("Enter")
    expect(page.get_by_text("What is on my desk?").first).to_be_visible()
    expect(page.get_by_text(re.compile("practice model", re.IGNORECASE)).first).to_be_visible(timeout=60_000)
    keep(page, "nanobot")
    told_nothing(page, portal, claw)


def test_the_page_of_openclaw(fresh_portal: Portals, new_page: NewPage, watch: Watch) -> None:
    watch.expect("Failed to load resource.*404")  # it asks for pictures that nobody gave it
    portal = fresh_portal(lambda folder: share_installed(folder, OpenClawAdapter()))
    portal.set_up()
    claw = portal.create("night-shift", "openclaw", spec={"settings": {"control_ui": True}})
    portal.reaches(claw["id"], "running", 240)
    wait_for(lambda: portal.get(claw["id"])["health"] == "healthy", 240, "it is well")
    page = opened(portal, new_page, claw)
    expect(page).to_have_url(re.compile(rf"^http://gateway-{claw['id']}\.localhost:"), timeout=30_000)
    box = page.locator("textarea").first
    expect(box).to_be_visible(timeout=90_000)
    box.fill("Who is on duty?")
    box.press("Enter")
    expect(page.get_by_text(re.compile(r"Done in \d+ second")).first).to_be_visible(timeout=120_000)
    keep(page, "openclaw")
    told_nothing(page, portal, claw)
