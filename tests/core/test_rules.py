"""The small parts by themselves: rules of the life cycle, the queue of hints, samples, identifiers, settings."""

from __future__ import annotations

import itertools
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawportal import ids, lifecycle
from clawportal.contracts.runtimes import Ref, Sample
from clawportal.engine.dispatcher import Dispatcher
from clawportal.engine.live_samples import LiveSamples
from clawportal.lifecycle import DEADLINES, NEXT_ACTION, TRANSITIONAL, Phase


def test_every_phase_has_a_next_action_and_those_that_must_end_a_deadline() -> None:
    assert set(NEXT_ACTION) == set(Phase) and set(DEADLINES) == TRANSITIONAL
    for phase in Phase:
        limit = lifecycle.deadline_for(phase, startup_seconds=7, stop_grace=3)
        assert (limit is not None) == (phase in TRANSITIONAL)
        assert bool(NEXT_ACTION[phase]) == (phase not in (Phase.RUNNING, Phase.DESTROYED))
    assert lifecycle.deadline_for(Phase.STARTING, startup_seconds=7, stop_grace=3) == timedelta(seconds=7)
    assert lifecycle.deadline_for(Phase.STOPPING, startup_seconds=7, stop_grace=3) == timedelta(seconds=18)


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_back_off_grows_and_ends(attempt: int, jitter: float) -> None:
    wait = lifecycle.backoff(attempt, jitter).total_seconds()
    assert 1 <= wait <= lifecycle.LONGEST_BACKOFF
    assert lifecycle.backoff(attempt + 1) >= lifecycle.backoff(attempt)


def test_back_off_in_figures() -> None:
    assert [lifecycle.backoff(number).total_seconds() for number in (1, 2, 3, 4, 9, 10, 99)] == [1, 2, 4, 8, 256, 300, 300]


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [("always", 0, True), ("always", 1, True), ("always", None, True), ("on-failure", 0, False), ("on-failure", 1, True),
     ("on-failure", None, True), ("never", 0, False), ("never", 1, False), ("never", None, False)],
)  # fmt: skip
def test_restart_policy(policy: str, code: int | None, again: bool) -> None:
    assert lifecycle.wants_restart(policy, code) is again


# ---- hints


def test_hints_come_in_the_order_of_their_time() -> None:
    queue = Dispatcher()
    queue.hint("late", 0.15)
    queue.hint("soon", 0.05)
    queue.hint("now")
    assert [queue.take(1) for _ in range(3)] == ["now", "soon", "late"]
    assert queue.take(0.01) is None


def test_an_id_is_queued_once_at_its_earliest_time() -> None:
    queue = Dispatcher()
    for delay in (5.0, 0.0, 3.0, 0.0):
        queue.hint("one", delay)
    assert len(queue) == 1 and queue.take(0.5) == "one"
    assert queue.take(0.05) is None, "the later hint is not left over"
    queue.hint("one", 0.05)
    assert queue.take(1) == "one", "and it can be hinted again"


def test_a_waiting_worker_hears_an_earlier_hint() -> None:
    queue = Dispatcher()
    queue.hint("late", 30)
    got: list[str | None] = []
    worker = threading.Thread(target=lambda: got.append(queue.take(10)))
    worker.start()
    time.sleep(0.05)
    began = time.monotonic()
    queue.hint("now")
    worker.join(5)
    assert got == ["now"] and time.monotonic() - began < 2


def test_many_workers_take_each_hint_once() -> None:
    queue = Dispatcher()
    taken: list[str] = []
    lock = threading.Lock()

    def work() -> None:
        while (found := queue.take(0.3)) is not None:
            with lock:
                taken.append(found)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for number in range(500):
        queue.hint(f"i{number}", (number % 7) / 100)
    for worker in workers:
        worker.join(10)
    assert sorted(taken) == sorted(f"i{number}" for number in range(500)) and len(queue) == 0


def test_a_closed_queue_lets_everybody_go() -> None:
    queue = Dispatcher()
    got: list[object] = []
    workers = [threading.Thread(target=lambda: got.append(queue.take(30))) for _ in range(4)]
    for worker in workers:
        worker.start()
    time.sleep(0.05)
    queue.close()
    for worker in workers:
        worker.join(2)
    assert got == [None] * 4
    queue.hint("after")
    assert len(queue) == 0 and queue.take(1) is None


# ---- samples


def sample(name: str, cpu: float, second: float, memory: int = 100) -> Sample:
    return Sample(Ref(name), cpu, memory, 2, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second))


def test_cpu_is_the_difference_of_two_samples() -> None:
    live = LiveSamples()
    live.update([sample("a", 10, 0)])
    first = live.get("a")
    assert first and first.cpu_percent is None and first.memory_bytes == 100 and first.processes == 2
    live.update([sample("a", 15, 10), sample("b", 1, 10)])
    second = live.get("a")
    assert second and second.cpu_percent == 50.0
    live.update([sample("a", 0.5, 20)])
    third = live.get("a")
    assert third and third.cpu_percent is None, "it was restarted in between"
    assert live.get("b") is None, "it no longer runs"
    live.update([sample("a", 0.6, 20)])
    fourth = live.get("a")
    assert fourth and fourth.cpu_percent is None, "two samples of one moment say nothing"


# ---- identifiers and settings


def test_ids_are_sorted_by_time_and_unlike_each_other() -> None:
    made = [ids.new_id() for _ in range(1000)]
    assert len(set(made)) == 1000 and all(len(one) == ids.LENGTH for one in made)
    assert all(one[:9] <= two[:9] for one, two in itertools.pairwise(made))
    assert not set("".join(made)) & set("ilou")


def test_settings_from_all_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clawportal.settings import Settings, installer_environment

    (tmp_path / "clawportal.toml").write_text('port = 9001\nhost = "0.0.0.0"\n')
    monkeypatch.setenv("CLAWPORTAL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CLAWPORTAL_PORT", "9002")
    monkeypatch.setenv("PIP_FIND_LINKS", "/shelf")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "no business of pip")
    settings = Settings(pip_index_url="http://index.example/simple")
    assert (settings.host, settings.port, settings.data_dir) == ("0.0.0.0", 9002, tmp_path)
    seen = installer_environment(settings)
    assert seen["PIP_INDEX_URL"] == "http://index.example/simple" and seen["PIP_FIND_LINKS"] == "/shelf"
    assert "AWS_SECRET_ACCESS_KEY" not in seen
    (tmp_path / "clawportal.toml").write_text("prot = 9001\n")
    with pytest.raises(ValueError, match="prot"):
        Settings()
