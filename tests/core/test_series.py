"""Measurements over time: packing, condensing, what a crash costs, and what is read for which span."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from clawportal import clock
from clawportal.contracts.permissions import SYSTEM, Actor
from clawportal.db import db
from clawportal.engine import metric_history
from clawportal.engine.live_samples import Usage
from clawportal.engine.metric_history import FIVE, HOUR, RAW, Point, Recorder
from clawportal.errors import Invalid, NotFound
from clawportal.models import SampleChunk
from clawportal.services.live import metrics
from tests.core.world import World

_numbers = st.integers(0, 16_000_000).map(float)  # exact in 32 bits
_points = st.builds(
    Point, at=st.integers(1_000_000, 1_000_000 + 10_000), samples=st.integers(1, 60), restarts=st.integers(0, 65_535),
    cpu=_numbers | st.just(math.nan), cpu_max=_numbers, memory=_numbers, memory_max=_numbers, disk=_numbers | st.just(math.nan),
)  # fmt: skip


@given(st.lists(_points, max_size=40))
def test_points_survive_being_packed(points: list[Point]) -> None:
    found = metric_history.unpack(1_000_000, metric_history.pack(1_000_000, points))
    assert repr(found) == repr(points), "NaN is not equal to itself, its words are"


@given(st.lists(_points, min_size=1, max_size=60), st.sampled_from([60, 300, 3600]))
def test_condensing_keeps_the_highest_and_lies_between_lowest_and_highest(points: list[Point], step: int) -> None:
    told = metric_history.condense(points, step)
    assert max(point.memory_max for point in told) == max(point.memory_max for point in points)
    assert [point.at % step for point in told] == [0] * len(told)
    assert sum(point.samples for point in told) == sum(point.samples for point in points)
    lowest, highest = min(point.memory for point in points), max(point.memory for point in points)
    assert all(lowest - 1e-3 * highest <= point.memory <= highest * (1 + 1e-3) + 1e-3 for point in told)


def test_a_torn_row_costs_one_point() -> None:
    whole = metric_history.pack(600, [Point(600, 1, 0, 1, 1, 1, 1, 1), Point(615, 1, 0, 1, 1, 1, 1, 1)])
    assert [point.at for point in metric_history.unpack(600, whole[:-3])] == [600]


@pytest.fixture
def measured(still: World) -> Iterator[tuple[World, str]]:
    yield still, still.create("e1")


def sampled(world: World, instance_id: str, first: datetime, last: datetime, every: float = 15, *, cpu: float = 10.0) -> None:
    recorder = world.portal.recorder
    at, number = first, 0
    with world.context():
        while at < last:
            recorder.add({instance_id: Usage(at, cpu, 100_000_000 + number, 2, 5_000)})
            at, number = at + timedelta(seconds=every), number + 1
            if number % 200 == 0:
                recorder.flush()
        recorder.flush()


def test_what_was_sampled_is_read_back_and_survives_a_restart(measured: tuple[World, str]) -> None:
    world, one = measured
    now = clock.now()
    sampled(world, one, now - timedelta(minutes=30), now)
    with world.context():
        found = metrics.read(Recorder(), SYSTEM, one)
        assert found.resolution == "raw" and len(found.points) == 120
        assert found.points[0].cpu == 10.0 and found.points[-1].memory == pytest.approx(100_000_119)
        world.portal.recorder.add({one: Usage(clock.now(), 20.0, 1, 1)})
        assert metrics.read(world.portal.recorder, SYSTEM, one).points[-1].cpu == 20.0, "what is in memory is told, too"


def test_a_second_process_goes_on_in_the_same_row(measured: tuple[World, str]) -> None:
    world, one = measured
    start = datetime.fromtimestamp(RAW.start(int(clock.now().timestamp())) - 600, UTC)
    with world.context():
        for number in range(4):
            recorder = Recorder()  # nothing remembered of the one before
            recorder.add({one: Usage(start + timedelta(seconds=15 * number), 1.0, 1, 1)})
            assert recorder.flush() == 1
        assert db.session.scalar(select(func.count()).select_from(SampleChunk)) == 1
        found = metrics.read(Recorder(), SYSTEM, one, since=start, until=start + timedelta(minutes=5))
        assert len(found.points) == 4


def test_what_cannot_be_written_is_written_the_next_time(measured: tuple[World, str]) -> None:
    world, one = measured
    recorder = Recorder()
    recorder.add({one: Usage(clock.now(), 1.0, 1, 1)})
    with pytest.raises(RuntimeError):  # no session here, as if the database were away
        recorder.flush()
    assert len(recorder.pending(one)) == 1
    with world.context():
        assert recorder.flush() == 1 and recorder.flush() == 0


def test_points_are_condensed_once_whatever_process_does_it(measured: tuple[World, str]) -> None:
    world, one = measured
    now = clock.now()
    sampled(world, one, now - timedelta(hours=3), now, 30, cpu=40.0)
    with world.context():
        assert metric_history.condense_once(world.portal.recorder) > 30
        five = metrics.read(Recorder(), SYSTEM, one, since=now - timedelta(hours=3), until=now, resolution="5m")
        again = Recorder()
        assert metric_history.condense_once(again) <= 1, "another process begins where this one ended"
        same = metrics.read(Recorder(), SYSTEM, one, since=now - timedelta(hours=3), until=now, resolution="5m")
        assert same.points == five.points
        assert 35 <= len(five.points) <= 37 and all(point.cpu == pytest.approx(40.0) for point in five.points)
        hour = metrics.read(Recorder(), SYSTEM, one, since=now - timedelta(hours=3), until=now, resolution="1h")
        assert 3 <= len(hour.points) <= 4 and hour.points[1].samples == pytest.approx(120, abs=2)


def test_the_span_decides_the_resolution_and_many_points_are_thinned(measured: tuple[World, str]) -> None:
    world, one = measured
    now = clock.now()
    sampled(world, one, now - timedelta(hours=5), now, 15)
    with world.context():
        spans = {timedelta(hours=1): "raw", timedelta(days=2): "5m", timedelta(days=200): "1h"}
        assert {span: metrics.read(Recorder(), SYSTEM, one, since=now - span).resolution for span in spans} == spans
        thin = metrics.read(Recorder(), SYSTEM, one, since=now - timedelta(hours=5), points=100)
        assert len(thin.points) <= 101 and thin.step == 300


def test_old_measurements_are_forgotten(measured: tuple[World, str], travel: Callable[[timedelta], None]) -> None:
    world, one = measured
    now = clock.now()
    sampled(world, one, now - timedelta(hours=1), now)
    with world.context():
        metric_history.condense_once(world.portal.recorder)
    travel(timedelta(hours=26))
    with world.context():
        metric_history.forget_old()
        tiers = set(db.session.scalars(select(SampleChunk.tier)))
        assert RAW.number not in tiers and FIVE.number in tiers
    travel(timedelta(days=31))
    with world.context():
        metric_history.forget_old()
        assert set(db.session.scalars(select(SampleChunk.tier))) <= {HOUR.number}
    travel(timedelta(days=400))
    with world.context():
        metric_history.forget_old()
        assert not db.session.scalar(select(func.count()).select_from(SampleChunk))


def test_a_list_asks_once_for_all_its_sparks(measured: tuple[World, str]) -> None:
    world, one = measured
    two = world.create("e2")
    now = clock.now()
    sampled(world, one, now - timedelta(hours=1), now, 60)
    with world.context():
        metric_history.condense_once(world.portal.recorder)
    with world.statements() as told, world.context():
        found = metric_history.sparks([one, two])
    assert len([text for text in told if text.startswith("SELECT")]) == 1
    assert set(found) == {one} and len(found[one].cpu) == len(found[one].memory) == 24
    cpu, memory = ([value for value in values if value is not None] for values in (found[one].cpu, found[one].memory))
    assert 10 <= len(cpu) == len(memory) <= 13 and set(cpu) == {10.0} and memory == sorted(memory)
    assert found[one].cpu[:11] == (None,) * 11, "nothing was measured before"


def test_strangers_and_nonsense_are_refused(measured: tuple[World, str], tmp_path: Path) -> None:
    world, one = measured
    with world.context():
        with pytest.raises(NotFound):
            metrics.read(Recorder(), Actor("user:x", "x"), one)
        with pytest.raises(Invalid):
            metrics.read(Recorder(), SYSTEM, one, since=clock.now() + timedelta(hours=1))
