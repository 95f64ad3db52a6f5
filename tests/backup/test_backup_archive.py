"""The file of a backup: it gives back what was put in, and whatever was changed in it is found before anything is restored."""

from __future__ import annotations

import os
import random
import tarfile
import zlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clawportal.services.backup import recovery
from clawportal.services.backup.archive import PIECE, BackupError, Header, Reader, Writer

PUBLIC, SECRET = recovery.make()
STREAMS = {"empty": 0, "one": 1, "nearly": PIECE - 1, "full": PIECE, "more": PIECE + 1, "many": 3 * PIECE + 7}


def header(data_key: bytes, **more: object) -> Header:
    sealed = recovery.seal(data_key, recovery.public_of(PUBLIC), "b1").hex()
    told = recovery.fingerprint(recovery.public_of(PUBLIC))
    return Header(**({"id": "b1", "made_at": "2026-11-30T00:00:00+00:00", "portal": "0.1.0", "database": "sqlite", "heads": {},
                      "claw_files": False, "recipient": told, "sealed_key": sealed} | more))  # fmt: skip


def bytes_of(name: str, size: int) -> bytes:
    return random.Random(name).randbytes(size)


def write(path: Path, streams: dict[str, int]) -> Path:
    key = os.urandom(32)
    with path.open("wb") as file:
        writer = Writer(file, header(key), key, lambda *_: None, lambda _: None)
        for name, size in streams.items():
            content = bytes_of(name, size)
            cuts = range(0, size, 1_000_003)
            assert writer.add(name, (content[cut : cut + 1_000_003] for cut in cuts), told=name.upper()) == size
        writer.finish()
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("small") / "small.backup", {"empty": 0, "one": 1, "few": 900})


def unlocked(path: Path) -> Reader:
    reader = Reader(path)
    reader.unlock(SECRET)
    return reader


def test_what_was_put_in_comes_out(tmp_path: Path) -> None:
    reader = unlocked(write(tmp_path / "x", STREAMS))
    summary = reader.verify()
    assert summary.held == sum(STREAMS.values()) and summary.size == reader.path.stat().st_size
    found = {stream.name: (stream.about, b"".join(stream.pieces)) for stream in reader.streams()}
    assert found == {name: ({"told": name.upper()}, bytes_of(name, size)) for name, size in STREAMS.items()}
    assert [stream.name for stream in reader.streams()] == list(STREAMS), "what nobody reads is passed over"


def test_it_is_an_ordinary_tar_archive_that_shows_no_names(small: Path) -> None:
    with tarfile.open(small) as tar:
        assert tar.getnames() == ["backup.json", "p/00000000", "p/00000001", "p/00000002", "manifest.json", "manifest.mac"]
    assert b"few" not in small.read_bytes() and SECRET.encode() not in small.read_bytes()


def test_every_changed_byte_is_found(small: Path, tmp_path: Path) -> None:
    whole = small.read_bytes()
    missed = []
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        (tmp_path / "x").write_bytes(changed)
        try:
            unlocked(tmp_path / "x").verify()
        except (BackupError, recovery.RecoveryError):
            continue
        missed.append(place)
    assert missed == []


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.6, 0.9, 0.98, 0.999])
def test_one_that_is_cut_off(small: Path, tmp_path: Path, share: float) -> None:
    whole = small.read_bytes()
    (tmp_path / "x").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BackupError):
        Reader(tmp_path / "x").verify()


