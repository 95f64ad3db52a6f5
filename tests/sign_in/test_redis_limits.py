"""Requests counted in a real Redis: by several processes together, and never in the way when Redis is gone or hangs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import wait_for

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
REASON = "no Redis server here (Debian: apt-get install redis-server, or run .ci/redis as root)"
pytestmark = [pytest.mark.redis, pytest.mark.skipif(PROGRAM is None, reason=REASON)]


@dataclass
class Redis:
    """A Redis server of our own that keeps nothing."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    client: redis.Redis = field(init=False)

    def __post_init__(self) -> None:
        self.client = redis.Redis(port=self.port, socket_timeout=2)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [str(PROGRAM), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(self._answers, 30, "Redis answers")

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def hang(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    @property
    def counted(self) -> int:
        return len(list(self.client.scan_iter("*")))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one = Redis(tmp_path, port)
    one.start()
    try:
        yield one
    finally:
        one.stop()


Make = Callable[..., Flask]


def portal(make_app: Make, server: Redis, limit: str) -> FlaskClient:
    return make_app(rate_limit=limit, rate_limit_storage=server.url).test_client()


def left(client: FlaskClient) -> int:
    answer = client.get("/login")
    assert answer.status_code in (200, 429), answer.status_code
    return int(answer.headers["RateLimit-Remaining"])


def test_two_processes_count_together(make_app: Make, server: Redis, tmp_path: Path) -> None:
    here = portal(make_app, server, "5 per hour")
    assert [here.get("/login").status_code for _ in range(2)] == [200, 200]
    code = (
        "import sys; from pathlib import Path; from clawportal.app import create_app; from clawportal.settings import Settings\n"
        "app = create_app(Settings(data_dir=Path(sys.argv[1]), rate_limit='5 per hour', rate_limit_storage=sys.argv[2]))\n"
        "client = app.test_client()\n"
        "print(*(client.get('/login').status_code for _ in range(4)))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "data"), server.url], check=True, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert told.stdout.split() == ["200", "200", "200", "429"]
    refused = here.get("/login")
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) > 0
    assert server.counted > 0


def test_requests_are_served_while_redis_is_gone_and_counted_there_again_later(make_app: Make, server: Redis) -> None:
    client = portal(make_app, server, "1000 per hour")
    assert [left(client) for _ in range(3)] == [999, 998, 997]
    server.stop()
    assert [left(client) for _ in range(3)][-1] == 997, "this process counts by itself, from the beginning"
    server.start()
    assert server.counted == 0

    def there_again() -> bool:
        left(client)
        return server.counted > 0

    wait_for(there_again, 90, "requests are counted in Redis again")
    before = left(client)
    assert left(client) == before - 1


def test_a_redis_that_hangs_holds_up_a_request_for_a_moment_only(make_app: Make, server: Redis) -> None:
    """Stopped, not ended: connections stand and nothing answers."""
    client = portal(make_app, server, "1000 per hour")
    left(client)
    server.hang()
    began = time.monotonic()
    assert left(client) > 0
    assert time.monotonic() - began < 60, "no more than moments, however slow the machine"


def test_the_limit_holds_without_redis_too(make_app: Make, server: Redis) -> None:
    client = portal(make_app, server, "3 per hour")
    server.stop()
    assert [client.get("/login").status_code for _ in range(4)] == [200] * 3 + [429]
