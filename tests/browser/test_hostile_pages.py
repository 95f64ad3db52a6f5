"""A claw's page that means harm: it stays at its own host, and gets nothing of the portal and of other claws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.browser import nginx
from tests.browser.conftest import ARTIFACTS, Portals, Watch, sign_in
from tests.browser.portal import PortalProcess, free_port

pytestmark = [pytest.mark.browser, pytest.mark.slow]
HERE = Path(__file__).parent
WORKER = "self.addEventListener('fetch', (event) => event.respondWith(new Response('caught')));"
NewPage = Callable[..., Page]


def put(portal: PortalProcess, claw: dict[str, Any], name: str, text: str) -> None:
    """Into the work folder of a claw, from where it serves files."""
    (folder,) = {path.parent for path in portal.folder.rglob("*") if path.name == "work" and claw["id"] in str(path)} or {None}
    assert folder is not None
    (folder / "work" / name).write_text(text)
    (folder / "work" / name).chmod(0o644)


def opened(page: Page, claw: dict[str, Any]) -> Page:
    page.goto(f"/instances/{claw['id']}")
    with page.context.expect_page() as found:
        page.get_by_role("link", name="Open", exact=True).click()
    return found.value


def test_the_page_of_a_claw_opens_by_its_button(fresh_portal: Portals, new_page: NewPage) -> None:
    portal = fresh_portal()
    portal.set_up(practice=False)
    claw = portal.running("parrot")
    page = new_page(base_url=portal.url)
    sign_in(page)
    there = opened(page, claw)
    expect(there.get_by_text("connected")).to_be_visible()
    there.get_by_label("What to say").fill("good morning")
    there.get_by_role("button", name="Say").click()
    expect(there.get_by_text("You said: good morning (message 1)")).to_be_visible()
    ARTIFACTS.mkdir(exist_ok=True)
    there.screenshot(path=ARTIFACTS / "page-of-echo.png")
    page.screenshot(path=ARTIFACTS / "button-open.png")


def attempts(page: Page, portal: PortalProcess, claw: dict[str, Any], home: str) -> dict[str, str]:
    """What came of all that the hostile page tried."""
    put(portal, claw, "hostile.html", (HERE / "hostile.html").read_text())
    put(portal, claw, "worker.js", WORKER)
    there = opened(page, claw)
    there.wait_for_url("**/")
    origin = there.evaluate("() => location.origin")
    there.goto(f"{origin}/files/hostile.html#{quote(home, safe='')}")
    there.wait_for_function("() => window.done")
    found: dict[str, str] = there.evaluate("() => window.done")
    if found["worker"].endswith("/files/"):
        assert there.goto(f"{origin}/files/anything.txt").text() == "caught", "its service worker answers at its own host"
    return found


@pytest.mark.parametrize("tls", [False, True], ids=["on this machine", "same domain over TLS"])
def test_a_hostile_page_stays_at_its_host(
    fresh_portal: Portals, new_page: NewPage, watch: Watch, tmp_path: Path, tls: bool
) -> None:
    watch.expect(".*")  # the browser complains about each attempt
    port = free_port()
    home = f"https://apps.localhost:{port}" if tls else ""
    given = {"PUBLIC_URL": home, "TRUSTED_PROXIES": "1", "APPS_DOMAIN": "apps.localhost"} if tls else {}
    portal = fresh_portal(**given)
    front = None
    if tls:
        if nginx.find() is None:
            pytest.skip("there is no nginx here; on Debian: apt-get install nginx-light")
        text = (nginx.SHIPPED / "clawportal.conf").read_text()
        front = nginx.Nginx(tmp_path / "nginx", text, "claws.example.com", port, portal.port)
    try:
        portal.set_up(practice=False, public=f"https://localhost:{port}" if tls else "")
        home = home or portal.url.replace("127.0.0.1", "localhost")
        claw, other = portal.running("hostile"), portal.running("neighbour")
        page = new_page(base_url=home)
        sign_in(page)
        found = attempts(page, portal, claw, home)
        assert found["cookies"] == "", "the cookie by which it is reached cannot be read by its scripts"
        assert found["read"] == "TypeError" and found["logout"] in ("opaque", "TypeError")
        assert found["worker"].endswith("/files/") and found["wide"] == "SecurityError"
        assert (found["own"], found["portal"], found["frame"]) == ("open", "refused", "closed")
        assert found["opened"] in ("SecurityError", "TypeError")
        # the portal is as it was: the same person, no worker, and what it says is its own
        page.goto("/profile")
        expect(page.get_by_text("admin").first).to_be_visible()
        assert page.evaluate("async () => (await navigator.serviceWorker.getRegistrations()).length") == 0
        neighbour = opened(page, other)
        expect(neighbour.get_by_text("connected")).to_be_visible()
        assert neighbour.evaluate("async () => (await navigator.serviceWorker.getRegistrations()).length") == 0
    finally:
        if front is not None:
            front.stop()
