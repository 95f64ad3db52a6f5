"""Secrets at rest: for the owner alone, bound to their place, rotatable, and nowhere in plain."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clawportal import keyring, redact
from clawportal.db import db, transaction
from clawportal.keyring import KeyringError
from clawportal.models import InstanceSecret
from clawportal.services.configuration import secrets
from tests.core.conftest import Memory
from tests.core.world import World


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "keyring.json"


def test_it_is_made_for_its_owner_alone(file: Path) -> None:
    old = os.umask(0)
    try:
        ring = keyring.load(file)
    finally:
        os.umask(old)
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    assert ring.current == 1 and len(ring.session_key) > 40
    assert keyring.load(file).session_key == ring.session_key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_wider_file_is_refused(file: Path, mode: int) -> None:
    keyring.load(file)
    file.chmod(mode)
    with pytest.raises(KeyringError, match="chmod 600"):
        keyring.load(file)


GOOD_KEY = "A" * 43 + "="


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "null", "{}", '{"keys": {}}', '{"keys": [], "session_key": "' + "x" * 40 + '"}',
        '{"keys": {"x": "' + GOOD_KEY + '"}, "session_key": "' + "x" * 40 + '"}',
        '{"keys": {"1": "short"}, "session_key": "' + "x" * 40 + '"}',
        '{"keys": {"1": 5}, "session_key": "' + "x" * 40 + '"}',
        '{"keys": {"1": "' + GOOD_KEY + '"}}', '{"keys": {"1": "' + GOOD_KEY + '"}, "session_key": ""}',
        '{"keys": {"1": "' + GOOD_KEY + '"}, "session_key": 5}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_said_to_be_so(file: Path, content: str) -> None:
    keyring.load(file)
    file.write_text(content)
    with pytest.raises(KeyringError, match=r"damaged|empty"):
        keyring.load(file)


def test_bytes_that_are_no_text(file: Path) -> None:
    keyring.load(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KeyringError, match="damaged"):
        keyring.load(file)


def test_a_folder_in_its_place(file: Path) -> None:
    file.mkdir(parents=True, mode=0o700)
    with pytest.raises(KeyringError, match="cannot be used"):
        keyring.load(file)


def test_a_value_opens_in_its_place_only(file: Path) -> None:
    ring = keyring.load(file)
    sealed = ring.seal("geheim äöü", "instance:a/secret:x")
    assert ring.open(sealed, "instance:a/secret:x") == "geheim äöü" and b"geheim" not in sealed
    assert ring.seal("geheim äöü", "instance:a/secret:x") != sealed, "equal values are not seen to be equal"
    for place in ("instance:b/secret:x", "instance:a/secret:y", ""):
        with pytest.raises(KeyringError, match="another place"):
            ring.open(sealed, place)
    for wrong in (sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1]), sealed[:20], sealed[:6], b""):
        with pytest.raises(KeyringError):
            ring.open(wrong, "instance:a/secret:x")


def test_rotation(file: Path) -> None:
    old = keyring.load(file)
    sealed = old.seal("value", "p")
    new = keyring.rotate(file)
    assert new.current == 2 and new.session_key == old.session_key and file.stat().st_mode & 0o777 == 0o600
    assert new.open(sealed, "p") == "value" and not new.is_current(sealed)
    again = new.seal("value", "p")
    assert old.open(again, "p") == "value" and old.current == 2, "who runs already takes the new key up"
    document = json.loads(file.read_text())
    del document["keys"]["1"]
    file.write_text(json.dumps(document))
    with pytest.raises(KeyringError, match="no longer in the ring"):
        old.open(sealed, "p")


@pytest.mark.parametrize("spoil", [lambda file: file.write_text("{"), lambda file: file.chmod(0o644), lambda file: file.unlink()])
def test_a_running_portal_outlives_a_spoilt_file(file: Path, spoil: Callable[[Path], None]) -> None:
    ring = keyring.load(file)
    sealed = ring.seal("value", "p")
    keyring.rotate(file)
    spoil(file)
    assert ring.open(sealed, "p") == "value" and ring.open(ring.seal("other", "p"), "p") == "other"
    assert ring.current == 1


def test_a_crash_during_rotation_leaves_a_usable_file(file: Path) -> None:
    """Killed before each system call that the rotation makes, until it gets through."""
    keyring.load(file)
    code = """
