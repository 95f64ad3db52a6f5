"""A disk that is full to its last byte: the portal says so, signs people in, stops and deletes, and starts again when killed."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from clawportal.disk_reserve import FILE, MIB, DiskRoom
from tests.browser.portal import PortalProcess, wait_for


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 96 MiB."""
    folder = tmp_path / "data"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m,mode=700", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def portal(small_disk: Path) -> Iterator[PortalProcess]:
    made = PortalProcess(small_disk, RESERVE_MIB="24")
    made.start()
    made.set_up(practice=False)
    yield made
    with contextlib.suppress(FileNotFoundError):
        (small_disk / "fill.bin").unlink()
    made.end()


def fill(folder: Path) -> None:
    with (folder / "fill.bin").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def put(portal: PortalProcess, instance_id: str, name: str, size: int) -> httpx.Response:
    address = f"{portal.url}/api/v1/instances/{instance_id}/files/content"
    headers = {"Authorization": f"Bearer {portal._token}", "Content-Type": "application/octet-stream"}
    return httpx.put(address, params={"path": name}, content=bytes(size), headers=headers, timeout=30)


def ready(portal: PortalProcess) -> httpx.Response:
    return httpx.get(f"{portal.url}/readyz", timeout=10)


def whole(folder: Path) -> bool:
    file = folder / FILE
    return file.exists() and file.stat().st_blocks * 512 >= 6 * MIB


@pytest.mark.slow
def test_a_full_disk(portal: PortalProcess, small_disk: Path) -> None:
    one, two = portal.running("one")["id"], portal.running("two")["id"]
    rests = portal.create("rests", start=False)["id"]
    wait_for(lambda: whole(small_disk), 30, "the reserve is there")
    assert ready(portal).status_code == 200 and ready(portal).json()["parts"]["disk"]["ok"]

    fill(small_disk)
    wait_for(lambda: ready(portal).status_code == 503, 10, "it says that it is not ready")
    part = ready(portal).json()["parts"]["disk"]
    assert not part["ok"] and "24 MB are to be kept free" in part["message"]
    refused = portal.api("POST", "instances", {"name": "three", "adapter": "echo"}, 507)
    assert refused["code"] == "no_room" and "disk is full" in refused["detail"]
    assert portal.api("POST", f"instances/{rests}/start", status=507)["code"] == "no_room"
    assert put(portal, one, "work/a.bin", 1 * MIB).status_code == 507
    portal.sign_in()
    portal.api("POST", f"instances/{one}/stop")
    portal.reaches(one, "stopped")
    portal.api("DELETE", f"instances/{one}")
    wait_for(lambda: _gone(portal, one), 20, "it is deleted")

    portal.kill()
    fill(small_disk)
    portal.start()
    portal.sign_in()
    assert portal.get(two)["name"] == "two" and ready(portal).status_code == 503
    portal.api("POST", f"instances/{two}/stop")
    portal.reaches(two, "stopped")

    (small_disk / "fill.bin").unlink()
    wait_for(lambda: ready(portal).status_code == 200, 10, "there is room again")
    portal.running("three")
    wait_for(lambda: whole(small_disk), 30, "the reserve is whole again")


def _gone(portal: PortalProcess, instance_id: str) -> bool:
    names = {item["id"] for item in portal.api("GET", "instances")["items"]}
    return instance_id not in names


@pytest.mark.slow
def test_uploads_are_counted_before_they_are_taken(portal: PortalProcess) -> None:
    one = portal.running("one", spec={"resources": {"storage": "4Mi"}})["id"]
    answers = [put(portal, one, f"work/{number}.bin", 3 * MIB // 2) for number in range(4)]
    assert [answer.status_code for answer in answers] == [201, 201, 507, 507]
    assert "raise its storage limit" in answers[-1].json()["detail"]
    other = portal.running("other")["id"]
    large = put(portal, other, "work/large.bin", 80 * MIB)
    assert large.status_code == 507 and "This takes 80 MB" in large.json()["detail"]
    assert put(portal, other, "work/small.bin", 1 * MIB).status_code == 201


# ---- the reserve itself


def test_the_reserve_is_given_up_in_pieces_and_made_again(small_disk: Path) -> None:
    room = DiskRoom(small_disk, 24 * MIB)
    assert room.keep().kept == 6 * MIB and not room.look().low
    fill(small_disk)
    assert room.look(fresh=True).free == 0 and room.look().low
    assert room.make_way().free >= MIB and room.look().kept < 6 * MIB
    fill(small_disk)
    for _ in range(8):
        room.look(fresh=True)
        room.make_way()
        fill(small_disk)
    assert room.look(fresh=True).kept == 0 and room.make_way().free == 0, "then there is nothing left to give"
    (small_disk / "fill.bin").unlink()
    room.look(fresh=True)
    assert room.keep().kept == 6 * MIB


def test_nothing_is_kept_where_nothing_is_to_be(tmp_path: Path) -> None:
    room = DiskRoom(tmp_path, 0)
    assert not room.keep().low and os.listdir(tmp_path) == []
