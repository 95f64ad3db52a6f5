"""One reader for all viewers of a log, whatever the viewers do, tried on a log that the test writes itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from clawportal.contracts.adapters import LogRecord
from clawportal.contracts.runtimes import LogLine
from clawportal.engine.log_hub import BATCH_LINES, MAX_TEXT, RING_LINES, Line, LogHub, Subscription, Upstream, dress
from clawportal.redact import MASK, Masker
from tests.conftest import wait_for

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


class PaperLog:
    """A runtime's log as a list that tests append to."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.opened = 0
        self.reading = 0
        self.broken: Exception | None = None
        self.ends = False
        """Whether a reader is sent away at the end, as by a server that closes idle connections."""
        self.secrets: dict[str, str] = {}

    def write(self, *texts: str, at: datetime | None = None) -> None:
        for text in texts:
            number = len(self.lines)
            self.lines.append(LogLine(at or LONG_AGO + timedelta(milliseconds=number), "stdout", "paper", text))

    def open(self) -> Upstream:
        return Upstream(self.follow, lambda text: LogRecord("error" if "bad" in text else "info", text), dict(self.secrets))

    def follow(
        self, *, tail: int | None, since: datetime | None, follow: bool, stop: Callable[[], bool]
    ) -> Iterator[LogLine | None]:
        self.opened += 1
        self.reading += 1
        try:
            begin = 0 if tail is None else max(0, len(self.lines) - tail)
            yield from self._from(begin, since, stop)
        finally:
            self.reading -= 1

    def _from(self, place: int, since: datetime | None, stop: Callable[[], bool]) -> Iterator[LogLine | None]:
        while not stop():
            if self.broken:
                raise self.broken
            if place < len(self.lines):
                line = self.lines[place]
                place += 1
                if since is None or line.at >= since:
                    yield line
            elif self.ends:
                self.ends = False
                return
            else:
                yield None
                time.sleep(0.01)


@pytest.fixture
def paper() -> PaperLog:
    return PaperLog()


@pytest.fixture
def hub() -> Iterator[LogHub]:
    made = LogHub()
    yield made
    made.close()


def taken(subscription: Subscription, count: int, seconds: float = 5.0) -> list[str]:
    """Texts until there are `count`, or as many as come in a moment longer."""
    texts: list[str] = []

    def enough() -> bool:
        texts.extend(line.text for line in subscription.take().lines)
        return len(texts) >= count

    wait_for(enough, seconds, f"{count} lines, got {texts}")
    time.sleep(0.05)
    texts.extend(line.text for line in subscription.take().lines)
    return texts


def test_many_viewers_share_one_reader(hub: LogHub, paper: PaperLog) -> None:
    paper.write("a", "b")
    viewers = [hub.subscribe("i", paper.open) for _ in range(20)]
    assert all(taken(viewer, 2) == ["a", "b"] for viewer in viewers)
    paper.write("c")
    assert all(taken(viewer, 1) == ["c"] for viewer in viewers)
    assert (paper.opened, paper.reading, hub.readers) == (1, 1, 1)


def test_the_reader_ends_with_the_last_viewer_and_begins_anew(hub: LogHub, paper: PaperLog) -> None:
    one, two = hub.subscribe("i", paper.open), hub.subscribe("i", paper.open)
    paper.write("a")
    taken(one, 1)
    one.close()
    one.close()  # twice does not count twice
    paper.write("b")
    assert "b" in taken(two, 2)
    two.close()
    assert hub.readers == 0
    wait_for(lambda: paper.reading == 0, what="the reader ends")
    assert taken(hub.subscribe("i", paper.open), 2) == ["a", "b"]
    assert paper.opened == 2


