"""The engine's client, held to what an honest answer has: docker-py reads a body of any size, for as long as it drips."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import docker
import requests
import requests.adapters

from clawportal.sdk import bounded

LARGEST = 64 * bounded.MIB
"""Of one answer; the list of a thousand containers takes 3 MB."""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SLACK = 10.0
"""Seconds above the client's own timeout that the body may take."""


class _Trusting(requests.adapters.HTTPAdapter):
    """Trusts whom the cluster's settings name, and nobody else: `requests` would let the environment's bundle win over that."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_connections=16, pool_maxsize=64)

    def init_poolmanager(self, *given: Any, **more: Any) -> None:
        super().init_poolmanager(*given, ssl_context=self._context, **more)

    def proxy_manager_for(self, proxy: Any, **more: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._context, **more)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        return super().build_connection_pool_key_attributes(request, True, None)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """All of it is in the context."""
        conn.cert_reqs = "CERT_REQUIRED"


class Client(docker.APIClient):  # type: ignore[misc]  # untyped client
    """As docker-py's, but that an answer which is not asked for as a stream is read here, and that TLS is the cluster's own."""

    def __init__(self, url: str, *, context: ssl.SSLContext | None = None, **more: Any) -> None:
        super().__init__(url, tls=context is not None, **more)
        if context is not None:
            self._custom_adapter = _Trusting(context)
            self.mount("https://", self._custom_adapter)

    def merge_environment_settings(self, url: Any, *given: Any, **more: Any) -> Any:
        found = super().merge_environment_settings(url, *given, **more)
        if (urlsplit(str(url)).hostname or "") in _LOOPBACK:
            found["proxies"] = {}  # a proxy cannot reach this machine's own loopback
        return found

    def send(self, request: requests.PreparedRequest, **more: Any) -> requests.Response:
        if more.get("stream"):
            return super().send(request, **more)  # type: ignore[no-any-return]  # as above
        answer: requests.Response = super().send(request, **{**more, "stream": True})
        seconds = more.get("timeout") or self.timeout
        _read(answer, bounded.Budget(float(seconds) + _SLACK, LARGEST))
        return answer


def _read(answer: requests.Response, budget: bounded.Budget) -> None:
    """By `read1`, which waits for one byte: `iter_content` waits for a whole piece, and that may drip."""
    try:
        body = _joined(iter(lambda: answer.raw.read1(65536, decode_content=True), b""), budget)
    except BaseException:
        answer.close()
        raise
    answer._content, answer._content_consumed = body, True  # what `content` answers


def whole(pieces: Iterable[bytes], seconds: float) -> bytes:
    """All that a command says, which is the word of whoever made its image."""
    return _joined(pieces, bounded.Budget(seconds, LARGEST))


def _joined(pieces: Iterable[bytes], budget: bounded.Budget) -> bytes:
    kept = []
    for piece in pieces:
        budget.wait()
        budget.took(len(piece))
        kept.append(piece)
    return b"".join(kept)
