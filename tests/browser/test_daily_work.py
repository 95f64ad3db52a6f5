"""A day with a claw, by somebody with a phone and a desk: each step through the pages, in one journey, with pictures of it.

The claw is a real OpenClaw; its model is the practice model, standing by itself as a provider that asks for a key.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from clawportal_openclaw.adapter import OpenClawAdapter
from clawportal_practice.server import PracticeModel
from tests.browser.conftest import ARTIFACTS, Portals, Watch, phase_is, sign_in
from tests.browser.portal import PortalProcess, share_installed, wait_for

pytestmark = [pytest.mark.claw, pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
NewPage = Callable[..., Page]
KEY, WRONG = "sk-journey-4711-brightwater", "sk-journey-0815-brightwater"
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
PARAGRAPHS = 12


def keep(page: Page, name: str) -> None:
    ARTIFACTS.joinpath("day").mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTIFACTS / "day" / f"{name}.png")


def test_a_day_with_a_claw(fresh_portal: Portals, new_page: NewPage, watch: Watch, tmp_path: Path) -> None:
    watch.expect("status of 422", "Failed to load resource.*404")  # a wrong key; the claw's page asks for pictures nobody gave it
    with PracticeModel(api_key=KEY, delay=0.05) as provider:
        portal = fresh_portal(lambda folder: share_installed(folder, OpenClawAdapter()))
        portal.set_up()
        phone, desk = new_page(base_url=portal.url, **PHONE), new_page(base_url=portal.url, color_scheme="dark")
        sign_in(phone)
        sign_in(desk)
        store_a_key(phone, portal, provider.url)
        claw = create(phone)
        drop_a_file(phone, claw, tmp_path)
        talk = ask_and_leave(phone, portal, claw, provider)
        find_it_whole(desk, talk)
        edit_the_file(desk, portal, claw)
        open_its_own_page(desk, claw)
        duplicate(desk, portal, claw)
        in_chinese(phone, claw, talk)
        assert KEY not in portal.output


def store_a_key(phone: Page, portal: PortalProcess, provider: str) -> None:
    """Tested with a wrong key, then with the right one, and stored without typing it again."""
    phone.goto(f"/tenants/{portal.api('GET', 'tenants')['items'][0]['id']}/keys")
    phone.get_by_role("link", name="Store a key").first.click()
    phone.get_by_label("Short name").fill("team-key")
    phone.get_by_label("Title").fill("Our team's key")
    phone.get_by_label("Base URL").fill(provider)
    phone.locator("#f-model").fill("practice")
    for key, found in ((WRONG, "The key is not accepted."), (KEY, "The model answers.")):
        phone.get_by_label("API key").fill(key)
        phone.get_by_role("button", name="Test", exact=True).click()
        expect(phone.locator("#report")).to_contain_text(found)
        keep(phone, f"key-{'refused' if key == WRONG else 'works'}")
    phone.get_by_role("button", name="Store the key").click()
    phone.wait_for_url(re.compile(r"/model-keys/[0-9a-z]{26}$"))


def create(phone: Page) -> str:
    phone.goto("/instances/new")
    phone.locator(".kind:has(input[value=openclaw])").click()
    expect(phone.locator("#settings-part")).to_have_attribute("data-adapter", "openclaw")
    phone.get_by_label("Name", exact=True).fill("day-claw")
    phone.get_by_label("Stored key").select_option(label="Our team's key · OpenAI-compatible server")
    phone.get_by_label("Model", exact=True).fill("practice")
    phone.get_by_role("button", name="Test this model").click()
    expect(phone.locator("#model-outcome")).to_contain_text("The model answers.")
    keep(phone, "model-works")
    phone.locator("summary", has_text="Advanced settings").click()
    phone.get_by_label("Control UI").check()
    keep(phone, "create")
    phone.get_by_role("button", name="Create and start").click()
    phone.wait_for_url(re.compile(r"/instances/[0-9a-z]{26}$"))
    phase_is(phone, "running", 300)
    expect(phone.locator("#status")).to_have_attribute("data-health", "healthy", timeout=240_000)
    keep(phone, "running")
    return phone.url.rpartition("/")[2]


def drop_a_file(phone: Page, claw: str, folder: Path) -> None:
    (folder / "plan.md").write_text("# Plan\n\nWater the plants.\n")
    phone.goto(f"/instances/{claw}/files?path=work")
    phone.locator("[data-upload]").set_input_files(folder / "plan.md")
    expect(phone.locator('#files tr[data-name="plan.md"]')).to_be_visible()
    keep(phone, "files")


def ask_and_leave(phone: Page, portal: PortalProcess, claw: str, provider: PracticeModel) -> str:
    """The page is left while the answer is written; what is asked returns the conversation's address."""
    phone.goto("/talk")
    phone.get_by_role("navigation", name="With which claw?").get_by_role("link", name="day-claw").click()
    field = phone.get_by_role("textbox", name="Message to day-claw")
    expect(field).to_be_enabled(timeout=60_000)
    provider.delay = 1.0
    field.fill(f"long {PARAGRAPHS}")
    field.press("Enter")
    answer = phone.locator(".turn:not(.mine)").last
    expect(answer.locator(".bubble")).to_contain_text("1", timeout=180_000)
    expect(answer).to_have_class(re.compile("live"))
    keep(phone, "answer-under-way")
    address = phone.url
    phone.goto("/instances")
    provider.delay = 0.05
    return address


