"""Holds every request of an httpx client to a budget; its own timeouts are for each read, and its answers may be unpacked."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

from clawportal.bounded import Budget, TooMuch, TooSlow

Reach = Callable[[str], bool]
"""Whether an address (not a name) may be asked."""


class OutOfReach(OSError):
    """A name stands for no address that may be asked."""


_current: ContextVar[Budget | None] = ContextVar("clawportal_budget", default=None)


@contextmanager
def within(budget: Budget) -> Iterator[None]:
    """All that bound clients do in here, and in this thread, spends from `budget`."""
    token = _current.set(budget)
    try:
        yield
    finally:
        _current.reset(token)


def bind(client: httpx.Client, reach: Reach | None = None) -> httpx.Client:
    """`reach`: which addresses may be asked; others raise OutOfReach. A proxy of the environment is the operator's, and may be
    anywhere."""
    client.headers["Accept-Encoding"] = "identity"
    hooks = client.event_hooks
    asking = [_named_within(reach)] if reach else []
    client.event_hooks = {"request": [*asking, *hooks["request"]], "response": [_plain_only, *hooks["response"]]}
    # httpx has no public way to its connections; a test with a dripping server holds this true, also through a proxy
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            transport._pool._network_backend = _Backend(reach if transport is client._transport else None)
    return client


def _named_within(reach: Reach) -> Callable[[httpx.Request], None]:
    """Before a proxy is asked, which would reach the address for us. A name that is known to the proxy alone is its to judge."""

    def look(request: httpx.Request) -> None:
        with contextlib.suppress(socket.gaierror, UnicodeError):
            _reached(request.url.host, request.url.port or 0, reach)

    return look


def _reached(host: str, port: int, reach: Reach) -> list[str]:
    """The addresses that a name stands for just now and that may be asked."""
    found = dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    if near := [address for address in found if reach(address)]:
        return near
    raise OutOfReach(f"{host} is {', '.join(found)}")


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
    def __init__(self, reach: Reach | None = None) -> None:
        self._reach = reach

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, *given: Any, **more: Any) -> _Stream:
        last: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in self._addresses(host, port):
            try:
                return _Stream(super().connect_tcp(address, port, _tighter(timeout), *given, **more))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        raise last

    def _addresses(self, host: str, port: int) -> list[str]:
        """What is connected to is what was looked at: a name may stand for another address a moment later."""
        if self._reach is None:
            return [host]
        try:
            return _reached(host, port, self._reach)
        except (socket.gaierror, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error


def _tighter(timeout: float | None) -> float | None:
    budget = _current.get()
    if budget is None:
        return timeout
    try:
        left = budget.wait()
    except TooSlow as error:
        raise httpcore.ReadTimeout(str(error)) from error
    return left if timeout is None else min(timeout, left)
