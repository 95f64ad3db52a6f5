"""Pages at ports of the portal's own host, where there are no host names: one for each, for good, and with jars of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from clawportal_apps import heads
from clawportal_apps.settings import AppSettings
from tests.apps.conftest import Visitor
from tests.browser.portal import PortalProcess, free_port

NAME = "portal.test"


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PortalProcess]:
    first = free_port()
    made = PortalProcess(tmp_path_factory.mktemp("portal") / "data", APPS_PORTS=f"{first}-{first + 1}", RATE_LIMIT="")
    made.settings["PUBLIC_URL"] = f"http://{NAME}:{made.port}"
    made.start()
    made.set_up(practice=False)
    yield made
    made.end()


def ticket(portal: PortalProcess, claw: dict[str, Any], status: int = 201) -> str:
    return str(portal.api("POST", f"instances/{claw['id']}/apps/http/ticket", status=status).get("url", ""))


def entered(url: str) -> Visitor:
    parts = urlsplit(url)
    assert parts.hostname == NAME and parts.port
    visitor = Visitor(parts.port)
    assert visitor.follow(url).status == 303
    return visitor


@pytest.mark.slow
def test_each_page_has_a_port_for_good(portal: PortalProcess) -> None:
    one, two = portal.running("one"), portal.running("two")
    first, second = entered(ticket(portal, one)), entered(ticket(portal, two))
    assert first.port != second.port and "<title>Echo</title>" in first.ask().text
    assert urlsplit(ticket(portal, one)).port == first.port
    assert first.socket(Origin=f"http://{NAME}:{first.port}").say("hello").startswith("You said: hello")
    assert set(first.cookies) == {f"clawportal-app-{first.port}"}
    for visitor, origin in ((first, f"http://{NAME}:{second.port}"), (first, f"http://{NAME}:{portal.port}")):
        assert visitor.socket(Origin=origin).told.status == 403, "a page at another port of the same host is another page"
    second.cookies |= first.cookies
    assert second.ask().status == 200, "each port takes its own cookie"
    del second.cookies[f"clawportal-app-{second.port}"]
    assert second.ask().status == 401
    goes = second.ask("/x", Accept="text/html", Sec_Fetch_Mode="navigate")
    assert goes.get("Location").startswith(f"http://{NAME}:{portal.port}/instances/{two['id']}/apps/http?to=")
    portal.api("DELETE", f"instances/{one['id']}", status=202)
    three = portal.running("three")
    told = portal.api("POST", f"instances/{three['id']}/apps/http/ticket", status=409)
    assert "CLAWPORTAL_APPS_PORTS" in told["detail"], "the port of a claw that is gone is given to nobody"


def test_cookies_of_the_claw_stay_in_its_jar() -> None:
    environ = {
        "REQUEST_METHOD": "GET", "RAW_URI": "/", "HTTP_HOST": f"{NAME}:8810", "wsgi.url_scheme": "http", "REMOTE_ADDR": "1.1.1.1",
        "HTTP_COOKIE": "clawportal=1; p8810.mine=2; p8811.other=3; set-by-script=4; clawportal-app-8810=5; p8810.clawportal=6",
    }  # fmt: skip
    asked, own = heads.asked_of(environ, 8810), heads.Named("127.0.0.1:20001")
    assert dict(heads.to_claw(asked, own))["cookie"] == "mine=2" and heads.cookie_of(asked) == "5"
    told = list(
        heads.to_browser(asked, own, [("set-cookie", "mine=2; Path=/; Domain=portal.test"), ("set-cookie", "clawportal=1")])
    )
    assert [value for name, value in told if name == "Set-Cookie"] == ["p8810.mine=2; Path=/"]


@pytest.mark.parametrize("ports", ["80", "8810-", "8829-8810", "x", "1024-65535", "8810-8829-8830", "-1"])
def test_ports_that_cannot_be(ports: str) -> None:
    with pytest.raises(ValidationError):
        AppSettings(ports=ports)


@pytest.mark.parametrize(
    "domain", ["https://apps.example.com", "apps.example.com/x", "apps_.example.com", "-a.example.com", "a..b"]
)
def test_domains_that_cannot_be(domain: str) -> None:
    with pytest.raises(ValidationError):
        AppSettings(domain=domain)


def test_what_can_be() -> None:
    assert AppSettings(domain="*.Apps.Example.com").domain == "apps.example.com"
    assert list(AppSettings(ports="8810-8812").port_numbers) == [8810, 8811, 8812] and list(
        AppSettings(ports="8810").port_numbers
    ) == [8810]
    assert list(AppSettings(ports="8810", domain="apps.example.com").port_numbers) == [] == list(AppSettings().port_numbers)
