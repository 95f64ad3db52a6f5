"""The local file store: whole files by key, and nothing outside its folder."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawportal.contracts.stores import FileStore
from clawportal.errors import Conflict, Invalid, NotFound
from clawportal_localfiles import register_file_stores
from clawportal_localfiles.store import LocalFiles


@pytest.fixture
def store(tmp_path: Path) -> LocalFiles:
    return LocalFiles(str(tmp_path))


def content(store: LocalFiles, key: str) -> bytes:
    return b"".join(store.open(key))


def test_it_is_a_file_store(tmp_path: Path) -> None:
    (found,) = register_file_stores(str(tmp_path))
    assert isinstance(found, FileStore) and found.kind == "local"


def test_put_open_keys_delete(store: LocalFiles) -> None:
    assert store.put("backups/one/a.tar", [b"ab", b"", b"cd"]) == 4
    assert store.put("backups/one/b.tar", []) == 0
    store.put("logo.png", [b"x" * 3_000_000])
    assert content(store, "backups/one/a.tar") == b"abcd"
    assert len(content(store, "logo.png")) == 3_000_000
    assert list(store.keys()) == ["backups/one/a.tar", "backups/one/b.tar", "logo.png"]
    assert list(store.keys("backups/o")) == ["backups/one/a.tar", "backups/one/b.tar"]
    for key in ("backups/one/a.tar", "backups/one/a.tar", "backups/one/b.tar"):
        store.delete(key)
    assert list(store.keys()) == ["logo.png"]
    assert not (store.root / "backups").exists()
    with pytest.raises(NotFound):
        store.open("backups/one/a.tar")


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".parts/x", "a/.b", "a\0", "ü", "x" * 901, "a\n"]
)
def test_keys_that_lead_elsewhere_are_refused(store: LocalFiles, key: str) -> None:
    for call in (lambda: store.put(key, [b"x"]), lambda: store.open(key), lambda: store.delete(key)):
        with pytest.raises(Invalid) as caught:
            call()
        assert caught.value.errors[0].path == "key"


def test_a_broken_upload_leaves_the_old_file(store: LocalFiles) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionError("the browser went away")

    store.put("a", [b"whole"])
    with pytest.raises(ConnectionError):
        store.put("a", broken())
    assert content(store, "a") == b"whole"
    assert list(store.parts.iterdir()) == [] and list(store.keys()) == ["a"]


def test_a_reader_keeps_what_it_opened(store: LocalFiles) -> None:
    store.put("a", [b"old" * 1_000_000])
    reader = store.open("a")
    first = next(reader)
    store.put("a", [b"new"])
    assert first + b"".join(reader) == b"old" * 1_000_000
    assert content(store, "a") == b"new"


def test_a_key_cannot_be_file_and_folder(store: LocalFiles) -> None:
    store.put("a/b", [b"x"])
    with pytest.raises(Conflict):
        store.put("a", [b"y"])
    with pytest.raises(Conflict):
        store.put("a/b/c", [b"y"])
    with pytest.raises(NotFound):
        store.open("a")
    store.delete("a")
    assert content(store, "a/b") == b"x"


def test_put_and_delete_side_by_side(store: LocalFiles) -> None:
    """Deleting the last file removes the folder that another upload is about to use."""
    errors: list[Exception] = []

    def work(name: str) -> None:
        try:
            for _ in range(100):
                store.put(f"shared/{name}", [b"x"])
                store.delete(f"shared/{name}")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == [] and list(store.keys()) == []


def test_files_are_private_and_old_parts_are_swept(tmp_path: Path) -> None:
    store = LocalFiles(str(tmp_path))
    store.put("a/b", [b"x"])
    assert (store.root / "a").stat().st_mode & 0o777 == 0o700 and (store.root / "a/b").stat().st_mode & 0o777 == 0o600
    stale, fresh = store.parts / "stale", store.parts / "fresh"
    for path in (stale, fresh):
        path.write_bytes(b"part")
    os.utime(stale, (time.time() - 2 * 86400,) * 2)
    LocalFiles(str(tmp_path))
    assert (stale.exists(), fresh.exists()) == (False, True)
