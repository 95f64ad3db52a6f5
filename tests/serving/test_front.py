"""Who asks, where and under which path, by the words of proxies that are believed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from clawportal import client_addresses
from clawportal.http.front import Front, origin_of, own_origin, prefix_of
from clawportal.services.system import proxy_notice


@pytest.mark.parametrize(
    ("told", "plain"),
    [
        ("203.0.113.9:51234", "203.0.113.9"), ("203.0.113.9", "203.0.113.9"), ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"), ('"[2001:db8::1]:443"', "2001:db8::1"), ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"), ("fe80::1%eth0", "fe80::1"), ("", ""), ("unknown", ""), ("_hidden:80", ""),
        ("999.1.1.1:80", ""), ("[2001:db8::1", ""), ("localhost", ""),
    ],
)  # fmt: skip
def test_an_address_is_no_port(told: str, plain: str) -> None:
    assert client_addresses.plain(told) == plain


@pytest.mark.parametrize(("told", "network"), [("203.0.113.9:5", "203.0.113.9"), ("[2001:db8:1:2::9]:5", "2001:db8:1:2::/64")])
def test_counted_together_whatever_the_port(told: str, network: str) -> None:
    assert client_addresses.network_of(told) == network


def test_only_the_words_of_our_own_proxies_count() -> None:
    assert client_addresses.forwarded("6.6.6.6, 203.0.113.9:51234", 1) == "203.0.113.9"
    assert client_addresses.forwarded("6.6.6.6, 203.0.113.9, 10.0.0.1", 2) == "203.0.113.9"
    assert client_addresses.forwarded("6.6.6.6", 0) == client_addresses.forwarded("6.6.6.6", 2) == ""


def through(hops: int = 1, public_url: str = "", seen: list[str] | None = None, **environ: str) -> dict[str, Any]:
    """What the app sees of a request."""
    found: dict[str, Any] = {}

    def app(given: dict[str, Any], start: Any) -> Iterable[bytes]:
        found.update(given)
        return []

    given = {"wsgi.url_scheme": "http", "HTTP_HOST": "h:8800", "SERVER_NAME": "h", "SERVER_PORT": "8800", "SCRIPT_NAME": "",
             "PATH_INFO": "/x", "REMOTE_ADDR": "10.0.0.1"}  # fmt: skip
    Front(app, hops, public_url, ([] if seen is None else seen).append)(given | environ, lambda *_: None)
    return found


def test_the_address_of_who_asks() -> None:
    assert through(HTTP_X_FORWARDED_FOR="203.0.113.9:51234")["REMOTE_ADDR"] == "203.0.113.9"
    assert through(HTTP_X_FORWARDED_FOR="[2001:db8::1]:443")["REMOTE_ADDR"] == "2001:db8::1"
    assert through(HTTP_X_FORWARDED_FOR="unknown")["REMOTE_ADDR"] == "10.0.0.1"
    assert through(0, HTTP_X_FORWARDED_FOR="203.0.113.9")["REMOTE_ADDR"] == "10.0.0.1"
    assert through(0, REMOTE_ADDR="::ffff:192.0.2.1")["REMOTE_ADDR"] == "192.0.2.1"


@pytest.mark.parametrize("told", ["/claws", "/claws/", "claws", "/outer, /claws"])
@pytest.mark.parametrize("path", ["/x", "/claws/x"])
def test_a_prefix_whether_or_not_it_was_cut_off(told: str, path: str) -> None:
    found = through(HTTP_X_FORWARDED_PREFIX=told, PATH_INFO=path)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/claws", "/x")


def test_a_prefix_from_the_server_or_the_public_address() -> None:
    found = through(SCRIPT_NAME="/claws")
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/claws", "/x")
    for path in ("/x", "/claws/x"):
        found = through(0, "https://h.example/claws/", PATH_INFO=path)
        assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/claws", "/x")
    assert through(0, "https://h.example/claws", PATH_INFO="/claws")["PATH_INFO"] == "/"
    assert through(0, "https://h.example/claws", PATH_INFO="/clawsome")["PATH_INFO"] == "/clawsome"


@pytest.mark.parametrize("told", ["//evil.example", "/a/../b", "/a b", "/<x>", "/"])
def test_what_is_no_path_is_no_prefix(told: str) -> None:
    assert prefix_of(told) in ("", "/evil.example")
    assert not prefix_of(told).startswith("//")


def test_nobody_but_a_believed_proxy_chooses_a_prefix() -> None:
    assert through(0, HTTP_X_FORWARDED_PREFIX="/claws")["SCRIPT_NAME"] == ""


@pytest.mark.parametrize("host", ["claws.example.com", "Claws.Example.com", "claws.example.com:8943"])
def test_the_port_of_the_public_address_comes_back(host: str) -> None:
    found = through(1, "https://claws.example.com:8943", HTTP_HOST=host)
    assert (found["HTTP_HOST"], found["wsgi.url_scheme"]) == ("claws.example.com:8943", "https")


def test_another_port_or_name_stays() -> None:
    for host in ("claws.example.com:8800", "127.0.0.1:8800", "evil.example"):
        assert through(1, "https://claws.example.com:8943", HTTP_HOST=host)["HTTP_HOST"] == host


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Claws.Example.com:443/claws/", "https://claws.example.com"), ("http://h:80", "http://h"),
        ("https://h:8943", "https://h:8943"), ("http://[::1]:8800/x", "http://[::1]:8800"), ("", ""), ("null", ""),
        ("https://h:x", ""), ("h:80", ""),
    ],
)  # fmt: skip
def test_origins_as_browsers_write_them(url: str, origin: str) -> None:
    assert origin_of(url) == origin


def test_which_pages_may_open_a_websocket() -> None:
    environ = {"wsgi.url_scheme": "http", "HTTP_HOST": "127.0.0.1:8800"}
    public = "https://claws.example.com:8943/claws"
    assert own_origin("https://claws.example.com:8943", environ, public)
    assert own_origin("http://127.0.0.1:8800", environ, public)
    assert own_origin("https://h.example", environ | {"HTTP_HOST": "h.example:443", "wsgi.url_scheme": "https"}, "")
    for evil in ("https://evil.example", "https://claws.example.com", "null", "", "https://claws.example.com:8943.evil.example"):
        assert not own_origin(evil, environ, public), evil


def test_a_proxy_that_nobody_told_of_is_noticed(tmp_path: Path) -> None:
    seen: list[str] = []
    through(0, seen=seen, HTTP_X_FORWARDED_FOR="203.0.113.9")
    through(1, seen=seen, HTTP_X_FORWARDED_FOR="203.0.113.9")
    through(0, seen=seen)
    through(0, seen=seen, HTTP_X_FORWARDED_FOR="1.1.1.1", REMOTE_ADDR="8.8.8.8")  # anybody can write this
    assert seen == ["10.0.0.1"]
    proxy_notice.Noticed(tmp_path, 0).note("10.0.0.1")
    assert proxy_notice.seen(tmp_path) == "10.0.0.1"
    proxy_notice.Noticed(tmp_path, 1)
    assert proxy_notice.seen(tmp_path) == ""
