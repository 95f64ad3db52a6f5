"""Commands in a running instance, with a terminal and without."""

from __future__ import annotations

import hashlib
import json
import threading
import time

import pytest

from clawportal.contracts.runtimes import Ref
from clawportal.errors import Conflict, GiveUp
from clawportal.testing.lab import SLEEPER, Lab


class ExecBehaviours:
    def test_a_command_gives_its_output(self, lab: Lab) -> None:
        """A command's output is handed over byte for byte, then its end with exit code 0."""
        ref = self._ready(lab)
        assert lab.do(ref, *lab.code("import sys; sys.stdout.buffer.write(bytes(range(256)))")) == (0, bytes(range(256)), b"")
        assert lab.do(ref, "true") == (0, b"", b"")

    def test_exit_codes(self, lab: Lab) -> None:
        """Exit codes are told; the end by a signal as 128 and the signal."""
        ref = self._ready(lab)
        assert lab.do(ref, "/bin/sh", "-c", "exit 7")[0] == 7
        assert lab.do(ref, "/bin/sh", "-c", "exit 255")[0] == 255
        assert lab.do(ref, "/bin/sh", "-c", "kill -9 $$")[0] == 137
        with lab.command(ref, "/bin/sh", "-c", "read line; exit 3") as session:
            assert session.exit_code is None
            session.send(b"\n")
            lab.hear(session)
            assert session.exit_code == 3

    def test_errors_stand_apart(self, lab: Lab) -> None:
        """Errors are told apart from output."""
        ref = self._ready(lab)
        assert lab.do(ref, "/bin/sh", "-c", "echo out; echo err >&2; exit 1") == (1, b"out\n", b"err\n")

    def test_arguments_of_a_command_arrive(self, lab: Lab) -> None:
        """Arguments of a command are not seen by any shell."""
        ref = self._ready(lab)
        odd = ["a b", "", "$HOME", "`id`", "'\"", "ü中\n", "*", "-x", "\\"]
        code, out, _ = lab.do(ref, *lab.code("import json, sys; print(json.dumps(sys.argv[1:]))", *odd))
        assert code == 0 and json.loads(out) == odd

    def test_a_command_has_the_claws_surroundings(self, lab: Lab) -> None:
        """A command sees the variables, secrets and folders of the claw."""
        lab.needs("exec")
        ref = lab.ref()
        lab.start(ref, lab.workload(env={"MODE": "a b"}, secret_env={"API_KEY": "key"}), {"key": "the value"})
        out = lab.do(ref, *lab.code("import json, os; print(json.dumps([dict(os.environ), os.getcwd()]))"))[1]
        environment, cwd = json.loads(out)
        assert (environment["MODE"], environment["API_KEY"]) == ("a b", "the value")
        assert (environment["HOME"], cwd) == (lab.folder(ref, "home"), lab.folder(ref, "work"))
        assert lab.do(ref, "/bin/sh", "-c", f"echo x > {lab.folder(ref, 'work')}/by-command")[0] == 0
        assert lab.runtime.read_file(ref, "work", "by-command", 10) == b"x\n"

    def test_input_and_its_end(self, lab: Lab) -> None:
        """Input reaches the command byte for byte, and its end is seen."""
        ref = self._ready(lab)
        data = bytes(range(256)) * 2000
        with lab.command(
            ref, *lab.code("import sys, hashlib; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())")
        ) as session:
            for place in range(0, len(data), 30_000):
                session.send(data[place : place + 30_000])
            session.close_input()
            out, _ = lab.hear(session)
        assert out.decode().strip() == hashlib.sha256(data).hexdigest() and session.exit_code == 0

    def test_much_output(self, lab: Lab) -> None:
        """Ten megabytes of output come whole, also to a slow reader."""
        ref = self._ready(lab)
        code = "import sys\nfor n in range(160): sys.stdout.buffer.write(bytes([n]) * 65536)"
        with lab.command(ref, *lab.code(code)) as session:
            time.sleep(1)
            out, _ = lab.hear(session)
        assert out == b"".join(bytes([n]) * 65536 for n in range(160)) and session.exit_code == 0

    def test_a_command_that_is_not_there(self, lab: Lab) -> None:
        """A program that does not exist is given up as `CommandNotFound`."""
        ref = self._ready(lab)
        for argv in (("no-such-program-here",), ("/nowhere/program", "x")):
            with pytest.raises(GiveUp) as caught, lab.command(ref, *argv) as session:
                lab.hear(session)
            assert caught.value.reason == "CommandNotFound" and argv[0] in caught.value.message

    def test_a_command_needs_a_running_claw(self, lab: Lab) -> None:
        """A command in what does not run is a Conflict."""
        lab.needs("exec")
        ref = lab.ref()
        with pytest.raises(Conflict):
            lab.runtime.exec(ref, ("true",))
        lab.start(ref)
        lab.stopped(ref)
        with pytest.raises(Conflict):
            lab.runtime.exec(ref, ("true",))

    def test_a_terminal(self, lab: Lab) -> None:
        """With a terminal the command has one, of the asked size, and hears of another size."""
        ref = self._ready(lab)
        code = """
            import os, signal, sys, time
            signal.signal(signal.SIGWINCH, lambda *_: print('now', *os.get_terminal_size(), flush=True))
            print('terminal', sys.stdin.isatty(), sys.stdout.isatty(), flush=True)
            print('now', *os.get_terminal_size(), flush=True)
            while True: time.sleep(0.05)
        """
        with lab.command(ref, *lab.code(code), tty=True, columns=97, rows=31) as session:
            lab.hear(session, lambda out: b"terminal True True" in out and b"now 97 31" in out)
            time.sleep(0.3)
            session.resize(120, 40)
            lab.hear(session, lambda out: b"now 120 40" in out)
        out = lab.do(ref, *lab.code("import sys; print(sys.stdin.isatty(), sys.stdout.isatty())"))[1]
        assert out == b"False False\n", "without one there is none"

    def test_ctrl_c(self, lab: Lab) -> None:
        """Ctrl-C in a terminal interrupts the command, and only it."""
        ref = self._ready(lab)
        first = lab.runtime.inspect(ref).incarnation
        with lab.command(ref, *lab.code("import time\nprint('go')\nwhile True: time.sleep(0.2)"), tty=True) as session:
            lab.hear(session, lambda out: b"go" in out)
            session.send(b"\x03")
            out, _ = lab.hear(session)
            assert b"KeyboardInterrupt" in out and session.exit_code in (1, 130)
        assert lab.runtime.inspect(ref).incarnation == first

    def test_a_shell(self, lab: Lab) -> None:
        """The shell of the console takes commands, and ends when told."""
        ref = self._ready(lab)
        with lab.command(ref, *lab.runtime.shell(ref), tty=True) as session:
            session.send(b"echo $((20 + 22))-answer\n")
            lab.hear(session, lambda out: b"42-answer" in out)
            session.send(b"exit 5\n")
            lab.hear(session)
            assert session.exit_code == 5

    def test_close_ends_a_command(self, lab: Lab) -> None:
        """Closing a session ends its command, also one that ignores it, also twice, also from another thread."""
        ref = self._ready(lab)
        code = (
            "import os, signal, sys, time\n"
            "for n in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT): signal.signal(n, signal.SIG_IGN)\n"
            "print('go', flush=True)\nwhile True:\n    open(sys.argv[1] + '/beats', 'a').write('.')\n    time.sleep(0.05)"
        )
        work = lab.folder(ref, "work")
        for tty in (False, True):
            session = lab.runtime.exec(ref, lab.code(code, work), tty=tty)
            lab.hear(session, lambda out: b"go" in out)
            closer = threading.Timer(0.3, session.close)
            closer.start()
            with pytest.raises((EOFError, OSError)):
                while True:
                    session.receive(1.0)
            closer.join()
            session.close()
            with pytest.raises(OSError):
                session.send(b"x")

        def quiet() -> bool:
            before = len(lab.runtime.read_file(ref, "work", "beats", 10**6))
            time.sleep(0.5)
            return len(lab.runtime.read_file(ref, "work", "beats", 10**6)) == before

        lab.eventually(quiet, "the command is gone")

    def test_commands_side_by_side(self, lab: Lab) -> None:
        """Several commands in one instance do not disturb each other."""
        ref = self._ready(lab)
        sessions = [lab.runtime.exec(ref, ("/bin/sh", "-c", f"read x; echo {n} $x")) for n in range(5)]
        for n, session in reversed(list(enumerate(sessions))):
            session.send(f"word{n}\n".encode())
        for n, session in enumerate(sessions):
            assert lab.hear(session)[0] == f"{n} word{n}\n".encode()
            session.close()

    def test_commands_end_with_the_claw(self, lab: Lab) -> None:
        """When the instance is stopped, its commands end with it, and do not hold it up."""
        ref = self._ready(lab)
        with lab.command(ref, *lab.code("import time; print('go', flush=True); time.sleep(600)")) as session:
            lab.hear(session, lambda out: b"go" in out)
            lab.stopped(ref)
            lab.hear(session)
            assert session.exit_code not in (None, 0)
        lab.start(ref)

    def test_the_end_of_a_command_is_not_the_end_of_the_claw(self, lab: Lab) -> None:
        """Whatever a command does to itself, the claw runs on."""
        ref = self._ready(lab)
        first = lab.runtime.inspect(ref)
        lab.do(ref, "/bin/sh", "-c", "kill -9 $$")
        with lab.command(ref, "/bin/sh", "-c", "sleep 600 & exec sleep 600"):
            pass
        time.sleep(0.5)
        seen = lab.runtime.inspect(ref)
        assert (seen.state, seen.incarnation) == (first.state, first.incarnation)

    def _ready(self, lab: Lab) -> Ref:
        lab.needs("exec")
        ref = lab.ref()
        lab.start(ref, lab.workload(SLEEPER))
        return ref
