"""What the conformance suite of runtimes works with: instances of a place under test that are always taken away again."""

from __future__ import annotations

import io
import json
import secrets as random_bytes
import tarfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest

from clawportal.contracts.runtimes import ExecSession, LogLine, Observed, Ref, RunState, Runtime, Sample
from clawportal.contracts.workloads import Check, File, Image, Process, Workload
from clawportal.errors import Conflict, GiveUp, Problem, Retry
from clawportal.testing.fakes import free_ports

T = TypeVar("T")

SLEEPER = "import time; print('ready', flush=True); time.sleep(3600)"
"""Does nothing, and ends when asked."""
POLITE = """
    import os, signal, sys, time
    def asked(number, frame):
        open(sys.argv[1] + '/asked', 'a').write('asked\\n')
        sys.exit(0)
    signal.signal(signal.SIGTERM, asked)
    print('ready', flush=True)
    while True: time.sleep(0.05)
"""
"""Notes in the folder that it is given that it was asked to end, and ends with code 0."""
STUBBORN = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print('ready', flush=True)
    while True: time.sleep(0.05)
"""
"""Only a kill ends it."""
NOT_DECLARED = "declares no"
"""How the reason of a skip begins that a runtime has declared itself."""


@dataclass(frozen=True)
class Terms:
    """What a place needs from the suite; the attributes of `RuntimeConformance` with the same names."""

    python: str
    image: Image | None
    patience: float


class Lab:
    """One connected place. Every instance that was named with `ref` is gone after `close`."""

    def __init__(self, connect: Callable[[], Runtime], terms: Terms) -> None:
        self.terms = terms
        self._connect = connect
        self._connected: list[Runtime] = []
        self._refs: list[Ref] = []
        self.runtime = self.connect()

    # ---- the place

    def connect(self) -> Runtime:
        """Another portal on the same place; the lab closes it."""
        runtime = self._connect()
        self._connected.append(runtime)
        return runtime

    def can(self, capability: str) -> bool:
        return capability in self.runtime.capabilities

    def needs(self, *capabilities: str) -> None:
        """Skip the test where the place has not declared that it can do this."""
        for capability in capabilities:
            if not self.can(capability):
                pytest.skip(f"{NOT_DECLARED} `{capability}`")

    def close(self) -> None:
        if self._refs:
            self.end_all(self._refs)
        for runtime in self._connected:
            runtime.close()

    def end_all(self, refs: Iterable[Ref]) -> None:
        """Kill and remove, data included, several at once."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._end, refs))

    def _end(self, ref: Ref) -> None:
        until = time.monotonic() + self.terms.patience
        while True:
            try:
                self.runtime.kill(ref)
                return self.runtime.remove(ref, keep_data=False)
            except (Conflict, Retry):
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    # ---- instances

    def ref(self, word: str = "one", *, tenant: str = "acme") -> Ref:
        """A new name that nobody else has."""
        ref = Ref(f"{word}-{random_bytes.token_hex(4)}", word, f"t-{tenant}", tenant)
        self._refs.append(ref)
        return ref

    def process(self, code: str = SLEEPER, *arguments: str, name: str = "main", **fields: Any) -> Process:
        return Process(name, (self.terms.python, "-I", "-S", "-u", "-c", textwrap.dedent(code), *arguments), **fields)

    def workload(self, code: str = SLEEPER, *arguments: str, files: Iterable[File] = (), **fields: Any) -> Workload:
        """A small program. Fields of `Process` go to it, all others to the workload."""
        own = {name: fields.pop(name) for name in ("env", "secret_env", "cwd", "name") if name in fields}
        return self.around(self.process(code, *arguments, **own), files=tuple(files), **fields)

    def around(self, *processes: Process, **fields: Any) -> Workload:
        more = {"image": self.terms.image, "startup_seconds": self.terms.patience} if self.terms.image else {}
        return Workload(processes=processes, **{"stop_grace": 5.0, **more, **fields})

    def judge(self, code: str, *arguments: str, **fields: Any) -> Check:
        return Check((self.terms.python, "-I", "-S", "-c", textwrap.dedent(code), *arguments), **fields)

    def folder(self, ref: Ref, root: str) -> str:
        """Where a root is, as the processes of the instance see it."""
        return str(getattr(self.runtime.layout(ref, (), self.terms.image), root))

    def apply(
        self, ref: Ref, workload: Workload, secrets: Mapping[str, str] | None = None, by: Runtime | None = None
    ) -> Observed:
        """As core does it: what may heal by itself is tried again."""
        until = time.monotonic() + self.terms.patience
        while True:
            try:
                return (by or self.runtime).apply(ref, workload, secrets or {})
            except Retry:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def start(self, ref: Ref, workload: Workload | None = None, secrets: Mapping[str, str] | None = None) -> Observed:
        """Apply, and wait until the program says `ready`."""
        before = self.before(ref, "ready")
        self.apply(ref, workload or self.workload(), secrets)
        self.running(ref)
        self.eventually(lambda: len(self.beginning(ref, "ready")) > before, f"{ref} says that it is ready")
        return self.runtime.inspect(ref)

    def before(self, ref: Ref, beginning: str) -> int:
        """How many such lines the runs until now have left; 0 where lines go with their run."""
        return len(self.beginning(ref, beginning)) if self.can("logs.kept") else 0

    def beginning(self, ref: Ref, beginning: str) -> list[str]:
        return [text for text in self.texts(ref) if text.startswith(beginning)]

    def running(self, ref: Ref) -> Observed:
        self.eventually(lambda: self.runtime.inspect(ref).state is RunState.RUNNING, f"{ref} runs")
        return self.runtime.inspect(ref)

    def down(self, ref: Ref, seconds: float | None = None) -> Observed:
        """Wait until there is nothing to stop any more."""
        gone = (RunState.EXITED, RunState.ABSENT)
        self.eventually(lambda: self.runtime.inspect(ref).state in gone, f"{ref} is down", seconds)
        return self.runtime.inspect(ref)

    def ended(self, ref: Ref) -> Observed:
        """Wait until the program has ended by itself; a place that starts it again tells so by `restarts`."""

        def over() -> Observed | None:
            if self.can("metrics"):
                self.runtime.sample()  # as the portal does all the time: a place may enforce its limits there
            seen = self.runtime.inspect(ref)
            return seen if seen.state is RunState.EXITED or seen.restarts else None

        return self.eventually(over, f"{ref} has ended by itself")

    def stopped(self, ref: Ref) -> Observed:
        self.runtime.stop(ref, 5.0)
        return self.down(ref)

    def killed(self, ref: Ref) -> Observed:
        self.runtime.kill(ref)
        return self.down(ref)

    # ---- what it says

    def lines(self, ref: Ref, by: Runtime | None = None, **options: Any) -> list[LogLine]:
        return [line for line in (by or self.runtime).logs(ref, **options) if line is not None]

    def texts(self, ref: Ref, stream: str = "", **options: Any) -> list[str]:
        """What the instance itself has said."""
        found = [line for line in self.lines(ref, **options) if line.stream != "portal"]
        return [line.text for line in found if stream in ("", line.stream)]

    def said(self, ref: Ref, text: str) -> list[str]:
        """Wait for a line; answers all."""
        return self.eventually(lambda: found if text in (found := self.texts(ref)) else None, f"{ref} says {text!r}")

    def report(self, ref: Ref, before: int = 0) -> Any:
        """Wait for a line `REPORT {json}` beside those that were there before, and read it."""
        lines = self.eventually(lambda: self.beginning(ref, "REPORT ")[before:], f"{ref} gives its report")
        return json.loads(lines[-1].partition(" ")[2])

    def asks(self, ref: Ref, code: str, *arguments: str, secrets: Mapping[str, str] | None = None, **fields: Any) -> Any:
        """Start a program that finds out something, and answer what it reports."""
        program = "import json, os, sys, time\n" + textwrap.dedent(code) + "\nprint('REPORT', json.dumps(found), flush=True)\n"
        before = self.before(ref, "REPORT ")
        self.apply(ref, self.workload(program + "time.sleep(3600)", *arguments, **fields), secrets)
        return self.report(ref, before)

    def sample(self, ref: Ref) -> Sample | None:
        return next((found for found in self.runtime.sample() if found.ref.instance_id == ref.instance_id), None)

    def listed(self, ref: Ref, by: Runtime | None = None) -> Observed | None:
        """What `observe` says about it."""
        return next((seen for seen in (by or self.runtime).observe() if seen.ref.instance_id == ref.instance_id), None)

    # ---- waiting

    def eventually(self, found: Callable[[], T | None], what: str, seconds: float | None = None) -> T:
        """The first true answer; the test fails when the time is over."""
        until = time.monotonic() + (self.terms.patience if seconds is None else seconds)
        while True:
            if answer := found():
                return answer
            if time.monotonic() > until:
                raise AssertionError(f"not within {self.terms.patience if seconds is None else seconds:g} s: {what}")
            time.sleep(0.05)

    # ---- network

    def ports(self, *names: str) -> dict[str, int]:
        """Numbers to listen on: free ones where the machine is shared, any otherwise."""
        return free_ports(names) if self.can("allocated-ports") else {name: 18700 + place for place, name in enumerate(names)}

    @property
    def listen_host(self) -> str:
        return "127.0.0.1" if self.can("allocated-ports") else "0.0.0.0"

    # ---- commands and files

    @contextmanager
    def command(self, ref: Ref, *argv: str, **options: Any) -> Iterator[ExecSession]:
        session = self.runtime.exec(ref, argv, **options)
        try:
            yield session
        finally:
            session.close()

    def code(self, text: str, *arguments: str) -> tuple[str, ...]:
        """The command that runs a Python program."""
        return (self.terms.python, "-I", "-S", "-u", "-c", textwrap.dedent(text), *arguments)

    def hear(self, session: ExecSession, until: Callable[[bytes], bool] | None = None) -> tuple[bytes, bytes]:
        """Output and errors, to the end or until the output is enough."""
        out, err = bytearray(), bytearray()
        end = time.monotonic() + self.terms.patience
        while time.monotonic() < end:
            try:
                piece = session.receive(0.5)
            except EOFError:
                if until is None:
                    return bytes(out), bytes(err)
                raise AssertionError(f"it ended with {session.exit_code} and said only {bytes(out)!r} {bytes(err)!r}") from None
            if piece is not None:
                (out if piece[0] == "stdout" else err).extend(piece[1])
            if until is not None and until(bytes(out)):
                return bytes(out), bytes(err)
        raise AssertionError(f"not within {self.terms.patience:g} s; it said {bytes(out)!r} {bytes(err)!r}")

    def do(self, ref: Ref, *argv: str, **options: Any) -> tuple[int | None, bytes, bytes]:
        """Run a command to its end: exit code, output, errors."""
        with self.command(ref, *argv, **options) as session:
            out, err = self.hear(session)
            return session.exit_code, out, err

    def push(self, ref: Ref, root: str, path: str, entries: Mapping[str, bytes]) -> None:
        self.runtime.push(ref, root, path, pieces(tar_of({name: (0o600, data) for name, data in entries.items()})))

    def pulled(self, ref: Ref, root: str, path: str = "") -> dict[str, tuple[tarfile.TarInfo, bytes]]:
        """All that a pull hands out, by name."""
        raw = b"".join(self.runtime.pull(ref, root, path))
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            return {
                info.name.removeprefix("./").rstrip("/"): (info, file.read() if (file := tar.extractfile(info)) else b"")
                for info in tar if not info.issym()
            } | {info.name.removeprefix("./"): (info, b"") for info in tar.getmembers() if info.issym()}  # fmt: skip

    # ---- watching

    @contextmanager
    def watching(self, by: Runtime | None = None) -> Iterator[list[Observed]]:
        """What `watch` tells while the block runs."""
        seen: list[Observed] = []
        over = threading.Event()

        def look() -> None:
            for change in (by or self.runtime).watch(over.is_set):
                if change is not None:
                    seen.append(change)

        thread = threading.Thread(target=look, name="watching", daemon=True)
        thread.start()
        time.sleep(0.3)
        try:
            yield seen
        finally:
            over.set()
            thread.join(self.terms.patience)
            assert not thread.is_alive(), "watch goes on although it was asked to end"


