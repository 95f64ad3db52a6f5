"""Stands between the portal and one instance, so that neither the death of the portal nor the fork of a daemon loses the claw.

It runs by itself (see `launch`), one for each instance, forked from a nursery that holds nothing of the portal's. It keeps the
log pipes, the process tree and the clock of a stop. It may import C modules only: `signal` and `json` would double its memory.

What it does with a request to stop: SIGTERM goes to the processes of the workload alone, because a claw that drains a turn
still needs its helpers; what is left when they have ended gets SIGTERM too; what is left after the grace gets SIGKILL.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # the C module, unknown to typeshed; `signal` brings 1 MB of enum
import errno
import fcntl
import marshal
import os
import resource
import select
import sys
import time

from clawportal_process import confine, kernel

TYPE_CHECKING = False  # the type checker takes it for true; importing typing would cost memory
if TYPE_CHECKING:
    from typing import Any

LINE_LIMIT = 16 * 1024
READ_SIZE = 64 * 1024
LEFTOVER_GRACE = 3.0
"""Seconds that helpers get after the processes of the workload have ended by themselves."""
BURST_SECONDS = 5
PAUSE = 0.02
"""How long a claw that writes too fast is left waiting on its full pipe."""
SPARED = 8 * 1024
"""How many bytes of the latest lines that come too fast may wait for their turn, of each stream."""
RESERVE = 4096
EVENTS_LIMIT = 64 * 1024
"""Size at which the list of starts and ends is put aside; one older file is kept."""
_RESET = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM, signal.SIGUSR1, signal.SIGXFSZ, signal.SIGCHLD,
)  # fmt: skip


def dumps(value: Any) -> str:
    """JSON of plain values; the json module would bring `re` and `enum` along."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{dumps(str(key))}: {dumps(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(dumps, value)) + "]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if " " <= char <= "~" else _escaped(ord(char)) for char in text) + '"'


def _escaped(code: int) -> str:
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def start_time(pid: int) -> int:
    """Ticks after boot at which a process started; with the pid it names a process for good. 0: there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return int(file.read(1024).rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def write_file(name: str, text: str) -> None:
    """Readers see the old file or the new one."""
    handle = os.open(name + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)
    os.rename(name + ".new", name)


def append_line(name: str, text: str) -> None:
    """To a file of bounded size. Nothing that anybody waits for: a full disk is no reason to fail."""
    try:
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, text.encode() + b"\n")
            large = os.fstat(handle).st_size > EVENTS_LIMIT
        finally:
            os.close(handle)
        if large:
            os.rename(name, name + ".1")
    except OSError:
        pass


def stamp(now: float) -> bytes:
    part = time.gmtime(now)
    return b"%04d-%02d-%02dT%02d:%02d:%02d.%06dZ" % (*part[:6], int(now % 1 * 1_000_000))


# --------------------------------------------------------------------------------------------------------------------
# The tree


def children(pid: int) -> list[int]:
    """Direct children, of every thread of a process."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                found += map(int, file.read(65536).split())
    except (OSError, ValueError):
        pass
    return found


def descendants(root: int) -> list[int]:
    """All below `root`, parents first. Daemons are among them: the supervisor is their reaper."""
    found: list[int] = []
    todo = [root]
    while todo:
        below = children(todo.pop())
        found += below
        todo += below
    return found


def signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


def kill_tree() -> None:
    """End everything below this process and reap it. Goes on until nothing is left, whatever forks meanwhile."""
    while True:
        signal_all(descendants(os.getpid()), signal.SIGKILL)
        until = time.monotonic() + 0.02
        while time.monotonic() < until:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.002)
            except ChildProcessError:
                return


# --------------------------------------------------------------------------------------------------------------------
# The log


