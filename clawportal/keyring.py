"""Seals secrets at rest: AES-256-GCM under a ring of keys, each value bound to the place it belongs to.

The place (`instance:<id>/secret:<name>`) is authenticated with the value, so that a sealed secret copied into another row or
tenant does not open. The newest key seals; older ones only open, until `reseal` has moved everything on.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import secrets
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE = 12
_KEY = 32
_Mark = tuple[int, int, int]

logger = logging.getLogger(__name__)


class KeyringError(Exception):
    """The ring cannot be read, or a value does not open with any of its keys."""


@dataclass(frozen=True)
class _Content:
    """What is in the file."""

    keys: dict[int, bytes]
    session_key: str
    retired: dict[int, bytes] = field(default_factory=dict)
    """Keys that others may know: they open and sign nothing any more, and only tell what was once signed with them."""


class Keyring:
    """Keys by number; the highest number is current. A ring of a file follows the file: rotating needs no restart."""

    def __init__(self, content: _Content, file: Path | None = None, mark: _Mark | None = None) -> None:
        if not content.keys:
            raise KeyringError("the key ring is empty")
        self._known = content
        self._file, self._mark = file, mark

    @property
    def _content(self) -> _Content:
        """Read again where the file is not the one that was read; what is known stays while that cannot be read."""
        mark = _mark(self._file) if self._file else None
        if self._file and mark and mark != self._mark:
            self._mark = mark
            try:
                self._known = _read(self._file)._known
            except KeyringError as error:
                logger.error("the keys were changed and cannot be read, the former ones are used: %s", error)
        return self._known

    @property
    def _keys(self) -> dict[int, bytes]:
        return self._content.keys

    @property
    def session_key(self) -> str:
        """Signs browser sessions."""
        return self._content.session_key

    def in_use(self, number: int) -> bool:
        """Whether a key still counts: it is known, and nobody else is thought to know it."""
        return number in self._keys

    @property
    def current(self) -> int:
        return max(self._keys)

    def seal(self, value: str, place: str) -> bytes:
        keys, nonce = self._keys, os.urandom(_NONCE)
        number = max(keys)
        return number.to_bytes(4, "big") + nonce + AESGCM(keys[number]).encrypt(nonce, value.encode(), place.encode())

    def open(self, sealed: bytes, place: str) -> str:
        key = self._keys.get(int.from_bytes(sealed[:4], "big"))
        if key is None:
            raise KeyringError("a secret was sealed with a key that is no longer in the ring; restore keyring.json from a backup")
        try:
            return AESGCM(key).decrypt(sealed[4 : 4 + _NONCE], sealed[4 + _NONCE :], place.encode()).decode()
        except (InvalidTag, ValueError) as error:  # ValueError: cut off
            raise KeyringError("a secret does not open: it was changed, or belongs to another place") from error

    def is_current(self, sealed: bytes) -> bool:
        return int.from_bytes(sealed[:4], "big") == self.current

    def derived(self, number: int, purpose: str, *, retired: bool = False) -> bytes | None:
        """A key for one other purpose, such as signing one kind of token; None for a number that is not in the ring.

        `retired`: also of a key that others may know, to recognise what was signed long ago.
        """
        content = self._content
        key = content.keys.get(number) or (content.retired.get(number) if retired else None)
        return None if key is None else HKDF(SHA256(), _KEY, salt=None, info=f"clawportal/{purpose}".encode()).derive(key)


def load(file: Path) -> Keyring:
    """Read the ring, or make it on the first start. The file is for its owner alone; anything wider is refused."""
    try:
        if not file.exists():
            _write(file, _Content({1: secrets.token_bytes(_KEY)}, secrets.token_urlsafe(48)))
    except OSError as error:
        raise _unusable(file, error) from error
    return _read(file)


def missing(file: Path) -> KeyringError:
    """Beside a database that is in use, new keys would open nothing that is in there."""
    return KeyringError(
        f"{file} is missing, and the database has secrets that only these keys open: restore it from a backup or from another "
        "portal on this database; or, if it is lost for good, run `clawportal keys new` and enter every secret again."
    )


def _unusable(file: Path, error: OSError) -> KeyringError:
    return KeyringError(f"{file} cannot be used: {error.strerror}; correct its owner and folder")


def _mark(file: Path) -> _Mark | None:
    """Differs once the file was written anew."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(file: Path) -> Keyring:
    mark = _mark(file)  # before its content: a change in between is found by the next look
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o077:
            raise KeyringError(f"{file} can be read by others (mode {mode:o}); run: chmod 600 {file}")
        text = file.read_bytes()
    except OSError as error:
        raise _unusable(file, error) from error
    try:
        document = json.loads(text)
        keys, retired = (
            {int(number): _key(key) for number, key in found.items()} for found in (document["keys"], document.get("retired", {}))
        )
        return Keyring(_Content(keys, _session_key(document["session_key"]), retired), file, mark)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KeyringError(f"{file} is damaged ({error}); restore it from a backup, or secrets cannot be opened") from error


def _key(text: str) -> bytes:
    key = base64.b64decode(text, validate=True)
    if len(key) != _KEY:
        raise ValueError(f"a key has {len(key)} bytes instead of {_KEY}")
    return key


def _session_key(text: object) -> str:
    if not isinstance(text, str) or len(text) < _KEY:
        raise ValueError("the session key is missing")
    return text


def rotate(file: Path, *, compromised: bool = False) -> Keyring:
    """Add a new key that seals from now on. The older ones stay to open what they sealed.

    `compromised`: browser sessions are signed anew too. `retire` follows once nothing is sealed with the older keys.
    """
    ring = load(file)
    session_key = secrets.token_urlsafe(48) if compromised else ring.session_key
    keys = ring._keys | {ring.current + 1: secrets.token_bytes(_KEY)}
    _write(file, replace(ring._content, keys=keys, session_key=session_key))
    return load(file)


def retire(file: Path) -> Keyring:
    """All but the current key open nothing from now on."""
    ring = load(file)
    content, current = ring._content, ring.current
    old = {number: key for number, key in content.keys.items() if number != current}
    _write(file, _Content({current: content.keys[current]}, content.session_key, content.retired | old))
    return load(file)


def _write(file: Path, content: _Content) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    document: dict[str, Any] = {"keys": _as_text(content.keys), "session_key": content.session_key}
    if content.retired:
        document["retired"] = _as_text(content.retired)
    scratch = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as stream:
            json.dump(document, stream)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(file)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # secrets are sealed with the new key from now on, so its name has to survive a power cut too
    finally:
        os.close(folder)


def _as_text(keys: dict[int, bytes]) -> dict[str, str]:
    return {str(number): base64.b64encode(key).decode() for number, key in keys.items()}
