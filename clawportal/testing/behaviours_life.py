"""How an instance begins, changes, ends and is found again, whatever place it is in."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from clawportal.contracts.runtimes import Observed, Ref, RunState
from clawportal.contracts.workloads import File
from clawportal.errors import Conflict, GiveUp, Problem, Retry
from clawportal.runtime_helpers import ALIVE
from clawportal.testing.lab import POLITE, SLEEPER, STUBBORN, Lab, without_time

_GRANDCHILD = """
    import os, sys, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            import signal
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            null = os.open('/dev/null', os.O_RDWR)
            for handle in (0, 1, 2): os.dup2(null, handle)
            while True:
                with open(sys.argv[1] + '/beats', 'a') as file: file.write('.')
                time.sleep(0.05)
        os._exit(0)
    os.wait()
    print('ready', flush=True)
    time.sleep(3600)
"""
_BEATS = """
    def beats():
        return os.path.getsize(sys.argv[1] + '/beats')
    before = beats()
    time.sleep(1)
    found = {'before': before, 'more': beats() - before}
"""


class LifeBehaviours:
    # ---- starting

    def test_apply_starts_it(self, lab: Lab) -> None:
        """What is applied runs, and says so with digest and incarnation."""
        ref, workload = lab.ref(), lab.workload()
        answer = lab.apply(ref, workload)
        assert answer.state in ALIVE and answer.digest == workload.digest()
        seen = lab.running(ref)
        assert (seen.digest, bool(seen.incarnation), seen.started_at is not None) == (workload.digest(), True, True)

    def test_apply_twice_is_one_start(self, lab: Lab) -> None:
        """Applying the same again starts nothing."""
        ref = lab.ref()
        first = lab.start(ref)
        again = lab.apply(ref, lab.workload())
        assert (again.incarnation, again.digest) == (first.incarnation, first.digest)
        assert lab.runtime.inspect(ref).incarnation == first.incarnation and lab.texts(ref).count("ready") == 1

    def test_a_change_is_refused_while_it_runs(self, lab: Lab) -> None:
        """Applying something else to what runs is a Conflict, and touches nothing."""
        ref = lab.ref()
        first = lab.start(ref)
        with pytest.raises(Conflict):
            lab.apply(ref, lab.workload("print('other', flush=True)\n" + SLEEPER))
        assert lab.runtime.inspect(ref).incarnation == first.incarnation

    def test_a_change_is_applied_after_a_stop(self, lab: Lab) -> None:
        """After a stop, something else can be applied."""
        ref = lab.ref()
        first = lab.start(ref)
        lab.stopped(ref)
        other = lab.workload("print('other', flush=True)\n" + SLEEPER)
        lab.apply(ref, other)
        lab.said(ref, "other")
        seen = lab.running(ref)
        assert seen.digest == other.digest() and seen.incarnation != first.incarnation

    def test_concurrent_applies_start_once(self, lab: Lab) -> None:
        """Two portals that apply the same at once start it once."""
        ref, workload, other = lab.ref(), lab.workload(), lab.connect()
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda number: lab.apply(ref, workload, by=(lab.runtime, other)[number % 2]), range(6)))
        seen = lab.running(ref)
        lab.said(ref, "ready")
        assert {one.incarnation for one in found if one.incarnation} <= {seen.incarnation}
        assert lab.texts(ref).count("ready") == 1

    def test_nothing_to_run_is_refused(self, lab: Lab) -> None:
        """A workload without a process is given up, not started."""
        ref = lab.ref()
        with pytest.raises(GiveUp):
            lab.apply(ref, lab.around())
        assert lab.runtime.inspect(ref).state not in ALIVE

    def test_a_missing_program_is_told(self, lab: Lab) -> None:
        """A program that is not there is told by its name."""
        ref, workload = lab.ref(), lab.workload()
        workload = replace(workload, processes=(replace(workload.processes[0], argv=("/nowhere/claw-program",)),))
        try:
            lab.apply(ref, workload)
        except GiveUp as verdict:
            assert "claw-program" in f"{verdict.message} {verdict.lines}"
            return

        def told() -> Observed | None:
            seen = lab.runtime.inspect(ref)
            return seen if seen.reason and "claw-program" in seen.message else None

        assert lab.eventually(told, "the missing program is named").state is not RunState.RUNNING

    def test_every_process_runs(self, lab: Lab) -> None:
        """All processes of a workload run, and are told apart in the log."""
        lab.needs("processes")
        ref = lab.ref()
        lab.apply(ref, lab.around(lab.process(name="first"), lab.process(name="second")))
        lab.eventually(lambda: {line.source for line in lab.lines(ref)} >= {"first", "second"}, "both speak")

    # ---- ending

    def test_stop_asks_first(self, lab: Lab) -> None:
        """A stop lets the claw end in its own way."""
        ref = lab.ref()
        state = lab.folder(ref, "state")
        lab.start(ref, lab.workload(POLITE, state))
        lab.runtime.stop(ref, 30.0)
        seen = lab.down(ref)
        assert seen.exit_code in (0, None) and seen.exit_signal is None
        found = lab.asks(ref, "found = open(sys.argv[1] + '/asked').read()", state)
        assert found == "asked\n", "it was asked exactly once"

    def test_stop_kills_after_the_grace(self, lab: Lab) -> None:
        """What does not end when asked is killed when the grace is over, not before."""
        ref = lab.ref()
        lab.start(ref, lab.workload(STUBBORN))
        began = time.monotonic()
        lab.runtime.stop(ref, 2.0)
        time.sleep(0.5)
        assert lab.runtime.inspect(ref).state in ALIVE
        lab.down(ref, 2.0 + lab.terms.patience)
        assert time.monotonic() - began >= 1.0

    def test_stop_returns_at_once(self, lab: Lab) -> None:
        """A stop does not wait for the end."""
        ref = lab.ref()
        lab.start(ref, lab.workload(STUBBORN))
        began = time.monotonic()
        lab.runtime.stop(ref, 60.0)
        assert time.monotonic() - began < 10
        lab.killed(ref)

    def test_stop_twice(self, lab: Lab) -> None:
        """Stopping what is being stopped, is stopped or never was there is fine."""
        ref = lab.ref()
        lab.runtime.stop(ref, 1.0)
        lab.start(ref)
        lab.runtime.stop(ref, 5.0)
        lab.runtime.stop(ref, 5.0)
        lab.down(ref)
        lab.runtime.stop(ref, 5.0)
        assert lab.runtime.inspect(ref).state not in ALIVE

    def test_a_stop_ends_the_whole_tree(self, lab: Lab) -> None:
        """A stop leaves no child behind, not even a daemon that ignores being asked."""
        ref = lab.ref()
        self._grandchild(lab, ref)
        lab.runtime.stop(ref, 1.0)
        lab.down(ref)
        self._nothing_beats(lab, ref)

    def test_kill_is_at_once(self, lab: Lab) -> None:
        """A kill does not ask."""
        ref = lab.ref()
        lab.start(ref, lab.workload(STUBBORN, stop_grace=600.0))
        lab.killed(ref)
        lab.runtime.kill(ref)
        assert lab.runtime.inspect(ref).state not in ALIVE

    def test_kill_ends_the_whole_tree(self, lab: Lab) -> None:
        """A kill leaves no child behind, not even a daemon."""
        ref = lab.ref()
        self._grandchild(lab, ref)
        lab.killed(ref)
        self._nothing_beats(lab, ref)

    def _grandchild(self, lab: Lab, ref: Ref) -> None:
        lab.start(ref, lab.workload(_GRANDCHILD, lab.folder(ref, "state")))
        time.sleep(0.3)

    def _nothing_beats(self, lab: Lab, ref: Ref) -> None:
        found = lab.asks(ref, _BEATS, lab.folder(ref, "state"))
        assert found["before"] > 0 and found["more"] == 0, "a daemon of the run before still lives"

    # ---- data

    def test_data_outlives_stop_and_start(self, lab: Lab) -> None:
        """What the claw wrote in each of its folders is there after stop, start and another description."""
        ref = lab.ref()
        folders = [lab.folder(ref, root) for root in ("home", "state", "work")]
        write = "found = [open(folder + '/kept', 'a').write('x') for folder in sys.argv[1:]]"
        read = "found = [open(folder + '/kept').read() for folder in sys.argv[1:]]"
        lab.asks(ref, write, *folders)
        lab.stopped(ref)
        assert lab.asks(ref, read, *folders) == ["x", "x", "x"]
        lab.killed(ref)
        assert lab.asks(ref, read, *folders, files=[File("more", "x")]) == ["x", "x", "x"]

    def test_remove_keeps_data_when_asked(self, lab: Lab) -> None:
        """After a removal that keeps data, it is not there, and finds its data when it is applied again."""
        ref = lab.ref()
        state = lab.folder(ref, "state")
        lab.asks(ref, "found = open(sys.argv[1] + '/kept', 'w').write('x')", state)
        lab.stopped(ref)
        lab.runtime.remove(ref, keep_data=True)
        assert lab.runtime.inspect(ref).state is RunState.ABSENT and lab.listed(ref) is None
        assert lab.asks(ref, "found = open(sys.argv[1] + '/kept').read()", state) == "x"

    def test_remove_takes_data_away(self, lab: Lab) -> None:
        """After a removal with data, a new instance of the same name begins empty."""
        ref = lab.ref()
        folders = [lab.folder(ref, root) for root in ("home", "state", "work")]
        lab.asks(ref, "found = [open(folder + '/kept', 'w').write('x') for folder in sys.argv[1:]]", *folders)
        lab.stopped(ref)
        lab.runtime.remove(ref, keep_data=False)
        assert lab.runtime.inspect(ref).state is RunState.ABSENT and lab.listed(ref) is None
        assert lab.asks(ref, "found = [os.path.exists(folder + '/kept') for folder in sys.argv[1:]]", *folders) == [False] * 3

    def test_remove_refuses_what_runs(self, lab: Lab) -> None:
        """What runs cannot be removed: a Conflict, and it runs on."""
        ref = lab.ref()
        first = lab.start(ref)
        for keep in (True, False):
            with pytest.raises(Conflict):
                lab.runtime.remove(ref, keep_data=keep)
        assert lab.runtime.inspect(ref).incarnation == first.incarnation

    def test_remove_twice(self, lab: Lab) -> None:
        """Removing what is removed, or never was there, is fine."""
        ref = lab.ref()
        lab.runtime.remove(ref, keep_data=False)
        lab.start(ref)
        lab.stopped(ref)
        for keep in (True, True, False, False):
            lab.runtime.remove(ref, keep_data=keep)
        assert lab.runtime.inspect(ref).state is RunState.ABSENT

    # ---- what its end says

    def test_an_exit_code_is_told(self, lab: Lab) -> None:
        """The exit code of what ended by itself is told."""
        ref = lab.ref()
        lab.apply(ref, lab.workload("import sys, time; time.sleep(0.5); sys.exit(7)"))
        seen = lab.ended(ref)
        assert (seen.exit_code, seen.exit_signal) == (7, None)
        assert seen.exited_at is not None or seen.state is not RunState.EXITED

    def test_a_fatal_signal_is_told(self, lab: Lab) -> None:
        """A crash is told as a signal, or as 128 and the signal."""
        ref = lab.ref()
        lab.apply(ref, lab.workload("import ctypes, time; time.sleep(0.5); ctypes.string_at(0)"))
        seen = lab.ended(ref)
        assert seen.exit_signal == 11 or seen.exit_code == 139

    def test_what_exits_is_started_again(self, lab: Lab) -> None:
        """A place that restarts what exits counts how often."""
        lab.needs("restarts")
        ref = lab.ref()
        lab.apply(ref, lab.workload("import sys, time; time.sleep(0.5); sys.exit(7)"))
        lab.eventually(lambda: lab.runtime.inspect(ref).restarts >= 1, "it was started again")

    # ---- looking

    def test_an_incarnation_is_one_run(self, lab: Lab) -> None:
        """The incarnation stays as long as the run, and is another for each start."""
        ref, seen = lab.ref(), []
        for _ in range(3):
            seen.append(lab.start(ref).incarnation)
            assert lab.runtime.inspect(ref).incarnation == seen[-1]
            lab.stopped(ref)
        assert len(set(seen)) == 3 and all(seen)

    def test_an_unknown_instance_is_absent(self, lab: Lab) -> None:
        """What was never applied is absent, not an error."""
        ref = lab.ref("never")
        assert lab.runtime.inspect(ref).state is RunState.ABSENT and lab.listed(ref) is None
        assert lab.lines(ref) == [] and lab.lines(ref, tail=5) == []
        lab.runtime.kill(ref)

    def test_impossible_ids_are_refused(self, lab: Lab) -> None:
        """An id that could be taken for a path or a command is refused with words."""
        for text in ("../other", "a/b", "", ".", "..", "-rf", "a b", "a\0b", "a\nb", "x" * 300):
            for work in (lab.runtime.inspect, lambda ref: lab.runtime.apply(ref, lab.workload(), {})):
                with pytest.raises((GiveUp, Problem)):
                    work(Ref(text))

    def test_observe_says_the_same_as_inspect(self, lab: Lab) -> None:
        """One look at all agrees with a look at each, for what runs and for what was stopped."""
        refs = [lab.ref(f"n{number}") for number in range(4)]
        for ref in refs:
            lab.start(ref)
        lab.stopped(refs[0])
        lab.killed(refs[1])
        for ref in refs:
            listed, alone = lab.listed(ref), lab.runtime.inspect(ref)
            assert (listed is None and alone.state is RunState.ABSENT) or (
                listed is not None and without_time(listed) == without_time(alone)
            )
        assert all(lab.listed(ref) is not None for ref in refs[2:])

    def test_another_portal_sees_the_same(self, lab: Lab) -> None:
        """A portal that connects later finds what runs, and can stop it."""
        ref = lab.ref()
        first = lab.start(ref)
        other = lab.connect()
        found = lab.listed(ref, by=other)
        assert found is not None and (found.incarnation, found.digest) == (first.incarnation, first.digest)
        assert other.inspect(ref).incarnation == first.incarnation
        assert [line.text for line in other.logs(ref) if line] == ["ready"]
        other.stop(ref, 5.0)
        lab.down(ref)

    def test_another_portal_starts_nothing_again(self, lab: Lab) -> None:
        """A portal that was restarted applies what runs, and nothing happens."""
        ref = lab.ref()
        first = lab.start(ref)
        for runtime in (lab.connect(), lab.connect()):
            assert lab.apply(ref, lab.workload(), by=runtime).incarnation == first.incarnation
        assert lab.texts(ref).count("ready") == 1

    # ---- watching

    def test_watch_tells_a_start(self, lab: Lab) -> None:
        """A watcher hears of a start, also of one by another portal."""
        with lab.watching() as seen:
            for by in (lab.runtime, lab.connect()):
                ref = lab.ref()
                lab.apply(ref, lab.workload(), by=by)
                lab.eventually(lambda ref=ref: _told(seen, ref, RunState.RUNNING), "the start is told")  # type: ignore[misc]

    def test_watch_tells_an_exit(self, lab: Lab) -> None:
        """A watcher hears that something ended by itself."""
        ref = lab.ref()
        with lab.watching() as seen:
            lab.apply(ref, lab.workload("import sys, time; time.sleep(1); sys.exit(3)"))
            lab.eventually(
                lambda: any(one.ref.instance_id == ref.instance_id and one.exit_code == 3 for one in seen), "the exit is told"
            )

    def test_watch_tells_a_kill(self, lab: Lab) -> None:
        """A watcher hears of a kill."""
        ref = lab.ref()
        lab.start(ref)
        with lab.watching() as seen:
            lab.runtime.kill(ref)
            lab.eventually(lambda: _told(seen, ref, RunState.EXITED, RunState.ABSENT), "the kill is told")

    def test_watch_survives_a_disconnect(self, lab: Lab) -> None:
        """A watcher whose connection was cut hears of what happens afterwards."""
        cut = getattr(self, "cut_connection", None)
        if cut is None:
            pytest.skip("this suite cannot cut the connection of the place")
        ref = lab.ref()
        lab.start(ref)
        with lab.watching() as seen:
            cut(lab)
            lab.runtime.kill(ref)
            lab.eventually(lambda: _told(seen, ref, RunState.EXITED, RunState.ABSENT), "the kill is told after the cut")

    def test_watch_ends_when_asked(self, lab: Lab) -> None:
        """A watcher ends soon after it was asked to."""
        with lab.watching():
            began = time.monotonic()
        assert time.monotonic() - began < 5

    # ---- many, and others

    def test_many_at_once(self, lab: Lab) -> None:
        """Twenty are started, seen in one look and ended at once."""
        refs = [lab.ref(f"many{number}") for number in range(20)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda ref: lab.apply(ref, lab.workload()), refs))
            wanted = {ref.instance_id for ref in refs}

            def all_run() -> bool:
                return wanted <= {one.ref.instance_id for one in lab.runtime.observe() if one.state is RunState.RUNNING}

            lab.eventually(all_run, "all run", 3 * lab.terms.patience)
            list(pool.map(lab.runtime.kill, refs))

        def none_runs() -> bool:
            return not wanted & {one.ref.instance_id for one in lab.runtime.observe() if one.state in ALIVE}

        lab.eventually(none_runs, "all are down", 3 * lab.terms.patience)

    def test_unmanaged_things_are_left_alone(self, lab: Lab) -> None:
        """What the portal did not make is neither listed nor touched."""
        make = getattr(self, "make_unmanaged_object", None)
        if make is None:
            pytest.skip("this suite cannot put something unmanaged into the place")
        ref = lab.ref()
        before = {one.ref.instance_id for one in lab.runtime.observe()}
        still_there = make(lab)
        assert {one.ref.instance_id for one in lab.runtime.observe()} == before
        lab.start(ref)
        lab.stopped(ref)
        lab.runtime.remove(ref, keep_data=False)
        assert still_there(), "what is unmanaged was changed"

    def test_a_start_while_it_is_being_stopped(self, lab: Lab) -> None:
        """Applying while a stop is under way comes later or is told so; it never ends with two runs or with none."""
        ref = lab.ref()
        first = lab.start(ref, lab.workload(STUBBORN))
        lab.runtime.stop(ref, 1.0)
        with pytest.raises((Retry, Conflict)):
            lab.runtime.apply(ref, lab.workload(STUBBORN), {})
        lab.down(ref)
        assert lab.start(ref, lab.workload(STUBBORN)).incarnation != first.incarnation


def _told(seen: list[Observed], ref: Ref, *states: RunState) -> bool:
    return any(one.ref.instance_id == ref.instance_id and one.state in states for one in seen)