class Log:
    """A bounded set of files that never stops the claw: what does not fit is dropped, counted and told."""

    def __init__(self, *, max_bytes: int, files: int, rate: int) -> None:
        self.max_bytes, self.files, self.rate = max_bytes, files, rate
        self.tokens = float(rate * BURST_SECONDS)
        self.refilled = time.monotonic()
        self.too_fast = self.no_space = 0
        self.spared: dict[bytes, list[bytes]] = {}
        self.told = 0.0
        self.why = "no space left on device"
        self.handle = -1
        self.size = 0
        self.torn = self.unlimited = False
        self._open()

    def _open(self) -> None:
        try:
            self.handle = os.open("log", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self.size = os.fstat(self.handle).st_size
            self.torn = bool(self.size) and os.pread(self.handle, 1, self.size - 1) != b"\n"
        except OSError as error:
            self.handle, self.why = -1, (error.strerror or "").lower()

    def feed(self, label: bytes, lines: list[bytes], tag: bytes = b"F") -> bool:
        """Append lines; False when some had to wait or be dropped because they come too fast."""
        self._refill()
        lines = self._after_spared(label, lines, tag)
        cost = len(lines) + (sum(map(len, lines)) >> 10)
        kept = lines if self.unlimited or cost <= self.tokens else self._affordable(lines)
        self._spare(label, lines[len(kept) :], tag)
        if self.no_space:
            self._tell_no_space()  # in the place where the lines are missing, before the room is gone again
        if kept:
            self.tokens -= len(kept) + (sum(map(len, kept)) >> 10)
            head = b"%s %s %s " % (stamp(time.time()), label, tag)
            self._write(head + (b"\n" + head).join(kept) + b"\n", len(kept))
        return len(kept) == len(lines)

    def _after_spared(self, label: bytes, lines: list[bytes], tag: bytes) -> list[bytes]:
        before = self.spared.pop(label, [])
        if tag == b"F":
            return before + lines
        self.too_fast += len(before)
        return lines

    def _spare(self, label: bytes, lines: list[bytes], tag: bytes) -> None:
        """The latest of what comes too fast waits for its turn: it may turn out to be the last words."""
        size, place = 0, len(lines)
        while tag == b"F" and place and size + len(lines[place - 1]) < SPARED:
            place -= 1
            size += len(lines[place]) + 1
        self.too_fast += place
        if place < len(lines):
            self.spared[label] = lines[place:]

    def release(self, label: bytes | None = None) -> None:
        """Write what waited, as far as that is allowed; all of it when its stream has ended."""
        for name in list(self.spared) if label is None else [label]:
            if label is not None:
                self.tell_dropped(now=time.monotonic(), last=True)
            limited, self.unlimited = self.unlimited, self.unlimited or label is not None
            self.feed(name, [])
            self.unlimited = limited

    def _refill(self) -> None:
        now = time.monotonic()
        self.tokens = min(self.rate * BURST_SECONDS, self.tokens + (now - self.refilled) * self.rate)
        self.refilled = now

    def _affordable(self, lines: list[bytes]) -> list[bytes]:
        left = self.tokens
        for position, line in enumerate(lines):
            left -= 1 + (len(line) >> 10)
            if left < 0:
                return lines[:position]
        return lines

    def _write(self, blob: bytes, lines: int) -> None:
        if self.handle < 0:
            self._open()
        if self.handle < 0:
            self.no_space += lines
            return
        if self.size > self.max_bytes:
            self._rotate()
        try:
            blob = b"\n" + blob if self.torn else blob
            written = os.write(self.handle, blob)
        except OSError as error:
            self.no_space += lines
            self.why = (error.strerror or "").lower()
            return
        self.size += written
        self.torn = written < len(blob)
        self.no_space += blob.count(b"\n", written)

    def _rotate(self) -> None:
        try:
            for number in range(self.files - 1, 0, -1):
                older = f"log.{number - 1}" if number > 1 else "log"
                if os.path.exists(older):
                    os.rename(older, f"log.{number}")
            if self.files < 2:
                os.unlink("log")
            os.close(self.handle)
        except OSError:  # cannot even rename: stay bounded all the same
            os.ftruncate(self.handle, 0)
            self.size = 0
            return
        self.handle = -1
        self._open()

    def say(self, text: str) -> None:
        """One line of the portal's own."""
        self._write(b"%s portal supervisor F %s\n" % (stamp(time.time()), text.encode("utf-8", "replace")), 0)

    @property
    def dropped(self) -> int:
        return self.too_fast + self.no_space

    def tell_dropped(self, *, now: float, last: bool = False) -> None:
        """Say how many lines are missing, at most once a second; a line that cannot be written stays to be told."""
        if not self.dropped or (now - self.told < 1 and not last):
            return
        self.told = now
        if self.no_space:
            self._tell_no_space()
        if self.too_fast and not self.no_space:
            count, self.too_fast = self.too_fast, 0
            self._write_report(f"{count} lines were dropped: more than {self.rate} lines a second", count)

    def _tell_no_space(self) -> None:
        count, self.no_space = self.no_space, 0
        self._write_report(f"{count} lines were dropped: {self.why}", count)

    def _write_report(self, text: str, count: int) -> None:
        before = self.no_space
        self._write(b"%s portal supervisor F %s\n" % (stamp(time.time()), text.encode()), count)
        if self.torn:
            self.no_space = before + count


class Stream:
    """One pipe of one process."""

    def __init__(self, handle: int, name: str, process: str) -> None:
        self.handle = handle
        self.label = f"{name} {process}".encode()
        self.rest = b""

    def read(self, log: Log) -> tuple[bool, bool]:
        """Take what is there. Answers: goes on, and was slow enough."""
        try:
            data = os.read(self.handle, READ_SIZE)
        except BlockingIOError:
            return True, True
        if not data:
            log.release(self.label)
            calm = log.feed(self.label, [self.rest]) if self.rest else True
            self.rest = b""
            return False, calm
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        calm = self._feed(lines, log)
        while len(self.rest) > LINE_LIMIT:
            calm &= log.feed(self.label, [self.rest[:LINE_LIMIT]], b"P")
            self.rest = self.rest[LINE_LIMIT:]
        return True, calm

    def _feed(self, lines: list[bytes], log: Log) -> bool:
        if not lines or max(map(len, lines)) <= LINE_LIMIT:
            return log.feed(self.label, lines) if lines else True
        calm = True
        for line in lines:
            while len(line) > LINE_LIMIT:
                calm &= log.feed(self.label, [line[:LINE_LIMIT]], b"P")
                line = line[LINE_LIMIT:]
            calm &= log.feed(self.label, [line])
        return calm


# --------------------------------------------------------------------------------------------------------------------
# Starting


def spawn(process: dict[str, Any], spec: dict[str, Any], streams: tuple[int, int, int]) -> int:
    """Start one process in its own session, with these as its standard streams. OSError says why it cannot be executed."""
    confine.hand_over(spec["wall"], streams)
    report, child_report = os.pipe()
    parent = os.getpid()
    pid = os.fork()  # signals are blocked here: one that comes before the exec must not meet our handlers
    if pid == 0:
        try:
            _become(process, spec, streams, parent)
        except OSError as error:
            os.write(child_report, b"%d %s" % (error.errno or 0, str(error.filename or process["argv"][0]).encode()))
        finally:
            os._exit(127)
    os.close(child_report)
    with os.fdopen(report, "rb", buffering=0) as file:
        answer = file.read(4096)
    if answer:
        os.waitpid(pid, 0)
        number, _, name = answer.partition(b" ")
        raise OSError(int(number), os.strerror(int(number)), name.decode("utf-8", "replace"))
    return pid


def _become(process: dict[str, Any], spec: dict[str, Any], streams: tuple[int, int, int], parent: int) -> None:
    os.setsid()
    _join(spec.get("cgroup", ""))
    signal.set_wakeup_fd(-1)
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    os.umask(spec.get("umask", 0o077))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = spec["open_files"] if hard == resource.RLIM_INFINITY else min(spec["open_files"], hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    for target, handle in enumerate(streams):
        if handle == target:
            os.set_inheritable(target, True)  # /dev/null
        else:
            os.dup2(handle, target)
    if process.get("terminal"):
        fcntl.ioctl(0, process["terminal"], 0)  # TIOCSCTTY, whose number differs between machines
    confine.enter(spec["wall"])
    # after the wall, because the kernel forgets this when a process becomes somebody else
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)  # without its supervisor a claw has no log and no master: it should end
    if os.getppid() != parent:
        os._exit(127)
    os.chdir(process["cwd"])
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execvpe(process["argv"][0], process["argv"], process["env"])  # no shell is the point


def _join(group: str) -> None:
    """The control group that holds the limits of the claw, see `cgroups`. Without it nothing is started."""
    if group:
        handle = os.open(f"{group}/cgroup.procs", os.O_WRONLY)
        os.write(handle, b"0")
        os.close(handle)


def oom_kills(group: str) -> int:
    """How many processes of a group the kernel has ended for want of memory."""
    try:
        with open(f"{group}/memory.events", "rb", buffering=0) as file:
            return sum(int(line[9:]) for line in file.read(4096).splitlines() if line.startswith(b"oom_kill "))
    except (OSError, ValueError):
        return 0


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
        signal.pthread_sigmask(signal.SIG_BLOCK, _RESET)
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
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _RESET)
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
        message = f"{name} cannot be started: {error.strerror}: {str(error.filename)[:500]}"
        self.end.update(code=code, process=name, reason="CannotStart", message=message)
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
        signal.pthread_sigmask(signal.SIG_BLOCK, _RESET)
        try:
            pid = spawn(process, self.spec, streams)
        except OSError as error:
            return self._answer(handle, {"errno": error.errno or 0, "name": str(error.filename)}, last=True)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _RESET)
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
            self.end.update(reason=reason, message=message)
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
            message = f"It needed more memory than its limit of {limit} MiB, and the kernel ended it."
            self.end.update(reason="OutOfMemory", message=message)
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
                self.end["message"] = f"{', '.join(self.running.values())} did not end when asked and was killed"
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
        self.end.update(reason="SupervisorFailed", message=where[:500])
        self._write_end()

    def _write_end(self) -> None:
        end = {"incarnation": self.incarnation, "at": time.time(), **self.end}
        text = dumps(end).encode()[:RESERVE]
        os.pwrite(self.reserve, text.ljust(RESERVE), 0)
        os.rename("exit.reserve", "exit.json")
        append_line("events", dumps({"what": "ended", **end}))


