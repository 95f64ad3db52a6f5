"""The main job, as a newcomer does it in the browser: from the printed password to a claw that was made, used and deleted."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch, confirm, phase_is, sign_in
from tests.browser.portal import PASSWORD, PortalProcess

NewPage = Callable[..., Page]


def test_from_the_printed_password_to_a_deleted_claw(
    fresh_portal: Callable[..., PortalProcess], new_page: NewPage, watch: Watch
) -> None:
    watch.expect("status of 401", "(status of|Status Error Code) 422")  # a refused form is told in the console, too
    portal = fresh_portal(alone=True)
    page = new_page(base_url=portal.url)
    _set_up(page, portal)
    portal.sign_in()
    _create(page)
    _read_the_log(page)
    _chat(page, "hello there", 1)
    _look_at_the_tabs(page)
    _change_without_restart(page, portal)
    _stop_and_start(page)
    _chat(page, "still there?", 3)  # it counts on disk: the data outlived the stop
    _delete(page, portal)


def _set_up(page: Page, portal: PortalProcess) -> None:
    page.goto("/")
    expect(page).to_have_url(re.compile("/login"))
    expect(page.get_by_text("First start")).to_be_visible()
    page.get_by_label("Password", exact=True).fill("not this one")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("The name or the password is wrong.")).to_be_visible()
    sign_in(page, portal.first_password)
    expect(page).to_have_url(re.compile("/setup"))
    page.get_by_label("Name of your organisation").fill("Brightwater Labs")
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("Once more").fill("something else")
    expect(page.get_by_role("checkbox", name="Switch on the practice model")).to_be_checked()
    page.get_by_role("button", name="Open the portal").click()
    expect(page.get_by_text("The two are not the same.")).to_be_visible()
    expect(page.get_by_label("Name of your organisation")).to_have_value("Brightwater Labs")
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("Once more").fill(PASSWORD)
    page.get_by_role("button", name="Open the portal").click()
    expect(page.get_by_role("heading", name="Welcome to clawportal")).to_be_visible()
    expect(page.get_by_text("The portal is yours.")).to_be_visible()
    expect(page.locator("aside")).to_contain_text("Brightwater Labs")
    expect(page.locator("aside")).to_contain_text("Practice model")


def _create(page: Page) -> None:
    page.get_by_role("link", name="Create your first claw").click()
    page.locator(".kind", has_text="Echo").click()
    expect(page.locator("#settings-part")).to_have_attribute("data-adapter", "echo")
    name = page.get_by_label("Name", exact=True)
    expect(name).to_have_value("echo-1")
    name.fill("Not A Name!")
    error = page.locator('[data-error-for="name"]')
    expect(error).not_to_be_empty()
    expect(name).to_have_attribute("aria-invalid", "true")
    page.get_by_role("button", name="Create and start").click()
    expect(page.locator("#form-errors")).to_contain_text("nothing was stored")
    expect(name).to_be_focused()
    name.fill("front-desk")
    expect(error).to_be_empty()
    page.get_by_label("Sign of life every").fill("0.2")
    page.get_by_role("button", name="Create and start").click()
    page.wait_for_url(re.compile(r"/instances/[0-9a-z]{26}$"))
    page.evaluate("window.neverReloaded = true")
    phase_is(page, "running")
    expect(page.locator("#status .pill")).to_contain_text("Running")
    assert page.evaluate("window.neverReloaded") is True
    expect(page.locator("#overview")).to_contain_text("http://127.0.0.1:")
    expect(page.locator("aside [data-link-state]")).to_contain_text("Live")


def _tab(page: Page, title: str) -> None:
    page.locator("nav.tabs").get_by_role("link", name=title).click()
    expect(page.locator("nav.tabs [aria-current=page]")).to_have_text(title)


def _read_the_log(page: Page) -> None:
    _tab(page, "Logs")
    rows, count = page.locator(".logs-rows .log"), page.locator("[data-count]")
    expect(rows.filter(has_text="echo listening").first).to_be_visible()
    before = _number(count.inner_text())
    expect(count).not_to_have_text(count.inner_text())
    assert _number(count.inner_text()) > before
    search = page.get_by_role("searchbox", name="Search in the log")
    search.fill("listening")
    expect(page.locator("[data-hits]")).to_contain_text("of 1")
    search.press("Enter")
    expect(page.locator(".logs-rows mark").first).to_have_text("listening")
    search.fill("no such words in here")
    expect(page.locator("[data-hits]")).to_have_text("Nothing found")
    search.fill("")
    page.locator("[data-level]").select_option("error")
    expect(rows).to_have_count(0)
    page.locator("[data-level]").select_option("")
    expect(rows.first).to_be_visible()
    follow = page.locator("[data-follow]")
    if follow.get_attribute("aria-pressed") == "true":  # a search pauses
        follow.click()
    expect(follow).to_have_text("Follow")
    expect(page.locator("[data-more]")).to_contain_text("new lines")
    page.locator("[data-more]").click()
    expect(follow).to_have_text("Pause")
    wrap = page.get_by_role("button", name="Wrap long lines")
    wrap.click()
    expect(wrap).to_have_attribute("aria-pressed", "true")
    expect(rows.first).to_be_visible()
    wrap.click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert "echo listening" in download.value.path().read_text()
    assert "front-desk" in download.value.suggested_filename


def _number(text: str) -> int:
    return int(re.sub(r"\D", "", text) or "0")


def _chat(page: Page, words: str, number: int) -> None:
    _tab(page, "Chat")
    field = page.get_by_role("textbox", name="Message to front-desk")
    expect(field).to_be_enabled()
    # What is shown while the answer comes in, piece by piece.
    page.evaluate("""() => {
        window.seen = new Set();
        new MutationObserver(() => {
            const body = document.querySelector('.turn:last-child:not(.mine) .bubble');
            if (body) window.seen.add(body.textContent);
        }).observe(document.querySelector('.chat-scroll'), {childList: true, subtree: true, characterData: true});
    }""")
    field.fill(words)
    field.press("Enter")
    answer = page.locator(".turn:not(.mine)").last
    expect(answer).to_contain_text(f"{words} (message {number})")
    expect(answer).not_to_have_class(re.compile("live|failed"))
    assert len(page.evaluate("[...window.seen]")) > 1, "the answer came at once"
    expect(field).to_have_value("")


def _look_at_the_tabs(page: Page) -> None:
    _tab(page, "Events")
    expect(page.locator("#events tbody tr")).not_to_have_count(0)
    expect(page.locator("#events")).to_contain_text("admin")
    page.locator("#events").get_by_role("link", name="Errors", exact=True).click()
    expect(page.locator("#events")).to_contain_text("No events")
    _tab(page, "Configuration")
    expect(page.locator("#spec-text")).to_contain_text("log_every: 0.2")
    environment = page.locator("section.panel", has=page.get_by_role("heading", name="Environment"))
    expect(environment).to_contain_text("ECHO_TOKEN")
    expect(environment).to_contain_text("********")
    _tab(page, "Operations")
    expect(page.locator("#operations")).to_contain_text("Done")
    _tab(page, "Overview")
    expect(page.get_by_text("Uses now")).to_be_visible()


def _change_without_restart(page: Page, portal: PortalProcess) -> None:
    (instance,) = portal.list()
    before = {process.pid for process in portal.claw_processes(instance["id"])}
    page.get_by_label("More actions for front-desk").click()
    page.get_by_role("link", name="Edit configuration").click()
    expect(page.get_by_label("Name", exact=True)).to_have_attribute("readonly", "")
    page.get_by_label("Greeting").fill("Good morning")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url(re.compile(r"/instances/[0-9a-z]{26}$"))
    expect(page.locator("#notices")).to_contain_text("was saved")
    expect(page.locator("#overview")).to_contain_text("version 2, in use")
    phase_is(page, "running")
    assert {process.pid for process in portal.claw_processes(instance["id"])} == before, "a greeting needs no restart"
    _chat(page, "and now", 2)
    expect(page.locator(".turn:not(.mine)").last).to_contain_text("Good morning: and now")


def _stop_and_start(page: Page) -> None:
    _tab(page, "Overview")
    page.get_by_role("button", name="Stop").click()
    page.locator("#confirm").get_by_role("button", name="Cancel").click()
    phase_is(page, "running")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#confirm")).to_contain_text("Its data is kept")
    confirm(page)
    expect(page.locator("#toasts")).to_contain_text("front-desk is stopping")
    phase_is(page, "stopped")
    _tab(page, "Chat")
    expect(page.get_by_role("textbox", name="Message to front-desk")).to_be_disabled()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("textbox", name="Message to front-desk")).to_be_enabled()  # by itself
    phase_is(page, "running")


def _delete(page: Page, portal: PortalProcess) -> None:
    _tab(page, "Overview")
    page.get_by_label("More actions for front-desk").click()
    page.get_by_role("button", name="Delete").click()
    dialog = page.locator("#confirm")
    expect(dialog).to_contain_text("its conversations")
    expect(dialog.locator("[data-ok]")).to_be_disabled()
    dialog.locator("#confirm-typed").fill("front-des")
    expect(dialog.locator("[data-ok]")).to_be_disabled()
    confirm(page, "front-desk")
    page.wait_for_url("**/instances", wait_until="commit")
    expect(page.locator("#toasts")).to_contain_text("front-desk is being deleted")
    expect(page.get_by_text("No claws yet")).to_be_visible()
    assert portal.list() == []


# ---- two people, many claws


def test_two_browsers_press_different_buttons_at_once(
    portal: PortalProcess, signed_in: Any, new_page: NewPage, page: Page
) -> None:
    made = portal.running("contested")
    other = new_page(base_url=portal.url, storage_state=signed_in)
    for each in (page, other):
        each.goto(f"/instances/{made['id']}")
        phase_is(each, "running")
    for _ in range(3):
        page.locator("#status [data-action=stop]").click()
        other.locator("#status [data-action=restart]").click(no_wait_after=True)
        confirm(page)
        final = _agreed(portal, made["id"], page, other)
        if final == "stopped":
            other.locator("#status [data-action=start]").click()
            phase_is(page, "running")
            phase_is(other, "running")
    for each in (page, other):
        expect(each.locator("#notices .note")).to_have_count(0)


def _agreed(portal: PortalProcess, instance_id: str, *pages: Page) -> str:
    """The phase at rest; every browser comes to show it by itself."""
    from tests.browser.portal import wait_for

    def at_rest() -> str | None:
        found = portal.get(instance_id)
        resting = found["phase"] in ("running", "stopped") and found["observed_generation"] == found["generation"]
        return found["phase"] if resting else None

    phase = str(wait_for(at_rest, 30, "it came to rest"))
    for page in pages:
        phase_is(page, phase)
    return phase


def test_many_at_once_with_one_question(portal: PortalProcess, page: Page) -> None:
    names = [f"crew-{number}" for number in range(3)]
    ids = [portal.create(name)["id"] for name in names]
    portal.running("bystander")
    page.goto("/instances?q=crew")
    rows = page.locator("tbody tr[data-id]")
    expect(rows).to_have_count(3)
    expect(page.locator("tbody [data-state=running]")).to_have_count(3)
    page.get_by_label("Select all on this page").check()
    bar = page.get_by_role("toolbar", name="Selected instances")
    expect(bar).to_contain_text("3 selected")
    bar.get_by_role("button", name="Stop").click()
    for name in names:
        expect(page.locator("#confirm")).to_contain_text(name)
    confirm(page)
    expect(page.locator("#toasts")).to_contain_text("3 instances are stopping.")
    expect(page.locator("tbody [data-state=stopped]")).to_have_count(3)
    expect(bar).to_be_hidden()
    page.get_by_label("crew-0", exact=True).check()
    page.get_by_label("crew-2", exact=True).check()
    bar.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("tbody [data-state=running]")).to_have_count(2)
    expect(page.locator(f"#row-{ids[1]} [data-state=stopped]")).to_be_visible()
    page.get_by_label("Select all on this page").check()
    bar.get_by_role("button", name="Delete").click()
    expect(page.locator("#confirm-title")).to_have_text("Delete 3 instances?")
    confirm(page)
    expect(page.get_by_text("Nothing matches")).to_be_visible(timeout=20_000)
    page.get_by_role("link", name="Clear the filters").click()
    expect(page.locator("tbody tr[data-id]", has_text="bystander")).to_be_visible()


def test_the_list_finds_filters_and_sorts(portal: PortalProcess, page: Page) -> None:
    for name in ("quiet-heron", "quiet-otter"):
        portal.running(name)
    page.goto("/instances")
    page.keyboard.press("/")
    page.keyboard.type("quiet")
    expect(page.locator("tbody tr[data-id]")).to_have_count(2)
    expect(page).to_have_url(re.compile("q=quiet"))
    page.get_by_role("link", name="Name").click()
    expect(page.locator("tbody .what > a")).to_have_text(["quiet-heron", "quiet-otter"])
    page.get_by_role("link", name="Name").click()
    expect(page.locator("tbody .what > a")).to_have_text(["quiet-otter", "quiet-heron"])
    page.get_by_role("navigation", name="State").get_by_role("link", name="Stopped").click()
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    page.go_back()
    expect(page.locator("tbody tr[data-id]")).to_have_count(2)


# ---- without a mouse


def test_the_keyboard_is_enough(portal: PortalProcess, page: Page) -> None:
    page.goto("/")
    page.locator("body").press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("c")
    expect(page.get_by_role("heading", name="Create a claw")).to_be_visible()
    _tab_to(page, ".kind input[type=radio]:checked")
    for _ in range(5):
        if page.locator("input[name=adapter]:checked").get_attribute("value") == "echo":
            break
        page.keyboard.press("ArrowDown")
    expect(page.locator("#settings-part")).to_have_attribute("data-adapter", "echo")
    _tab_to(page, "#f-name")
    page.keyboard.press("Control+A")
    page.keyboard.type("hands-free")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/instances/[0-9a-z]{26}$"))
    phase_is(page, "running")
    _tab_to(page, "#status [data-action=stop]")
    page.keyboard.press("Enter")
    expect(page.locator("#confirm [data-ok]")).to_be_focused()
    page.keyboard.press("Enter")
    phase_is(page, "stopped")
    page.keyboard.press("g")
    page.keyboard.press("i")
    expect(page.get_by_role("heading", name="Instances")).to_be_visible()
    page.keyboard.press("j")
    expect(page.locator("tr.cursor")).to_contain_text("hands-free")
    page.keyboard.press("x")
    expect(page.get_by_role("toolbar", name="Selected instances")).to_contain_text("1 selected")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="hands-free")).to_be_visible()
    _tab_to(page, "#status details.menu summary")
    page.keyboard.press("Enter")
    _tab_to(page, "#status [data-action=delete]")
    page.keyboard.press("Enter")
    expect(page.locator("#confirm-typed")).to_be_focused()
    page.keyboard.type("hands-free")
    page.keyboard.press("Enter")
    page.wait_for_url("**/instances")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_hidden()


def _tab_to(page: Page, selector: str) -> None:
    """Press Tab until this has the focus, as somebody without a mouse would."""
    wanted = page.locator(selector).first
    expect(wanted).to_be_visible()
    for _ in range(80):
        if page.evaluate("(s) => document.activeElement?.matches(s)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} cannot be reached with the Tab key")


def test_a_kind_that_was_chosen_too_early_is_taken_up(portal: PortalProcess, page: Page) -> None:
    page.route("**/htmx.min.js*", lambda route: (chosen(), route.continue_()))

    def chosen() -> None:
        page.locator(".kind", has_text="Echo").locator("input").evaluate("(radio) => { radio.checked = true; }")

    page.goto("/instances/new")
    expect(page.locator("#settings-part")).to_have_attribute("data-adapter", "echo")
