"""Moves, deletes and finds files of an instance by scripts beside them: in the claw where it runs, else in a helper."""

from __future__ import annotations

from collections.abc import Callable

from clawportal.sdk import _m, _n, file_scripts
from clawportal.sdk.errors import GiveUp
from clawportal.sdk.runtimes import FoundFiles, Ref
from clawportal_docker import archives, naming
from clawportal_docker.errors import map_errors

Ask = Callable[..., tuple[int, bytes]]
"""Runs a script beside the instance's files: `(ref, script, *arguments)` -> exit code and output."""


class Changes:
    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def move(self, ref: Ref, root: str, path: str, target_root: str, target: str) -> None:
        self._do(ref, path, file_scripts.MOVE, *_split(root, path), *_split(target_root, target))

    def remove(self, ref: Ref, root: str, path: str) -> None:
        self._do(ref, path, file_scripts.REMOVE, *_split(root, path))

    def find(self, ref: Ref, root: str, path: str, text: str, limit: int) -> FoundFiles:
        folder = archives.inside(path)
        how = (file_scripts.pattern(text), file_scripts.room(limit), file_scripts.passed_over(root, folder))
        return file_scripts.found(self._do(ref, path, file_scripts.FIND, _base(root), folder, *how), limit)

    def _do(self, ref: Ref, path: str, script: str, *arguments: str) -> bytes:
        with map_errors(ref):
            code, output = self._ask(ref, script, *arguments)
        if code:
            raise _refused(code, path)
        return output


def _base(root: str) -> str:
    if root not in naming.ROOTS:
        raise FileNotFoundError(2, "there is no such root", root)
    return f"{naming.BASE}/{root}"


def _split(root: str, path: str) -> tuple[str, str, str]:
    folder, _, name = archives.inside(path).rpartition("/")
    if not name:
        raise archives.unsafe(path)
    return _base(root), folder, name


def _refused(code: int, path: str) -> Exception:
    if code == file_scripts.MISSING:
        return FileNotFoundError(2, "there is no such file", path)
    if code == file_scripts.EXISTS:
        return FileExistsError(17, "something has this name already", path)
    if code in (file_scripts.UNSAFE, file_scripts.NOT_A_FOLDER):
        return archives.unsafe(path)
    return GiveUp(
        _n("CommandFailed"),
        _m("%(path)s cannot be changed there.", path=path),
        _m("Look who owns it and whether the disk is full."),
    )
