"""A picture that goes with a message, on a desk and on a phone: chosen, refused where it is too large, sent and shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import ARTIFACTS
from tests.conftest import PASSWORD, serving
from tests.conversations.conftest import Stage, running_stage

__all__ = ["running_stage"]
SIZES = {"desk": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
PICTURE = Path(__file__).parents[2] / "plugins/clawportal_conversations/static/icons/192.png"


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_is_attached_and_shown(running_stage: Stage, chromium: Browser, size: str) -> None:
    stage = running_stage
    with serving(stage.app) as (url, _port):
        context = chromium.new_context(base_url=url, viewport=SIZES[size], color_scheme="dark" if size == "phone" else "light")  # type: ignore[arg-type]
        page = context.new_page()
        page.goto("/login")
        page.get_by_label("User name").fill("owner")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda address: "/login" not in address)
        page.goto(f"/talk?claw={stage.claw}")
        _too_large(page)
        _attach(page, "192.png", "image/png", PICTURE.read_bytes())
        _attach(page, "notes.txt", "text/plain", b"x")
        expect(page.locator(".talk-files .chip")).to_have_count(2)
        stage.script.end("A claw.")
        page.get_by_role("textbox", name="Message to helper").fill("What is this?")
        page.keyboard.press("Enter")
        shown = page.locator(".turn.mine img.talk-picture")
        expect(shown).to_be_visible()
        assert shown.evaluate("(one) => one.decode().then(() => one.naturalWidth)") == 192
        expect(page.locator(".turn.mine .talk-file")).to_have_text("notes.txt")
        expect(page.locator(".turn:not(.mine)")).to_contain_text("A claw.")
        expect(page.locator(".talk-files .chip")).to_have_count(0)
        assert re.search(r"- attachments/\w+/[0-9a-f]{6}-192\.png\n", stage.script.asked[0][1])
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, "nothing sticks out"
        (ARTIFACTS / "conversations").mkdir(parents=True, exist_ok=True)
        page.screenshot(path=ARTIFACTS / "conversations" / f"attached-{size}.png")
        context.close()


def _attach(page: Page, name: str, kind: str, content: bytes) -> None:
    page.locator("input[data-attach]").set_input_files([{"name": name, "mimeType": kind, "buffer": content}])


def _too_large(page: Page) -> None:
    """Told at once, and nothing of it is sent."""
    page.evaluate("document.querySelector('#chat').dataset.mostAttached = '0.001'")
    _attach(page, "film.mp4", "video/mp4", b"x" * 2000)
    expect(page.locator("[data-refused]")).to_contain_text("film.mp4 is larger than 0.001 MB")
    expect(page.locator(".talk-files .chip")).to_have_count(0)
    page.evaluate("document.querySelector('#chat').dataset.mostAttached = '25'")
