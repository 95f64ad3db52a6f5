"""The portal behind a real nginx with the files that we ship: on an odd port, under a path, without the port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Page, Request, expect

from tests.browser import nginx
from tests.browser.conftest import Portals, sign_in
from tests.browser.portal import PASSWORD, PortalProcess, free_port

pytestmark = pytest.mark.skipif(nginx.find() is None, reason="there is no nginx here; on Debian: apt-get install nginx-light")

Begin = Callable[..., str]


@pytest.fixture(scope="module")
def behind(fresh_portal: Portals, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begin]:
    """`behind(file, name, path)` starts a portal behind nginx with a shipped file and gives its public address."""
    started: list[nginx.Nginx] = []

    def begin(file: str, name: str, path: str = "", edit: Callable[[str], str] = str) -> str:
        port = free_port()
        public = f"https://localhost:{port}{path}"
        portal = fresh_portal(PUBLIC_URL=public, TRUSTED_PROXIES="1")
        text = edit((nginx.SHIPPED / file).read_text())
        started.append(nginx.Nginx(tmp_path_factory.mktemp("proxy") / "nginx", text, name, port, portal.port))
        portal.set_up(public=public)
        return public

    yield begin
    for one in started:
        one.stop()


def is_live(page: Page) -> None:
    """The websocket is open and heard."""
    expect(page.locator("[data-link-state]").first).to_have_attribute("data-state", "live")


@pytest.mark.parametrize("edit", [str, lambda text: text.replace("$http_host", "$host")], ids=["as shipped", "port dropped"])
def test_the_shipped_file_on_an_odd_port(behind: Begin, new_page: Callable[..., Page], edit: Callable[[str], str]) -> None:
    public = behind("clawportal.conf", "claws.example.com", edit=edit)
    page = new_page(base_url=public)
    sign_in(page)
    is_live(page)
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert cookies["__Host-clawportal"]["secure"] and cookies["__Host-clawportal"]["path"] == "/"
    assert "clawportal" not in cookies


@pytest.mark.slow
def test_a_large_upload_passes_the_shipped_file(behind: Begin, fresh_portal: Portals) -> None:
    public = behind("clawportal.conf", "claws.example.com")
    portal = fresh_portal.made[-1]
    claw = portal.running("box")
    path = f"/api/v1/instances/{claw['id']}/files/content"
    headers = {"Authorization": f"Bearer {portal._token}", "Content-Type": "application/octet-stream"}
    params = {"path": "work/big.bin"}
    with httpx.Client(base_url=public, verify=False, headers=headers, timeout=60) as client:
        sent = client.put(path, params=params, content=b"x" * 5_000_000)
        assert sent.status_code == 201, sent.text
        assert len(client.get(path, params=params).content) == 5_000_000


@pytest.fixture
def under_path(behind: Begin) -> str:
    return behind("clawportal-under-path.conf", "intranet.example.com", "/claws")


@pytest.mark.slow
@pytest.mark.parametrize("cut", [True, False], ids=["prefix cut off", "prefix passed on"])
def test_all_of_it_under_a_path(behind: Begin, fresh_portal: Portals, new_page: Callable[..., Page], cut: bool) -> None:
    def edit(text: str) -> str:
        told = "        proxy_set_header X-Forwarded-Prefix /claws;\n"
        return text if cut else text.replace("127.0.0.1:8800/;", "127.0.0.1:8800;").replace(told, "")

    public = behind("clawportal-under-path.conf", "intranet.example.com", "/claws", edit)
    portal = fresh_portal.made[-1]
    page = new_page(base_url=public + "/")
    strays = _strays(page)
    walk(page, public, portal)
    assert not strays


def _strays(page: Page) -> list[str]:
    """Requests that left the path."""
    found: list[str] = []

    def look(request: Request) -> None:
        if request.url.startswith("http") and not urlsplit(request.url).path.startswith("/claws/"):
            found.append(request.url)

    page.on("request", look)
    page.on("websocket", lambda one: None if urlsplit(one.url).path.startswith("/claws/socket.io") else found.append(one.url))
    return found


def walk(page: Page, public: str, portal: PortalProcess) -> None:
    page.goto(f"{public}/instances?q=one")
    expect(page).to_have_url(f"{public}/login?next=/claws/instances?q%3Done")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{public}/instances?q=one")
    is_live(page)
    assert {cookie["path"] for cookie in page.context.cookies()} == {"/claws"}
    made = portal.running("one")
    expect(page.locator("#instances")).to_contain_text("one")  # told over the websocket
    page.goto(f"{public}/instances/{made['id']}/chat")
    page.get_by_role("textbox").last.fill("hello there")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("hello there")
    page.goto(f"{public}/instances/{made['id']}/logs")
    expect(page.locator("main")).to_contain_text("echo")
    with page.expect_response(lambda answer: f"/instances/{made['id']}/metrics?" in answer.url and answer.ok):
        page.goto(f"{public}/instances/{made['id']}/metrics")
    page.goto(f"{public}/api-docs")
    expect(page.locator("#swagger")).to_contain_text("/claws/api/v1")
    page.goto(f"{public}/profile")
    page.get_by_label("Language", exact=True).select_option("zh_Hans")
    expect(page).to_have_url(f"{public}/profile")
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")


def test_the_api_under_a_path_names_what_it_made(under_path: str, fresh_portal: Portals) -> None:
    portal = fresh_portal.made[-1]
    headers = {"Authorization": f"Bearer {portal._token}"}
    with httpx.Client(verify=False, headers=headers, timeout=30) as client:
        made = client.post(f"{under_path}/api/v1/instances", json={"name": "two", "adapter": "echo", "start": False})
        assert made.headers["Location"] == f"/claws/api/v1/instances/{made.json()['id']}"
        assert client.get(f"{under_path}/api/v1/openapi.json").json()["servers"][0]["url"] == "/claws/api/v1"
        assert client.get(under_path, follow_redirects=True).status_code == 200
