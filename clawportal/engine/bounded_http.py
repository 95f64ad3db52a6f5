"""Holds every request of an httpx client to a budget; its own timeouts are for each read, and its answers may be unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

from clawportal.bounded import Budget, TooMuch, TooSlow

_current: ContextVar[Budget | None] = ContextVar("clawportal_budget", default=None)


@contextmanager
def within(budget: Budget) -> Iterator[None]:
    """All that bound clients do in here, and in this thread, spends from `budget`."""
    token = _current.set(budget)
    try:
        yield
    finally:
        _current.reset(token)


def bind(client: httpx.Client) -> httpx.Client:
    client.headers["Accept-Encoding"] = "identity"
    hooks = client.event_hooks
    client.event_hooks = {**hooks, "response": [_plain_only, *hooks["response"]]}
    # httpx has no public way to its connections; a test with a dripping server holds this true, also through a proxy
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            transport._pool._network_backend = _Backend()
    return client


def _plain_only(response: httpx.Response) -> None:
    """A few bytes of gzip can become a gigabyte, and nothing packed was asked for."""
    if response.headers.get("content-encoding", "").lower() not in ("", "identity"):
        raise httpx.ReadError("the answer is compressed, which was not asked for", request=response.request)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._inner.read(max_bytes, _tighter(timeout))
        if budget := _current.get():
            try:
                budget.took(len(data))
            except TooMuch as error:
                raise httpcore.ReadError(str(error)) from error
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _tighter(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> _Stream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _tighter(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    def connect_tcp(self, host: str, port: int, timeout: float | None = None, *given: Any, **more: Any) -> _Stream:
        return _Stream(super().connect_tcp(host, port, _tighter(timeout), *given, **more))


def _tighter(timeout: float | None) -> float | None:
    budget = _current.get()
    if budget is None:
        return timeout
    try:
        left = budget.wait()
    except TooSlow as error:
        raise httpcore.ReadTimeout(str(error)) from error
    return left if timeout is None else min(timeout, left)
