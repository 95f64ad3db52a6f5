"""Providers with bad manners: whatever is asked of them has an end, in time and in size."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clawportal import bounded
from clawportal.errors import Unavailable
from clawportal.testing.hostile import HostileServer
from clawportal_sso import calls
from clawportal_sso.calls import ProviderCalls
from clawportal_sso.documents import Discovery, Setup
from tests.faults.test_hostile import HTTP


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderCalls]:
    monkeypatch.setattr(calls, "SECONDS", 0.5)
    found = ProviderCalls()
    yield found
    found.close()


@pytest.mark.parametrize("manners", [*HTTP, "gzip_bomb"])
def test_a_provider_has_so_much_time_and_no_more(provider: ProviderCalls, manners: str) -> None:
    with HostileServer(manners) as server:
        with pytest.raises(Unavailable) as refused:
            provider.discovery(server.url)
        assert server.url in refused.value.detail
        assert server.sent < 8 * bounded.MIB


def test_trading_the_code_is_bounded_too(provider: ProviderCalls) -> None:
    with HostileServer("drip_headers") as server:
        found = Discovery(server.url, server.url, server.url, server.url)
        with pytest.raises(Unavailable):
            provider.exchange(Setup(server.url, "portal"), found, "http://localhost/back", "code", "v" * 43)
