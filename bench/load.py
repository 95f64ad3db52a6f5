"""Asks one path over and over on a few keep-alive connections, each in a process, and tells percentiles and requests/s."""

from __future__ import annotations

import http.client
import multiprocessing
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """Milliseconds and requests per second."""

    p50: float
    p95: float
    per_second: float
    bytes: int


def ask(port: int, path: str, headers: Mapping[str, str], *, clients: int = 4, seconds: float = 4.0) -> Result:
    """`clients` connections for `seconds`; a bad status ends the measurement."""
    with multiprocessing.Pool(clients) as pool:
        jobs = [pool.apply_async(_client, (port, path, dict(headers), seconds)) for _ in range(clients)]
        parts = [job.get(seconds + 60) for job in jobs]
    times = sorted(moment for part, _ in parts for moment in part)
    return Result(
        p50=1000 * statistics.median(times),
        p95=1000 * times[int(len(times) * 0.95)],
        per_second=len(times) / seconds,
        bytes=parts[0][1],
    )


def _client(port: int, path: str, headers: dict[str, str], seconds: float) -> tuple[list[float], int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    times: list[float] = []
    size = 0
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        size = len(body)
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}: {body[:200]!r}")
        times.append(time.perf_counter() - begin)
    return times, size
