"""What every event bus does: a suite for those that plugins bring."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from clawportal.contracts.bus import EventBus, News

_PATIENCE = 30.0


def _until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {_PATIENCE:g} s: {what}"
        time.sleep(0.005)


class Heard:
    """A subscriber that keeps all it hears."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def __call__(self, news: News) -> None:
        self.numbers.append(news["number"])


class Slow(Heard):
    """One that hangs in its first news until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs, self.let_go = threading.Event(), threading.Event()

    def __call__(self, news: News) -> None:
        super().__call__(news)
        self.hangs.set()
        assert self.let_go.wait(_PATIENCE)


class EventBusConformance:
    """A class with a fixture `connect`: each call is the bus of another replica, or the only one (`replicas = False`)."""

    replicas = True
    many = 5_000
    """More news than may wait for one subscriber."""

    @pytest.fixture
    def connect(self) -> Callable[[], EventBus]:
        raise NotImplementedError

    @pytest.fixture
    def make_bus(self, connect: Callable[[], EventBus]) -> Iterator[Callable[[], EventBus]]:
        made: list[EventBus] = []

        def make() -> EventBus:
            made.append(connect())
            return made[-1]

        yield make
        for bus in made:
            bus.close()

    @pytest.fixture
    def bus(self, make_bus: Callable[[], EventBus]) -> EventBus:
        return make_bus()

    def test_all_news_arrive_once_in_their_order(self, bus: EventBus) -> None:
        first, second, other = Heard(), Heard(), Heard()
        bus.subscribe("a", first)
        bus.subscribe("a", second)
        bus.subscribe("b", other)
        for number in range(200):
            bus.publish("a", {"number": number, "words": ["ü", None, 1.5], "deep": {"x": True}})
        bus.publish("b", {"number": 7})
        _until(lambda: len(first.numbers) >= 200 and len(second.numbers) >= 200 and other.numbers, "everything arrived")
        assert first.numbers == second.numbers == list(range(200)) and other.numbers == [7]

    def test_each_publisher_has_its_order(self, bus: EventBus) -> None:
        heard = Heard()
        bus.subscribe("a", heard)

        def publish(begin: int) -> None:
            for number in range(begin, begin + 100):
                bus.publish("a", {"number": number})

        threads = [threading.Thread(target=publish, args=(begin,)) for begin in (0, 1_000, 2_000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_PATIENCE)
        _until(lambda: len(heard.numbers) >= 300, "everything arrived")
        for begin in (0, 1_000, 2_000):
            assert [number for number in heard.numbers if begin <= number < begin + 100] == list(range(begin, begin + 100))

    def test_who_fails_harms_nobody(self, bus: EventBus) -> None:
        calls: list[News] = []

        def fail(news: News) -> None:
            calls.append(news)
            raise RuntimeError("a subscriber that fails")

        heard = Heard()
        bus.subscribe("a", fail)
        bus.subscribe("a", heard)
        for number in range(3):
            bus.publish("a", {"number": number})
        _until(lambda: len(heard.numbers) >= 3 and len(calls) >= 3, "it goes on for both")
        assert heard.numbers == [0, 1, 2]

    def test_what_waits_is_bounded_and_the_last_arrives(self, bus: EventBus) -> None:
        slow, heard = Slow(), Heard()
        bus.subscribe("a", slow)
        bus.subscribe("b", heard)
        hanging = threading.Thread(target=bus.publish, args=("a", {"number": -1}))
        hanging.start()
        assert slow.hangs.wait(_PATIENCE)
        for number in range(self.many):  # none of these waits for the one that hangs
            bus.publish("a", {"number": number})
        bus.publish("b", {"number": 1})
        _until(lambda: heard.numbers == [1], "others hear on")
        slow.let_go.set()
        hanging.join(_PATIENCE)
        _until(lambda: slow.numbers[-1] == self.many - 1, "the last one arrived")
        assert slow.numbers == sorted(slow.numbers) and 1 < len(slow.numbers) < self.many

    def test_no_wake_up_is_lost(self, bus: EventBus) -> None:
        """Whoever takes a note and wakes somebody is always woken after the last note, from however many threads they come."""
        seen, noted = [0], [0]
        lock = threading.Lock()

        def look(_news: News) -> None:
            seen[0] = noted[0]

        bus.subscribe("a", look)

        def work() -> None:
            for _ in range(300):
                with lock:
                    noted[0] += 1
                bus.publish("a", {})

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_PATIENCE)
        _until(lambda: seen[0] == 1_200, "the last note was seen")

    def test_a_handler_may_publish_and_subscribe(self, bus: EventBus) -> None:
        heard = Heard()

        def again(news: News) -> None:
            heard(news)
            if news["number"] < 3:
                bus.publish("a", {"number": news["number"] + 1})
                bus.subscribe("b", heard)

        bus.subscribe("a", again)
        bus.publish("a", {"number": 1})
        _until(lambda: heard.numbers == [1, 2, 3], "its own news came, too")

    def test_who_left_hears_nothing(self, bus: EventBus) -> None:
        gone, heard = Heard(), Heard()
        leave = bus.subscribe("a", gone)
        bus.subscribe("a", heard)
        leave()
        leave()
        bus.publish("a", {"number": 1})
        _until(lambda: heard.numbers == [1], "the other one hears")
        assert gone.numbers == []
        bus.close()
        bus.close()
        bus.publish("a", {"number": 2})
        assert heard.numbers == [1]

    def test_other_replicas_hear_the_same(self, make_bus: Callable[[], EventBus]) -> None:
        if not self.replicas:
            pytest.skip("declares that it reaches one process")
        here, there, own, far = make_bus(), make_bus(), Heard(), Heard()
        here.subscribe("a", own)
        there.subscribe("a", far)
        for number in range(100):
            here.publish("a", {"number": number})
        _until(lambda: len(own.numbers) >= 100 and len(far.numbers) >= 100, "both heard")
        assert own.numbers == far.numbers == list(range(100))
