"""What runtimes have in common: they say in one way what they cannot do (`Without`), what a claw refused, and what is secret."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NoReturn

from clawportal.contracts.doctor import DoctorResult
from clawportal.contracts.runtimes import (
    ExecSession,
    FileEntry,
    FoundFiles,
    Observed,
    Ref,
    RunState,
    RuntimeEvent,
    Separation,
    SeparationLevel,
    UnmanagedWorkload,
)
from clawportal.errors import GiveUp, Unavailable, Unsupported
from clawportal.messages import _m, _n

ALIVE = (RunState.RUNNING, RunState.PENDING)
"""States in which there is something to stop."""

CAPABILITIES = {
    "artifacts": "It installs software on a machine.",
    "images": "It runs container images.",
    "images.pull": "Images are fetched by `prepare`, with progress.",
    "processes": "A workload may have several processes.",
    "allocated-ports": "The ports of one machine are shared, so that the portal gives each instance its own.",
    "logs": "It keeps what an instance says.",
    "logs.streams": "Output and errors are told apart.",
    "logs.kept": "The lines of what was stopped stay readable, and a restart adds to them.",
    "logs.previous": "The lines of the run before the present one can be read.",
    "metrics": "It measures CPU and memory.",
    "metrics.disk": "It measures what folders or volumes hold.",
    "limits.memory": "It holds an instance to its memory limit.",
    "limits.cpu": "It holds an instance to its CPU limit.",
    "limits.kernel": "The kernel holds these limits for all that an instance starts; elsewhere they are measured.",
    "limits.processes": "It limits the number of processes of an instance.",
    "volumes": "Storage of a given size.",
    "exec": "Commands can be run in an instance.",
    "files": "Files of a running instance can be listed, pulled and pushed.",
    "files.change": "They can be moved, deleted and searched by name where they are.",
    "events": "It says what happened to an instance.",
    "restarts": "The place itself starts again what exits.",
    "import": "It can list what no portal made, observe it, and manage it without making it anew.",
    "drift": "It sees what somebody else changed.",
}
"""All that a runtime may declare, and what it means."""


IN_CONTAINERS = Separation(SeparationLevel.CONTAINER)
"""The answer of a runtime that runs each claw in a container of its own."""


class Without:
    """The optional half of `clawportal.contracts.runtimes.Runtime`, for a runtime that has none of it."""

    title = _m("This place")

    def exec(self, ref: Ref, argv: Sequence[str], *, tty: bool = False, columns: int = 80, rows: int = 24) -> ExecSession:
        self._cannot("run commands in an instance")

    def shell(self, ref: Ref) -> tuple[str, ...]:
        return ("/bin/sh",)

    def list_files(self, ref: Ref, root: str, path: str = "") -> list[FileEntry]:
        self._cannot("list files")

    def pull(self, ref: Ref, root: str, path: str = "") -> Iterator[bytes]:
        self._cannot("hand out files")

    def push(self, ref: Ref, root: str, path: str, chunks: Iterable[bytes]) -> None:
        self._cannot("take files")

    def move_file(self, ref: Ref, root: str, path: str, target_root: str, target: str) -> None:
        self._cannot("move files")

    def remove_file(self, ref: Ref, root: str, path: str) -> None:
        self._cannot("delete files")

    def find_files(self, ref: Ref, root: str, path: str, text: str, limit: int) -> FoundFiles:
        self._cannot("search files")

    def events(self, ref: Ref) -> list[RuntimeEvent]:
        return []

    def unmanaged(self, name: str = "") -> list[UnmanagedWorkload]:
        return []

    def recognise(self, refs: Iterable[Ref]) -> None:
        """Nothing unmanaged is ever an instance here."""

    def resume(self, ref: Ref) -> Observed:
        self._cannot("manage what it did not make")

    def diagnose(self) -> list[DoctorResult]:
        return []

    def separation(self) -> Separation:
        """A place that cannot prove that it separates its claws is taken for one that does not."""
        words = _m("This place does not say how it keeps its claws apart.")
        return Separation(
            SeparationLevel.NONE, (DoctorResult(_m("separation"), False, words, _m("Use it for one organisation only.")),)
        )

    def version(self) -> str:
        return ""

    def _cannot(self, what: str) -> NoReturn:
        raise Unsupported(_m("%(title)s cannot %(what)s.", title=self.title, what=what))


# ---- what every place does with secrets and with the words of a claw

_SHOWN = 20


def config_refused(code: int, lines: tuple[str, ...]) -> GiveUp:
    """The verdict on a candidate that the claw itself refused; `lines` are its words, without secrets."""
    words = "\n".join(lines[-_SHOWN:]) or f"It said nothing and ended with code {code}."
    return GiveUp(
        _n("ConfigRefused"),
        _m("The claw refuses this configuration: %(words)s", words=words),
        _m("Correct the setting that it names, then save again."),
        lines,
    )


def secret_values(names: Iterable[str], secrets: Mapping[str, str], ref: Ref) -> dict[str, str]:
    """The named secrets and nothing else; GiveUp `SecretMissing` with the names of those that are not there."""
    wanted = sorted(set(names))
    missing = [name for name in wanted if name not in secrets]
    if missing:
        raise GiveUp(
            _n("SecretMissing"),
            _m("%(ref)s needs the secret %(join)s.", ref=ref, join=[*missing]),
            _m("Enter it in the configuration of the instance."),
        )
    return {name: secrets[name] for name in wanted}


def secret_env(names: Mapping[str, str], secrets: Mapping[str, str], ref: Ref) -> dict[str, str]:
    """Variables with the values of their secrets; `names` is variable -> secret."""
    values = secret_values(names.values(), secrets, ref)
    return {variable: values[secret] for variable, secret in names.items()}


OUTPUT_LIMIT = 1_000_000
"""Bytes of a command's output that are read."""


def output_of(session: ExecSession, timeout: float) -> tuple[int, bytes]:
    """Exit code of a command, and what it said on its standard output. `Unavailable` when it does not end in time."""
    end, said = time.monotonic() + timeout, bytearray()
    try:
        while (left := end - time.monotonic()) > 0 and len(said) <= OUTPUT_LIMIT:
            piece = session.receive(min(left, 1.0))
            if piece is not None and piece[0] == "stdout":
                said += piece[1]
    except EOFError:
        return session.exit_code or 0, bytes(said)
    finally:
        session.close()
    raise Unavailable(_m("The command in the claw did not end in time."))