def find_it_whole(desk: Page, talk: str) -> None:
    desk.goto(talk)
    answer = desk.locator(".turn:not(.mine)").last
    expect(answer).not_to_have_class(re.compile("live|failed"), timeout=120_000)
    expect(answer).to_contain_text(f"This is paragraph {PARAGRAPHS} of {PARAGRAPHS}")
    expect(answer).to_contain_text("This is paragraph 1 of")
    keep(desk, "answer-whole-dark")


def edit_the_file(desk: Page, portal: PortalProcess, claw: str) -> None:
    desk.goto(f"/instances/{claw}/files?path=work")
    desk.locator("#files").get_by_role("link", name="plan.md", exact=True).click()
    expect(desk.locator("#reading")).to_contain_text("Water the plants.")
    keep(desk, "read-dark")
    desk.locator("[data-views] [data-view]").last.click()
    editor = desk.locator("#editor .cm-content")
    expect(editor).to_contain_text("Water the plants.")
    editor.click()
    desk.keyboard.press("Control+End")
    desk.keyboard.type("Call the bank.")
    desk.keyboard.press("Control+s")
    expect(desk.get_by_text("Saved.")).to_be_visible()
    keep(desk, "edited-dark")
    written = portal.folder / "clusters" / "local" / "instances" / claw / "work" / "plan.md"
    assert written.read_text().endswith("Call the bank.")


def open_its_own_page(desk: Page, claw: str) -> None:
    desk.goto(f"/instances/{claw}")
    with desk.context.expect_page() as found:
        desk.get_by_role("link", name="Open", exact=True).click()
    page = found.value
    expect(page).to_have_url(re.compile(rf"^http://gateway-{claw}\.localhost:"), timeout=30_000)
    expect(page.locator("textarea").first).to_be_visible(timeout=90_000)
    keep(page, "control-ui-dark")
    page.close()


def duplicate(desk: Page, portal: PortalProcess, claw: str) -> None:
    desk.goto(f"/instances/{claw}")
    desk.get_by_label("More actions for day-claw").click()
    desk.get_by_role("link", name="Duplicate").click()
    desk.get_by_label("Name", exact=True).fill("night-claw")
    desk.get_by_label("Copy the files of the work folder").check()
    desk.get_by_label("Start it").uncheck()
    keep(desk, "duplicate-dark")
    desk.get_by_role("button", name="Duplicate").click()
    twin = wait_for(lambda: [one["id"] for one in portal.list() if one["name"] == "night-claw"], 60, "the twin is there")[0]
    copied = portal.folder / "clusters" / "local" / "instances" / twin / "work" / "plan.md"
    wait_for(copied.is_file, 60, "its files came along")
    assert copied.read_text().endswith("Call the bank.")
    portal.reaches(twin, "stopped", 120)
    desk.goto("/instances")
    expect(desk.get_by_role("link", name="night-claw").first).to_be_visible()
    keep(desk, "two-claws-dark")


def in_chinese(phone: Page, claw: str, talk: str) -> None:
    """The same pages, looked at by somebody else."""
    phone.goto(f"/instances/{claw}")
    phone.get_by_role("button", name="Menu", exact=True).first.click()
    phone.locator("summary.who").click()
    phone.get_by_role("menuitemradio", name="简体中文").click()
    expect(phone.locator("html")).to_have_attribute("lang", re.compile("^zh"))
    for name, path in (("overview", f"/instances/{claw}"), ("files", f"/instances/{claw}/files?path=work"), ("talk", talk)):
        phone.goto(path)
        expect(phone.locator("html")).to_have_attribute("lang", re.compile("^zh"))
        keep(phone, f"{name}-chinese")
