"""What passes from a browser to a claw and back besides the bodies: pure rules about the lines of heads.

Nothing of the portal reaches the claw, neither its cookies nor what proxies say; nothing that the claw says holds for other hosts
than its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from clawportal.sdk.hosts import origin_of
from clawportal_apps.names import host_alone

Header = tuple[str, str]
WEBSOCKET = "websocket"
METHODS_REFUSED = frozenset({"CONNECT", "TRACE", "TRACK"})
"""Of proxies; and what shows a browser the request as the claw got it, with the proof that the portal puts in."""
COOKIE, COOKIE_TLS = "clawportal-app", "__Host-clawportal-app"
"""By which a browser is known at the host of a page; over TLS no other host can set it."""
_PORTAL_COOKIES = ("clawportal", "__Host-clawportal", "__Secure-clawportal")
_OF_A_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
_TOLD_BY_PROXIES = ("x-forwarded-", "forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip")
_NOT_FOR_OTHERS = frozenset({
    "strict-transport-security", "alt-svc", "clear-site-data", "public-key-pins", "nel", "report-to",
    "cross-origin-resource-policy",
})  # fmt: skip
"""Would hold beyond the host of the page, lead browsers around the portal, or is said by it."""
_ONCE = ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH")
"""Some servers make these of names with underscores, beside the true ones."""
_BEFORE_PATH = re.compile(r"\A(?:[A-Za-z][A-Za-z0-9+.-]*://[^/?]*|\*)")
_ORIGIN = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_ADDRESSES = frozenset({"location", "content-location", "access-control-allow-origin"})


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    target: str
    """Path and query, as they were sent."""
    host: str
    origin: str
    """Of the page itself, as the browser has it."""
    headers: tuple[Header, ...]
    address: str
    version: str
    port: int = 0
    """Of the portal's own host, where the page has that in place of a host name; then it shares a jar of cookies with others."""

    @property
    def tls(self) -> bool:
        return self.origin.startswith("https:")

    @property
    def jar(self) -> str:
        """Before the names of the claw's cookies, as the browser keeps them."""
        return f"p{self.port}." if self.port else ""

    @property
    def cookie(self) -> str:
        """Name of the cookie by which the browser is known here."""
        return (COOKIE_TLS if self.tls else COOKIE) + (f"-{self.port}" if self.port else "")

    @property
    def met(self) -> str:
        """Name of the cookie of browsers whose page was let in before."""
        return f"{self.cookie}-met"

    def get(self, name: str) -> str:
        return next((value for given, value in self.headers if given == name), "")

    @property
    def upgrades(self) -> bool:
        """To a WebSocket; other protocols would be beyond what is looked at here."""
        asks = {part.strip().lower() for part in self.get("connection").split(",")}
        return self.get("upgrade").strip().lower() == WEBSOCKET and "upgrade" in asks


@dataclass(frozen=True)
class Named:
    """What the claw is to believe about itself."""

    host: str
    """As it finds it in `Host`."""
    proof: Header | None = None
    public: bool = False


def asked_of(environ: dict[str, Any], port: int = 0) -> Asked:
    headers = tuple((key[5:].replace("_", "-").lower(), str(value)) for key, value in environ.items()
                    if key.startswith("HTTP_") and key not in _ONCE)  # fmt: skip
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key) and not (key == "CONTENT_LENGTH" and environ.get("HTTP_TRANSFER_ENCODING")):
            headers += ((key.replace("_", "-").lower(), str(environ[key])),)
    host = environ.get("HTTP_HOST", "")
    target = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or "/")
    if not target.startswith("/"):  # the whole address, as to a proxy
        target = _BEFORE_PATH.sub("", target)
        target = target if target.startswith("/") else f"/{target}"
    return Asked(
        environ["REQUEST_METHOD"], target, host, f"{environ['wsgi.url_scheme']}://{host}", headers,
        environ.get("REMOTE_ADDR", ""), str(environ.get("SERVER_PROTOCOL", "HTTP/1.1")), port,
    )  # fmt: skip


# ---- who may ask


def comes_from_elsewhere(asked: Asked) -> bool:
    """Whether a page of another host is behind this request. Going to the page by a link is no such request.

    The claw cannot tell: it is asked as if from its own machine, with the proof that the portal puts in.
    """
    told, site = asked.get("origin"), asked.get("sec-fetch-site")
    if told and not _is_own(origin_of(told), asked):
        return True
    if site in ("", "same-origin", "none"):
        return False
    return not (asked.method == "GET" and asked.get("sec-fetch-mode") == "navigate" and asked.get("sec-fetch-dest") == "document")