# --------------------------------------------------------------------------------------------------------------------
# Tar streams


def tar_of(entries: Mapping[str, tuple[int, bytes]], *more: tarfile.TarInfo) -> bytes:
    """Files with their modes; a name that ends in `/` is a folder. `more` are entries without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, (mode, content) in entries.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.mode, info.size, info.mtime = mode, len(content), 1_700_000_000
            tar.addfile(info, io.BytesIO(content))
        for info in more:
            tar.addfile(info)
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def pieces(raw: bytes, size: int = 65536) -> Iterator[bytes]:
    for place in range(0, len(raw), size):
        yield raw[place : place + size]


class Reader(io.RawIOBase):
    """Pieces as a file that can be read, for `tarfile` in stream mode."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._rest = iter(chunks), b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            piece = next(self._chunks, None)
            if piece is None:
                break
            self._rest += piece
        out, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return out


REFUSALS = (GiveUp, Problem, PermissionError)
"""The ways in which a path that leads out may be refused."""


def refused(work: Callable[[], Any]) -> bool:
    """Whether it is refused because of its path. What does not exist is no refusal, but nothing happened either."""
    try:
        work()
    except (*REFUSALS, FileNotFoundError):
        return True
    return False


def resident() -> int:
    """Memory of this process in bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def without_time(seen: Observed) -> Observed:
    """What two looks at the same thing must agree on; names are for people, and a place need not keep them."""
    return replace(seen, ref=Ref(seen.ref.instance_id))
