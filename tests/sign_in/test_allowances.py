"""What each may use so often in a time: counted for all replicas, and taken back by nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from flask import Flask

from clawportal.errors import TooManyRequests
from clawportal.services.identity import throttle
from tests.core.conftest import database_url, postgres, travel

__all__ = ["database_url", "postgres", "travel"]


@pytest.fixture
def portal_app(make_app: Callable[..., Flask], database_url: str) -> Flask:
    return make_app(**({"database_url": database_url} if database_url else {}))


def test_an_allowance_is_for_each_and_for_a_time(portal_app: Flask, travel: Callable[[timedelta], None]) -> None:
    with portal_app.app_context():
        for n in range(3):
            throttle.spend("odd", ("kim", f"there-{n}"), 3)
        with pytest.raises(TooManyRequests) as refused:
            throttle.spend("odd", ("kim", "elsewhere"), 3)
        assert "24 hours" in str(refused.value.detail) and int(refused.value.headers["Retry-After"]) > 86_000
        for _ in range(3):
            throttle.spend("odd", ("lee", "elsewhere"), 3)  # what was refused was not counted
        with pytest.raises(TooManyRequests):
            throttle.spend("odd", ("pat", "elsewhere"), 3)
        travel(timedelta(hours=25))
        throttle.spend("odd", ("kim", "elsewhere"), 3)


def test_an_allowance_is_not_overdrawn_by_many_at_once(portal_app: Flask) -> None:
    def once(_n: int) -> bool:
        with portal_app.app_context():
            try:
                throttle.spend("odd", ("kim",), 3)
            except TooManyRequests:
                return False
            return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(once, range(16))) == 3
