"""Files of an instance through commands in its pod: tar streams both ways, never a whole archive in memory."""

from __future__ import annotations

import io
import shlex
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from clawportal.sdk import _m, _n, file_scripts
from clawportal.sdk.errors import Conflict, GiveUp, Unavailable
from clawportal.sdk.runtimes import File, FileEntry
from clawportal_kubernetes import scripts
from clawportal_kubernetes.streams import CLOSE, STDIN, STDOUT, Channel

_PIECE = 256 * 1024
_SAID = 4000
Open = Callable[[Sequence[str], bool], Channel]
"""Starts a command in a pod: its words, and whether it gets input."""


class Outcome:
    """How a script ended."""

    def __init__(self, code: int | None, out: bytes, err: bytes) -> None:
        self.code, self.out, self.err = code, out, err

    def words(self) -> str:
        return self.err.decode(errors="replace").strip() or self.out.decode(errors="replace").strip() or f"code {self.code}"


def script(text: str, *arguments: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", text, "sh", *arguments)


def run(open_it: Open, argv: Sequence[str], *, timeout: float = 60.0, limit: int = 16_000_000) -> Outcome:
    """To its end, output in memory; Unavailable when it takes too long."""
    channel = open_it(argv, False)
    try:
        return _collect(channel, timeout, limit)
    finally:
        channel.close()


def _collect(channel: Channel, timeout: float, limit: int) -> Outcome:
    out, err = bytearray(), bytearray()
    until = time.monotonic() + timeout
    while True:
        try:
            piece = channel.receive(max(0.0, until - time.monotonic()))
        except EOFError:
            return Outcome(channel.code, bytes(out), bytes(err))
        if piece is None:
            raise TimeoutError(f"it took longer than {timeout:g} s")
        target = out if piece[0] == STDOUT else err
        target += piece[1][: max(0, limit - len(target))]


def feed(open_it: Open, argv: Sequence[str], chunks: Iterable[bytes], *, timeout: float) -> Outcome:
    """With input. What the chunks raise is raised here, after the command was ended."""
    channel = open_it(argv, True)
    got: list[Outcome | BaseException] = []

    def listen() -> None:
        try:
            got.append(_collect(channel, timeout, _SAID))
        except BaseException as error:
            got.append(error)

    listener = threading.Thread(target=listen, name="command output", daemon=True)
    listener.start()
    try:
        try:
            for chunk in chunks:
                for start in range(0, len(chunk), _PIECE):
                    channel.send(STDIN, chunk[start : start + _PIECE])
            if not channel.half_close:
                raise GiveUp(
                    _n("TooOld"),
                    _m("This cluster cannot be told where a file ends."),
                    _m("Upgrade it to Kubernetes 1.30 or later."),
                )
            channel.send(CLOSE, bytes([STDIN]))
        except BrokenPipeError:
            pass  # it ended before it read all; its code says why
        listener.join(timeout)
    finally:
        channel.close()
        listener.join(5)
    if not got:
        raise Unavailable(_m("The cluster did not tell how the command ended."))
    if isinstance(got[0], BaseException):
        raise got[0]
    return got[0]


def raise_for(outcome: Outcome, path: str) -> None:
    """The codes of the scripts, as what callers expect."""
    if outcome.code == 0:
        return
    if outcome.code == file_scripts.MISSING:
        raise FileNotFoundError(_m("There is no %(path)s.", path=path or _m("such folder")))
    if outcome.code == file_scripts.EXISTS:
        raise FileExistsError(_m("There is a %(path)s already.", path=path))
    if outcome.code in (file_scripts.UNSAFE, file_scripts.NOT_A_FOLDER):
        raise unsafe(_m("%(path)s leads over a link, or over a file where a folder should be.", path=repr(path)))
    if outcome.code is None:
        raise Unavailable(_m("The connection to the cluster was cut."))
    low = outcome.words().lower()
    if "no space left" in low:
        raise GiveUp(
            _n("DiskFull"),
            _m("The volume is full: %(words)s", words=outcome.words()),
            _m("Delete something, or give the claw a larger volume."),
        )
    raise GiveUp(_n("CommandFailed"), f"{path}: {outcome.words()}", _m("Look whether the image has sh, tar, find and coreutils."))


def unsafe(words: str) -> GiveUp:
    return GiveUp(_n("UnsafePath"), words, _m("Use a path without links inside the folder."))


# --------------------------------------------------------------------------------------------------------------------
# Looking


def list_folder(open_it: Open, root: str, path: str) -> list[FileEntry]:
    path = scripts.safe(path)
    outcome = run(open_it, script(scripts.LIST, root, path))
    if outcome.code == file_scripts.NOT_A_FOLDER:
        raise NotADirectoryError(_m("%(path)s is not a folder.", path=path))
    raise_for(outcome, path)
    names, _, told = outcome.out.rpartition(b"\0/")
    if not names:
        return []
    pairs = zip(told.splitlines(), names.split(b"\0"), strict=False)
    entries = [file_scripts.entry(b"\n".join(pair)) for pair in pairs]
    return sorted(entries, key=lambda entry: entry.name)


def read(open_it: Open, root: str, path: str, limit: int) -> bytes:
    path = scripts.safe(path)
    if not path:
        raise unsafe("A file is needed, not a folder.")
    folder, name = scripts.split(path)
    outcome = run(open_it, script(scripts.READ, root, folder, name, str(limit)), limit=limit)
    raise_for(outcome, path)
    return outcome.out


def pull(open_it: Open, root: str, path: str) -> Iterator[bytes]:
    path = scripts.safe(path)
    folder, name = scripts.split(path)
    channel = open_it(script(scripts.PULL, root, folder, name), False)
    said, silent = bytearray(), 0.0
    try:
        while True:
            try:
                piece = channel.receive(30.0)
            except EOFError:
                break
            if piece is None:
                silent += 30.0
                if silent > 300:
                    raise Unavailable(_m("The claw's files did not come for five minutes."))
                continue
            silent = 0.0
            if piece[0] == STDOUT:
                yield piece[1]
            else:
                said += piece[1][: max(0, _SAID - len(said))]
        if channel.code != 1:  # tar's word for a file that changed while it was read
            raise_for(Outcome(channel.code, b"", bytes(said)), path)
    finally:
        channel.close()


# --------------------------------------------------------------------------------------------------------------------
# Taking


class _Source(io.RawIOBase):
    """Pieces as a file, for tarfile's stream mode."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._rest = iter(chunks), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._chunks, None)
            if piece is None:
                return 0
            self._rest = piece
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def push(open_it: Open, root: str, path: str, chunks: Iterable[bytes]) -> None:
    """Every entry is looked at here, before anything of it is sent."""
    path = scripts.safe(path)
    outcome = feed(open_it, script(scripts.PUSH, root, path), sifted(chunks), timeout=3600.0)
    raise_for(outcome, path)


def sifted(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same archive with plain names, and only what belongs into a folder. GiveUp for anything else."""
    links: set[str] = set()
    source: IO[bytes] = io.BufferedReader(_Source(chunks), _PIECE)
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:
            for info in tar:
                _look_at(info, links)
                fresh = _plain(info)
                yield fresh.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
                if info.isreg():
                    yield from _content(tar, info)
    except tarfile.TarError as error:
        raise GiveUp(
            _n("BrokenArchive"), _m("What was sent is no whole tar archive: %(error)s", error=error), _m("Send it again.")
        ) from error
    yield bytes(10240)


def _look_at(info: tarfile.TarInfo, links: set[str]) -> None:
    name = scripts.safe(info.name)
    if not (info.isreg() or info.isdir() or info.issym() or info.islnk()):
        raise unsafe(_m("%(name)s is a device or another special file.", name=repr(info.name)))
    parts = name.split("/")
    if any("/".join(parts[:depth]) in links for depth in range(1, len(parts) + (0 if info.issym() else 1))):
        raise unsafe(_m("%(name)s lies below a link of the same archive.", name=repr(info.name)))
    if info.islnk():
        scripts.safe(info.linkname)
    if info.issym():
        _inside(name, info.linkname)
        links.add(name)


def _inside(name: str, target: str) -> None:
    depth = name.count("/")
    if target.startswith("/") or "\0" in target:
        raise unsafe(_m("%(name)s is a link that leads out.", name=repr(name)))
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0:
            raise unsafe(_m("%(name)s is a link that leads out.", name=repr(name)))


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    fresh = tarfile.TarInfo("./" + scripts.safe(info.name))
    fresh.type, fresh.mtime, fresh.mode = info.type, int(file_scripts.clamped(info.mtime)), info.mode & 0o777
    fresh.size = info.size if info.isreg() else 0
    if info.isreg():
        fresh.type = tarfile.REGTYPE
    if info.isdir():
        fresh.mode |= 0o700
    fresh.linkname = "./" + scripts.safe(info.linkname) if info.islnk() else info.linkname
    return fresh


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    file = tar.extractfile(info)
    left = info.size
    while left and file is not None:
        piece = file.read(min(_PIECE, left))
        if not piece:
            raise GiveUp(_n("BrokenArchive"), _m("The archive ends within %(name)s.", name=repr(info.name)), _m("Send it again."))
        left -= len(piece)
        yield piece
    if info.size % 512:
        yield bytes(512 - info.size % 512)


def archive(contents: Mapping[str, tuple[int, bytes]]) -> bytes:
    """A small archive in memory, of what the portal itself made."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, (mode, data) in contents.items():
            info = tarfile.TarInfo(f"./{name}")
            info.mode, info.size, info.mtime = mode, len(data), int(time.time())
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def place(open_it: Open, contents: Mapping[str, bytes], scratch: str) -> None:
    """Run the script that places a workload's files in a pod that runs."""
    raw = archive({name: (0o600, data) for name, data in contents.items()})
    outcome = feed(open_it, script(scripts.WRITE, scratch), [raw], timeout=120.0)
    raise_for(outcome, "the files of the claw")


def judge(
    open_it: Open, files: Iterable[File], folder: str, argv: Sequence[str], env: Mapping[str, str], timeout: float
) -> Outcome:
    """Run a check on files in a scratch folder. Values of secrets travel as input, which nobody logs."""
    contents = {file.path: (file.mode, file.content.encode()) for file in files}
    lines = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())
    contents[".portal-env"] = (0o600, lines.encode())
    return feed(open_it, script(scripts.CHECK, folder, *argv), [archive(contents)], timeout=timeout)


def not_running(who: str) -> Conflict:
    return Conflict(_m("%(who)s does not run.", who=who))
