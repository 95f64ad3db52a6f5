"""Uploads that resume: parts, what is refused, what survives, and what is swept."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from clawportal.db import db, transaction
from clawportal.models import Instance
from clawportal.sdk.errors import Conflict
from clawportal.sdk.files import INSTANCE_FILES_WRITE, reach
from clawportal_files import uploads
from clawportal_process import safefiles
from tests.conftest import Person, make_people, portal_of
from tests.files.conftest import Claw, make_claw

TUS = {"Tus-Resumable": "1.0.0"}
PART = "application/offset+octet-stream"
DATA = bytes(range(256)) * 300


def metadata(**pairs: str) -> str:
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in pairs.items())


def begin(claw: Claw, who: Person, path: str, size: int = len(DATA), **more: str) -> TestResponse:
    headers = {**TUS, "Upload-Length": str(size), "Upload-Metadata": metadata(path=path, **more)}
    return who.request("POST", claw.url("/upload"), headers=headers)


def begun(claw: Claw, who: Person, path: str, size: int = len(DATA), **more: str) -> str:
    answer = begin(claw, who, path, size, **more)
    assert answer.status_code == 201, answer.get_json()
    found = answer.get_json()
    assert answer.headers["Location"].endswith(f"/api/v1/{claw.url('/upload')}/{found['id']}") and found["offset"] == 0
    return str(found["id"])


def send(claw: Claw, who: Person, one: str, offset: int, data: bytes, **headers: str) -> TestResponse:
    given = {**TUS, "Upload-Offset": str(offset), **{name.replace("_", "-"): text for name, text in headers.items()}}
    return who.request("PATCH", claw.url(f"/upload/{one}"), data=data, headers=given, content_type=PART)


def offset_of(claw: Claw, who: Person, one: str) -> int:
    answer = who.request("HEAD", claw.url(f"/upload/{one}"))
    assert (
        answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store" and answer.headers["Tus-Resumable"] == "1.0.0"
    )
    return int(answer.headers["Upload-Offset"])


def kept(claw: Claw) -> list[str]:
    """What lies on the portal's disk."""
    found = Path(portal_of(claw.people.admin.app).settings.data_dir) / "files-uploads"
    return sorted(path.suffix for path in found.iterdir() if path.name != "lock")


def test_parts_become_a_file(claw: Claw) -> None:
    owner = claw.people.owner
    one = begun(claw, owner, "work/new folder/größe.bin")
    answer = send(claw, owner, one, 0, DATA[:50_000])
    assert answer.status_code == 204 and answer.headers["Upload-Offset"] == "50000" and "GMT" in answer.headers["Upload-Expires"]
    assert offset_of(claw, owner, one) == 50_000 and "new folder" not in claw.tree()
    [item] = owner.get(claw.url("/upload")).get_json()["items"]
    assert (item["id"], item["offset"], item["placed"]) == (one, 50_000, False)
    assert send(claw, owner, one, 50_000, DATA[50_000:]).status_code == 204
    assert (claw.folder / "work/new folder/größe.bin").read_bytes() == DATA
    assert offset_of(claw, owner, one) == len(DATA), "whoever did not hear of the end is told"
    assert owner.get(claw.url("/upload")).get_json()["items"] == [] and kept(claw) == [".json"]
    assert ("instance.file_uploaded", "owner uploaded work/new folder/größe.bin to helper.") in claw.events()
    empty = begin(claw, owner, "work/empty", 0).get_json()
    assert empty["placed"] and (claw.folder / "work/empty").read_bytes() == b""


def test_a_part_from_elsewhere_is_refused(claw: Claw) -> None:
    owner = claw.people.owner
    one = begun(claw, owner, "work/a")
    send(claw, owner, one, 0, DATA[:1000])
    for offset in (0, 999, 1001):
        answer = send(claw, owner, one, offset, b"x")
        assert answer.status_code == 409 and "1000 bytes" in answer.get_json()["detail"]
    assert send(claw, owner, one, 1000, DATA).status_code == 400, "more than it said"
    assert offset_of(claw, owner, one) == 1000


