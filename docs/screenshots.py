"""The pictures of the README, taken from a real portal with real claws: `make screenshots`.

Takes about two minutes once the claws' software is in the cache of the tests; the first time it is installed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]

from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from clawportal_nanobot.adapter import NanobotAdapter  # noqa: E402  # the paths above are needed first
from clawportal_openclaw.adapter import OpenClawAdapter  # noqa: E402
from tests.browser.conftest import ARGUMENTS, find_chromium, sign_in  # noqa: E402
from tests.browser.portal import PortalProcess, share_installed, wait_for  # noqa: E402

IMAGES = ROOT / "docs" / "images"
DESK = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
SUPPORT = (
    "You are the assistant of the support team. You are friendly and brief, and you hand over to a person when somebody is upset."
)
QUESTIONS = (
    "A customer writes that the invoice for November was sent twice. What do I answer?",
    "Write it so that it fits into two sentences.",
)


def nanobot(persona: str = "", **spec: Any) -> dict[str, Any]:
    return {"adapter": "nanobot", "spec": {"model": {"provider": "practice"}, "persona": persona, **spec}}


CLAWS: dict[str, dict[str, Any]] = {
    "support-desk": nanobot(SUPPORT, resources={"memory": "1Gi"}),
    "onboarding-guide": nanobot("You help new colleagues through their first two weeks."),
    "contract-reader": {"adapter": "openclaw", "spec": {"model": {"provider": "practice"}}},
    "release-notes": nanobot("You turn merged changes into release notes for customers."),
    "standup-notes": {"adapter": "echo"},
    "shift-handover": {"adapter": "echo"},
}
STARVED = {"invoice-checker": nanobot("You compare invoices with orders.", resources={"memory": "64Mi"}, restart="never")}
"""It needs more than it may have: a failure as it really happens."""


def populate(portal: PortalProcess) -> dict[str, str]:
    ids: dict[str, str] = {}
    for name, body in (STARVED | CLAWS).items():
        ids[name] = portal.create(name, labels={"team": name.split("-")[0]}, **body)["id"]
    for name in CLAWS:
        wait_for(lambda name=name: portal.get(ids[name])["health"] == "healthy", 300, f"{name} is well")
        print(f"{name} runs")
    portal.api("POST", f"instances/{ids['release-notes']}/stop")
    portal.reaches(ids["release-notes"], "stopped", 60)
    portal.reaches(ids["invoice-checker"], "failed", 120)
    return ids


class Camera:
    def __init__(self, browser: Browser, portal: PortalProcess) -> None:
        self._browser, self._portal = browser, portal
        context = browser.new_context(base_url=portal.url)
        sign_in(context.new_page())
        self._state = context.storage_state()

    def take(self, name: str, path: str, prepare: Callable[[Page], None] = lambda page: None, **options: Any) -> None:
        dark = name.endswith("-dark")
        context = self._browser.new_context(
            base_url=self._portal.url, storage_state=self._state, locale="en-GB", color_scheme="dark" if dark else "light",
            reduced_motion="reduce", **({**DESK, **options}),
        )  # fmt: skip
        page = context.new_page()
        page.goto(path)
        page.locator("[data-link-state][data-state=live]").wait_for(state="attached")
        prepare(page)
        page.mouse.move(0, 0)
        time.sleep(0.5)  # fonts and transitions
        file = IMAGES / f"{name}.png"
        page.screenshot(path=file, animations="disabled", caret="hide")
        print(f"{file.relative_to(ROOT)}  {file.stat().st_size / 1000:.0f} KB")
        context.close()


def converse(page: Page) -> None:
    field = page.locator("#chat textarea")
    for number, words in enumerate(QUESTIONS, 1):
        field.fill(words)
        field.press("Enter")
        page.locator(".turn:not(.mine):not(.live)").nth(number - 1).wait_for(timeout=120_000)


def fill_in(page: Page) -> None:
    page.locator(".kind:has(input[value=nanobot])").click()
    page.locator("#settings-part[data-adapter=nanobot]").wait_for()
    page.locator("#f-name").fill("travel-planner")
    page.locator("h1").click()


def all_lines(page: Page) -> None:
    page.locator(".logs-rows .log").first.wait_for()
    time.sleep(1)


def main() -> None:
    program = find_chromium()
    if program is None:
        sys.exit("There is no Chromium here. On Debian: apt-get install chromium")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="clawportal-") as folder, sync_playwright() as playwright:
        portal = PortalProcess(Path(folder) / "data", HEALTH_SECONDS="5")
        share_installed(portal.folder, NanobotAdapter(), OpenClawAdapter())
        try:
            portal.start()
            portal.set_up()
            ids = populate(portal)
            take_all(Camera(playwright.chromium.launch(executable_path=program, args=ARGUMENTS), portal), ids)
        finally:
            portal.end()


def take_all(camera: Camera, ids: dict[str, str]) -> None:
    support = f"/instances/{ids['support-desk']}"
    camera.take("chat-light", f"{support}/chat", converse)
    camera.take("home-light", "/")
    camera.take("instances-dark", "/instances?sort=name")
    camera.take("instance-light", support)
    camera.take("create-light", "/instances/new", fill_in)
    camera.take("logs-dark", f"{support}/logs", all_lines)
    camera.take("instance-phone", support, **PHONE)


if __name__ == "__main__":
    main()
