"""Files of a claw through API, page and command: streams, rights, secrets, and paths that must lead nowhere."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from clawportal import redact
from clawportal.db import db, transaction
from clawportal.errors import Problem
from clawportal.models import Instance
from clawportal.services.live import file_access
from tests.conftest import People, Person, make_people, make_person, portal_of
from tests.web.conftest import Browser

Browse = Callable[[Person], Browser]
KEY = "sk-only-the-claw-knows"
ODD = ("with space", "ünïcode-中文-🦀", "-dash", "quote'\"&<b>", "new\nline", "per%20cent+plus", "star*?[x]#h")
OWNED = {"path": "config.json", "root": "state", "content": "{}", "mode": 0o600, "policy": "always"}


@dataclass
class Claw:
    """One that nobody started, with folders as this machine keeps them."""

    id: str
    folder: Path
    people: People

    def ls(self, who: Person, path: str = "") -> TestResponse:
        return who.get(f"instances/{self.id}/files?path={quote(path)}")

    def names(self, who: Person, path: str) -> list[str]:
        return [item["name"] for item in self.ls(who, path).get_json()["items"]]

    def get(self, who: Person, path: str) -> TestResponse:
        return who.get(f"instances/{self.id}/files/content?path={quote(path)}")

    def put(self, who: Person, path: str, data: Any = b"new", *, overwrite: bool = False, **options: Any) -> TestResponse:
        options = {"data": data, **options} if "input_stream" not in options else options
        options.setdefault("content_type", "application/octet-stream")
        query = f"path={quote(path)}&overwrite={str(overwrite).lower()}"
        return who.request("PUT", f"instances/{self.id}/files/content?{query}", **options)


@pytest.fixture
def people(make_app: Callable[..., Flask]) -> People:
    return make_people(make_app(upload_mib=16))


@pytest.fixture
def claw(people: People, tmp_path: Path) -> Claw:
    app = people.admin.app
    made = people.owner.create("helper", secrets={"model_api_key": KEY})["id"]
    with app.app_context(), transaction():
        row = db.session.get_one(Instance, made)
        row.workload = {"files": [OWNED], "processes": [], "ports": {}, "artifacts": []}
    folder = Path(portal_of(app).settings.data_dir) / "clusters" / "local" / "instances" / made
    for root in ("home", "state", "work/notes"):
        (folder / root).mkdir(parents=True)
    (folder / "work" / "notes" / "plan.md").write_text("one\ntwo\n")
    (folder / "work" / "env.txt").write_text(f"KEY={KEY}\nagain {KEY}!")
    (folder / "state" / "config.json").write_text("{}")
    (folder / "state" / "tokens.json").write_text(f'"{KEY}"')
    (tmp_path / "outside").write_text("not yours")
    (folder / "work" / "out").symlink_to(tmp_path / "outside")
    (folder / "work" / "up").symlink_to("..")
    return Claw(made, folder, people)


def events(person: Person, claw: Claw) -> list[tuple[str, str]]:
    items = person.get(f"instances/{claw.id}/events").get_json()["items"]
    return [(item["kind"], item["message"]) for item in items if item["kind"].startswith("instance.file")]


def test_folders_are_listed(claw: Claw) -> None:
    owner = claw.people.owner
    top = claw.ls(owner).get_json()
    assert [item["path"] for item in top["items"]] == ["work", "state", "home"] and not top["writable"]
    work = claw.ls(owner, "work").get_json()
    assert [(item["name"], item["kind"]) for item in work["items"]] == [
        ("notes", "folder"), ("env.txt", "file"), ("out", "link"), ("up", "link"),
    ]  # fmt: skip
    assert work["readable"] and work["writable"] and work["total"] == 4
    state = {item["name"]: item["owner"] for item in claw.ls(owner, "state").get_json()["items"]}
    assert state == {"config.json": "portal", "tokens.json": ""}
    [plan] = claw.ls(owner, "work/./notes/").get_json()["items"]
    assert (plan["path"], plan["size"]) == ("work/notes/plan.md", 8) and plan["modified"].endswith("Z")
    assert claw.ls(owner, "work/none").status_code == 404 and claw.ls(owner, "tmp").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "work/../state", "..", "work/notes/../../../..", "work/up/state", "work/out/x", "work/env.txt/x", "work/\0"],
)
def test_paths_that_lead_out_are_refused(claw: Claw, path: str, tmp_path: Path) -> None:
    owner = claw.people.owner
    before = {file: file.read_bytes() for file in claw.folder.rglob("*") if file.is_file()}
    for answer in (claw.ls(owner, path), claw.get(owner, path), claw.put(owner, f"{path}/x", overwrite=True)):
        assert answer.status_code == 422, answer.get_data(as_text=True)
        assert "path" in str(answer.get_json()["errors"])
    assert claw.get(owner, "work/out").status_code == 409, "a link is told, and never followed"
    assert {file: file.read_bytes() for file in claw.folder.rglob("*") if file.is_file()} == before
    assert (tmp_path / "outside").read_text() == "not yours" and events(owner, claw) == []


def test_a_link_is_replaced_and_not_written_through(claw: Claw, tmp_path: Path) -> None:
    assert claw.put(claw.people.owner, "work/out").status_code == 409
    assert claw.put(claw.people.owner, "work/out", b"mine", overwrite=True).status_code == 201
    assert (claw.folder / "work" / "out").read_text() == "mine" and not (claw.folder / "work" / "out").is_symlink()
    assert (tmp_path / "outside").read_text() == "not yours"


@pytest.mark.parametrize("name", ODD)
def test_odd_names_go_in_and_out(claw: Claw, name: str) -> None:
    owner, path = claw.people.owner, f"work/odd/{name}"
    assert claw.put(owner, path, b"inside").status_code == 201
    assert (claw.folder / "work" / "odd" / name).read_bytes() == b"inside"
    assert claw.names(owner, "work/odd") == [name]
    answer = claw.get(owner, path)
    assert answer.data == b"inside" and answer.content_length == 6
    assert answer.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox") and answer.mimetype == "application/octet-stream"


def test_a_name_that_is_no_text_can_be_had_with_its_folder(claw: Claw) -> None:
    os.mkdir(claw.folder / "work" / "raw")
    (claw.folder / "work" / "raw" / os.fsdecode(b"bad-\xff")).write_bytes(b"x")
    [item] = claw.ls(claw.people.owner, "work/raw").get_json()["items"]
    assert item["path"] == "" and item["name"].startswith("bad-")
    with tarfile.open(fileobj=io.BytesIO(claw.get(claw.people.owner, "work/raw").data)) as tar:
        assert [member.size for member in tar if member.isfile()] == [1]


def test_a_folder_comes_as_an_archive(claw: Claw) -> None:
    answer = claw.get(claw.people.owner, "work")
    assert answer.mimetype == "application/x-tar" and "helper-work.tar" in answer.headers["Content-Disposition"]
    with tarfile.open(fileobj=io.BytesIO(answer.data)) as tar:
        found = {member.name: member for member in tar}
        assert set(found) == {"notes", "notes/plan.md", "env.txt", "out", "up"} and found["out"].issym()
        plan = tar.extractfile("notes/plan.md")
        assert plan and plan.read() == b"one\ntwo\n"


# ---- rights and secrets


def test_rights(claw: Claw) -> None:
    """Who may do what: status of listing, reading and writing in `work` and in `state`."""
    people = claw.people
    auditor = make_person(people.admin.app, "auditor", "auditor", "default")
    told = {}
    for who in (people.viewer, auditor, people.operator, people.developer, people.owner, people.admin, people.stranger):
        told[who.name] = [
            f(who, path).status_code
            for root in ("work", "state")
            for f, path in ((claw.ls, root), (claw.get, f"{root}/{'env.txt' if root == 'work' else 'tokens.json'}"),
                            (claw.put, f"{root}/by-{who.name}"))
        ]  # fmt: skip
    assert told == {
        "viewer": [403, 403, 403, 403, 403, 403], "auditor": [200, 200, 403, 200, 403, 403],
        "operator": [200, 200, 403, 200, 403, 403], "developer": [200, 200, 201, 200, 403, 403],
        "owner": [200, 200, 201, 200, 200, 201], "admin": [200, 200, 201, 200, 200, 201],
        "stranger": [404, 404, 404, 404, 404, 404],
    }  # fmt: skip
    assert "console" in claw.get(people.developer, "state/tokens.json").get_json()["detail"]
    assert sorted(os.listdir(claw.folder / "state")) == ["by-admin", "by-owner", "config.json", "tokens.json"]


def test_secrets_are_for_those_who_may_open_a_console(claw: Claw) -> None:
    people = claw.people
    whole = (claw.folder / "work" / "env.txt").read_bytes()
    assert claw.get(people.owner, "work/env.txt").data == whole
    hidden = claw.get(people.operator, "work/env.txt")
    stars = "*" * len(KEY)
    assert hidden.data.decode() == f"KEY={stars}\nagain {stars}!" and hidden.content_length == len(whole)
    archive = claw.get(people.developer, "work").data
    assert KEY.encode() not in archive
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        env = tar.extractfile("env.txt")
        assert env and env.read() == hidden.data


@given(st.data())
def test_no_way_of_cutting_shows_a_secret(data: st.DataObject) -> None:
    secrets = ["abcdefgh", "abcdefghijkl", "two lines\nof a key", 'quo"ted-secret', "a" * 9]
    text = "".join(data.draw(st.lists(st.sampled_from([*secrets, "abc", "x", "a", "\n", 'quo\\"ted-secret']), max_size=12)))
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    pieces = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    told = b"".join(redact.ByteMasker(secrets)(pieces))
    assert len(told) == len(raw) and told == b"".join(redact.ByteMasker(secrets)([raw]))
    for secret in secrets:
        assert all(part.encode() not in told for part in (secret, secret.replace('"', '\\"')))


def test_a_secret_is_hidden_however_json_writes_it() -> None:
    secret = 'schlüssel"geheim'
    for text in (secret, json.dumps(secret), json.dumps(secret, ensure_ascii=False)):
        told = b"".join(redact.ByteMasker([secret])([text.encode()])).decode()
        assert "geheim" not in told and len(told.encode()) == len(text.encode())


def test_what_the_portal_writes_is_not_replaced(claw: Claw) -> None:
    answer = claw.put(claw.people.owner, "state/config.json", b"{evil}", overwrite=True)
    assert answer.status_code == 409 and "configuration" in answer.get_json()["detail"]
    assert (claw.folder / "state" / "config.json").read_text() == "{}"


def test_downloads_and_uploads_stand_in_the_audit(claw: Claw) -> None:
    people = claw.people
    claw.ls(people.developer, "work")
    claw.get(people.developer, "work/env.txt")
    claw.put(people.developer, "work/a.txt")
    claw.put(people.developer, "work/a.txt", overwrite=True)
    assert claw.get(people.developer, "work/none").status_code == 404
    assert events(people.owner, claw) == [
        ("instance.file_uploaded", "developer replaced work/a.txt in helper."),
        ("instance.file_uploaded", "developer uploaded work/a.txt to helper."),
        ("instance.file_downloaded", "developer downloaded work/env.txt from helper."),
    ]
    entries = people.owner.get("audit?action=instance&actor=developer").get_json()["items"]
    assert [entry["action"] for entry in entries] == ["instance.file_upload", "instance.file_upload", "instance.file_download"]
    assert {entry["instance_id"] for entry in entries} == {claw.id}


# ---- in


def test_nothing_is_replaced_without_being_asked(claw: Claw) -> None:
    owner = claw.people.owner
    assert claw.put(owner, "work/a.txt", b"one").status_code == 201
    again = claw.put(owner, "work/a.txt", b"two")
    assert again.status_code == 409 and again.get_json()["code"] == "exists"
    assert claw.get(owner, "work/a.txt").data == b"one"
    (claw.folder / "work" / "a.txt").chmod(0o640)
    assert claw.put(owner, "work/a.txt", b"two", overwrite=True).status_code == 201
    assert claw.get(owner, "work/a.txt").data == b"two" and (claw.folder / "work" / "a.txt").stat().st_mode & 0o777 == 0o640
    assert claw.put(owner, "work/notes", overwrite=True).status_code == 409, "a folder is no file"
    for path in ("", "work", "work/x/"):
        assert claw.put(owner, path).status_code == 422, path
    assert claw.put(owner, "work/deep/er/b", input_stream=Slow(0)).status_code == 201
    assert claw.get(owner, "work/deep/er/b").data == b""


class Slow(io.RawIOBase):
    """Says that it has so many bytes, and may end early; knows how large a piece was asked for at most."""

    def __init__(self, size: int, ends: int | None = None) -> None:
        self.size, self.left, self.largest, self._at = size, size if ends is None else ends, 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = self.size if whence == io.SEEK_END else offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        self.largest = max(self.largest, len(buffer))
        took = min(len(buffer), self.left)
        self.left -= took
        buffer[:took] = b"z" * took
        return took


def test_large_files_pass_in_pieces(claw: Claw) -> None:
    size, owner = 12 << 20, claw.people.owner
    stream = Slow(size)
    assert claw.put(owner, "work/large", input_stream=stream).status_code == 201
    assert stream.largest <= 1 << 20 and (claw.folder / "work" / "large").stat().st_size == size
    answer = owner.request("GET", f"instances/{claw.id}/files/content?path=work/large", buffered=False)
    pieces = [len(piece) for piece in answer.response]
    answer.close()
    assert sum(pieces) == size == answer.content_length and max(pieces) <= 1 << 20


def test_what_is_too_large_or_breaks_off_leaves_nothing(claw: Claw) -> None:
    owner, before = claw.people.owner, claw.names(claw.people.owner, "work")
    large = claw.put(owner, "work/large", input_stream=Slow(17 << 20))
    assert large.status_code == 413 and "16 MiB" in large.get_json()["detail"]
    broken = claw.put(owner, "work/env.txt", input_stream=Slow(2 << 20, ends=1 << 20), overwrite=True)
    assert broken.status_code == 400
    endless = claw.put(owner, "work/n", b"x", headers={"Transfer-Encoding": "chunked"})
    assert endless.status_code == 411 and endless.get_json()["code"] == "length_required"
    assert claw.names(owner, "work") == before and KEY in (claw.folder / "work" / "env.txt").read_text()


def test_other_bodies_are_still_limited(claw: Claw) -> None:
    answer = claw.people.owner.request("POST", "instances", data=b" " * (5 << 20), content_type="application/json")
    assert answer.status_code == 413


def test_a_claw_without_folders_says_so(claw: Claw) -> None:
    made = claw.people.owner.create("fresh")["id"]
    fresh = Claw(made, claw.folder, claw.people)
    answer = fresh.ls(claw.people.owner, "work")
    assert answer.status_code == 409 and "Start it once" in answer.get_json()["detail"]
    assert fresh.put(claw.people.owner, "work/x").status_code == 409


# ---- the page


def test_the_page(claw: Claw, browse: Browse) -> None:
    people, address = claw.people, f"/instances/{claw.id}/files"
    browser = browse(people.owner)
    top = browser.page(address)
    assert "path=state" in top and "data-choose" not in top and "Kubernetes" not in top
    work = browser.page(f"{address}?path=work")
    assert 'data-folder="work"' in work and "data-choose" in work and "content?path=work/env.txt" in work
    assert f'data-limit="{16 << 20}"' in work and ">link<" in work and "style=" not in work
    part = browser.page(f"{address}?path=work/notes", htmx=True)
    assert "<html" not in part and "plan.md" in part and 'id="files"' in part
    assert browser.page(f"{address}?path=work/none", status=404) and browser.page(f"{address}?path=../x", status=422)
    (claw.folder / "work" / "<b>bold").write_text("")
    assert "<b>bold" not in browser.page(f"{address}?path=work")
    less = browse(people.developer).page(f"{address}?path=state")
    assert "data-choose" not in less and "content?path=state" not in less and "Only names are shown" in less
    assert "data-choose" not in browse(people.operator).page(f"{address}?path=work")
    assert browse(people.viewer).get(address).status_code == 403 and browse(people.stranger).get(address).status_code == 404
    assert "/files" not in browse(people.viewer).page(f"/instances/{claw.id}")
    made = people.owner.create("fresh")["id"]
    assert "Start it once" in browser.page(f"/instances/{made}/files?path=work")


def test_a_browser_uploads_with_its_token(claw: Claw, browse: Browse) -> None:
    browser = browse(claw.people.owner)
    url, large = f"/api/v1/instances/{claw.id}/files/content?path=work/b", b"y" * (5 << 20)
    options: dict[str, Any] = {"data": large, "content_type": "application/octet-stream"}
    assert browser.client.put(url, **options).status_code == 400, "without its token"
    answer = browser.client.put(url, headers={"X-CSRFToken": browser.token()}, **options)
    assert answer.status_code == 201 and (claw.folder / "work" / "b").stat().st_size == len(large)


def test_paths_are_judged_before_any_place_hears_of_them() -> None:
    assert file_access.spot("") is None and file_access.spot("./") is None
    found = file_access.spot("work//a/./b")
    assert found is not None and (found.path, found.inner, found.above, found.name) == ("work/a/b", "a/b", "a", "b")
    for bad in ("/work", "work/..", "work/\0", "x" * 5000, "etc"):
        with pytest.raises(Problem):
            file_access.spot(bad)
