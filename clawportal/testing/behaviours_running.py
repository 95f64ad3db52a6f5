"""What surrounds a running instance: its environment, its secrets, its check, its log, its measures and its limits."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from clawportal.contracts.runtimes import RunState
from clawportal.contracts.workloads import File, Workload
from clawportal.errors import GiveUp
from clawportal.testing.lab import SLEEPER, Lab

SECRET = "s3cr3t-Value 'of' \"the\" $HOME `id` $(id) \\n %s ü中"
_ODD_VALUES = {
    "PLAIN": "1",
    "EMPTY": "",
    "ODD": "a 'b' \"c\" $HOME $(PLAIN) ${PLAIN} `id` \\ ü中",
    "LINES": "a\nb\n",
    "LONG": "x" * 20_000,
}


class SurroundingsBehaviours:
    def test_arguments_arrive_as_they_are(self, lab: Lab) -> None:
        """Arguments with spaces, quotes, dollars, line ends and Unicode reach the program unchanged; there is no shell."""
        ref = lab.ref()
        arguments = [*_ODD_VALUES.values(), "-flag", "*", "; exit 1"]
        assert lab.asks(ref, "found = sys.argv[1:]", *arguments) == arguments

    def test_variables_arrive_as_they_are(self, lab: Lab) -> None:
        """Variables reach the program unchanged, whatever is in them."""
        ref = lab.ref()
        found = lab.asks(ref, "found = dict(os.environ)", env=_ODD_VALUES)
        assert {name: found.get(name) for name in _ODD_VALUES} == _ODD_VALUES

    def test_secrets_arrive_by_name(self, lab: Lab) -> None:
        """A variable that names a secret has its value; a secret that nobody named is not given."""
        ref = lab.ref()
        found = lab.asks(ref, "found = dict(os.environ)", secret_env={"API_KEY": "key"},
                         secrets={"key": SECRET, "other": "value-that-nobody-asked-for"})  # fmt: skip
        assert found["API_KEY"] == SECRET and "value-that-nobody-asked-for" not in json.dumps(found)

    def test_a_missing_secret_is_told(self, lab: Lab) -> None:
        """A secret that does not exist is given up by name before anything starts."""
        ref = lab.ref()
        with pytest.raises(GiveUp) as caught:
            lab.apply(ref, lab.workload(secret_env={"API_KEY": "no_such_key"}), {"other": "x"})
        assert caught.value.reason == "SecretMissing" and "no_such_key" in caught.value.message
        assert lab.runtime.inspect(ref).state not in (RunState.RUNNING, RunState.PENDING)

    def test_a_changed_secret_reaches_the_next_start(self, lab: Lab) -> None:
        """A new value of a secret is there after the next start, although the plan is the same."""
        ref = lab.ref()
        for value in ("one", "two"):
            assert lab.asks(ref, "found = os.environ['API_KEY']", secret_env={"API_KEY": "key"}, secrets={"key": value}) == value
            lab.stopped(ref)

    def test_secrets_are_never_seen(self, lab: Lab) -> None:
        """No secret value is in what the place tells: looks, lists, logs, events, layout, argv, listed files."""
        ref, value = lab.ref(), "VALUE-OF-A-SECRET-4711"
        code = "found = {'argv': open('/proc/self/cmdline').read(), 'length': len(os.environ['API_KEY'])}"
        found = lab.asks(ref, code, secret_env={"API_KEY": "key"}, secrets={"key": value})
        assert found["length"] == len(value)
        told = [found, lab.runtime.inspect(ref), lab.runtime.observe(), lab.runtime.layout(ref, (), lab.terms.image)]
        told += [lab.lines(ref), lab.runtime.events(ref), lab.runtime.diagnose(), lab.runtime.capacity()]
        if lab.can("files"):
            told += [b"".join(lab.runtime.pull(ref, root)) for root in ("home", "state", "work")]
        assert value not in repr(told)
        lab.killed(ref)
        assert value not in repr([lab.runtime.inspect(ref), lab.runtime.observe(), lab.lines(ref), lab.runtime.events(ref)])

    def test_nothing_of_the_portal_leaks(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        """The program sees nothing of the portal's environment."""
        ref = lab.ref()
        monkeypatch.setenv("CLAWPORTAL_MASTER_KEY", "LEAK-FROM-THE-PORTAL")
        monkeypatch.setenv("HTTP_PROXY", "http://LEAK-FROM-THE-PORTAL@proxy.invalid")
        assert "LEAK-FROM-THE-PORTAL" not in json.dumps(lab.asks(ref, "found = dict(os.environ)"))

    def test_folders_are_as_the_layout_says(self, lab: Lab) -> None:
        """HOME, working folder and temporary folder are as told; all can be written, and are apart."""
        ref = lab.ref()
        code = (
            "import tempfile\nfound = {'home': os.environ['HOME'], 'cwd': os.getcwd(), 'tmp': tempfile.gettempdir()}\n"
            "for folder in sys.argv[1:]: open(folder + '/written', 'w').write('x')"
        )
        layout = lab.runtime.layout(ref, (), lab.terms.image)
        folders = (layout.home, layout.state, layout.work, layout.tmp)
        assert len(set(folders)) == 4 and all(folder.startswith("/") for folder in folders)
        found = lab.asks(ref, code, *folders, cwd="state")
        assert found == {"home": layout.home, "cwd": layout.state, "tmp": layout.tmp}
        assert lab.runtime.layout(ref, (), lab.terms.image) == layout == lab.connect().layout(ref, (), lab.terms.image)

    # ---- judging a candidate

    def test_a_check_accepts(self, lab: Lab) -> None:
        """A configuration that the claw accepts passes, and a workload without a check too."""
        ref = lab.ref()
        lab.runtime.check(ref, lab.workload(), {})
        lab.runtime.check(ref, self._judged(lab, "good"), {"key": SECRET})

    def test_a_check_refuses_in_the_claws_words(self, lab: Lab) -> None:
        """A configuration that the claw refuses is given up with what the claw said, without the value of any secret."""
        ref = lab.ref()
        with pytest.raises(GiveUp) as caught:
            lab.runtime.check(ref, self._judged(lab, "bad"), {"key": "VALUE-OF-A-SECRET-4711"})
        told = f"{caught.value.message} {caught.value.lines}"
        assert "gateway.port: must be positive" in told and "VALUE-OF-A-SECRET" not in told
        assert lab.runtime.inspect(ref).state not in (RunState.RUNNING, RunState.PENDING), "a check starts nothing"

    def test_a_candidate_does_not_touch_what_runs(self, lab: Lab) -> None:
        """While a candidate is judged, the running claw and its files stay as they are."""
        ref = lab.ref()
        before = lab.start(ref, lab.workload(files=[File("config", "good")]))
        with pytest.raises(GiveUp):
            lab.runtime.check(ref, self._judged(lab, "bad"), {"key": SECRET})
        after = lab.runtime.inspect(ref)
        assert (after.incarnation, after.digest, after.state) == (before.incarnation, before.digest, RunState.RUNNING)
        assert lab.runtime.read_file(ref, "state", "config", 100) == b"good"

    def _judged(self, lab: Lab, content: str) -> Workload:
        code = """
            import os, sys
            assert os.environ['CONFIG'] == sys.argv[1] + '/config'
            if open(sys.argv[1] + '/config').read() != 'good':
                print('the key is', os.environ['KEY'])
                sys.stderr.write('gateway.port: must be positive\\n')
                sys.exit(78)
        """
        check = lab.judge(code, "{candidate}", env={"CONFIG": "{candidate}/config"}, secret_env={"KEY": "key"}, timeout=60.0)
        return lab.workload(files=[File("config", content)], check=check)


