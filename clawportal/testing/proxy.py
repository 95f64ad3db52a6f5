"""A proxy for tests: tunnels with CONNECT, to where it likes, and only for who signs in where it wants that."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class ProxyDouble:
    """On a free port of the loopback. `tunnels` are the hosts that were asked for; every name leads to this machine."""

    def __init__(self, user: str = "", password: str = "") -> None:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.wanted = f"Basic {pair}" if user else ""
        self.refuses = 0
        """A status with which it refuses everything."""
        self.tunnels: list[str] = []
        self.open: set[socket.socket] = set()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="proxy double", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> ProxyDouble:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        for one in list(self.open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: ProxyDouble

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _refused(self) -> int:
        proxy = self.server.proxy
        return proxy.refuses or (407 if proxy.wanted and self.headers.get("Proxy-Authorization") != proxy.wanted else 0)

    def do_GET(self) -> None:
        """Of plain HTTP: the proxy asks itself."""
        if status := self._refused():
            return self.send_error(status)
        parts = urlsplit(self.path)
        self.server.proxy.tunnels.append(str(parts.hostname))
        far = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=10)
        headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
        far.request("GET", f"{parts.path}?{parts.query}", headers=headers)
        answer = far.getresponse()
        body = answer.read()
        far.close()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        proxy = self.server.proxy
        if status := self._refused():
            return self.send_error(status)
        host, _, port = self.path.rpartition(":")
        proxy.tunnels.append(host)
        try:
            far = socket.create_connection(("127.0.0.1", int(port)), 5)
        except OSError:
            return self.send_error(502)
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        proxy.open |= {far, self.connection}
        back = threading.Thread(target=_copy, args=(far, self.connection), daemon=True)
        back.start()
        _copy(self.connection, far)
        back.join(5)
        proxy.open -= {far, self.connection}
        far.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        source.settimeout(None)
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
