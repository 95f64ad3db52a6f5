"""A console in a browser: what is typed before it is open, while its connection is away, or just before the page is left."""

from __future__ import annotations

from playwright.sync_api import Page, WebSocketRoute, expect

from tests.browser.portal import PortalProcess

OPEN = 40_000


def test_nothing_typed_is_lost(portal: PortalProcess, page: Page) -> None:
    """The connection is cut twice on the way: once in silence, so that what is typed then arrives nowhere."""
    made = portal.running("typed-into")
    lines = _Lines(page)
    page.goto(f"/instances/{made['id']}/console")
    screen, state, keys = (
        page.locator("#console .xterm-rows"),
        page.locator("#console [data-state]"),
        page.locator(".xterm-helper-textarea"),
    )
    keys.press_sequentially("echo early-$((6*7))\n")
    expect(screen).to_contain_text("early-42", timeout=OPEN)

    lines.silent = True
    keys.press_sequentially("echo away-$((6*8))\n")
    lines.cut()
    expect(screen).to_contain_text("away-48", timeout=OPEN)
    expect(state).to_have_text("Open")

    lines.silent = True
    keys.press_sequentially("echo left-$((6*9))\n")
    page.goto(f"/instances/{made['id']}")
    page.goto(f"/instances/{made['id']}/console")
    expect(screen).to_contain_text("left-54", timeout=OPEN)
    assert screen.inner_text().count("left-54") == 1, "once"


class _Lines:
    """The connections of the console's page; in silence they take what the browser says and lose it."""

    def __init__(self, page: Page) -> None:
        self.silent = False
        self._open: list[WebSocketRoute] = []
        page.route_web_socket("**/socket.io/**", self._connect)

    def _connect(self, line: WebSocketRoute) -> None:
        self.silent = False
        self._open.append(line)
        server = line.connect_to_server()
        line.on_message(lambda message: None if self.silent else server.send(message))

    def cut(self) -> None:
        for line in self._open:
            line.close()
        self._open.clear()
