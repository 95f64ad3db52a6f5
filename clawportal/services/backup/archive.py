"""The file of a backup: a plain tar archive of numbered, sealed pieces, in order, that is written and read as a stream.

    backup.json     what it is: format, portal, database, versions of tables, and the data key, sealed to the recovery key
    p/00000000 ...  a piece of at most 4 MiB: first a line of JSON that names its stream, then what it holds, zlib-compressed;
                    all of it AES-256-GCM under the data key, bound to the backup and to its place in the order
    manifest.json   size and SHA-256 of each member before it, and how many bytes the pieces hold
    manifest.mac    HMAC-SHA256 of the manifest under the data key

Without the recovery key the sums can be checked, and nothing can be read, not even what the streams are called.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from clawportal.services.backup import recovery

FORMAT = 1
PIECE = 4 << 20
_BLOCK = 512
_LEVEL = 3
"""Of zlib: level 6 takes twice the time for a twentieth of the size."""
_HEADER, _MANIFEST, _CODE = "backup.json", "manifest.json", "manifest.mac"
_LARGEST = {_HEADER: 1 << 20, _MANIFEST: 1 << 30, _CODE: 64}
_LARGEST_PIECE = PIECE + (1 << 16)
_LINE = 1 << 14

Tell = Callable[[str, int], None]
"""`tell(stream, bytes so far)`: called often, for a display of progress."""


class BackupError(Exception):
    """The file is no backup, or a damaged one; the message says where."""


@dataclass(frozen=True)
class Header:
    """What anybody may know of a backup."""

    id: str
    made_at: str
    """ISO 8601, UTC."""
    portal: str
    """Version of the portal that made it."""
    database: str
    """`sqlite` or `postgresql`."""
    heads: dict[str, list[str]]
    """Versions of the tables: name of the table of versions -> revisions."""
    claw_files: bool
    recipient: str
    """Fingerprint of the recovery key."""
    sealed_key: str
    """Hex."""
    format: int = FORMAT


@dataclass
class Stream:
    """One thing in a backup. Its pieces have to be read before the next stream comes."""

    name: str
    about: dict[str, Any]
    pieces: Iterator[bytes] = field(repr=False)


# ---- writing


class Writer:
    """Writes one backup into an open file."""

    def __init__(self, file: BinaryIO, header: Header, data_key: bytes, tell: Tell, room: Callable[[int], None]) -> None:
        """`room(bytes)` is asked before each piece, and raises where there is none left."""
        self._file, self._id, self._key, self._tell, self._room = file, header.id, data_key, tell, room
        self._number = self.size = self.held = 0
        self._members: list[list[Any]] = []
        self._member(_HEADER, json.dumps(header.__dict__, sort_keys=True).encode())

    def add(self, stream: str, pieces: Iterable[bytes], /, **about: Any) -> int:
        """A stream, of any length; answers how many bytes it has."""
        size = 0
        for piece in _cut(pieces):
            size += len(piece)
            line = json.dumps({"stream": stream, "about": about} if size == len(piece) else {}).encode()
            if len(line) > _LINE:
                raise BackupError(f"what is to be said of {stream} is too long")
            name = f"p/{self._number:08d}"
            plain = line + b"\n" + zlib.compress(piece, _LEVEL)
            self._member(name, AESGCM(self._key).encrypt(_nonce(self._number), plain, _bound(self._id, name)))
            self._number += 1
            self.held += len(piece)
            self._tell(stream, self.held)
        return size

    def finish(self) -> None:
        manifest = {"members": self._members, "pieces": self._number, "held": self.held}
        text = json.dumps(manifest, separators=(",", ":")).encode()
        self._member(_MANIFEST, text)
        self._member(_CODE, _code(self._key, text).encode())
        self._put(bytes(2 * _BLOCK))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _member(self, name: str, content: bytes) -> None:
        self._room(len(content) + 2 * _BLOCK)
        self._put(_block(name, len(content)))
        self._put(content)
        self._put(bytes(-len(content) % _BLOCK))
        self._members.append([name, len(content), hashlib.sha256(content).hexdigest()])

    def _put(self, content: bytes) -> None:
        self._file.write(content)
        self.size += len(content)


def _block(name: str, size: int) -> bytes:
    """The head of a member."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.USTAR_FORMAT)


