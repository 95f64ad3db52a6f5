"""Conversations in a browser: kept, found again, told live in two tabs, over a kill of the portal; and nothing of a claw runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.portal import PortalProcess

PICTURES = Path(__file__).parents[2] / "test-artifacts" / "conversations"


@pytest.fixture(scope="module")
def claw(portal: PortalProcess) -> str:
    return str(portal.running("helper")["id"])


def say(page: Page, words: str, answer: str = "") -> None:
    field = page.get_by_role("textbox", name="Message to helper")
    expect(field).to_be_enabled()
    field.fill(words)
    field.press("Enter")
    last = page.locator(".turn:not(.mine)").last
    expect(last).to_contain_text(answer or words)
    expect(last).not_to_have_class(re.compile("live"))


def picture(page: Page, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png")


def test_a_conversation_is_kept_and_found_again(portal: PortalProcess, page: Page, claw: str) -> None:
    page.goto(f"/instances/{claw}/chat?new=1")
    picture(page, "empty")
    say(page, "hello there", "You said: hello there")
    expect(page.locator(".talk-list a").first).to_contain_text("hello there")
    expect(page.locator(".talk-list a time").first).not_to_be_empty()
    expect(page).to_have_url(re.compile(r"\?conversation=[0-9a-z]{26}$"))
    page.reload()
    expect(page.locator(".turn")).to_have_count(2)
    page.get_by_role("link", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    say(page, "another matter")
    page.get_by_label("More for this conversation").click()
    page.get_by_role("button", name="Rename").click()
    page.get_by_label("What shall it be called?").fill("Matters")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Matters")).to_be_visible()
    page.get_by_role("searchbox", name="Search conversations").fill("HELLO THERE")
    page.keyboard.press("Enter")
    expect(page.locator(".talk-list a")).to_have_count(1)
    picture(page, "tab")
    page.locator(".talk-list a").click()
    with page.expect_download() as download:
        page.get_by_label("More for this conversation").click()
        page.get_by_role("link", name="Export as Markdown").click()
    assert "You said: hello there" in download.value.path().read_text()
    page.get_by_label("More for this conversation").click()
    page.get_by_role("button", name="Delete").click()
    page.locator("#confirm [data-ok]").click()
    expect(page.locator(".talk-list a")).to_have_count(1)


MARKDOWN = """# Plan

| item | cost |
|:-----|-----:|
| tea  |    3 |

```python
def add(a, b):
    return a + b  # sum
```

1. **one** and `two`
2. <script>document.title = 'owned'</script> <img src=x onerror="document.title='owned'"> <style>body{display:none}</style>