def test_tail_then_follow_has_no_gap_and_no_line_twice(hub: LogHub, paper: PaperLog) -> None:
    paper.write(*(f"old {number}" for number in range(50)))
    over = threading.Event()

    def keep_writing() -> None:
        for number in range(400):
            paper.write(f"new {number}")
            time.sleep(0.001)
        over.set()

    writer = threading.Thread(target=keep_writing)
    writer.start()
    viewer = hub.subscribe("i", paper.open)
    late = hub.subscribe("i", paper.open)
    expected = [f"old {number}" for number in range(50)] + [f"new {number}" for number in range(400)]
    assert taken(viewer, 450) == expected
    assert taken(late, 450) == expected
    assert over.wait(5)
    writer.join()


def test_a_viewer_gets_the_tail_it_asks_for(hub: LogHub, paper: PaperLog) -> None:
    paper.write(*map(str, range(100)))
    assert taken(hub.subscribe("i", paper.open, tail=3), 3) == ["97", "98", "99"]
    assert taken(hub.subscribe("i", paper.open, tail=5), 5) == ["95", "96", "97", "98", "99"]
    none = hub.subscribe("i", paper.open, tail=0)
    wait_for(lambda: none.take() is not None and none.position is not None, what="it knows its place")
    paper.write("new")
    assert taken(none, 1) == ["new"]


def test_since_goes_on_where_a_viewer_was(hub: LogHub, paper: PaperLog) -> None:
    paper.write(*map(str, range(100)))
    since = paper.lines[90].at
    assert taken(hub.subscribe("i", paper.open, since=since), 10) == [str(number) for number in range(90, 100)]
    capped = hub.subscribe("i", paper.open, tail=4, since=since)
    wait_for(lambda: capped.behind)
    batch = wait_for(capped.take)
    assert ([line.text for line in batch.lines], batch.dropped) == (["96", "97", "98", "99"], 6)


def test_a_slow_viewer_loses_lines_and_is_told_how_many(hub: LogHub, paper: PaperLog) -> None:
    slow, quick = hub.subscribe("i", paper.open), hub.subscribe("i", paper.open)
    paper.write("first")
    assert taken(slow, 1) == taken(quick, 1) == ["first"]
    extra = 300
    for begin in range(0, RING_LINES + extra, 100):  # the quick one keeps up
        paper.write(*map(str, range(begin, begin + 100)))
        taken(quick, 100)
    batch = slow.take()
    assert batch.dropped == extra
    assert [line.text for line in batch.lines] == [str(number) for number in range(extra, extra + BATCH_LINES)]
    assert slow.take().dropped == 0


def test_a_flood_is_bounded(hub: LogHub, paper: PaperLog) -> None:
    """However much is written, a channel holds its ring and a viewer gets batches of a limited size."""
    viewer = hub.subscribe("i", paper.open)
    paper.write("first")
    taken(viewer, 1)
    paper.write(*map(str, range(50_000)))
    channel = viewer.channel
    wait_for(lambda: channel.end == 50_001, 20, "the reader keeps up")
    batch = viewer.take()
    assert batch.dropped == 50_000 - RING_LINES
    assert len(batch.lines) == BATCH_LINES
    assert batch.lines[0].text == str(batch.dropped)


def test_huge_lines_are_cut_and_the_ring_is_bounded_in_bytes(hub: LogHub, paper: PaperLog) -> None:
    paper.write(*("x" * 300_000 for _ in range(40)))
    viewer = hub.subscribe("i", paper.open)
    wait_for(lambda: viewer.channel.end == 40)
    batch = wait_for(viewer.take)
    assert batch.cut and 2 < len(batch.lines) < 20
    assert all(len(line.text) < MAX_TEXT + 100 and "283,616 more characters" in line.text for line in batch.lines[1:])


def test_an_interrupted_reader_goes_on_without_gap_or_repetition(hub: LogHub, paper: PaperLog) -> None:
    same = LONG_AGO + timedelta(hours=1)
    paper.write("a", "b", at=same)
    viewer = hub.subscribe("i", paper.open)
    assert taken(viewer, 2) == ["a", "b"]
    paper.ends = True
    wait_for(lambda: paper.reading == 0, what="the reader was sent away")
    paper.write("c", at=same)
    paper.write("d", at=same + timedelta(seconds=1))
    assert taken(viewer, 2) == ["c", "d"]
    assert paper.opened == 2