def _cut(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of one size, the last one shorter; one empty piece for nothing at all."""
    held = bytearray()
    first = True
    for piece in pieces:
        held += piece
        while len(held) >= PIECE:
            yield bytes(held[:PIECE])
            del held[:PIECE]
            first = False
    if held or first:
        yield bytes(held)


def _nonce(number: int) -> bytes:
    """Each data key seals one backup, and each number one piece of it."""
    return number.to_bytes(12, "big")


def _bound(backup: str, name: str) -> bytes:
    return f"{backup}/{name}".encode()


def _code(key: bytes, text: bytes) -> str:
    derived = HKDF(SHA256(), 32, salt=None, info=b"clawportal/backup/manifest").derive(key)
    return hmac.new(derived, text, hashlib.sha256).hexdigest()


# ---- reading


@dataclass(frozen=True)
class Summary:
    """What a walk along the whole file found."""

    header: Header
    size: int
    """Of the file, in bytes."""
    held: int
    """Bytes that its pieces hold."""
    pieces: int


class Reader:
    """Reads one backup, from its beginning; as often as wanted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            name, content = _next(file)
        if name != _HEADER:
            raise BackupError(f"{path} is no backup of clawportal.")
        self.header = _header(content, path)
        self._key: bytes | None = None

    def unlock(self, secret: str) -> None:
        """RecoveryError when the recovery key is another one."""
        self._key = recovery.open_sealed(bytes.fromhex(self.header.sealed_key), secret, self.header.id)

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise BackupError(f"{self.path} cannot be read: {error.strerror}.") from error

    def verify(self, tell: Tell = lambda *_: None) -> Summary:
        """Read everything: the sums, and with the recovery key each piece, too. BackupError for the first that is wrong."""
        found: list[list[Any]] = []
        held = 0
        with self._open() as file:
            for name, content in self._members(file):
                if name == _MANIFEST:
                    return self._judged(content, _next(file), found, held, file)
                if self._key is not None and name != _HEADER:
                    _, _, piece = self._unsealed(name, content)
                    held += len(piece)
                found.append([name, len(content), hashlib.sha256(content).hexdigest()])
                tell("checking", file.tell())
        raise AssertionError("unreachable")

    def _judged(self, text: bytes, code: tuple[str, bytes], found: list[list[Any]], held: int, file: BinaryIO) -> Summary:
        try:
            manifest = json.loads(text)
            members, said = manifest["members"], int(manifest["held"])
        except (ValueError, KeyError, TypeError) as error:
            raise BackupError(f"{self.path} is damaged: its manifest cannot be read.") from error
        for ours, theirs in itertools.zip_longest(found, members):
            if ours != theirs:
                raise BackupError(f"{self.path} is damaged: {(ours or theirs)[0]} is not what was written.")
        if code[0] != _CODE or (self._key is not None and not hmac.compare_digest(_code(self._key, text).encode(), code[1])):
            raise BackupError(f"{self.path} is damaged or was changed: its manifest was not made with its key.")
        if self._key is not None and held != said:
            raise BackupError(f"{self.path} is damaged: it holds {held} bytes instead of {said}.")
        if file.read(2 * _BLOCK + 1) != bytes(2 * _BLOCK):
            raise BackupError(f"{self.path} is damaged: it does not end where it should.")
        return Summary(self.header, file.tell(), said, len(found) - 1)

    def _members(self, file: BinaryIO) -> Iterator[tuple[str, bytes]]:
        """Up to the manifest, in the only order there is."""
        for number in itertools.count(-1):
            name, content = _next(file)
            if name == _MANIFEST and number >= 0:
                yield name, content
                return
            if name != (_HEADER if number < 0 else f"p/{number:08d}"):
                raise BackupError(f"{self.path} is damaged: {name} is not what follows.")
            yield name, content

    def _unsealed(self, name: str, content: bytes) -> tuple[str, dict[str, Any], bytes]:
        """Name of the stream that begins here, or empty; what is said of it; the piece."""
        assert self._key is not None
        try:
            plain = AESGCM(self._key).decrypt(_nonce(int(name[2:])), content, _bound(self.header.id, name))
            line, _, packed = plain.partition(b"\n")
            told = json.loads(line)
            unpack = zlib.decompressobj()
            piece = unpack.decompress(packed, PIECE)
            if not unpack.eof or unpack.unused_data:
                raise ValueError("longer than a piece is")
            return told.get("stream", ""), told.get("about", {}), piece
        except (InvalidTag, ValueError, zlib.error, AttributeError) as error:
            raise BackupError(f"{self.path} is damaged: {name} does not open.") from error

    def streams(self) -> Iterator[Stream]:
        """What is in it, in order; only of a file that was verified. Needs the recovery key."""
        with self._open() as file:
            pieces = (self._unsealed(name, content) for name, content in self._members(file) if name.startswith("p/"))
            ahead = next(pieces, None)

            def rest(first: bytes) -> Iterator[bytes]:
                nonlocal ahead
                yield first
                while (ahead := next(pieces, None)) is not None and not ahead[0]:
                    yield ahead[2]

            while ahead is not None:
                name, about, first = ahead
                stream = Stream(name, about, rest(first))
                yield stream
                for _ in stream.pieces:  # what nobody wanted
                    pass


def _next(file: BinaryIO) -> tuple[str, bytes]:
    """One member, read by hand: nothing but short names and plain files of known size is taken from a file of strangers."""
    block = file.read(_BLOCK)
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.TarError, UnicodeError) as error:
        raise BackupError(f"{file.name} is no backup of clawportal, or is cut off: {error}.") from error
    if not 0 <= info.size <= _LARGEST.get(info.name, _LARGEST_PIECE) or block != _block(info.name, info.size):
        raise BackupError(f"{file.name} is damaged: {info.name} cannot be in it.")
    content = file.read(info.size)
    if len(content) < info.size or file.read(-info.size % _BLOCK) != bytes(-info.size % _BLOCK):
        raise BackupError(f"{file.name} is cut off in {info.name}.")
    return info.name, content


def _header(content: bytes, path: Path) -> Header:
    try:
        document = json.loads(content)
        if document["format"] != FORMAT:
            raise BackupError(f"{path} has format {document['format']}, and this portal knows {FORMAT}: use a newer clawportal.")
        found = Header(**document)
        bytes.fromhex(found.sealed_key)
        return found
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{path} is damaged: what stands at its beginning cannot be read.") from error