[good](https://example.com/a) [bad](javascript:alert(1)) [here](/logout) ![tracker](http://tracker.invalid/p.png?u=1)
![dot](data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==)
"""


def test_markdown_is_shown_and_nothing_of_it_runs(portal: PortalProcess, page: Page, claw: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"/instances/{claw}/chat?new=1")
    field = page.get_by_role("textbox", name="Message to helper")
    expect(field).to_be_enabled()
    field.fill("\n\n" + MARKDOWN)
    field.press("Enter")
    answer = page.locator(".turn:not(.mine) .bubble").last
    expect(answer.locator("table td.to-right")).to_have_text("3")
    expect(answer.locator("pre code .hljs-keyword").first).to_have_text("def")
    expect(answer).to_contain_text("document.title = 'owned'")
    assert answer.locator("script, style, iframe, [onerror], [style]").count() == 0
    links = answer.locator("a").evaluate_all("all => all.map(one => [one.getAttribute('href'), one.rel])")
    assert links == [["https://example.com/a", "noopener noreferrer nofollow"]]
    expect(answer.locator("img")).to_have_count(1)
    expect(answer.get_by_role("button", name="tracker – Picture from tracker.invalid: load it")).to_be_visible()
    assert "owned" not in page.title() and not [url for url in asked if not url.startswith((portal.url, "data:"))], asked
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: {writeText: (text) => { window.copied = text; }}})")
    answer.get_by_role("button", name="Copy", exact=True).first.click()
    assert page.evaluate("window.copied").startswith("def add(a, b):")
    picture(page, "markdown")


def test_two_tabs_hear_the_same(portal: PortalProcess, page: Page, claw: str) -> None:
    page.goto(f"/instances/{claw}/chat?new=1")
    say(page, "first")
    context: BrowserContext = page.context
    other = context.new_page()
    other.goto(page.url)
    expect(other.locator(".turn")).to_have_count(2)
    page.bring_to_front()
    say(page, "second")
    other.bring_to_front()
    expect(other.locator(".turn")).to_have_count(4)
    expect(other.locator(".turn").last).to_contain_text("second")
    other.locator(".turn.mine").last.hover()
    other.locator(".turn.mine").last.get_by_role("button", name="Edit and send again").click()
    say(other, "in other words")
    expect(other.locator(".turn")).to_have_count(4)
    page.bring_to_front()
    expect(page.locator(".turn").last).to_contain_text("in other words")
    expect(page.locator(".turn")).to_have_count(4)


def test_what_is_too_long_stays_in_the_field(portal: PortalProcess, page: Page, claw: str) -> None:
    page.goto(f"/instances/{claw}/chat?new=1")
    field = page.get_by_role("textbox", name="Message to helper")
    expect(field).to_be_enabled()
    field.fill("x" * 1_000_000)
    page.get_by_role("button", name="Send").click()
    expect(page.locator("[data-refused]")).to_contain_text("The message has 1,000,000 characters; 100,000 are allowed")
    assert len(field.input_value()) == 1_000_000
    expect(page.locator(".turn")).to_have_count(0)


def test_what_got_through_unheard_is_said_once(portal: PortalProcess, page: Page, claw: str, watch: Any) -> None:
    watch.expect("ERR_FAILED", "Failed to load resource")
    keys: list[str] = []

    def lose_the_answer(route: Route) -> None:
        keys.append(json.loads(route.request.post_data or "")["key"])
        if len(keys) > 1:
            route.continue_()
            return
        route.fetch()
        route.abort()

    page.goto(f"/instances/{claw}/chat?new=1")
    page.route(re.compile("/messages$"), lose_the_answer)
    field = page.get_by_role("textbox", name="Message to helper")
    expect(field).to_be_enabled()
    field.fill("only once")
    field.press("Enter")
    expect(page.locator("[data-refused]")).to_contain_text("The portal did not answer.")
    expect(field).to_have_value("only once")
    expect(page.locator(".turn.live")).to_have_count(0)
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()
    field.press("Enter")
    expect(field).to_have_value("")
    expect(page.locator(".turn:not(.mine)")).to_contain_text("You said: only once")
    expect(page.locator(".turn")).to_have_count(2)
    say(page, "only once")
    assert keys[0] == keys[1] != keys[2], "the same words said again on purpose are said again"


def test_a_page_for_talking_alone_on_a_phone(portal: PortalProcess, phone: Page, claw: str) -> None:
    phone.goto("/talk")
    picture(phone, "phone-list")
    if phone.locator(".talk-begin[open]").count() == 0:
        phone.get_by_text("New conversation", exact=True).last.click()
    phone.get_by_role("navigation", name="With which claw?").get_by_role("link", name="helper").click()
    say(phone, "from my phone")
    expect(phone).to_have_url(re.compile(r"/talk/[0-9a-z]{26}$"))
    width = phone.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert width <= 0, "nothing sticks out"
    picture(phone, "phone-talk")
    manifest = phone.evaluate("fetch(document.querySelector('link[rel=manifest]').href).then((answer) => answer.json())")
    assert manifest["display"] == "standalone" and manifest["start_url"] == "/talk" and len(manifest["icons"]) == 3
    for icon in manifest["icons"]:
        size = phone.evaluate(
            """(src) => new Promise((done) => { const img = new Image(); img.onload = () => done(img.width); img.src = src; })""",
            icon["src"],
        )
        assert f"{size}x{size}" == icon["sizes"]
    phone.get_by_role("link", name="helper").first.click()
    expect(phone.get_by_role("navigation", name="Conversations").get_by_text("from my phone")).to_be_visible()


def test_a_killed_portal_says_so_in_the_answer(portal: PortalProcess, page: Page, claw: str, watch: Any) -> None:
    """The claw is held while it thinks, the portal is killed meanwhile; then both go on."""
    watch.expect("ERR_CONNECTION", "ERR_INCOMPLETE_CHUNKED", "WebSocket", "Failed to load resource", "htmx", "sendError")
    page.goto(f"/instances/{claw}/chat?new=1")
    say(page, "before the fall")
    processes = portal.claw_processes(claw)
    for process in processes:
        process.suspend()
    page.get_by_role("textbox", name="Message to helper").fill("and now?")
    page.keyboard.press("Enter")
    expect(page.locator(".turn.live")).to_have_count(1)
    portal.kill()
    portal.start()
    answer = page.locator(".turn:not(.mine)").last
    expect(answer).to_contain_text("The portal was ended in the middle of this answer.", timeout=60_000)  # without a reload
    picture(page, "killed")
    for process in processes:
        process.resume()
    portal.reaches(claw, "running")
    answer.get_by_role("button", name="Try again").first.click()
    expect(page.locator(".turn:not(.mine)").last).to_contain_text("and now?")
    expect(page.locator(".turn")).to_have_count(4)


def test_a_claw_that_is_restarted_during_its_answer(portal: PortalProcess, page: Page, claw: str, watch: Any) -> None:
    """What was asked stays, the answer says what happened, and it can be had anew as soon as the claw is back."""
    watch.expect("Failed to load resource", "htmx")
    page.goto(f"/instances/{claw}/chat?new=1")
    say(page, "before the restart")
    for process in portal.claw_processes(claw):
        process.suspend()
    page.get_by_role("textbox", name="Message to helper").fill("and now?")
    page.keyboard.press("Enter")
    expect(page.locator(".turn.live")).to_have_count(1)
    portal.api("POST", f"instances/{claw}/restart")
    answer = page.locator(".turn:not(.mine)").last
    expect(answer).to_have_class(re.compile("failed"), timeout=60_000)
    picture(page, "restarted")
    portal.reaches(claw, "running")
    expect(page.get_by_role("textbox", name="Message to helper")).to_be_enabled(timeout=60_000)
    answer.get_by_role("button", name="Try again").first.click()
    expect(page.locator(".turn:not(.mine)").last).to_contain_text("and now?")
    expect(page.locator(".turn")).to_have_count(4)