class LogBehaviours:
    def test_lines_come_with_time_and_source(self, lab: Lab) -> None:
        """Lines come whole and in order, with the name of the process and the time at which they were written."""
        ref = lab.ref()
        before = datetime.now(UTC) - timedelta(seconds=5)
        lab.apply(ref, lab.workload("for n in range(200): print('line', n)\n" + SLEEPER))
        assert lab.said(ref, "ready") == [*(f"line {n}" for n in range(200)), "ready"]
        lines = lab.lines(ref)
        assert all(line.source == "main" and line.at.tzinfo is not None for line in lines)
        times = [line.at for line in lines]
        assert times == sorted(times) and before <= times[0] and times[-1] <= datetime.now(UTC) + timedelta(seconds=5)

    def test_output_and_errors_are_told_apart(self, lab: Lab) -> None:
        """Each line says whether it was output or an error; each stream keeps its order."""
        lab.needs("logs.streams")
        ref = lab.ref()
        code = (
            "import sys\nfor n in range(50):\n    print('out', n, flush=True)\n    print('err', n, file=sys.stderr, flush=True)\n"
        )
        lab.apply(ref, lab.workload(code + SLEEPER))
        lab.said(ref, "ready")
        lab.eventually(lambda: len(lab.texts(ref, "stderr")) == 50, "all errors are there")
        assert lab.texts(ref, "stdout") == [*(f"out {n}" for n in range(50)), "ready"]
        assert lab.texts(ref, "stderr") == [f"err {n}" for n in range(50)]

    def test_odd_lines(self, lab: Lab) -> None:
        """Bytes that are no UTF-8, NUL, empty lines, colours and 100 kB in one line do no harm."""
        ref = lab.ref()
        code = (
            "import sys\nwrite = sys.stdout.buffer.write\n"
            "write(b'\\xff\\xfe bad\\n\\nafter empty\\n\\x1b[31mred\\x1b[0m\\n')\n"
            "write(b'long ' * 20000 + b'\\n' + '中🦀\\n'.encode())\n"
        )
        lab.apply(ref, lab.workload(code + SLEEPER))
        found = lab.said(ref, "ready")
        assert found == ["\ufffd\ufffd bad", "", "after empty", "\x1b[31mred\x1b[0m", "long " * 20000, "中🦀", "ready"]

    def test_tail(self, lab: Lab) -> None:
        """The last lines can be asked for by number."""
        ref = lab.ref()
        lab.apply(ref, lab.workload("for n in range(500): print(n)\n" + SLEEPER))
        lab.said(ref, "ready")
        assert lab.texts(ref, tail=3) == ["498", "499", "ready"] and lab.texts(ref, tail=0) == []
        assert len(lab.texts(ref, tail=10_000)) == 501

    def test_since(self, lab: Lab) -> None:
        """Lines can be asked for from a time on, together with a tail or without."""
        ref = lab.ref()
        lab.apply(ref, lab.workload("import time\nprint('early')\ntime.sleep(2.5)\nprint('late 1')\nprint('late 2')\n" + SLEEPER))
        lab.said(ref, "ready")
        lines = lab.lines(ref)
        at = next(line.at for line in lines if line.text == "late 1") - timedelta(seconds=1)
        assert lab.texts(ref, since=at) == ["late 1", "late 2", "ready"]
        assert lab.texts(ref, since=at, tail=2) == ["late 2", "ready"]
        assert lab.texts(ref, since=lines[-1].at + timedelta(hours=1)) == []

    def test_follow(self, lab: Lab) -> None:
        """New lines come while they are written; while there are none, a sign of life comes, and it ends when asked."""
        ref = lab.ref()
        code = """
            import time
            print('ready', flush=True)
            for n in range(10**6):
                time.sleep(1.5)
                print('tick', n, flush=True)
        """
        lab.start(ref, lab.workload(code))
        until, seen, quiet = time.monotonic() + lab.terms.patience, [], 0
        enough = lambda: "tick 2" in seen or time.monotonic() > until  # noqa: E731  # asked from inside
        for line in lab.runtime.logs(ref, follow=True, stop=enough):
            quiet += line is None
            if line is not None:
                seen.append(line.text)
                assert abs((datetime.now(UTC) - line.at).total_seconds()) < lab.terms.patience
        assert seen[:4] == ["ready", "tick 0", "tick 1", "tick 2"] and quiet >= 1

    def test_follow_from_the_end(self, lab: Lab) -> None:
        """Following with a tail begins with the last lines, and loses and repeats nothing."""
        ref = lab.ref()
        code = "import time\nfor n in range(2000):\n    print(n, flush=True)\n    time.sleep(0.002)\n"
        lab.apply(ref, lab.workload(code + SLEEPER))
        lab.said(ref, "100")
        until, seen = time.monotonic() + lab.terms.patience, []
        for line in lab.runtime.logs(ref, tail=5, follow=True, stop=lambda: "ready" in seen or time.monotonic() > until):
            if line is not None and line.stream != "portal":
                seen.append(line.text)
        numbers = [int(text) for text in seen[:-1]]
        assert seen[-1] == "ready" and numbers == list(range(numbers[0], 2000))

    def test_last_words(self, lab: Lab) -> None:
        """What was said just before the end can be read, also without a line end."""
        lab.needs("logs.kept")
        ref = lab.ref()
        lab.apply(
            ref, lab.workload("import sys; print('first'); sys.stdout.write('last words'); sys.stdout.flush(); sys.exit(3)")
        )
        lab.ended(ref)
        assert lab.texts(ref)[:2] == ["first", "last words"]

    def test_logs_outlive_a_stop(self, lab: Lab) -> None:
        """Lines stay readable after a stop and after the next start."""
        lab.needs("logs.kept")
        ref = lab.ref()
        lab.start(ref, lab.workload("print('hello')\n" + SLEEPER))
        lab.stopped(ref)
        assert lab.texts(ref) == ["hello", "ready"]
        lab.start(ref, lab.workload("print('hello')\n" + SLEEPER))
        assert lab.texts(ref) == ["hello", "ready", "hello", "ready"]

    def test_lines_of_the_run_before(self, lab: Lab) -> None:
        """The lines of the run before can be read alone, with tail and since."""
        lab.needs("logs.previous")
        ref = lab.ref()
        code = """
            import os, sys, time
            path = sys.argv[1] + '/runs'
            run = len(open(path).read()) if os.path.exists(path) else 0
            open(path, 'a').write('.')
            print('run', run, flush=True)
            print('ready', flush=True)
            time.sleep(1.5)
            if run == 0: os._exit(3)
            time.sleep(3600)
        """
        workload = lab.workload(code, lab.folder(ref, "work"))
        lab.start(ref, workload)
        assert lab.texts(ref, previous=True) == []
        lab.ended(ref)
        if not lab.can("restarts"):
            lab.apply(ref, workload)
        lab.said(ref, "run 1")
        found = lab.lines(ref, previous=True)
        assert [line.text for line in found if line.stream != "portal"] == ["run 0", "ready"]
        assert lab.texts(ref, previous=True, tail=1) == ["ready"]
        assert lab.texts(ref, previous=True, since=found[-1].at + timedelta(hours=1)) == []


