"""Posts to an address that a person gave: signed, within limits, and never into a network that is not public.

The name is looked up once, and what was looked at is what is connected to: a name that changes its mind leads nowhere else.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any
from urllib.parse import urlsplit

from clawportal.sdk import _m
from clawportal.sdk.addresses import carries_credentials, endpoint, is_near, plain
from clawportal.sdk.errors import GiveUp, Retry

SECONDS = 10.0
MOST = 64 * 1024
_LATER = (408, 425, 429)


def wrong(url: str) -> str:
    """Why this is no address to post to; empty if it may be one. Asks nobody."""
    import httpx

    try:
        parts = urlsplit(url)
        readable = parts.scheme in ("http", "https") and bool(httpx.URL(url).host) and parts.port != 0 and url.isprintable()
    except (ValueError, httpx.InvalidURL):
        readable = False
    if not readable:
        return _m("must be an address with http or https, such as https://hooks.example.com/me")
    return _m("must have no user or password inside") if carries_credentials(url) else ""


def post(url: str, secret: str, document: Mapping[str, Any], delivery_id: str, networks: Sequence[str]) -> None:
    """Raises Retry where it may go well later, GiveUp where it never will."""
    body, at = json.dumps(document, ensure_ascii=False).encode(), str(int(time.time()))
    headers = {
        "Content-Type": "application/json", "User-Agent": "clawportal", "X-Clawportal-Delivery": delivery_id,
        "X-Clawportal-Timestamp": at, "X-Clawportal-Signature": signature(secret, at, body),
    }  # fmt: skip
    status = _posted(url, body, headers, networks)
    if status >= 500 or status in _LATER:
        raise Retry("WebhookBusy", _m("%(host)s answers %(status)s", host=endpoint(url), status=status))
    if status >= 300:
        raise GiveUp("WebhookRefused", _m("%(host)s answers %(status)s", host=endpoint(url), status=status))


def signature(secret: str, at: str, body: bytes) -> str:
    """Of the time and the body, so that an old call cannot be sent again as a new one."""
    return "sha256=" + hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()


def _posted(url: str, body: bytes, headers: Mapping[str, str], networks: Sequence[str]) -> int:
    import httpx

    from clawportal.sdk.bounded import Budget
    from clawportal.sdk.http_client import bind, within

    asked = httpx.URL(url)
    host, port = asked.raw_host.decode(), asked.port or (443 if asked.scheme == "https" else 80)  # as it is spelt on the wire
    target = asked.copy_with(host=_public(host, port, networks))
    named = {**headers, "Host": asked.netloc.decode()}
    try:
        # no proxy of the environment: it would look the name up again
        client = bind(httpx.Client(timeout=SECONDS, follow_redirects=False, trust_env=False))
        with client, within(Budget(SECONDS, MOST)):
            client.event_hooks = {}  # nobody reads the body
            sni = {"sni_hostname": host}
            with client.stream("POST", target, content=body, headers=named, extensions=sni) as answer:
                return answer.status_code
    except (httpx.HTTPError, OSError, UnicodeError) as error:
        raise Retry(
            "WebhookUnreachable", _m("%(host)s does not answer: %(why)s", host=endpoint(url), why=type(error).__name__)
        ) from error


def _public(host: str, port: int, networks: Sequence[str]) -> str:
    """One of its addresses, all of which may be asked."""
    try:
        found = _found(host, port)
    except (OSError, UnicodeError) as error:
        raise Retry("WebhookUnknown", _m("Nobody knows the name %(host)s.", host=host)) from error
    for text in found:
        if not allowed(text, networks):
            raise GiveUp(
                "WebhookNotPublic", _m("%(host)s is in a network that is not public; the portal does not go there.", host=host)
            )
    return sorted(found, key=lambda text: ":" in text)[0]  # IPv4 first: not every machine has the other


def _found(host: str, port: int) -> set[str]:
    """Its addresses, within the time of a call: the system asks servers of names for as long as it likes, and a thread of its own
    can be left behind."""
    asked: Future[set[str]] = Future()

    def ask() -> None:
        try:
            items = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            asked.set_result({str(item[4][0]).partition("%")[0] for item in items})
        except BaseException as error:  # whoever waits is told, whatever it is
            asked.set_exception(error)

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    return asked.result(SECONDS)  # TimeoutError is an OSError


def allowed(address: str, networks: Sequence[str]) -> bool:
    ip = plain(ipaddress.ip_address(address))
    if any(ip in ipaddress.ip_network(one) for one in networks):
        return True
    of_a_site = isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local
    return ip.is_global and not of_a_site and not is_near(ip)