def test_errors_are_told_once_and_tried_again(hub: LogHub, paper: PaperLog) -> None:
    paper.write("a")
    viewer = hub.subscribe("i", paper.open)
    assert taken(viewer, 1) == ["a"]
    paper.broken = OSError("the disk is on fire")
    said = taken(viewer, 1)
    assert said == ["The log cannot be read right now: the disk is on fire. The portal keeps trying."]
    paper.broken = None
    paper.write("b")
    assert taken(viewer, 1, 10) == ["b"]


def test_secrets_are_masked_also_after_they_change(hub: LogHub, paper: PaperLog) -> None:
    paper.secrets = {"key": "sk-very-secret", "short": "abc"}
    viewer = hub.subscribe("i", paper.open)
    paper.write("key sk-very-secret abc")
    assert taken(viewer, 1) == [f"key {MASK} abc"]
    paper.secrets = {"key": "sk-another-one"}
    hub.changed("i")
    wait_for(lambda: not viewer.channel.stale, what="the reader has looked again")
    paper.write("old sk-very-secret new sk-another-one")
    assert taken(viewer, 1) == [f"old {MASK} new {MASK}"]


def test_masking_takes_the_longest_value_and_each_line_of_one() -> None:
    mask = Masker(["password", "password-and-more", "-----BEGIN-----\nMIIEvQIBADANBg\n-----END-----"])
    assert mask("password-and-more password MIIEvQIBADANBg") == " ".join([MASK] * 3)
    assert Masker()("nothing") == "nothing"


def test_levels_come_from_the_adapter_and_a_failing_one_costs_only_the_level() -> None:
    def fails(text: str) -> LogRecord:
        raise ValueError(text)

    line = LogLine(LONG_AGO, "stdout", "paper", "something")
    assert dress(line, fails, str) == Line(LONG_AGO, "stdout", "paper", "", "something")
    assert dress(line, lambda text: LogRecord("error", text), str).level == "error"


def test_times_have_one_length() -> None:
    whole = Line(datetime(2026, 1, 1, tzinfo=UTC), "stdout", "s", "", "")
    assert whole.time == "2026-01-01T00:00:00.000000Z"
    assert whole.row() == ["2026-01-01T00:00:00.000000Z", "stdout", "s", "", ""]


def test_lines_cut_off_before_the_ring_are_said(hub: LogHub, paper: PaperLog) -> None:
    paper.write(*map(str, range(RING_LINES + 500)))
    viewer = hub.subscribe("i", paper.open, since=paper.lines[0].at)
    batch = wait_for(viewer.take)
    assert batch.cut
    assert "Older lines are left out" in batch.lines[0].text
    assert batch.lines[1].text == "500"


def test_the_end_of_the_portal_ends_readers_and_wakes_viewers(paper: PaperLog) -> None:
    stopping = threading.Event()
    hub = LogHub()
    hub.stopping = stopping.is_set
    viewer = hub.subscribe("i", paper.open, tail=RING_LINES)
    paper.write("a")
    taken(viewer, 1)
    woken = threading.Event()

    def wait() -> None:
        viewer.wait(30)
        woken.set()

    threading.Thread(target=wait, daemon=True).start()
    stopping.set()
    assert woken.wait(5)
    hub.close()
    assert paper.reading == 0


def test_waiting_ends_with_a_line(hub: LogHub, paper: PaperLog) -> None:
    viewer = hub.subscribe("i", paper.open)
    paper.write("a")
    taken(viewer, 1)
    assert viewer.wait(0.05) is False
    threading.Timer(0.1, paper.write, ["b"]).start()
    begin = time.monotonic()
    assert viewer.wait(10) is True
    assert time.monotonic() - begin < 5
