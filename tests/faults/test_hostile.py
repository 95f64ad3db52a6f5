"""Claws and providers with bad manners: whatever is read from outside has an end, in time and in size."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest

from clawportal import bounded
from clawportal.bounded import Budget, SizedQueue, TooMuch, TooSlow
from clawportal.contracts.adapters import Adapter, ChatEvent, HealthState
from clawportal.engine import bounded_http
from clawportal.engine.bounded_http import OutOfReach
from clawportal.testing.fakes import LoopbackIO, make_context
from clawportal.testing.hostile import HostileServer
from clawportal_echo import EchoAdapter
from clawportal_nanobot.adapter import NanobotAdapter
from clawportal_nanobot.websocket import TextSocket
from clawportal_openclaw.adapter import OpenClawAdapter

HTTP = ("drip", "drip_headers", "endless_headers", "endless_continue", "giant_line", "giant_chunk", "deep_json", "silent")
SLOW = ("drip", "drip_headers", "giant_chunk", "silent")
ADAPTERS = (EchoAdapter(), NanobotAdapter(), OpenClawAdapter())


def io_to(server: HostileServer, adapter: Adapter) -> LoopbackIO:
    return LoopbackIO({port.name: server.port for port in adapter.ports("")}, {})


@pytest.mark.parametrize(
    ("adapter", "manners"),
    [(adapter, manners) for adapter in ADAPTERS for manners in HTTP if adapter is ADAPTERS[0] or manners not in SLOW],
    ids=lambda value: getattr(value, "kind", value),
)
def test_a_health_check_has_an_end(adapter: Adapter, manners: str) -> None:
    with HostileServer(manners) as server:
        health = adapter.health(io_to(server, adapter), make_context(adapter))
        assert health.state is not HealthState.HEALTHY
        assert server.sent < 8 * bounded.MIB, "what nobody reads stays in the buffers of two sockets at the most"


@pytest.mark.parametrize("manners", ["giant_line", "giant_chunk", "endless_headers", "many_lines"])
@pytest.mark.parametrize("adapter", [EchoAdapter(), OpenClawAdapter()], ids=lambda adapter: adapter.kind)
def test_an_answer_without_end_ends(adapter: Adapter, manners: str) -> None:
    with HostileServer(manners, most=2 * bounded.STREAM) as server:
        events = list(adapter.chat(io_to(server, adapter), make_context(adapter), "one", "hello"))
        assert events[-1].kind == "error"
        assert max(len(event.text) for event in events) < bounded.LINE
        assert server.sent < bounded.STREAM + 8 * bounded.MIB


@pytest.mark.parametrize("manners", ["giant_frame", "endless_message", "endless_headers", "babble"])
def test_a_websocket_without_end_ends(manners: str) -> None:
    adapter = NanobotAdapter()
    with HostileServer(manners, most=2 * bounded.STREAM) as server:
        events = list(adapter.chat(io_to(server, adapter), make_context(adapter), "one", "hello"))
        assert [event.kind for event in events] == ["error"]
        assert server.sent < (bounded.STREAM if manners == "babble" else 0) + 8 * bounded.MIB


def test_a_budget_ends_what_drips_and_says_so() -> None:
    with HostileServer("drip") as server:
        connection = bounded.HTTPConnection("127.0.0.1", server.port, Budget(0.4, 1000))
        connection.request("GET", "/")
        answer = connection.getresponse()
        with pytest.raises(TimeoutError):
            answer.read()
        connection.close()


def test_a_websocket_that_drips_ends_with_its_budget() -> None:
    with HostileServer("drip_headers") as server, pytest.raises(TimeoutError):
        TextSocket("127.0.0.1", server.port, "/", budget=Budget(0.4, 1000))


def test_a_budget_counts_what_was_read_before() -> None:
    budget = Budget(60, 100)
    budget.took(60)
    with pytest.raises(TooMuch, match="larger than 100 bytes"):
        budget.took(41)
    with pytest.raises(TooSlow):
        Budget(0.0, 1).wait()
    assert Budget(60, 1, silence=2).wait() == 2


def test_a_proxy_is_no_way_around_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileServer("drip_headers") as server:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        client = bounded_http.bind(httpx.Client(timeout=5))
        with client, bounded_http.within(Budget(0.4, 1000)), pytest.raises(httpx.TransportError):
            client.get("http://provider.example/")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "127.1"])
def test_a_client_may_be_held_to_addresses(name: str) -> None:
    asked: list[str] = []
    with HostileServer("silent") as server:
        client = bounded_http.bind(httpx.Client(timeout=5, trust_env=False), lambda address: bool(asked.append(address)))
        with client, bounded_http.within(Budget(5, 1000)), pytest.raises(OutOfReach, match="127"):
            client.get(server.url.replace("127.0.0.1", name))
        assert server.asked == 0 and "127.0.0.1" in asked


# ---- what is kept


def test_a_queue_is_full_by_size() -> None:
    waiting = SizedQueue[str](100, 10, len)
    waiting.put("x" * 50, timeout=0.1)  # larger than all: alone it passes
    import queue

    with pytest.raises(queue.Full):
        waiting.put("y", timeout=0.05)
    assert waiting.get(timeout=0) == "x" * 50
    waiting.put("y" * 6, timeout=0.1)
    free = threading.Thread(target=lambda: waiting.put("z" * 6, timeout=10))
    free.start()
    assert waiting.get(timeout=1) == "y" * 6
    assert waiting.get(timeout=10) == "z" * 6
    free.join(10)
    assert waiting.empty()


def test_the_last_items_by_number_and_size() -> None:
    assert list(bounded.last(["a", "b", "c"], 2, 100, len)) == ["b", "c"]
    assert list(bounded.last(["aaaa", "bb", "ccc"], None, 5, len)) == ["bb", "ccc"]
    assert list(bounded.last(["a", "bbbbbbbbb"], 5, 5, len)) == ["bbbbbbbbb"]


def test_sizes_in_words() -> None:
    assert [bounded.size_in_words(size) for size in (999, 65536, 4 * 1024**2, 1536)] == ["999 bytes", "64 KB", "4 MB", "1.5 KB"]


def test_an_endless_answer_of_any_adapter_is_cut() -> None:
    from clawportal.redact import Masker
    from clawportal.services.live import chat

    def ask() -> Iterator[ChatEvent]:
        while True:
            yield ChatEvent("delta", "x" * 100_000)

    events = list(chat._answered(chat._Turn("one", ask, Masker()), threading.Event()))
    assert events[-1].kind == "error" and "4 MB" in events[-1].text
    assert sum(len(event.text) for event in events) <= bounded.ANSWER + 1000


# ---- engines and clusters


@pytest.mark.parametrize("manners", ["drip", "giant_chunk", "giant_line"])
def test_an_engine_has_an_end(manners: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from clawportal_docker import client
    from clawportal_docker.errors import BROKEN

    monkeypatch.setattr(client, "_SLACK", -0.5)
    monkeypatch.setattr(client, "LARGEST", bounded.MIB)
    with HostileServer(manners) as server:
        engine = client.Client(server.url.replace("http", "tcp"), version="1.41", timeout=1)
        with pytest.raises(BROKEN):
            engine.containers()
        assert server.sent < 8 * bounded.MIB
        engine.close()


@pytest.mark.parametrize("manners", ["drip", "giant_chunk", "giant_line", "deep_json"])
def test_a_cluster_has_an_end(manners: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib3

    from clawportal_kubernetes import client

    monkeypatch.setattr(client, "LARGEST", bounded.MIB)
    with HostileServer(manners) as server, urllib3.PoolManager() as pool:
        answer = pool.request("GET", server.url, preload_content=False)
        with pytest.raises((OSError, ValueError, urllib3.exceptions.HTTPError)):
            client._whole(client._body(answer, 0.1, most=bounded.MIB))
        assert server.sent < 8 * bounded.MIB
