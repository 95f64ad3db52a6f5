"""A real Chromium against a real portal: one server for a module, one browser for a worker, a fresh context for a test.

Every test fails on an error in the console, a refused content security policy and an uncaught error of a page, unless it said
before that it expects it. What the page looked like when a test failed is kept in test-artifacts/.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.browser import nginx
from tests.browser.portal import PASSWORD, ROOT, PortalProcess

ARTIFACTS = ROOT / "test-artifacts"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run",
             "--disable-component-update", "--disable-extensions", "--disable-sync", "--mute-audio"]  # fmt: skip
_REPORT = pytest.StashKey[dict[str, Any]]()

expect.set_options(timeout=20_000)


def find_chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CLAWPORTAL_TEST_CHROMIUM") or next((path for name in names if (path := shutil.which(name))), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one module share a portal, so they run on one worker; and there are two browsers at most, however many workers."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            # with the engines: whoever makes a network makes a browser drop what it has under way
            item.add_marker(pytest.mark.xdist_group("network"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    report = yield
    item.stash.setdefault(_REPORT, {})[report.when] = report
    return report


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("there is no Chromium here; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        known = f"--ignore-certificate-errors-spki-list={nginx.fingerprint()}"
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS, known])
        yield browser
        browser.close()


# ---- the portal


class Portals:
    """Makes portals on their first start, and ends them."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self.made: list[PortalProcess] = []

    def __call__(
        self, prepare: Callable[[Path], None] = lambda folder: None, *, alone: bool = False, **settings: str
    ) -> PortalProcess:
        """`prepare(folder)` runs before the start; settings are named as in the environment, without CLAWPORTAL_. `alone`: it
        makes its tables by itself."""
        portal = PortalProcess(self._factory.mktemp("portal") / "data", **settings)
        portal.prepared = not alone
        prepare(portal.folder)
        self.made.append(portal)
        portal.start()
        return portal


@pytest.fixture(scope="module")
def fresh_portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portals]:
    portals = Portals(tmp_path_factory)
    yield portals
    for portal in portals.made:
        portal.end()


@pytest.fixture(scope="module")
def portal(fresh_portal: Portals) -> PortalProcess:
    """A portal that has been set up, with the practice model."""
    made = fresh_portal()
    made.set_up()
    return made


@pytest.fixture(scope="module")
def signed_in(portal: PortalProcess, chromium: Browser) -> Any:
    """The cookies of somebody who signed in through the page."""
    context = chromium.new_context(base_url=portal.url)
    page = context.new_page()
    sign_in(page)
    state = context.storage_state()
    context.close()
    return state


def sign_in(page: Page, password: str = PASSWORD) -> None:
    """On the page for it, where this page is not there already."""
    if "/login" not in page.url:
        page.goto("/login")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/login" not in url)


# ---- pages that are watched


class Watch:
    """Everything that went wrong in the pages of a test, beside what the test expects."""

    def __init__(self) -> None:
        self.found: list[str] = []
        # Other tests on this machine make networks for containers, and a browser drops what it is just loading then.
        # A page that is left while a part of it is asking says so as an error, too.
        self.expected: list[str] = ["ERR_NETWORK_CHANGED", "htmx:(sendAbort|afterRequest)"]

    def expect(self, *patterns: str) -> None:
        self.expected += patterns

    def on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "assert"):
            self.found.append(f"console: {message.text} ({message.location.get('url', '')})")

    @property
    def wrong(self) -> list[str]:
        return [line for line in self.found if not any(re.search(pattern, line) for pattern in self.expected)]


# Inherited by every frame; also catches violations that are reported and not printed.
_VIOLATIONS = """addEventListener('securitypolicyviolation',
    (e) => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI}`))"""


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def new_page(request: pytest.FixtureRequest, chromium: Browser, watch: Watch) -> Iterator[Callable[..., Page]]:
    """`new_page(base_url=..., storage_state=..., **context options)`: a page in a fresh context, watched."""
    contexts: list[BrowserContext] = []

    def make(**options: Any) -> Page:
        given = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB", "timezone_id": "UTC", "color_scheme": "light"}
        context = chromium.new_context(**(given | options))
        context.add_init_script(_VIOLATIONS)
        context.on("console", watch.on_console)
        context.on("weberror", lambda error: watch.found.append(f"uncaught: {error.error}"))
        context.set_default_timeout(20_000)
        contexts.append(context)
        return context.new_page()

    yield make
    reports = request.node.stash.get(_REPORT, {})
    failed = any(report.failed for report in reports.values()) or bool(watch.wrong)
    if failed:
        for number, page in enumerate(page for context in contexts for page in context.pages):
            _keep(page, f"{request.node.name}-{number}")
        for portal in request.getfixturevalue("fresh_portal").made:
            print(f"---- end of the output of {portal.url}\n{portal.output[-6000:]}")
    for context in contexts:
        context.close()
    assert not watch.wrong, "\n".join(watch.wrong)


def _keep(page: Page, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    safe = re.sub(r"[^\w.-]+", "_", name)
    try:
        page.screenshot(path=ARTIFACTS / f"{safe}.png", timeout=5000)
        (ARTIFACTS / f"{safe}.html").write_text(page.content())
    except Exception as error:  # the picture is a help, not the verdict
        print(f"no picture of {name}: {error}")


@pytest.fixture
def page(portal: PortalProcess, signed_in: Any, new_page: Callable[..., Page]) -> Page:
    """Somebody who is signed in to `portal`."""
    return new_page(base_url=portal.url, storage_state=signed_in)


@pytest.fixture
def phone(portal: PortalProcess, signed_in: Any, new_page: Callable[..., Page]) -> Page:
    return new_page(base_url=portal.url, storage_state=signed_in, viewport={"width": 390, "height": 844}, is_mobile=True,
                    has_touch=True, device_scale_factor=2)  # fmt: skip


# ---- words of the tests


def phase_is(page: Page, phase: str, seconds: float = 20) -> None:
    """The page of an instance shows this phase; nobody reloads it."""
    expect(page.locator("#status")).to_have_attribute("data-phase", phase, timeout=seconds * 1000)


def confirm(page: Page, typed: str = "") -> None:
    """Answer the question that stands before an action."""
    dialog = page.locator("#confirm")
    expect(dialog).to_be_visible()
    if typed:
        dialog.locator("#confirm-typed").fill(typed)
    dialog.locator("[data-ok]").click()
    expect(dialog).to_be_hidden()
