"""Whatever people and claws write is text: in names, settings, answers and log lines nothing of it runs."""

from __future__ import annotations

import http.client
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.browser.conftest import phase_is
from tests.browser.portal import PortalProcess

PROBE = (
    "'\"><img src=x onerror=alert(1)><script>alert(1)</script>"
    "{{7*7}}${alert(1)}<b>%(name)s</b> &amp; `x` [a](javascript:alert(1))"
)
"""Tries every place at once: attributes in both quotes, tags, templates of server and browser, translations, Markdown."""

STRICT = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
PAGES = ("/", "/instances", "/instances/new", "/operations", "/plugins", "/api-docs", "/about", "/profile", "/no/such/page")
TABS = ("", "/logs", "/chat", "/events", "/config", "/operations", "/edit")


@pytest.fixture(scope="module")
def probed(portal: PortalProcess) -> Any:
    """One claw with the probe wherever text can be put, and one that fails with it as its last words."""
    spec = {"persona": PROBE, "settings": {"greeting": PROBE[:200], "log_every": 0.5}}
    made = portal.running("probed", labels={"team": "a-b"}, spec=spec)
    portal.create("refuser", spec={"persona": PROBE, "settings": {"greeting": PROBE[:200], "refuse": "start"}})
    return made


def listen(page: Page) -> list[str]:
    """Dialogs that opened: each would be an alert() of the probe. That a form is not saved yet may be asked."""
    opened: list[str] = []

    def on_dialog(dialog: Dialog) -> None:
        if dialog.type != "beforeunload":
            opened.append(dialog.message)
        dialog.accept()

    page.on("dialog", on_dialog)
    return opened


def foreign(page: Page) -> Any:
    """Everything inline that a strict page must not have, and everything that the probe would have made."""
    return page.evaluate("""() => [...document.querySelectorAll('*')].flatMap((e) => [
        ...[...e.attributes].filter((a) => a.name.startsWith('on') || (a.name === 'style' && !e.closest('.logs-pad, .swagger-ui'))
            || /^\\s*javascript:/i.test(a.value)).map((a) => `${e.tagName} ${a.name}=${a.value}`),
        ...(e.tagName === 'SCRIPT' && !e.src && e.type !== 'application/json' ? ['inline script'] : []),
        ...(e.tagName === 'STYLE' ? ['inline style'] : []),
        ...(e.tagName === 'IMG' && e.getAttribute('src') === 'x' ? ['the image of the probe'] : []),
    ])""")


def policy_of(header: str) -> dict[str, str]:
    return {part.split()[0]: " ".join(part.split()[1:]) for part in header.split(";") if part.strip()}


def test_every_page_is_strict_and_runs_nothing_foreign(portal: PortalProcess, page: Page, probed: Any, watch: Any) -> None:
    watch.expect("no/such/page")
    opened = listen(page)
    for path in (*PAGES, *(f"/instances/{probed['id']}{tab}" for tab in TABS)):
        answer = page.goto(path)
        assert answer is not None
        sent = policy_of(answer.header_value("content-security-policy") or "")
        assert STRICT.items() <= sent.items(), f"{path}: {sent}"
        if "style-src-attr" in sent and path == "/api-docs":  # Swagger UI sets style attributes
            assert sent.pop("style-src-attr") == "'unsafe-inline'"
        assert "unsafe" not in str(sent) and "*" not in str(sent), path
        assert answer.header_value("x-content-type-options") == "nosniff", path
        expect(page.locator("#main")).to_be_visible()
        assert foreign(page) == [], path
    assert opened == []


def test_what_people_wrote_is_shown_as_they_wrote_it(portal: PortalProcess, page: Page, probed: Any) -> None:
    opened = listen(page)
    page.goto(f"/instances/{probed['id']}/config")
    expect(page.locator("#spec-text")).to_contain_text("<script>alert(1)</script>")
    expect(page.locator("#file-3")).to_contain_text("onerror=alert(1)")
    page.goto(f"/instances/{probed['id']}/edit")
    expect(page.get_by_label("Greeting")).to_have_value(PROBE[:200])
    page.get_by_label("Greeting").fill(PROBE[:190] + "?")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url(re.compile(r"/instances/[0-9a-z]{26}$"))
    assert foreign(page) == [] and opened == []


def test_chat_and_log_show_tags_as_text(portal: PortalProcess, page: Page, probed: Any) -> None:
    opened = listen(page)
    page.goto(f"/instances/{probed['id']}/chat")
    phase_is(page, "running")
    field = page.get_by_role("textbox", name="Message to probed")
    field.fill(PROBE)
    field.press("Enter")
    answer = page.locator(".turn:not(.mine)").last
    expect(answer).to_contain_text("(message 1)")
    expect(answer).to_contain_text("<script>alert(1)</script>")
    expect(page.locator(".turn.mine").last).to_contain_text("<img src=x onerror=alert(1)>")
    assert foreign(page) == []
    _write_into_its_log(probed, "/'\"><img/src=x/onerror=alert(1)><script>alert(1)</script>")
    page.goto(f"/instances/{probed['id']}/logs")
    expect(page.locator(".logs-rows .txt", has_text="<script>alert(1)</script>").first).to_be_visible()
    page.get_by_role("searchbox", name="Search in the log").fill("<script>alert")
    expect(page.locator(".logs-rows mark").first).to_have_text("<script>alert")
    assert foreign(page) == [] and opened == []


def _write_into_its_log(instance: Any, words: str) -> None:
    """The claw logs every address that it is asked for."""
    address = urlsplit(instance["endpoints"][0]["url"])
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=5)
    connection.request("GET", words)
    assert connection.getresponse().status == 401, "it answers nobody without its token"
    connection.close()


def test_a_bad_name_and_address_are_told_as_text(portal: PortalProcess, page: Page, watch: Any) -> None:
    watch.expect("422", "400", "404")
    opened = listen(page)
    page.goto("/instances/new")
    page.locator(".kind", has_text="Echo").click()
    expect(page.locator("#settings-part")).to_have_attribute("data-adapter", "echo")
    page.get_by_label("Name", exact=True).fill(PROBE[:60])
    page.get_by_role("button", name="Create and start").click()
    expect(page.locator("#form-errors")).to_contain_text("nothing was stored")
    assert foreign(page) == []
    for path in ("/instances?q=", "/instances?state=", "/instances?sort=", "/instances?adapter=", "/instances/"):
        page.goto(path + "%27%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E")
        expect(page.locator("#main")).to_be_visible()
        assert foreign(page) == [], path
    assert opened == []
