"""Stands between the portal and one instance, so that neither the death of the portal nor the fork of a daemon loses the claw.

It runs by itself (see `launch`), one for each instance, forked from a nursery that holds nothing of the portal's. It keeps the
log pipes, the process tree and the clock of a stop. It may import C modules only: `signal` and `json` would double its memory.

What it does with a request to stop: SIGTERM goes to the processes of the workload alone, because a claw that drains a turn
still needs its helpers; what is left when they have ended gets SIGTERM too; what is left after the grace gets SIGKILL.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # the C module, unknown to typeshed; `signal` brings 1 MB of enum
import errno
import marshal
import os
import select
import sys
import time

from clawportal_process.output import Log, Stream
from clawportal_process.plain import append_line, dumps, start_time, write_file
from clawportal_process.spawning import RESET, oom_kills, spawn
from clawportal_process.tree import descendants, kill_tree, signal_all

TYPE_CHECKING = False  # the type checker takes it for true; importing typing would cost memory
if TYPE_CHECKING:
    from typing import Any

LEFTOVER_GRACE = 3.0
"""Seconds that helpers get after the processes of the workload have ended by themselves."""
PAUSE = 0.02
"""How long a claw that writes too fast is left waiting on its full pipe."""
RESERVE = 4096


def _n(text: str) -> str:
    """A word for programs that people read as well."""
    return text


def _m(text: str, **parameters: str) -> dict[str, Any]:
    """A sentence for people: as text, and as what the portal translates."""
    return {"message": text % parameters, "said": {"id": text, "parameters": parameters}}


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _seconds(text: str, default: float) -> float:
    try:
        return float(text)
    except ValueError:
        return default


class Supervisor:
    """Runs the processes of one workload from start to end; `run` returns when nothing is left."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.pid = os.getpid()
        self.at = time.time()
        self.incarnation = f"{self.pid}-{start_time(self.pid)}"
        self.log = Log(max_bytes=spec["log_bytes"], files=spec["log_files"], rate=spec["log_rate"])
        self.poll = select.poll()
        self.streams: dict[int, Stream] = {}
        self.running: dict[int, str] = {}
        self.started: list[dict[str, Any]] = []
        self.end: dict[str, Any] = {"code": None, "signal": None, "process": None, "reason": "", "message": ""}
        self.ended = False
        self.phase = "running"
        self.oom_kills = oom_kills(spec.get("cgroup", ""))
        self.deadline: float | None = None
        self.surroundings: tuple[dict[str, str], str] = ({}, ".")
        self.channels: dict[int, Any] = {}
        """Sockets of those who run commands beside the claw, until a command has ended."""
        self.commands: dict[int, int] = {}
        """Process of each command that runs -> its channel; -1 when nobody listens any more."""

    def prepare(self) -> None:
        """All that can fail for lack of space, before anything runs."""
        self.wake, wake_in = os.pipe()
        os.set_blocking(wake_in, False)
        os.set_blocking(self.wake, False)
        signal.set_wakeup_fd(wake_in, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        try:
            os.unlink("control")
        except FileNotFoundError:
            pass
        os.mkfifo("control", 0o600)
        self.control = os.open("control", os.O_RDWR | os.O_NONBLOCK)
        # The end must be writable even when the disk is full by then: take the block now, fill and rename it later.
        self.reserve = os.open("exit.reserve", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(self.reserve, b" " * RESERVE)
        for handle in (self.wake, self.control):
            self.poll.register(handle, select.POLLIN)
        self._write_state()
        append_line("events", dumps({"at": self.at, "incarnation": self.incarnation, "what": "started"}))

    def _write_state(self) -> None:
        write_file("state.json", dumps({
            "pid": self.pid, "start": start_time(self.pid), "boot": self.spec["boot"], "digest": self.spec["digest"],
            "memory_bytes": self.spec["memory_bytes"], "at": self.at, "processes": self.started,
            "separation": self.spec["separation"],
        }))  # fmt: skip

    def start(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, RESET)
        for process in self.spec["processes"]:
            out, out_in = os.pipe()
            err, err_in = os.pipe()
            try:
                pid = spawn(process, self.spec, (0, out_in, err_in))
            except OSError as error:
                self._cannot_start(process["name"], error)
                break
            finally:
                os.close(out_in)
                os.close(err_in)
                self._listen(Stream(out, "stdout", process["name"]), Stream(err, "stderr", process["name"]))
            self.running[pid] = process["name"]
            self.started.append({"name": process["name"], "pid": pid, "start": start_time(pid)})
        signal.pthread_sigmask(signal.SIG_UNBLOCK, RESET)
        first = self.spec["processes"][0]
        self.surroundings = first["env"], first["cwd"]  # commands beside the claw get the same
        self.spec["processes"] = ()
        try:
            self._write_state()
        except OSError:
            pass  # only the pids are missing in it

    def _listen(self, *streams: Stream) -> None:
        for stream in streams:
            os.set_blocking(stream.handle, False)
            self.streams[stream.handle] = stream
            self.poll.register(stream.handle, select.POLLIN)

    def _cannot_start(self, name: str, error: OSError) -> None:
        code = 127 if error.errno == errno.ENOENT else 126
        self.ended = True
        file = str(error.filename)[:500]
        said = _m("%(name)s cannot be started: %(why)s: %(file)s", name=name, why=str(error.strerror), file=file)
        self.end.update(code=code, process=name, reason=_n("CannotStart"), **said)
        self.log.say(self.end["message"])
        self._ask_to_end(0.0)

    # ---- the loop

    def run(self) -> None:
        while not self._finished():
            events = self.poll.poll(self._timeout())
            calm = True
            for handle, _ in events:
                if handle == self.wake:
                    self._signals(os.read(handle, 1024))
                elif handle == self.control:
                    self._commands(os.read(handle, 4096))
                elif handle in self.channels:
                    self._hear(handle)
                else:
                    calm &= self._read(handle)
            self._reap()
            self._advance()
            self.log.tell_dropped(now=time.monotonic())
            if calm:
                self.log.release()
            else:
                time.sleep(PAUSE)
        self._drain()
        self._write_end()

    def _timeout(self) -> int | None:
        waits = [max(self.deadline - time.monotonic(), 0)] if self.deadline is not None else []
        if self.log.dropped or self.log.spared:
            waits.append(1.0)
        return int(min(waits) * 1000) + 1 if waits else None

    def _read(self, handle: int) -> bool:
        goes_on, calm = self.streams[handle].read(self.log)
        if not goes_on:
            self.poll.unregister(handle)
            del self.streams[handle]
            os.close(handle)
        return calm

    def _signals(self, numbers: bytes) -> None:
        if signal.SIGQUIT in numbers or signal.SIGUSR1 in numbers:
            self._kill("Killed", "")
        elif signal.SIGTERM in numbers:
            self._stop(self.spec["grace"])

    def _commands(self, text: bytes) -> None:
        for line in text.decode("utf-8", "replace").splitlines():
            word, _, rest = line.partition(" ")
            if word == "stop":
                self._stop(_seconds(rest, self.spec["grace"]))
            elif word == "kill":
                reason, _, message = rest.partition(" ")
                self._kill(reason or "Killed", message)
            elif word == "exec":
                self._open_channel(rest)

    # ---- commands beside the claw

    def _open_channel(self, name: str) -> None:
        """Somebody waits at a socket of this name, to hand over a command with its standard streams."""
        import _socket  # the nursery has it already

        channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        channel.setblocking(False)
        try:
            channel.connect(name)
        except OSError:
            channel.close()  # they have gone meanwhile
            return
        self.channels[channel.fileno()] = channel
        self.poll.register(channel.fileno(), select.POLLIN)

    def _hear(self, handle: int) -> None:
        """A command to run, or the end of whoever asked for one."""
        import _socket

        channel = self.channels[handle]
        try:
            data, ancillary, _, _ = channel.recvmsg(64, _socket.CMSG_SPACE(16), _socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        handles = [
            int.from_bytes(raw[place : place + 4], sys.byteorder) for _, _, raw in ancillary for place in range(0, len(raw), 4)
        ]
        if not data:
            self._hung_up(handle)
        elif len(handles) == 4 and handle not in self.commands.values():
            self._run_command(handle, handles[0], (handles[1], handles[2], handles[3]))
        for extra in handles:
            os.close(extra)

    def _run_command(self, handle: int, memory: int, streams: tuple[int, int, int]) -> None:
        with open(memory, "rb", buffering=0, closefd=False) as file:
            asked = marshal.loads(file.readall())  # noqa: S302  # from the portal, through memory that nobody else has
        environment, cwd = self.surroundings
        process = {"argv": asked["argv"], "env": {**environment, **asked["env"]}, "cwd": cwd, "terminal": asked["terminal"]}
        if self.phase != "running":
            return self._answer(handle, {"errno": errno.ESRCH, "name": ""}, last=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, RESET)
        try:
            pid = spawn(process, self.spec, streams)
        except OSError as error:
            return self._answer(handle, {"errno": error.errno or 0, "name": str(error.filename)}, last=True)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, RESET)
        self.commands[pid] = handle
        self._answer(handle, {"pid": pid})

    def _answer(self, handle: int, message: dict[str, Any], *, last: bool = False) -> None:
        try:
            self.channels[handle].send(marshal.dumps(message, 2))
        except OSError:
            pass  # nobody listens; the end of the channel is heard by itself
        if last:
            self._close_channel(handle)

    def _close_channel(self, handle: int) -> None:
        self.poll.unregister(handle)
        self.channels.pop(handle).close()

    def _hung_up(self, handle: int) -> None:
        """A command must not outlive whoever asked for it."""
        self._close_channel(handle)
        for pid, channel in self.commands.items():
            if channel == handle:
                self.commands[pid] = -1
                self._kill_command(pid)

    def _kill_command(self, pid: int) -> None:
        """With all below, and what it has put into its background; several times, because one may fork meanwhile."""
        for _ in range(3):
            below = [child for child in descendants(self.pid) if child != pid and _session(child) == pid]
            signal_all([pid, *descendants(pid), *below], signal.SIGKILL)

    def _stop(self, grace: float) -> None:
        if not self.ended and not self.end["reason"]:
            self.end["reason"] = "Stopped"
        try:
            write_file("stopping", self.incarnation)
        except OSError:
            pass  # only a hint for whoever applies meanwhile
        self._ask_to_end(grace)

    def _kill(self, reason: str, message: str) -> None:
        if not self.ended or self.end["reason"] == "Stopped":
            self.end.update(reason=reason, message=message, said=None)
        self.phase, self.deadline = "killing", 0.0

    def _ask_to_end(self, grace: float) -> None:
        until = time.monotonic() + grace
        if self.phase == "running":
            self.phase, self.deadline = "ending", until
            signal_all(list(self.running), signal.SIGTERM)
        elif self.deadline is not None:
            self.deadline = min(self.deadline, until)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self.running.pop(pid, None)
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
                self._note_oom(of_claw=name is not None and not self.ended)
            if name is not None:
                self._note_exit(name, os.waitstatus_to_exitcode(status))
            channel = self.commands.pop(pid, -1)
            if channel >= 0:
                self._answer(channel, {"code": os.waitstatus_to_exitcode(status)}, last=True)

    def _note_oom(self, *, of_claw: bool) -> None:
        """Whether it was the kernel that killed, because the group had reached its memory limit."""
        known, self.oom_kills = self.oom_kills, oom_kills(self.spec.get("cgroup", ""))
        if self.oom_kills <= known or self.phase == "killing":
            return
        limit = (self.spec["memory_bytes"] or 0) >> 20
        if of_claw:
            said = _m("It needed more memory than its limit of %(limit)s MiB, and the kernel ended it.", limit=str(limit))
            self.end.update(reason=_n("OutOfMemory"), **said)
        else:
            self.log.say(f"the kernel ended a command: the claw and all it runs needed more than {limit} MiB of memory")

    def _note_exit(self, name: str, code: int) -> None:
        if not self.ended:
            self.ended = True
            self.end.update(process=name, code=code if code >= 0 else None, signal=-code if code < 0 else None)
        if self.phase == "running":
            self._ask_to_end(self.spec["grace"])

    def _advance(self) -> None:
        """From asking to insisting, when the time has come."""
        if self.phase == "ending" and not self.running:
            self.phase = "leftovers"
            self.deadline = min(self.deadline or 0.0, time.monotonic() + LEFTOVER_GRACE)
            for pid in list(self.commands):
                self._kill_command(pid)  # a shell ignores being asked
            signal_all(descendants(self.pid), signal.SIGTERM)
        if self.deadline is not None and time.monotonic() >= self.deadline and self.phase != "dead":
            if self.phase == "ending" and self.running and not self.end["message"]:
                names = ", ".join(self.running.values())
                self.end.update(_m("%(names)s did not end when asked and was killed", names=names))
            self._kill_now()

    def _kill_now(self) -> None:
        """Like `kill_tree`, but keeps the exit code of the first process of the workload."""
        wait = 0.002
        while self._has_children():
            signal_all(descendants(self.pid), signal.SIGKILL)
            time.sleep(wait)
            self._reap()
            wait = min(wait * 1.5, 0.25)  # one that hangs in the kernel may take its time
        self.phase, self.deadline = "dead", None

    def _has_children(self) -> bool:
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def _finished(self) -> bool:
        """Everything is reaped: with a subreaper, no child means no descendant."""
        return self.phase == "dead" or (self.phase != "running" and not self.running and not self._has_children())

    def _drain(self) -> None:
        """The last words: what is still in the pipes. Nobody is left who could write more."""
        self.log.unlimited = True  # the end of a flood tells most about its cause, and a pipe holds 64 KiB only
        for handle in list(self.streams):
            while handle in self.streams and select.select([handle], [], [], 0)[0]:
                self._read(handle)
        for stream in self.streams.values():  # somebody else still holds its other end
            self.log.release(stream.label)
        self.log.tell_dropped(now=time.monotonic(), last=True)

    def fail(self, error: Exception) -> None:
        trace = error.__traceback__
        while trace and trace.tb_next:
            trace = trace.tb_next
        where = f"{type(error).__name__}: {error} (line {trace.tb_lineno if trace else 0})"
        self.log.say(f"the supervisor failed and ended the claw: {where}")
        kill_tree()
        self.end.update(reason=_n("SupervisorFailed"), message=where[:500], said=None)
        self._write_end()

    def _write_end(self) -> None:
        end = {"incarnation": self.incarnation, "at": time.time(), **self.end}
        text = dumps(end).encode()[:RESERVE]
        os.pwrite(self.reserve, text.ljust(RESERVE), 0)
        os.rename("exit.reserve", "exit.json")
        append_line("events", dumps({"what": "ended", **end}))