# --------------------------------------------------------------------------------------------------------------------
# Ways in


def nursery() -> None:
    """Fork a supervisor for each request of the portal, until the portal is gone.

    A fork shares nearly all its memory with its siblings and is there in a millisecond; a fresh interpreter has 3 MB of its own.
    A request is the folder to run in, with two descriptors: the spec to read, and where to answer.
    """
    import _socket
    import gc

    gc.disable()  # it would touch, and so copy, every object; nothing here makes cycles
    gc.freeze()
    channel = _socket.socket(fileno=0)
    while True:
        request, ancillary, _, _ = channel.recvmsg(8192, _socket.CMSG_SPACE(8))
        if not request:
            os._exit(0)
        handles = [int.from_bytes(data[place : place + 4], sys.byteorder) for _, _, data in ancillary for place in (0, 4)]
        pid = os.fork()
        if pid == 0:
            os.setsid()
            for target, handle in enumerate(handles):  # the channel was 0
                os.dup2(handle, target, inheritable=False)
                os.close(handle)
            supervise(request.decode())
            os._exit(0)
        for handle in handles:
            os.close(handle)
        os.waitpid(pid, 0)  # only the one that detaches


def supervise(run: str) -> None:
    """Read the spec from standard input, detach, answer on standard output, and stay until the claw has ended."""
    spec = _read_spec()
    if os.fork():
        os._exit(0)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    kernel.prctl(kernel.PR_SET_NAME, b"claw-supervisor")  # for `ps` and `top`; /proc/<pid>/cwd says of which instance
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0, inheritable=False)
    os.dup2(null, 2, inheritable=False)
    answer = os.dup(1)
    os.dup2(null, 1, inheritable=False)
    os.umask(0o077)
    try:
        os.chdir(run)
        _lock()
        supervisor = Supervisor(spec)
        supervisor.prepare()
        supervisor.start()
        _tell(answer, {"incarnation": supervisor.incarnation, "processes": supervisor.started})
    except OSError as error:
        kill_tree()
        _tell(answer, {"errno": error.errno or 0, "error": error.strerror or str(error)})
        os._exit(1)
    try:
        supervisor.run()
    except Exception as error:  # a mistake of ours must not leave a claw without a master
        supervisor.fail(error)


