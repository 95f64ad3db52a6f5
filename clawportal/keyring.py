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
from pathlib import Path

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


class Keyring:
    """Keys by number; the highest number is current. A ring of a file follows the file: rotating needs no restart."""

    def __init__(self, keys: dict[int, bytes], session_key: str, file: Path | None = None, mark: _Mark | None = None) -> None:
        if not keys:
            raise KeyringError("the key ring is empty")
        self._known = keys
        self._file, self._mark = file, mark
        self.session_key = session_key
        """Signs browser sessions."""

    @property
    def _keys(self) -> dict[int, bytes]:
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

    def derived(self, number: int, purpose: str) -> bytes | None:
        """A key for one other purpose, such as signing one kind of token; None for a number that is not in the ring."""
        key = self._keys.get(number)
        return None if key is None else HKDF(SHA256(), _KEY, salt=None, info=f"clawportal/{purpose}".encode()).derive(key)


def load(file: Path) -> Keyring:
    """Read the ring, or make it on the first start. The file is for its owner alone; anything wider is refused."""
    try:
        if not file.exists():
            _write(file, {1: secrets.token_bytes(_KEY)}, secrets.token_urlsafe(48))
    except OSError as error:
        raise _unusable(file, error) from error
    return _read(file)


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
        keys = {int(number): _key(key) for number, key in document["keys"].items()}
        return Keyring(keys, _session_key(document["session_key"]), file, mark)
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


def rotate(file: Path) -> Keyring:
    """Add a new key that seals from now on. The older ones stay to open what they sealed."""
    ring = load(file)
    _write(file, ring._keys | {ring.current + 1: secrets.token_bytes(_KEY)}, ring.session_key)
    return load(file)


def _write(file: Path, keys: dict[int, bytes], session_key: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    document = {"keys": {str(n): base64.b64encode(key).decode() for n, key in keys.items()}, "session_key": session_key}
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