def test_checksums(claw: Claw) -> None:
    owner, one = claw.people.owner, begun(claw, claw.people.owner, "work/a")
    right = base64.b64encode(hashlib.sha1(DATA[:1000]).digest()).decode()
    wrong = send(claw, owner, one, 0, DATA[1:1001], Upload_Checksum=f"sha1 {right}")
    assert wrong.status_code == 460 and wrong.get_json()["code"] == "checksum_mismatch" and offset_of(claw, owner, one) == 0
    assert send(claw, owner, one, 0, DATA[:1000], Upload_Checksum="crc32 AAAA").status_code == 400
    assert send(claw, owner, one, 0, DATA[:1000], Upload_Checksum=f"sha1 {right}").status_code == 204


def test_what_the_protocol_asks_for(claw: Claw) -> None:
    owner = claw.people.owner
    assert owner.request("POST", claw.url("/upload"), headers={"Upload-Length": "1"}).status_code == 412
    length = owner.request("POST", claw.url("/upload"), headers={**TUS, "Upload-Metadata": metadata(path="work/a")})
    assert length.status_code == 411 and length.get_json()["code"] == "length_required"
    for headers in ({"Upload-Length": "x"}, {"Upload-Length": "1", "Upload-Metadata": "path !!"},
                    {"Upload-Length": "1", "Upload-Metadata": metadata(path="../x")},
                    {"Upload-Length": "1", "Upload-Metadata": metadata(path="work/a", taken="maybe")}):  # fmt: skip
        assert owner.request("POST", claw.url("/upload"), headers={**TUS, **headers}).status_code == 422, headers
    one = begun(claw, owner, "work/a")
    assert owner.request("PATCH", claw.url(f"/upload/{one}"), data=b"x", headers={**TUS, "Upload-Offset": "0"}).status_code == 415
    assert begin(claw, owner, "work/big", 17 << 20).status_code == 413
    assert kept(claw) == [".json", ".part"]


# ---- names


def test_a_name_that_is_taken(claw: Claw) -> None:
    owner = claw.people.owner
    refused = begin(claw, owner, "work/SOUL.md")
    assert refused.status_code == 409 and refused.get_json()["code"] == "exists"
    send(claw, owner, begun(claw, owner, "work/SOUL.md", taken="keep-both"), 0, DATA)
    assert (claw.folder / "work/SOUL (2).md").read_bytes() == DATA
    send(claw, owner, begun(claw, owner, "work/SOUL.md", taken="replace"), 0, DATA)
    assert (claw.folder / "work/SOUL.md").read_bytes() == DATA
    assert begin(claw, owner, "state/config.json", taken="replace").status_code == 409, "it is the portal's"
    assert begin(claw, owner, "work/notes", taken="replace").status_code == 409, "it is a folder"


def test_a_name_that_is_taken_meanwhile_loses_nothing(claw: Claw) -> None:
    owner, one = claw.people.owner, begun(claw, claw.people.owner, "work/a.txt")
    (claw.folder / "work/a.txt").write_text("of the claw")
    assert send(claw, owner, one, 0, DATA).status_code == 204
    assert (claw.folder / "work/a.txt").read_text() == "of the claw" and (claw.folder / "work/a (2).txt").read_bytes() == DATA
    assert owner.get(claw.url(f"/upload/{one}")).get_json()["path"] == "work/a (2).txt"


def test_what_could_not_get_into_the_claw_tries_again(claw: Claw) -> None:
    owner, one = claw.people.owner, begun(claw, claw.people.owner, "work/below/a")
    (claw.folder / "work/below").write_text("a file where a folder should be")
    assert send(claw, owner, one, 0, DATA).status_code == 422
    assert owner.request("HEAD", claw.url(f"/upload/{one}")).status_code == 422
    (claw.folder / "work/below").unlink()
    assert offset_of(claw, owner, one) == len(DATA) and (claw.folder / "work/below/a").read_bytes() == DATA


# ---- limits


def test_it_counts_before_any_byte_comes(claw: Claw) -> None:
    owner = claw.people.owner
    with owner.app.app_context(), transaction():
        row = db.session.get_one(Instance, claw.id)
        row.spec = {**row.spec, "resources": {**row.spec.get("resources", {}), "storage": "1Mi"}}
    portal_of(owner.app).taken.take(claw.id, 0, 0, 1 << 20)
    begun(claw, owner, "work/a", 700_000)
    answer = begin(claw, owner, "work/b", 700_000)
    assert answer.status_code == 507 and "storage limit" in answer.get_json()["detail"]
    begun(claw, owner, "work/c", 200_000)