class MeasureBehaviours:
    def test_all_are_measured_in_one_call(self, lab: Lab) -> None:
        """One call measures all that run, and nothing that was stopped."""
        lab.needs("metrics")
        refs = [lab.ref(f"n{number}") for number in range(4)]
        for ref in refs:
            lab.start(ref)
        lab.stopped(refs[0])
        wanted = {ref.instance_id for ref in refs[1:]}
        lab.eventually(lambda: wanted <= {one.ref.instance_id for one in lab.runtime.sample()}, "all are measured")
        lab.eventually(lambda: lab.sample(refs[0]) is None, "what was stopped is not measured")

    def test_cpu_is_measured(self, lab: Lab) -> None:
        """Used CPU time grows with what a busy program uses, and never falls."""
        lab.needs("metrics")
        ref = lab.ref()
        lab.start(ref, lab.workload("print('ready', flush=True)\nwhile True: pass"))
        first = lab.eventually(lambda: lab.sample(ref), "it is measured")
        seen = [first.cpu_seconds]

        def grown() -> bool:
            found = lab.sample(ref)
            seen.append(found.cpu_seconds if found else seen[-1])
            return seen[-1] > first.cpu_seconds + 0.3

        lab.eventually(grown, "the CPU time grows", 3 * lab.terms.patience)
        assert seen == sorted(seen)

    def test_memory_is_measured(self, lab: Lab) -> None:
        """Used memory is about what the program uses."""
        lab.needs("metrics")
        ref = lab.ref()
        lab.start(ref, lab.workload("held = b'x' * (80 << 20)\n" + SLEEPER))

        def plausible() -> bool:
            found = lab.sample(ref)
            return found is not None and 80 << 20 <= found.memory_bytes <= 160 << 20 and found.processes >= 1

        lab.eventually(plausible, "80 to 160 MiB are measured")

    def test_disk_is_measured(self, lab: Lab) -> None:
        """What its folders hold is measured."""
        lab.needs("metrics.disk")
        ref = lab.ref()
        lab.asks(ref, "open(sys.argv[1] + '/big', 'wb').write(b'x' * (20 << 20))\nfound = True", lab.folder(ref, "work"))

        def plausible() -> bool:
            found = lab.sample(ref)
            return found is not None and found.disk_bytes is not None and 20 << 20 <= found.disk_bytes < 60 << 20

        lab.eventually(plausible, "20 to 60 MiB are measured", 3 * lab.terms.patience)

    def test_the_memory_limit_is_enforced(self, lab: Lab) -> None:
        """A program that takes more memory than it may is ended, and the end says so."""
        lab.needs("limits.memory")
        ref = lab.ref()
        code = """
            import time
            held = []
            print('ready', flush=True)
            while len(held) < 80:
                held.append(b'x' * (4 << 20))
                time.sleep(0.02)
            time.sleep(3600)
        """
        lab.apply(ref, lab.workload(code, memory_bytes=96 << 20))
        seen = lab.ended(ref)
        assert seen.reason == "OutOfMemory" and seen.message

    def test_below_the_limits_it_runs_on(self, lab: Lab) -> None:
        """A program that stays below its limits is left alone."""
        ref = lab.ref()
        first = lab.start(ref, lab.workload("held = b'x' * (24 << 20)\n" + SLEEPER, memory_bytes=128 << 20, cpu_cores=0.5))
        for _ in range(10):
            lab.runtime.sample()
            time.sleep(0.1)
        assert lab.runtime.inspect(ref).incarnation == first.incarnation

    def test_the_cpu_limit_is_enforced(self, lab: Lab) -> None:
        """A busy program gets no more CPU than its limit."""
        lab.needs("limits.cpu", "metrics")
        ref = lab.ref()
        lab.start(ref, lab.workload("print('ready', flush=True)\nwhile True: pass", cpu_cores=0.2))
        first = lab.eventually(lambda: lab.sample(ref), "it is measured")

        def later() -> float | None:
            found = lab.sample(ref)
            seconds = (found.at - first.at).total_seconds() if found else 0.0
            return (found.cpu_seconds - first.cpu_seconds) / seconds + 1e-9 if found and seconds >= 4 else None

        assert lab.eventually(later, "it is measured again", 3 * lab.terms.patience) < 0.3

    def test_the_number_of_processes_is_limited(self, lab: Lab) -> None:
        """A program that forks without end is stopped from doing so, and the place goes on."""
        lab.needs("limits.processes")
        ref = lab.ref()
        code = """
            import os, signal, time
            children = []
            try:
                for n in range(6000):
                    pid = os.fork()
                    if pid == 0:
                        signal.pause()
                        os._exit(0)
                    children.append(pid)
                found = -1
            except OSError as error:
                found = len(children)
            for pid in children: os.kill(pid, signal.SIGKILL)
            for pid in children: os.waitpid(pid, 0)
        """
        assert 1 <= lab.asks(ref, code) < 6000
        assert lab.listed(ref) is not None
