"""What a place cannot do says so in one way: a runtime may inherit from `Without` and bring only what it is capable of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

from clawportal.errors import Unsupported
from clawportal.types import DoctorResult, ExecSession, FileEntry, Foreign, Ref, RunState, RuntimeEvent

ALIVE = (RunState.RUNNING, RunState.PENDING)
"""States in which there is something to stop."""


class Without:
    """The optional half of `clawportal.types.Runtime`, for a runtime that has none of it."""

    title = "This place"

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

    def events(self, ref: Ref) -> list[RuntimeEvent]:
        return []

    def foreign(self) -> list[Foreign]:
        return []

    def diagnose(self) -> list[DoctorResult]:
        return []

    def version(self) -> str:
        return ""

    def _cannot(self, what: str) -> NoReturn:
        raise Unsupported(f"{self.title} cannot {what}.")