def test_how_many_and_how_much_at_once(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAWPORTAL_FILES_UPLOADS_EACH", "2")
    monkeypatch.setenv("CLAWPORTAL_FILES_UPLOADS_MIB", "2")
    claw = make_claw(make_people(make_app()))
    owner = claw.people.owner
    begun(claw, owner, "work/a", 1 << 20)
    assert begin(claw, owner, "work/b", 2 << 20).status_code == 507
    second = begun(claw, owner, "work/b", 1000)
    many = begin(claw, owner, "work/c", 1000)
    assert many.status_code == 409 and many.get_json()["code"] == "over_quota"
    assert begin(claw, claw.people.developer, "work/c", 1000).status_code == 201
    assert owner.delete(claw.url(f"/upload/{second}")).status_code == 204
    assert begin(claw, owner, "work/c", 1000).status_code == 201


def test_what_one_person_and_one_organisation_are_promised(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that were promised count, before any of them came."""
    monkeypatch.setenv("CLAWPORTAL_FILES_UPLOADS_PERSON_MIB", "2")
    monkeypatch.setenv("CLAWPORTAL_FILES_UPLOADS_TENANT_MIB", "3")
    claw = make_claw(make_people(make_app()))
    owner, developer = claw.people.owner, claw.people.developer
    mine = begun(claw, owner, "work/a", 2 << 20)
    refused = begin(claw, owner, "work/b", 1)
    assert refused.status_code == 409 and "Your unfinished uploads may take 2 MiB" in refused.get_json()["detail"]
    begun(claw, developer, "work/c", 1 << 20)
    refused = begin(claw, developer, "work/d", 1)
    assert refused.status_code == 409 and "of your organisation may take 3 MiB" in refused.get_json()["detail"]
    owner.delete(claw.url(f"/upload/{mine}"))
    begun(claw, developer, "work/d", 1)


# ---- what stays and what goes


class Broken(io.RawIOBase):
    """Gives some bytes, and then the connection is cut."""

    def __init__(self, data: bytes) -> None:
        self.left = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.left:
            raise ConnectionResetError("cut")
        took = min(len(buffer), len(self.left), 4096)
        buffer[:took], self.left = self.left[:took], self.left[took:]
        return took


def test_what_arrived_before_a_cut_stays(claw: Claw) -> None:
    owner, one = claw.people.owner, begun(claw, claw.people.owner, "work/a")
    with owner.app.app_context():
        portal = portal_of(owner.app)
        files = reach(portal, owner.actor, claw.id, INSTANCE_FILES_WRITE)
        broken = Broken(DATA[:20_000])
        with pytest.raises(ConnectionResetError):
            uploads.append(portal, owner.actor, files, one, 0, iter(lambda: broken.read(4096) or b"", b""))
    assert offset_of(claw, owner, one) == 20_000
    assert send(claw, owner, one, 20_000, DATA[20_000:]).status_code == 204 and (claw.folder / "work/a").read_bytes() == DATA


def test_a_cut_part_with_a_checksum_leaves_nothing(claw: Claw) -> None:
    """Half of it proves nothing: the sum is of all."""
    owner, one = claw.people.owner, begun(claw, claw.people.owner, "work/a")
    send(claw, owner, one, 0, DATA[:1000])
    with owner.app.app_context():
        portal, broken = portal_of(owner.app), Broken(DATA[:20_000])
        files = reach(portal, owner.actor, claw.id, INSTANCE_FILES_WRITE)
        pieces = iter(lambda: broken.read(4096) or b"", b"")
        with pytest.raises(ConnectionResetError):
            uploads.append(portal, owner.actor, files, one, 1000, pieces, f"sha1 {base64.b64encode(bytes(20)).decode()}")
    assert offset_of(claw, owner, one) == 1000


def test_nobody_ends_what_another_request_sends(claw: Claw) -> None:
    owner, one = claw.people.owner, begun(claw, claw.people.owner, "work/a")
    tried: list[TestResponse] = []

    def pieces() -> Iterator[bytes]:
        yield DATA
        tried.extend((owner.delete(claw.url(f"/upload/{one}")), send(claw, owner, one, 0, b"x")))

    with owner.app.app_context():
        portal = portal_of(owner.app)
        files = reach(portal, owner.actor, claw.id, INSTANCE_FILES_WRITE)
        uploads.append(portal, owner.actor, files, one, 0, pieces())
    assert [answer.status_code for answer in tried] == [409, 409]
    assert (claw.folder / "work/a").read_bytes() == DATA
    assert owner.delete(claw.url(f"/upload/{one}")).status_code == 204 and kept(claw) == []


def test_the_note_is_read_when_it_is_ones_turn(claw: Claw) -> None:
    """Who waited for the end of another request does not put the file there twice."""
    owner, one = claw.people.owner, begun(claw, claw.people.owner, "work/a")
    with owner.app.app_context():
        portal = portal_of(owner.app)
        files = reach(portal, owner.actor, claw.id, INSTANCE_FILES_WRITE)
        before = uploads.find(portal, owner.actor, files, one)
        part = uploads._part(portal, one)
        os.link(part, part.with_suffix(".kept"))
        send(claw, owner, one, 0, DATA)
        os.link(part.with_suffix(".kept"), part)  # as it was opened before it went
        with uploads._part_of(portal, before) as (fresh, _):
            assert fresh.placed == "work/a" != before.placed
        part.unlink()
        with pytest.raises(Conflict):
            uploads.append(portal, owner.actor, files, one, 0, [b"x"])
    assert "a (2)" not in claw.tree()


class Sparing(io.RawIOBase):
    """Takes a few bytes at a time."""

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: Any) -> int:
        self.taken += bytes(data[:7])
        return len(bytes(data[:7]))


@pytest.mark.parametrize("write_all", [uploads._write_all, safefiles._write_all])
def test_whatever_a_file_takes_at_a_time_it_gets_all(write_all: Callable[[Any, bytes], None]) -> None:
    file = Sparing()
    write_all(file, DATA[:100])
    assert file.taken == DATA[:100]


def test_another_portal_on_the_same_folder_goes_on(claw: Claw, make_app: Callable[..., Flask]) -> None:
    """What a portal that was killed leaves behind is on its disk, and nowhere else."""
    owner, one = claw.people.owner, begun(claw, claw.people.owner, "work/a")
    send(claw, owner, one, 0, DATA[:30_000])
    later = replace(owner, app=make_app(upload_mib=16))
    assert offset_of(claw, later, one) == 30_000
    assert send(claw, later, one, 30_000, DATA[30_000:]).status_code == 204 and (claw.folder / "work/a").read_bytes() == DATA


def test_an_upload_that_was_cancelled_leaves_nothing(claw: Claw) -> None:
    owner, one = claw.people.owner, begun(claw, claw.people.owner, "work/a")
    send(claw, owner, one, 0, DATA[:1000])
    assert owner.delete(claw.url(f"/upload/{one}")).status_code == 204 and kept(claw) == [] and "a" not in claw.tree()
    assert owner.request("HEAD", claw.url(f"/upload/{one}")).status_code == 404
    assert send(claw, owner, one, 1000, DATA[1000:]).status_code == 404


def test_old_uploads_are_swept(claw: Claw) -> None:
    owner, portal = claw.people.owner, portal_of(claw.people.owner.app)
    old, fresh = begun(claw, owner, "work/old"), begun(claw, owner, "work/fresh")
    done = begun(claw, owner, "work/done")
    send(claw, owner, done, 0, DATA)
    folder = Path(portal.settings.data_dir) / "files-uploads"
    for name in (f"{old}.json", f"{old}.part", f"{done}.json"):
        os.utime(folder / name, (1, 1))
    (folder / "nobodys.part").write_text("")
    os.utime(folder / "nobodys.part", (1, 1))
    with owner.app.app_context():
        uploads.sweep_once(portal)
        uploads.sweep_once(portal)
    assert {path.stem for path in folder.iterdir()} == {fresh, "lock"} and (claw.folder / "work/done").exists()


# ---- rights


def test_uploads_are_ones_own(claw: Claw) -> None:
    people, one = claw.people, begun(claw, claw.people.developer, "work/a")
    for who in (people.owner, people.admin, people.stranger):
        assert who.request("HEAD", claw.url(f"/upload/{one}")).status_code == 404
        assert send(claw, who, one, 0, DATA).status_code == 404 and who.delete(claw.url(f"/upload/{one}")).status_code == 404
    for who in (people.viewer, people.operator):
        assert begin(claw, who, "work/b").status_code == 403
    assert begin(claw, people.developer, "state/b").status_code == 403
    assert people.owner.get(claw.url("/upload/..%2Flock")).status_code == 422, "a path that leads out"
    assert send(claw, people.developer, one, 0, DATA).status_code == 204
