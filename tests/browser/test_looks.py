"""Language, theme, phone, and leaving: what is true of every page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import phase_is, sign_in
from tests.browser.portal import PortalProcess

PAGES = ("/", "/instances", "/instances/new", "/operations", "/plugins", "/api-docs", "/about", "/profile")
TABS = ("", "/logs", "/chat", "/files", "/files?path=work", "/events", "/config", "/operations", "/edit")


@pytest.fixture(scope="module")
def claw(portal: PortalProcess) -> str:
    """A running claw with a long name, and text that is long without a break."""
    name = "reading-room-" + "x" * 40
    settings = {"greeting": "w" * 200, "log_every": 0.5}
    return str(portal.running(name, spec={"settings": settings})["id"])


def every_page(claw: str) -> list[str]:
    return [*PAGES, *(f"/instances/{claw}{tab}" for tab in TABS)]


@contextmanager
def in_chinese(page: Page, path: str) -> Iterator[None]:
    """The choice stays with the account, which all tests share."""
    page.goto(path)
    page.locator("summary.who").click()
    page.get_by_role("menuitemradio", name="简体中文").click()
    expect(page.locator("html")).to_have_attribute("lang", re.compile("^zh"))
    expect(page).to_have_url(re.compile(re.escape(path)))
    try:
        yield
    finally:
        page.goto(path)
        page.locator("summary.who").click()
        page.get_by_role("menuitemradio", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")


def test_chinese_and_back(portal: PortalProcess, page: Page, claw: str) -> None:
    with in_chinese(page, f"/instances/{claw}"):
        _is_chinese(page, every_page(claw))
    expect(page.get_by_role("heading", name="How it is")).to_be_visible()


def _is_chinese(page: Page, paths: list[str]) -> None:
    for path in paths:
        page.goto(path)
        expect(page.locator("h1").first).to_be_visible()
        heading = page.locator("#main").inner_text()
        assert re.search(r"[\u4e00-\u9fff]", heading), f"{path} has no Chinese"
        assert "%(" not in heading and "{n}" not in heading, f"{path} shows a placeholder"


def test_the_reference_of_the_api_in_chinese(portal: PortalProcess, page: Page) -> None:
    with in_chinese(page, "/api-docs"):
        group = page.locator("h3.opblock-tag", has_text="实例").first
        expect(group).to_be_visible()
        expect(page.locator(".swagger-ui").get_by_role("button", name="授权")).to_be_visible()
        one = page.locator(".opblock").first
        one.locator(".opblock-summary-control").click()
        expect(one.get_by_role("heading", name="响应", exact=True)).to_be_visible()
        one.get_by_role("button", name="试一试").click()
        expect(one.get_by_role("button", name="执行")).to_be_visible()
        one.get_by_role("button", name="取消").click()
        expect(one.get_by_role("button", name="试一试")).to_be_visible()


def test_the_theme_stays(portal: PortalProcess, page: Page) -> None:
    page.goto("/")
    root = page.locator("html")
    expect(root).to_have_attribute("data-bs-theme", "light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("summary.who").click()
    with page.expect_response("**/theme"):
        page.get_by_role("menuitemradio", name="Dark").click()
    expect(root).to_have_attribute("data-bs-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.goto("/instances")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.locator("summary.who").click()
    with page.expect_response("**/theme"):
        page.get_by_role("menuitemradio", name="Like the system").click()
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.emulate_media(color_scheme="dark")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.reload()
    expect(root).to_have_attribute("data-bs-theme", "dark")


def test_a_phone_needs_no_sideways_scrolling(portal: PortalProcess, phone: Page, claw: str) -> None:
    portal.running("second-claw")
    for path in every_page(claw):
        phone.goto(path)
        expect(phone.locator("h1").first).to_be_visible()
        too_wide = phone.evaluate(_TOO_WIDE)
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390, f"{path} is too wide: {too_wide}"


# The deepest parts that reach over the edge, for the message of a failure.
_TOO_WIDE = """() => [...document.querySelectorAll('main *')]
    .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.children.length).slice(0, 4)
    .map((e) => e.outerHTML.slice(0, 150))"""


def test_the_list_on_a_phone(portal: PortalProcess, phone: Page, claw: str) -> None:
    phone.goto("/instances")
    row = phone.locator(f"#row-{claw}")
    expect(row).to_be_visible()
    assert row.evaluate("(e) => getComputedStyle(e).display") != "table-row", "rows are cards on a phone"
    expect(phone.locator("#side")).not_to_be_in_viewport()
    phone.locator("nav.bar-bottom").get_by_role("button", name="Menu").tap()
    expect(phone.locator("#side")).to_be_in_viewport()
    phone.locator("#side").get_by_role("link", name="Plugins").tap()
    expect(phone.get_by_role("heading", name="Plugins", exact=True)).to_be_visible()
    phone.locator("nav.bar-bottom").get_by_role("link", name="Instances").tap()
    row.locator("summary").tap()
    row.get_by_role("link", name="Logs").tap()
    expect(phone.locator(".logs-rows .log").first).to_be_visible()
    phone.locator("nav.tabs").get_by_role("link", name="Overview").tap()
    phase_is(phone, "running")


def test_targets_for_fingers_are_large_enough(portal: PortalProcess, phone: Page, claw: str) -> None:
    for path in (f"/instances/{claw}", "/instances"):
        phone.goto(path)
        expect(phone.locator("nav.bar-bottom")).to_be_visible()
        assert phone.evaluate(_SMALL) == [], path


_SMALL = """() => [...document.querySelectorAll('nav.bar-bottom a, nav.bar-bottom button, #status .btn, summary.btn')]
    .filter((e) => e.offsetParent).map((e) => [e.textContent.trim(), e.getBoundingClientRect()])
    .filter(([, box]) => box.width && (box.height < 32 || box.width < 32))
    .map(([name, box]) => `${name} ${box.width}x${box.height}`)"""


def test_files_are_uploaded_and_never_replaced_unasked(portal: PortalProcess, page: Page, claw: str) -> None:
    page.goto(f"/instances/{claw}/files?path=work")
    give = {"name": "notes.txt", "mimeType": "text/plain"}
    row = page.locator('#files tr[data-name="notes.txt"]')
    page.locator("[data-upload]").set_input_files([{**give, "buffer": b"one"}])
    expect(row).to_contain_text("3 Bytes")
    page.locator("[data-upload]").set_input_files([{**give, "buffer": b"second"}])
    expect(page.get_by_role("heading", name="There is a notes.txt already")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(row).to_contain_text("3 Bytes")
    page.locator("[data-upload]").set_input_files([{**give, "buffer": b"second"}])
    page.get_by_role("button", name="Replace it").click()
    expect(row).to_contain_text("6 Bytes")
    with page.expect_download() as found:
        row.get_by_role("link", name="Download notes.txt").click()
    assert found.value.path().read_bytes() == b"second" and found.value.suggested_filename == "notes.txt"


def test_after_signing_out_the_back_button_shows_nothing(portal: PortalProcess, new_page: Callable[..., Page], claw: str) -> None:
    page = new_page(base_url=portal.url)
    page.goto(f"/instances/{claw}/config")
    expect(page).to_have_url(re.compile("/login"))
    sign_in(page)
    expect(page).to_have_url(re.compile(f"/instances/{claw}/config"))  # where one wanted to go
    page.goto(f"/instances/{claw}")
    page.locator("summary.who").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/login"))
    page.go_back()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert "reading-room" not in page.content()