def _tell(answer: int, message: dict[str, Any]) -> None:
    try:
        os.write(answer, marshal.dumps(message, 2))
    except BrokenPipeError:
        pass  # the portal died meanwhile; the next one finds us by state.json
    os.close(answer)


def _read_spec() -> dict[str, Any]:
    """Length, then marshal: half a spec must start nothing."""
    with os.fdopen(os.dup(0), "rb", buffering=0) as file:
        raw = file.readall()
    if len(raw) < 8 or int.from_bytes(raw[:8], "big") != len(raw) - 8:
        os._exit(1)
    spec: dict[str, Any] = marshal.loads(raw[8:])  # noqa: S302  # from the portal, through memory that nobody else has
    return spec


def _lock() -> None:
    """Held as long as this process lives. A second supervisor for the same folder fails here, before it starts anything."""
    fcntl.flock(os.open("alive.lock", os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX | fcntl.LOCK_NB)


def guard(argv: list[str]) -> int:
    """Run a command that must not outlive the portal: when standard input ends, its whole tree is killed.

    A lock that was handed down stays with this process, so that nobody follows while a left-over tool still writes. The wall that
    the command runs behind comes in memory.
    """
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    for handle in map(int, os.environ.pop("CLAWPORTAL_LOCK_FD", "").split()):
        os.set_inheritable(handle, False)
    with os.fdopen(int(os.environ.pop("CLAWPORTAL_SPEC_FD")), "rb") as file:
        spec = marshal.loads(file.read())  # noqa: S302  # from the portal, through memory that nobody else has
    wake, wake_in = os.pipe()
    os.set_blocking(wake_in, False)
    signal.set_wakeup_fd(wake_in, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parent_pipe = os.dup(0)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    process = {"argv": argv, "env": dict(os.environ), "cwd": spec["cwd"]}
    signal.pthread_sigmask(signal.SIG_BLOCK, _RESET)
    try:
        pid = spawn(process, spec, (0, 1, 2))
    except OSError as error:
        os.write(2, f"cannot start {argv[0]}: {error.strerror}: {error.filename}\n".encode())
        return 127
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _RESET)
    while True:
        ready = select.select([parent_pipe, wake], [], [])[0]
        if parent_pipe in ready:
            kill_tree()
            return 137
        os.read(wake, 64)
        code = _reap_for(pid)
        if code is not None:
            kill_tree()
            return code


def _reap_for(pid: int) -> int | None:
    """Reap all that has ended; the exit code of `pid` when it is among them."""
    code = None
    while True:
        try:
            done, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if not done:
            return code
        if done == pid:
            code = os.waitstatus_to_exitcode(status) % 256


def main() -> None:
    mode, *rest = sys.argv[1:]
    if mode == "guard":
        sys.exit(guard(rest))
    nursery()
