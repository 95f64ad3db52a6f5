"""What passes between a browser and a claw besides the bodies."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import replace
from typing import Any

import pytest

from clawportal_apps import heads, upstream
from clawportal_apps.heads import Asked, Named
from clawportal_apps.names import App, Names, app_of
from clawportal_apps.upstream import Unanswered

ID = "01kb3vqjhp41ztwd8gxqk5d7me"
HOST = f"http-{ID}.localhost:8800"
OWN = Named("127.0.0.1:20001", ("authorization", "Bearer sealed"))
PUBLIC = replace(OWN, public=True)


def asked(method: str = "GET", scheme: str = "http", **headers: str) -> Asked:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method, "RAW_URI": "/a%2Fb?x=1", "HTTP_HOST": HOST, "wsgi.url_scheme": scheme,
        "REMOTE_ADDR": "192.0.2.7", "SERVER_PROTOCOL": "HTTP/1.1",
    }  # fmt: skip
    return heads.asked_of(environ | {f"HTTP_{name.upper()}": value for name, value in headers.items()})


def test_a_path_stays_as_it_was_sent() -> None:
    assert asked().target == "/a%2Fb?x=1"
    whole = heads.asked_of(
        {"REQUEST_METHOD": "GET", "RAW_URI": f"http://{HOST}/x?y", "HTTP_HOST": HOST, "wsgi.url_scheme": "http"}
    )
    assert whole.target == "/x?y"


def test_nothing_of_the_portal_reaches_the_claw() -> None:
    given = asked(
        cookie="clawportal=1; mine=2; __Host-clawportal=3; clawportal-app=4; clawportal_device=5; "
        "__Host-clawportal-app=6; other=7",
        authorization="Bearer of-the-browser", x_forwarded_for="1.1.1.1", x_forwarded_host="evil", forwarded="for=1.1.1.1",
        x_real_ip="1.1.1.1", connection="close, x-mine", x_mine="1", keep_alive="5", accept_encoding="gzip", te="trailers",
        origin=f"http://{HOST}", referer=f"http://{HOST}/page?x",
    )  # fmt: skip
    assert dict(heads.to_claw(given, OWN)) == {
        "host": "127.0.0.1:20001", "cookie": "mine=2; other=7", "authorization": "Bearer sealed", "accept-encoding": "gzip",
        "origin": "http://127.0.0.1:20001", "referer": "http://127.0.0.1:20001/page?x", "connection": "close",
    }  # fmt: skip
    public = dict(heads.to_claw(given, PUBLIC))
    assert (public["host"], public["origin"]) == (HOST, f"http://{HOST}")
    assert (public["x-forwarded-for"], public["x-forwarded-proto"]) == ("192.0.2.7", "http") and "x-forwarded-host" not in public


def test_a_websocket_asks_for_one() -> None:
    given = dict(heads.to_claw(asked(connection="keep-alive, Upgrade", upgrade="websocket", sec_websocket_key="k"), OWN))
    assert (given["connection"], given["upgrade"], given["sec-websocket-key"]) == ("Upgrade", "websocket", "k")


def test_only_a_websocket_is_changed_to() -> None:
    for upgrade, connection in (("h2c", "Upgrade, HTTP2-Settings"), ("websocket, h2c", "upgrade"), ("websocket", "x-upgrade")):
        told = dict(heads.to_claw(asked(upgrade=upgrade, connection=connection, http2_settings="AAM"), OWN))
        assert told["connection"] == "close" and "upgrade" not in told


def test_a_request_has_one_length() -> None:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST", "RAW_URI": "/", "HTTP_HOST": HOST, "wsgi.url_scheme": "http", "CONTENT_LENGTH": "3",
        "HTTP_CONTENT_LENGTH": "5", "HTTP_CONTENT_TYPE": "x",
    }  # fmt: skip
    sent = [name for name, _ in heads.to_claw(heads.asked_of(environ), OWN)]
    assert sent.count("content-length") == 1 and "content-type" not in sent
    chunked = dict(heads.to_claw(heads.asked_of(environ | {"HTTP_TRANSFER_ENCODING": "chunked"}), OWN))
    assert chunked["transfer-encoding"] == "chunked" and "content-length" not in chunked


def test_nothing_of_the_claw_holds_elsewhere() -> None:
    told = list(heads.to_browser(asked(), OWN, [
        ("set-cookie", "a=1; Domain=localhost; Path=/x; HttpOnly"), ("set-cookie", "b=2;domain=.apps.example.com;Secure"),
        ("set-cookie", "clawportal=evil; Path=/"), ("set-cookie", "__Host-clawportal-app=evil"),
        ("set-cookie", "clawportal_device=1"), ("set-cookie", "=clawportal=evil"), ("set-cookie", " = clawportal-app=evil"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("strict-transport-security", "max-age=1"), ("alt-svc", 'h3=":1"'), ("clear-site-data", '"*"'),
        ("connection", "close, x-hop"),
        ("x-hop", "1"), ("transfer-encoding", "chunked"), ("content-encoding", "br"),
        ("content-security-policy", "default-src 'self'"),
        ("location", "http://127.0.0.1:20001/next?x"),
    ]))  # fmt: skip
    assert told == [
        ("Set-Cookie", "a=1; Path=/x; HttpOnly"), ("Set-Cookie", "b=2;Secure"), ("Content-Encoding", "br"),
        ("Content-Security-Policy", "default-src 'self'"), ("Location", f"http://{HOST}/next?x"),
        ("Cross-Origin-Resource-Policy", "same-origin"), ("Content-Security-Policy", "frame-ancestors 'self'"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("/next", "/next"), ("http://localhost:20001/x", f"http://{HOST}/x"), ("HTTP://127.0.0.1:20001?x", f"http://{HOST}?x"),
        ("https://accounts.example.com/", "https://accounts.example.com/"),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9/x"),
    ],
)  # fmt: skip
def test_places_that_are_the_claws_own(place: str, shown: str) -> None:
    assert dict(heads.to_browser(asked(), OWN, [("location", place)]))["Location"] == shown


NO_ADDRESSES = [
    "http://[",
    "http://[::1",
    "http://]/",
    "http://127.0.0.1:x/",
    "http://127.0.0.1:99999999/x",
    "http:///x",
    "//[",
    "[",
    "*",
]


@pytest.mark.parametrize("said", NO_ADDRESSES)
def test_what_is_no_address_stays_as_it_was_said(said: str) -> None:
    for name in heads._ADDRESSES:
        assert dict(heads.to_browser(asked(), OWN, [(name, said)]))[name.title()] == said


@pytest.mark.parametrize("told", NO_ADDRESSES)
@pytest.mark.parametrize("port", [0, 8810])
def test_an_origin_that_is_none_is_elsewhere(told: str, port: int) -> None:
    assert heads.comes_from_elsewhere(replace(asked(origin=told), port=port))


@pytest.mark.parametrize(
    ("sent", "target"),
    [("http://[", "/"), ("http://[/x?y", "/x?y"), ("http://h?y", "/?y"), ("*", "/"), ("x", "/x"), ("http://h//x", "//x"),
     ("http://h:x/%5B", "/%5B"), ("x?u=http://y/z", "/x?u=http://y/z")],
)  # fmt: skip
def test_a_whole_address_is_asked_for_by_its_path(sent: str, target: str) -> None:
    environ = {"REQUEST_METHOD": "GET", "RAW_URI": sent, "HTTP_HOST": HOST, "wsgi.url_scheme": "http"}
    assert heads.asked_of(environ).target == target


@pytest.mark.parametrize(
    ("given", "elsewhere"),
    [
        (asked(), False),
        (asked(sec_fetch_site="same-origin"), False),
        (asked(sec_fetch_site="none", sec_fetch_mode="navigate"), False),
        (asked(sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="document"), False),
        (asked(sec_fetch_site="same-site", sec_fetch_mode="no-cors", sec_fetch_dest="image"), True),
        (asked(sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="iframe"), True),
        (asked("POST", sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="document"), True),
        (asked("POST", origin=f"http://{HOST}"), False),
        (asked("POST", origin="http://localhost:8800"), True),
        (asked("POST", origin="null"), True),
        (asked("POST", origin=f"https://{HOST.upper()}"), False),
        (asked("POST", origin=f"http://kim@{HOST}.evil.example"), True),
        (asked(origin="http://evil.example", upgrade="websocket", connection="upgrade"), True),
    ],
)
def test_who_else_may_ask(given: Asked, elsewhere: bool) -> None:
    assert heads.comes_from_elsewhere(given) is elsewhere


def test_over_tls_only_the_cookie_counts_that_no_other_host_can_set() -> None:
    assert heads.cookie_of(asked(cookie="clawportal-app=1")) == "1"
    assert heads.cookie_of(asked(scheme="https", cookie="clawportal-app=1")) == ""
    assert heads.cookie_of(asked(scheme="https", cookie="clawportal-app=1; __Host-clawportal-app=2")) == "2"


# ---- names


def test_hosts_and_whose_they_are() -> None:
    here, there = Names(""), Names("apps.example.com:8443")
    app = App(ID, "http")
    assert app_of(app.label) == app and app_of(f"two-words-{ID}") == App(ID, "two-words")
    for bad in ("http", f"-{ID}", f"http-{ID[:-1]}", f"http-{ID}x", f"http_{ID}", ID):
        assert app_of(bad) is None
    assert here.takes(HOST.upper()) and here.app_at(HOST) == app
    assert not any(map(here.takes, ("localhost:8800", "127.0.0.1", "other.localhost", f"{app.label}.example.com", "")))
    assert (
        there.takes(f"{app.label}.apps.example.com")
        and there.takes("whatever.apps.example.com")
        and there.takes("a.b.apps.example.com")
    )
    for names, host in ((here, f"{app.label}.localhost."), (there, f"{app.label}.apps.example.com.:8443")):
        assert names.takes(host) and names.app_at(host) is None, "no second name for a page, and none for the portal"
    assert there.app_at("whatever.apps.example.com") is None and there.app_at(f"{app.label}.b.apps.example.com") is None
    assert not any(map(there.takes, ("apps.example.com", "example.com", HOST, "evilapps.example.com")))
    assert here.origin(app, "http://127.0.0.1:8800/claws") == f"http://{HOST}"
    assert there.origin(app, "https://claws.example.com") == f"https://{app.label}.apps.example.com:8443"
    assert Names("apps.example.com").origin(app, "https://claws.example.com:444/x") == f"https://{app.label}.apps.example.com:444"


# ---- heads of answers


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\nbody", 200),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n", 404),
        (b"HTTP/1.0 200\r\n\r\n", 200),
        (b"", 502), (b"SSH-2.0\r\n\r\n", 502), (b"HTTP/1.1 abc\r\n\r\n", 502), (b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 300 + b"\r\n", 502), (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, 502),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0x1\r\n\r\n", 502), (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 1\r\n\r\n", 200),
        (b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n", 502), (b"HTTP/1.1 200 OK\r\nX : 1\r\n\r\n", 502),
    ],
)  # fmt: skip
def test_heads_of_answers(said: bytes, status: int) -> None:
    mine, claws = socket.socketpair()
    with mine, claws:

        def speak() -> None:
            with contextlib.suppress(OSError):  # who asks may have had enough
                claws.sendall(said)
                claws.shutdown(socket.SHUT_WR)

        threading.Thread(target=speak, daemon=True).start()
        try:
            assert upstream.ask(mine, "GET / HTTP/1.1", [("host", "x")], (), 5).status == status
        except Unanswered as refused:
            assert refused.status == status


def test_a_claw_that_says_nothing_is_told_as_such() -> None:
    mine, claws = socket.socketpair()
    with mine, claws, pytest.raises(Unanswered) as told:
        upstream.ask(mine, "GET / HTTP/1.1", [], (), 0.05)
    assert told.value.status == 504