def test_what_follows_its_end(small: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(small.read_bytes() + b"\0")
    with pytest.raises(BackupError, match="does not end where it should"):
        Reader(tmp_path / "x").verify()


def test_pieces_of_another_backup_do_not_fit(small: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", {"empty": 0, "one": 1, "few": 900}).read_bytes()
    ours = small.read_bytes()
    assert len(other) == len(ours)
    (tmp_path / "x").write_bytes(ours[:1024] + other[1024:])
    with pytest.raises(BackupError):
        unlocked(tmp_path / "x").verify()


def test_a_manifest_that_was_made_to_fit_needs_the_key(tmp_path: Path) -> None:
    """Whoever has no key may replace a piece and its sum; with the recovery key that is found."""
    key, wrong = os.urandom(32), os.urandom(32)
    with (tmp_path / "x").open("wb") as file:
        writer = Writer(file, header(key), wrong, lambda *_: None, lambda _: None)
        writer.add("keys", [b"theirs"])
        writer.finish()
    Reader(tmp_path / "x").verify()
    with pytest.raises(BackupError, match="does not open"):
        unlocked(tmp_path / "x").verify()


def test_a_member_that_says_it_is_huge_is_refused_unread(tmp_path: Path, small: Path) -> None:
    info = tarfile.TarInfo("p/00000000")
    info.size = 8 << 30
    first = small.read_bytes()
    with tarfile.open(small) as tar:
        start = tar.getmember("p/00000000").offset
    (tmp_path / "x").write_bytes(first[:start] + info.tobuf(tarfile.GNU_FORMAT) + first[start + 512 :])
    with pytest.raises(BackupError, match="cannot be in it"):
        Reader(tmp_path / "x").verify()


def test_a_piece_that_unpacks_to_more_than_a_piece(tmp_path: Path) -> None:
    """Made by another program that has the data key."""
    key = os.urandom(32)
    plain = b'{"stream": "bomb", "about": {}}\n' + zlib.compress(bytes(PIECE + 1))
    with (tmp_path / "x").open("wb") as file:
        writer = Writer(file, header(key), key, lambda *_: None, lambda _: None)
        writer._member("p/00000000", AESGCM(key).encrypt(bytes(12), plain, b"b1/p/00000000"))
        writer.finish()
    with pytest.raises(BackupError, match="p/00000000 does not open"):
        unlocked(tmp_path / "x").verify()


def test_formats_to_come_are_told(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        Writer(file, header(bytes(32), format=2), bytes(32), lambda *_: None, lambda _: None).finish()
    with pytest.raises(BackupError, match="format 2"):
        Reader(tmp_path / "x")


# ---- the recovery key


def test_the_key_can_be_typed_from_paper() -> None:
    _, secret = recovery.make()
    sealed = recovery.seal(b"k" * 32, recovery.public_of(recovery.make()[0]), "b1")
    with pytest.raises(recovery.RecoveryError, match="does not open the backup"):
        recovery.open_sealed(sealed, secret, "b1")
    public, secret = recovery.make()
    sealed = recovery.seal(b"k" * 32, recovery.public_of(public), "b1")
    typed = secret.removeprefix("CLAWPORTAL-RECOVERY-").lower().replace("-", " ") + "\n"
    assert recovery.open_sealed(sealed, typed, "b1") == recovery.open_sealed(sealed, secret, "b1") == b"k" * 32
    with pytest.raises(recovery.RecoveryError, match="does not open"):
        recovery.open_sealed(sealed, secret, "b2")


def test_a_slip_of_the_pen_is_told_from_a_wrong_key() -> None:
    _, secret = recovery.make()
    place = len(secret) - 20
    letter = "A" if secret[place] != "A" else "B"
    for wrong in (secret[:place] + letter + secret[place + 1 :], secret[:-1], secret + "A", "", "no key", "é"):
        with pytest.raises(recovery.RecoveryError, match="a letter of it is wrong"):
            recovery.open_sealed(bytes(80), wrong, "b1")


def test_public_keys(tmp_path: Path) -> None:
    assert recovery.read(tmp_path) is None
    recovery.write(tmp_path, recovery.public_of(PUBLIC))
    assert recovery.read(tmp_path) == recovery.public_of(PUBLIC)
    assert (tmp_path / recovery.PUBLIC_FILE).stat().st_mode & 0o777 == 0o600
    for wrong in ("", "clawportal-recovery-public:AAAA", SECRET, "é"):
        with pytest.raises(recovery.RecoveryError):
            recovery.public_of(wrong)