def _is_own(origin: str, asked: Asked) -> bool:
    """Where the page has a host name, also by another port or scheme: proxies do not always tell theirs."""
    if asked.port:
        return bool(origin) and origin == origin_of(asked.origin)
    return bool(origin) and host_alone(origin.partition("://")[2]) == host_alone(asked.host)


def cookie_of(asked: Asked) -> str:
    """By which the browser is known here."""
    return dict(_cookies(asked.get("cookie"))).get(asked.cookie, "")


def has_met(asked: Asked) -> bool:
    return asked.met in dict(_cookies(asked.get("cookie")))


def _cookies(header: str) -> Iterator[Header]:
    for part in header.split(";"):
        name, equals, value = part.strip().partition("=")
        if equals:
            yield name, value


# ---- to the claw


def to_claw(asked: Asked, named: Named) -> Iterator[Header]:
    dropped = _OF_A_HOP | {name.strip().lower() for name in asked.get("connection").split(",")}
    proof = named.proof[0].lower() if named.proof else ""
    yield "host", asked.host if named.public else named.host
    for name, value in asked.headers:
        if name in dropped or name in ("host", "cookie", "expect", proof) or name.startswith(_TOLD_BY_PROXIES):
            continue
        yield name, value if named.public or name not in ("origin", "referer") else _as_own(asked, named, value)
    mine = [(name[len(asked.jar) :], value) for name, value in _cookies(asked.get("cookie")) if name.startswith(asked.jar)]
    if passed := "; ".join(f"{name}={value}" for name, value in mine if not _of_portal(name)):
        yield "cookie", passed
    if named.public:
        yield "x-forwarded-for", asked.address
        yield "x-forwarded-proto", asked.origin.partition(":")[0]
    if named.proof:
        yield named.proof
    yield from _hop(asked)


def _hop(asked: Asked) -> Iterator[Header]:
    if asked.upgrades:
        yield "connection", "Upgrade"
        yield "upgrade", WEBSOCKET
    else:
        yield "connection", "close"
        if asked.get("transfer-encoding"):
            yield "transfer-encoding", "chunked"


def _as_own(asked: Asked, named: Named, value: str) -> str:
    return f"http://{named.host}{value[len(asked.origin) :]}" if value.startswith(asked.origin) else value


def _of_portal(name: str) -> bool:
    return name.startswith(_PORTAL_COOKIES)


# ---- to the browser


def to_browser(asked: Asked, named: Named, headers: Iterable[Header]) -> Iterator[Header]:
    """Without what is of the hop, and with nothing that holds beyond the host of the page."""
    told = list(headers)
    dropped = _OF_A_HOP | _NOT_FOR_OTHERS
    dropped |= {part.strip().lower() for name, value in told if name == "connection" for part in value.split(",")}
    for name, value in told:
        if name in dropped:
            continue
        if name == "set-cookie":
            if kept := host_only(value, asked.jar):
                yield "Set-Cookie", kept
        else:
            yield name.title(), _as_public(asked, named, value) if name in _ADDRESSES else value
    # no page of another origin shows or runs what is here; browsers without Sec-Fetch headers hold to this one, too
    yield "Cross-Origin-Resource-Policy", "same-origin"
    # beside whatever the claw says: of several policies each one holds
    yield "Content-Security-Policy", "frame-ancestors 'self'"


def host_only(cookie: str, jar: str = "") -> str:
    """A cookie of the claw, for the host of its page alone. Empty where it takes a name of the portal's, or has none."""
    first, *rest = cookie.split(";")
    name = first.partition("=")[0].strip()
    if not name or _of_portal(name):  # one without a name is sent as if its value were all of it
        return ""
    return ";".join([jar + first.strip(), *(part for part in rest if part.partition("=")[0].strip().lower() != "domain")])


def _as_public(asked: Asked, named: Named, value: str) -> str:
    """An address at which the claw knows itself, as the browser knows it."""
    found = _ORIGIN.match(value)
    names = (named.host, named.host.replace("127.0.0.1", "localhost"))
    own = (origin_of(f"{scheme}://{name}") for scheme in ("http", "https") for name in names)
    return asked.origin + value[found.end() :] if found and origin_of(value) in own else value


def phrase_of(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