import os, sys
from pathlib import Path
from clawportal import keyring
left = int(sys.argv[2])
def look(name, arguments):
    global left
    if name in ("open", "os.rename", "os.replace") and ".keyring" in str(arguments[0]) or name == "os.rename":
        left -= 1
        if left < 0:
            os._exit(9)
sys.addaudithook(look)
keyring.rotate(Path(sys.argv[1]))
"""
    root = Path(__file__).parents[2]
    for count in range(10):
        before = keyring.load(file).current
        done = subprocess.run([sys.executable, "-c", code, str(file), str(count)], cwd=root, check=False)
        ring = keyring.load(file)
        assert ring.open(ring.seal("x", "p"), "p") == "x"
        assert ring.current in (before, before + 1)
        if done.returncode == 0:
            assert count > 0 and ring.current == before + 1
            return
        assert done.returncode == 9
    raise AssertionError("it never got through")


def test_rotate_and_reseal_of_a_whole_portal(still: World) -> None:
    one = still.create(secrets={"model_api_key": "sk-first"})
    file = still.folder / "keys/keyring.json"
    keyring.rotate(file)
    later = still.again()
    try:
        with later.context() as portal:
            assert secrets.open_all(portal, one)["model_api_key"] == "sk-first"
            assert secrets.reseal(portal) == 1 and secrets.reseal(portal) == 0
            document = json.loads(file.read_text())
            del document["keys"]["1"]  # the old key is not needed any more
            file.write_text(json.dumps(document))
        last = later.again()
        with last.context() as portal:
            assert secrets.open_all(portal, one)["model_api_key"] == "sk-first"
        last.end()
    finally:
        later.end()


def test_a_secret_moved_to_another_instance_does_not_open(memory: Memory) -> None:
    one, two = memory.create("one", secrets={"password": "of-one"}), memory.create("two", secrets={"password": "of-two"})
    for each in (one, two):
        memory.until(each, "running")
    with memory.world.context() as portal:
        with transaction():
            stolen = db.session.get_one(InstanceSecret, (one, "password")).sealed
            db.session.get_one(InstanceSecret, (two, "password")).sealed = stolen
        with pytest.raises(KeyringError):
            secrets.open_all(portal, two)
    memory.world.press("restart", two)
    seen = memory.until(two, lambda s: s.reason == "SecretUnreadable")
    assert seen.phase == "running" and "enter the secrets again" in seen.next_action, "the running one is not lost for it"
    memory.world.update(two, secrets={"password": "new"})
    memory.until(two, lambda s: s.phase == "running" and s.sync == "synced" and s.settled)


def test_secrets_stand_nowhere_in_plain(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    one = world.create(secrets={"model_api_key": "sk-PLAIN-12345"}, settings={"exit_after": 0.1})
    world.until(one, lambda s: s.crashes == 2)
    world.update(one, settings={"exit_after": 0}, secrets={"model_api_key": "sk-PLAIN-67890"})
    seen = world.until(one, "running")
    with world.context() as portal:
        values = [*secrets.open_all(portal, one).values(), "sk-PLAIN-12345"]
        assert len(values) == 3
        names = {info.name for info in secrets.listing(one)}
        db.session.remove()
    assert names == {"model_api_key", "echo_token"}
    told = caplog.text + str(seen.workload) + str([row.data for row in world.events(one)])
    told += str([(row.message, row.lines, row.payload) for row in world.ops(one)])
    stored = b"".join(file.read_bytes() for file in world.folder.glob("clawportal.db*"))
    for value in values:
        assert value not in told and value.encode() not in stored


def test_an_empty_value_takes_a_secret_away(still: World) -> None:
    one = still.create(secrets={"model_api_key": "sk-1"})
    still.update(one, secrets={"model_api_key": ""})
    with still.context() as portal:
        assert secrets.open_all(portal, one) == {}


def test_masked() -> None:
    values = ["hunter2", "line one\nline two", "ab", ""]
    assert redact.masked(["my hunter2!", "line two", "abc", "fine"], values) == ("my ********!", "********", "abc", "fine")
