"""The recovery key: its public half seals backups and lies beside the key ring, its secret half is printed once and never stored.

A backup has a data key of its own, which everything in it is encrypted with. That key is sealed to the public half: an X25519
exchange with a key pair made for this one backup, HKDF-SHA256 over the result, and AES-256-GCM.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PUBLIC_FILE = "keys/recovery.pub"
"""In the data folder. Whoever may replace it may read the key ring beside it, too."""
_PUBLIC, _SECRET = "clawportal-recovery-public:", "CLAWPORTAL-RECOVERY-"
_KEY, _CHECK, _NONCE = 32, 3, 12


class RecoveryError(Exception):
    """A recovery key cannot be used; the message says why and what to do."""


def make() -> tuple[str, str]:
    """A new pair: the public half, and the secret one in groups of five that can be typed from paper."""
    private = X25519PrivateKey.generate()
    raw = private.private_bytes_raw()
    letters = base64.b32encode(raw + _check(raw)).decode().rstrip("=")
    groups = [letters[place : place + 5] for place in range(0, len(letters), 5)]
    return public_text(private.public_key().public_bytes_raw()), _SECRET + "-".join(groups)


def public_text(raw: bytes) -> str:
    return _PUBLIC + base64.b64encode(raw).decode()


def public_of(text: str) -> bytes:
    try:
        raw = base64.b64decode(text.strip().removeprefix(_PUBLIC), validate=True)
    except ValueError:
        raw = b""
    if len(raw) != _KEY:
        raise RecoveryError(f"This is no public recovery key: it begins with {_PUBLIC} and was shown with the secret one.")
    return raw


def fingerprint(public: bytes) -> str:
    """By which people tell recovery keys apart."""
    return hashlib.sha256(public).hexdigest()[:12]


def _check(raw: bytes) -> bytes:
    """Tells a slip of the pen from the key of another portal."""
    return hashlib.sha256(b"clawportal recovery" + raw).digest()[:_CHECK]


def _private(text: str) -> X25519PrivateKey:
    letters = "".join(text.upper().split()).removeprefix(_SECRET).replace("-", "")
    try:
        raw = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except ValueError:
        raw = b""
    if len(raw) != _KEY + _CHECK or _check(raw[:_KEY]) != raw[_KEY:]:
        raise RecoveryError("This is no recovery key, or a letter of it is wrong. It begins with CLAWPORTAL-RECOVERY-.")
    return X25519PrivateKey.from_private_bytes(raw[:_KEY])


# ---- sealing


def seal(data_key: bytes, public: bytes, purpose: str) -> bytes:
    """`purpose` is authenticated: the id of the backup."""
    own = X25519PrivateKey.generate()
    ours = own.public_key().public_bytes_raw()
    key = _shared(own, public, ours, public)
    return ours + AESGCM(key).encrypt(bytes(_NONCE), data_key, purpose.encode())  # the key is used this once


def open_sealed(sealed: bytes, secret: str, purpose: str) -> bytes:
    private = _private(secret)
    public, theirs = private.public_key().public_bytes_raw(), sealed[:_KEY]
    try:
        key = _shared(private, theirs, theirs, public)
        return AESGCM(key).decrypt(bytes(_NONCE), sealed[_KEY:], purpose.encode())
    except (InvalidTag, ValueError):
        raise RecoveryError(
            f"This recovery key does not open the backup: it has the fingerprint {fingerprint(public)}. "
            "Use the one that was valid when the backup was made."
        ) from None


def _shared(private: X25519PrivateKey, public: bytes, first: bytes, second: bytes) -> bytes:
    exchanged = private.exchange(X25519PublicKey.from_public_bytes(public))
    return HKDF(SHA256(), _KEY, salt=first + second, info=b"clawportal/backup").derive(exchanged)


# ---- the file


def read(data_dir: Path) -> bytes | None:
    """The public half that is kept here; None where nobody has made a recovery key."""
    try:
        return public_of((data_dir / PUBLIC_FILE).read_text())
    except FileNotFoundError:
        return None


def write(data_dir: Path, public: bytes) -> None:
    file = data_dir / PUBLIC_FILE
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
        stream.write(public_text(public) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    scratch.replace(file)
