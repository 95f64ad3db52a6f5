"""The way to an API server: through a proxy or not, with a sign-in or not, and with a TLS context of this connection alone."""

from __future__ import annotations

import base64
import re
import socket
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from clawportal.sdk import _m

CONNECT_SECONDS = 10.0
_LONGEST_ANSWER = 65536
_STATUS = re.compile(r"Tunnel connection failed: (\d{3})[ :]*([^'\")]*)")


class ProxyRefused(OSError):
    """The proxy does not let the portal through."""

    def __init__(self, status: int, words: str = "") -> None:
        super().__init__(f"Tunnel connection failed: {status} {words}".strip())
        self.status = status


@dataclass(frozen=True)
class Proxy:
    """As `HTTPS_PROXY` or a kubeconfig's `proxy-url` names it, with user and password apart."""

    address: str
    """Without the sign-in."""
    headers: dict[str, str]
    """What signs in."""


def proxy_of(url: str | None) -> Proxy | None:
    """User and password are percent-encoded in such an address. ValueError where it is none."""
    if not url:
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if not parts.hostname:
        raise ValueError(_m("the address of the proxy names no host; write http://user:password@proxy.example.internal:3128"))
    where = parts.netloc.rpartition("@")[2]
    address = f"{parts.scheme}://{where}"
    if parts.username is None:
        return Proxy(address, {})
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Proxy(address, {"proxy-authorization": "Basic " + base64.b64encode(pair.encode()).decode()})


def refusal(text: str) -> str:
    """What it means that a proxy answered so; empty where the text speaks of none."""
    found = _STATUS.search(text)
    if found is None:
        return ""
    if found[1] == "407":
        return "its proxy wants a sign-in, or refuses this one. Write it as http://user:password@proxy:3128, percent-encoded"
    told = f"{found[1]} {found[2]}".strip()
    return f"its proxy does not let the portal through ({told}). Allow the server there, or name it in NO_PROXY"


def dial(server: str, proxy: Proxy | None, context: ssl.SSLContext, name: str = "") -> socket.socket:
    """A connection for a stream, ready to be spoken on. OSError where there is no way."""
    parts = urlsplit(server)
    host, secure = str(parts.hostname), parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    found = _through(proxy, host, port) if proxy else socket.create_connection((host, port), CONNECT_SECONDS)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(found, server_hostname=name or host) if secure else found
    except BaseException:
        found.close()
        raise


def _through(proxy: Proxy, host: str, port: int) -> socket.socket:
    parts = urlsplit(proxy.address)
    if parts.scheme != "http":
        raise OSError(f"streams cannot go through a proxy with {parts.scheme}://. Name one with http://")
    found = socket.create_connection((str(parts.hostname), parts.port or 80), CONNECT_SECONDS)
    try:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}", *(f"{key}: {value}" for key, value in proxy.headers.items())]
        found.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
        _accepted(found)
        return found
    except BaseException:
        found.close()
        raise


def _accepted(found: socket.socket) -> None:
    """Byte by byte, so that nothing is taken of what comes behind the proxy's answer."""
    said = bytearray()
    while not said.endswith(b"\r\n\r\n"):
        piece = found.recv(1)
        if not piece or len(said) > _LONGEST_ANSWER:
            raise OSError("the proxy ended the connection")
        said += piece
    line = bytes(said).partition(b"\r\n")[0].decode("latin-1")
    words = line.split(" ", 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    if not 200 <= status < 300:
        raise ProxyRefused(status, words[2] if len(words) > 2 else "")


def pool(config: Any, proxy: Proxy | None, context: ssl.SSLContext) -> Any:
    """The client's own pool, but for files of certificates: it keeps those in a table that all connections share."""
    from kubernetes.client.rest import RESTClientObject

    config.proxy, config.proxy_headers = (proxy.address, proxy.headers) if proxy else (None, None)
    made = RESTClientObject(config).pool_manager
    made.connection_pool_kw["ssl_context"] = context
    return made


def bypassed(host: str, no_proxy: str) -> bool:
    from kubernetes.client.rest import should_bypass_proxies

    return bool(should_bypass_proxies(host, no_proxy))
