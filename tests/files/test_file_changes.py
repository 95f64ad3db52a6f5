"""New, moved, copied, deleted, found and packed files of a claw: what happens, what is refused, and who may."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from clawportal.db import db, transaction
from clawportal.models import Instance
from clawportal.sdk.errors import Conflict
from clawportal.sdk.files import FileEntry, NoRoom, Reach, Spot, TooLarge, reach
from clawportal_files import archives, changes, reading, trash
from clawportal_files.places import _variants
from tests.conftest import Person, make_people, make_person, portal_of
from tests.files.conftest import KEY, Claw, make_claw
from tests.web.conftest import Browser


def test_folders_and_files_are_made(claw: Claw) -> None:
    owner = claw.people.owner
    assert claw.do(owner, "new", path="work/a/b c").get_json() == {"path": "work/a/b c", "name": "b c"}
    assert claw.do(owner, "new", path="work/a/empty.txt", kind="file").status_code == 201
    assert (claw.folder / "work/a/b c").is_dir() and (claw.folder / "work/a/empty.txt").read_bytes() == b""
    again = claw.do(owner, "new", path="work/a/b c")
    assert again.status_code == 409 and again.get_json()["code"] == "exists"
    assert ("instance.file_created", "owner created work/a/b c in helper.") in claw.events()


@pytest.mark.parametrize(
    "path", ["", "work", "work/", "/work/x", "work/../x", "work/a\nb", "work/" + "ü" * 128, "tmp/x", "work/\x7f"]
)
def test_names_that_cannot_be(claw: Claw, path: str) -> None:
    before = claw.tree()
    for verb, body in (("new", {"path": path}), ("trash", {"path": path}), ("move", {"path": "work/notes", "target": path}),
                       ("copy", {"path": "work/notes", "target": path})):  # fmt: skip
        answer = claw.do(claw.people.owner, verb, **body)
        assert answer.status_code in (404, 422), (verb, answer.get_json())
        if answer.status_code == 422:
            field = "target" if "target" in body else "path"
            assert field in {error["path"] for error in answer.get_json()["errors"]}, answer.get_json()
    assert claw.tree() == before


@given(st.text(min_size=1, max_size=300).filter(lambda text: "/" not in text))
def test_names_beside_others_fit_and_differ(name: str) -> None:
    found = _variants(name[:200] or "x")
    assert len(set(found[:50])) == 50 and all(len(one.encode()) <= 255 for one in found[1:50])


def test_moved_and_renamed(claw: Claw) -> None:
    owner = claw.people.owner
    assert claw.do(owner, "move", path="work/notes/plan.md", target="work/new/place.md").get_json()["path"] == "work/new/place.md"
    assert (claw.folder / "work/new/place.md").read_text() == "one\ntwo\n"
    assert claw.do(owner, "move", path="work/new", target="home/new").status_code == 200
    assert claw.do(owner, "move", path="work/none", target="work/x").status_code == 404
    inside = claw.do(owner, "move", path="home/new", target="home/new/deeper/new")
    assert inside.status_code == 422 and inside.get_json()["errors"][0]["path"] == "target"
    assert claw.tree("home") == [".profile", "new", "new/place.md"]


def test_the_same_name_twice_is_asked_about(claw: Claw) -> None:
    owner = claw.people.owner
    (claw.folder / "work/a.txt").write_text("a")
    (claw.folder / "work/b.txt").write_text("b")
    for verb in ("move", "copy"):
        refused = claw.do(owner, verb, path="work/a.txt", target="work/b.txt")
        assert refused.status_code == 409 and refused.get_json()["code"] == "exists"
    assert (
        claw.do(owner, "copy", path="work/a.txt", target="work/b.txt", taken="keep-both").get_json()["path"] == "work/b (2).txt"
    )
    assert claw.do(owner, "move", path="work/a.txt", target="work/b.txt", taken="replace").status_code == 200
    assert (claw.folder / "work/b.txt").read_text() == (claw.folder / "work/b (2).txt").read_text() == "a"
    [item] = claw.get(owner, "/trash").get_json()["items"]
    assert item["path"] == "work/b.txt" and item["deleted_by"] == "owner"
    back = owner.post(claw.url(f"/trash/{item['id']}/restore"), {})
    assert back.status_code == 409 and back.get_json()["code"] == "exists"
    kept = owner.post(claw.url(f"/trash/{item['id']}/restore"), {"taken": "keep-both"})
    assert kept.get_json()["path"] == "work/b (3).txt" and (claw.folder / "work/b (3).txt").read_text() == "b"
    assert claw.get(owner, "/trash").get_json()["items"] == []


def test_nothing_is_replaced_by_what_it_holds(claw: Claw) -> None:
    owner, before = claw.people.owner, claw.tree()
    for verb in ("move", "copy"):
        for target in ("work/notes/plan.md", "work/notes"):
            answer = claw.do(owner, verb, path="work/notes/plan.md", target=target, taken="replace")
            assert answer.status_code == 422 and answer.get_json()["errors"][0]["path"] == "target", (verb, target)
    assert claw.tree() == before and claw.get(owner, "/trash").get_json() == {"items": []}
    assert claw.do(owner, "move", path="work/notes/plan.md", target="work/notes", taken="keep-both").status_code == 200


def test_what_would_be_replaced_is_there_again_where_nothing_came(claw: Claw) -> None:
    owner = claw.people.owner
    with owner.app.app_context():
        files = reach(portal_of(owner.app), owner.actor, claw.id)
        with pytest.raises(Conflict), trash.making_way(files, Spot("work", "notes"), "replace", owner.actor):
            assert "notes" not in claw.tree()
            raise Conflict("it went meanwhile")
    assert "notes/plan.md" in claw.tree() and claw.get(owner, "/trash").get_json() == {"items": []}


class Changing:
    """A place whose archives have more than one name for a file, and that hands out more than it said before."""

    def __init__(self, folder: Path, real: Any) -> None:
        self._folder, self._real = folder, real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def pull(self, _ref: object, root: str, path: str) -> Iterator[bytes]:
        held = io.BytesIO()
        with tarfile.open(fileobj=held, mode="w") as tar:
            tar.add(self._folder / root / path, arcname=path.rpartition("/")[2])
        yield held.getvalue()


@pytest.fixture
def changing(claw: Claw) -> Iterator[Reach]:
    owner = claw.people.owner
    with owner.app.app_context():
        files = reach(portal_of(owner.app), owner.actor, claw.id)
        yield replace(files, runtime=cast(Any, Changing(claw.folder, files.runtime)))


def test_second_names_of_files_are_files(claw: Claw, changing: Reach) -> None:
    notes, portal = claw.folder / "work/deep/links", portal_of(claw.people.owner.app)
    notes.mkdir()
    (notes / "a").write_text("the content")
    os.link(notes / "a", notes / "b")
    place = Spot("work", "deep/links")
    with closing(reading.Contents(changing, place, reading.Count(portal, place))) as contents:
        found = {info.name: b"".join(content) for info, content in contents}
    assert found == {"links": b"", "links/a": b"the content", "links/b": b"the content"}
    with closing(reading.Contents(changing, place, reading.Count(portal, place))) as contents:
        archive = zipfile.ZipFile(io.BytesIO(b"".join(archives._packed(contents, None))))
    assert archive.read("links/b") == b"the content"


def test_what_grew_since_it_was_measured_is_counted(claw: Claw, changing: Reach, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, place = claw.people.owner, Spot("work", "notes")
    portal = portal_of(owner.app)
    limited = replace(changing, limit=1000)
    (claw.folder / "work/notes/big").write_bytes(b"x" * 2000)
    with pytest.raises(NoRoom), changes._Room(portal, limited, place, 10) as room:
        changes._copied(limited, place, Spot("work", "copy"), "refuse", owner.actor, room)
    assert not [name for name in claw.tree() if "copy" in name]
    with changes._Room(portal, limited, place, 900):
        """All of what the first took was given back."""
    count = reading.Count(portal, place)
    monkeypatch.setattr(count, "_most_entries", 2)
    with closing(reading.Contents(changing, place, count)) as contents, pytest.raises(TooLarge):
        list(archives._packed(contents, None))


def test_a_copy_is_whole_and_without_links(claw: Claw, tmp_path: Path) -> None:
    owner, notes = claw.people.owner, claw.folder / "work" / "notes"
    (tmp_path / "outside").write_text("not yours")
    (notes / "out").symlink_to(tmp_path / "outside")
    (notes / "inner").mkdir()
    (notes / "inner" / "bin").write_bytes(bytes(range(256)) * 2000)
    (notes / "inner" / "bin").chmod(0o750)
    answer = claw.do(owner, "copy", path="work/notes", target="work/copy of it")
    assert answer.status_code == 201 and answer.get_json()["left_out"] == 1
    copied = claw.folder / "work" / "copy of it"
    assert sorted(path.name for path in copied.rglob("*")) == ["bin", "inner", "plan.md"]
    binary = copied / "inner" / "bin"
    assert binary.read_bytes() == bytes(range(256)) * 2000 and binary.stat().st_mode & 0o777 == 0o750
    assert claw.do(owner, "copy", path="work/notes/plan.md", target="work/notes/plan.md", taken="keep-both").status_code == 201
    assert (notes / "plan (2).md").read_text() == "one\ntwo\n"
    assert claw.do(owner, "copy", path="work/notes/out", target="work/x").status_code == 409
    assert not [name for name in claw.tree() if ".copy-" in name]


def test_a_copy_counts_against_the_storage_limit(claw: Claw) -> None:
    owner = claw.people.owner
    with owner.app.app_context(), transaction():
        row = db.session.get_one(Instance, claw.id)
        row.spec = {**row.spec, "resources": {**row.spec.get("resources", {}), "storage": "1Mi"}}
    (claw.folder / "work" / "big").write_bytes(b"x" * 700_000)
    portal_of(owner.app).taken.take(claw.id, 700_000, 0, 1 << 20)
    before = claw.tree()
    answer = claw.do(owner, "copy", path="work/big", target="work/big2")
    assert answer.status_code == 507 and claw.tree() == before
    answer = claw.do(owner, "copy", path="work/big", target="work/notes", taken="replace")
    assert answer.status_code == 507 and claw.tree() == before, "nothing made way for what does not fit"


def test_what_the_portal_writes_stays(claw: Claw) -> None:
    owner, before = claw.people.owner, (claw.tree("work"), claw.tree("state"))
    for path in ("state/config.json", "work/deep/owned.md", "work/deep"):
        for verb, body in (("trash", {"path": path}), ("move", {"path": path, "target": "work/x"}),
                           ("move", {"path": "work/notes", "target": path, "taken": "replace"})):  # fmt: skip
            answer = claw.do(owner, verb, **body)
            assert answer.status_code == 409 and "Change the configuration" in answer.get_json()["detail"], (verb, path)
    assert (claw.tree("work"), claw.tree("state")) == before
    assert claw.do(owner, "trash", path="work/SOUL.md").status_code == 201, "what was given once is theirs"
    for path in ("home/.clawportal", "home/.clawportal/trash/files"):
        answer = claw.do(owner, "move", path=path, target="work/x")
        assert answer.status_code == 409 and "trash" in answer.get_json()["detail"]


# ---- the trash


def test_the_trash(claw: Claw) -> None:
    owner = claw.people.owner
    assert claw.get(owner, "/trash").get_json() == {"items": []}
    first = claw.do(owner, "trash", path="work/notes").get_json()
    second = claw.do(owner, "trash", path="work/SOUL.md").get_json()
    assert claw.tree() == ["deep", "deep/owned.md"]
    items = claw.get(owner, "/trash").get_json()["items"]
    assert {(item["path"], item["kind"]) for item in items} == {("work/notes", "folder"), ("work/SOUL.md", "file")}
    assert owner.post(claw.url(f"/trash/{first['id']}/restore"), {}).get_json() == {"path": "work/notes", "name": "notes"}
    assert (claw.folder / "work/notes/plan.md").read_text() == "one\ntwo\n"
    assert owner.delete(claw.url(f"/trash/{second['id']}")).status_code == 204
    assert owner.delete(claw.url(f"/trash/{second['id']}")).status_code == 404
    claw.do(owner, "trash", path="work/notes")
    assert owner.delete(claw.url("/trash")).get_json() == {"deleted": 1} and claw.get(owner, "/trash").get_json() == {"items": []}
    assert not list((claw.folder / "home/.clawportal/trash/files").iterdir())
    kinds = [kind for kind, _ in claw.events()]
    assert (
        kinds.count("instance.file_deleted") == 3
        and kinds.count("instance.file_purged") == 2
        and "instance.file_restored" in kinds
    )
    assert owner.get("audit?action=instance.file_delete").get_json()["total"] == 3


def thrown_away(claw: Claw, path: str) -> str:
    """Id of a file that was made and deleted."""
    claw.do(claw.people.owner, "new", path=path, kind="file")
    found: str = claw.do(claw.people.owner, "trash", path=path).get_json()["id"]
    return found


def test_notes_that_the_claw_spoilt_lead_nowhere(claw: Claw) -> None:
    owner = claw.people.owner
    info = claw.folder / "home/.clawportal/trash/info"
    made = [thrown_away(claw, f"work/f{number}") for number in range(4)]
    texts = ('{"path": "../../etc/x"}', "no json", "[]", json.dumps({"path": "state/config.json"}))
    for item, text in zip(made, texts, strict=True):
        (info / f"{item}.json").write_text(text)
    assert len(claw.get(owner, "/trash").get_json()["items"]) == 4
    answers = [owner.post(claw.url(f"/trash/{item}/restore"), {}) for item in made]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 409]
    assert all(answer.get_json()["path"].startswith("home/2") for answer in answers[:3]), "under its id, as nobody knows more"


def test_what_lost_its_note_is_out_of_reach_of_who_may_open_no_console(claw: Claw) -> None:
    """It may have been in `state`: nobody gets it into `work` by way of the trash."""
    people, info = claw.people, claw.folder / "home/.clawportal/trash/info"
    item = claw.do(people.owner, "trash", path="state/tokens.json").get_json()["id"]
    for text in (None, "no json", '{"path": 1}'):
        (info / f"{item}.json").unlink(missing_ok=True)
        if text is not None:
            (info / f"{item}.json").write_text(text)
        assert people.developer.post(claw.url(f"/trash/{item}/restore"), {}).status_code == 403
        assert people.developer.delete(claw.url(f"/trash/{item}")).status_code == 403
        assert people.developer.delete(claw.url("/trash")).get_json() == {"deleted": 0}
    assert people.owner.post(claw.url(f"/trash/{item}/restore"), {}).get_json()["path"] == f"home/{item}"


def test_a_heap_of_notes_is_read_up_to_a_bound(claw: Claw, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, info = claw.people.owner, claw.folder / "home/.clawportal/trash/info"
    items = [thrown_away(claw, f"work/f{number}") for number in range(3)]
    monkeypatch.setattr(trash, "_ALL_NOTES", 4096)
    (info / "0.json").write_bytes(b"x" * 5000)
    found = claw.get(owner, "/trash").get_json()["items"]
    assert {item["path"] for item in found} == {f"home/{item}" for item in items}, "nothing behind it was read"
    assert owner.post(claw.url(f"/trash/{items[0]}/restore"), {}).get_json()["path"] == "work/f0", "one is asked for by its name"
    monkeypatch.setattr(trash, "_MOST_ITEMS", 1)
    assert len(claw.get(owner, "/trash").get_json()["items"]) == 1


@pytest.mark.parametrize(
    "text",
    ["[" * 60_000, '{"path": "work/\\ud800", "by": "\\udfff", "size": 1e999}', '{"path": {"a": []}, "by": null}', "9" * 60_000],
)
def test_a_hostile_note_is_text_and_no_more(claw: Claw, text: str) -> None:
    owner, item = claw.people.owner, thrown_away(claw, "work/f")
    (claw.folder / f"home/.clawportal/trash/info/{item}.json").write_text(text)
    [found] = claw.get(owner, "/trash").get_json()["items"]
    assert found["id"] == item and Browser(owner.browser()).page(f"/instances/{claw.id}/files/trash")
    assert owner.post(claw.url(f"/trash/{item}/restore"), {}).status_code == 200


def test_old_things_go_with_the_next_that_is_deleted(claw: Claw) -> None:
    owner = claw.people.owner
    item = claw.do(owner, "trash", path="work/notes").get_json()
    things = claw.folder / "home/.clawportal/trash/files"
    (things / item["id"]).rename(things / "20200101T000000-0123abcd")
    thrown_away(claw, "work/one")
    assert len(list(things.iterdir())) == 2, "it is looked for once an hour"
    portal_of(owner.app).put(trash.Sweeps, trash.Sweeps())
    claw.do(owner, "trash", path="work/SOUL.md")
    assert {entry["path"] for entry in claw.get(owner, "/trash").get_json()["items"]} == {"work/one", "work/SOUL.md"}
    assert len(list(things.iterdir())) == 2


def test_what_fails_among_old_things_is_no_failure_of_a_delete(claw: Claw) -> None:
    owner = claw.people.owner
    portal = portal_of(owner.app)
    portal.put(trash.Sweeps, trash.Sweeps())
    with owner.app.app_context():
        files = replace(reach(portal, owner.actor, claw.id), runtime=cast(Any, NothingGoes()))
        trash._drop_old(files, 30)
    assert claw.do(owner, "trash", path="work/SOUL.md").status_code == 201


class NothingGoes:
    """A place that lists the trash and removes nothing."""

    def list_files(self, *_where: object) -> list[FileEntry]:
        return [FileEntry("20200101T000000-0123abcd", "file", 1, datetime.now(UTC), 0o600)]

    def remove_file(self, *_where: object) -> None:
        raise PermissionError(1, "not today")


# ---- looking


def test_search(claw: Claw) -> None:
    owner = claw.people.owner
    (claw.folder / "work/deep/Planning").mkdir()
    found = claw.get(owner, "/search", text="PLAN").get_json()
    assert [(item["path"], item["kind"]) for item in found["items"]] == [
        ("work/deep/Planning", "folder"), ("work/notes/plan.md", "file"),
    ]  # fmt: skip
    assert found["complete"] and found["items"][1]["size"] == 8
    assert claw.get(owner, "/search", text="plan", path="state").get_json()["items"] == []
    assert claw.get(owner, "/search", text="owned").get_json()["items"][0]["owner"] == "portal"
    claw.do(owner, "trash", path="work/notes")
    assert [item["name"] for item in claw.get(owner, "/search", text="plan").get_json()["items"]] == ["Planning"]
    for text in ("a/b", " "):
        assert claw.get(owner, "/search", text=text).status_code == 422


def test_a_search_says_whether_it_saw_all(claw: Claw, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the trash takes no room from what is found."""
    owner = claw.people.owner
    for number in range(12):
        (claw.folder / f"home/plan-{number}").write_text("")
        if number < 10:
            claw.do(owner, "trash", path=f"home/plan-{number}")
            (claw.folder / f"home/.clawportal/trash/files/plan-{number}").write_text("")
    monkeypatch.setattr(changes, "FOUND", 3)
    page = Browser(owner.browser()).page
    found = claw.get(owner, "/search", text="plan-").get_json()
    assert [item["path"] for item in found["items"]] == ["home/plan-10", "home/plan-11"] and found["complete"]
    assert "There may be more" not in page(f"/instances/{claw.id}/files?q=plan-")
    (claw.folder / "work/plan-0").write_text("")
    assert claw.get(owner, "/search", text="plan-").get_json()["complete"], "just as many as are shown"
    (claw.folder / "work/plan-1").write_text("")
    found = claw.get(owner, "/search", text="plan-").get_json()
    assert len(found["items"]) == 3 and not found["complete"]
    assert "There may be more" in page(f"/instances/{claw.id}/files?q=plan-")
    assert claw.get(owner, "/search", text="plan", path="home/.clawportal").get_json() == {"items": [], "complete": True}


def test_a_folder_as_zip(claw: Claw, tmp_path: Path) -> None:
    owner = claw.people.owner
    (tmp_path / "outside").write_text("not yours")
    (claw.folder / "work/notes/out").symlink_to(tmp_path / "outside")
    (claw.folder / "work/notes/empty folder").mkdir()
    (claw.folder / "work/notes/large").write_bytes(b"0123456789" * 200_000)
    answer = claw.get(owner, "/archive", path="work/notes")
    assert answer.mimetype == "application/zip" and "helper-notes.zip" in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["notes/", "notes/empty folder/", "notes/large", "notes/plan.md"]
        assert archive.read("notes/large") == b"0123456789" * 200_000
    assert claw.get(owner, "/archive", path="work/SOUL.md").status_code == 409
    assert (
        claw.get(owner, "/archive", path="").status_code == 422
        and claw.get(owner, "/archive", path="work/none").status_code == 404
    )
    hidden = claw.get(claw.people.developer, "/archive", path="work")
    with zipfile.ZipFile(io.BytesIO(hidden.data)) as archive:
        assert KEY not in archive.read("SOUL.md").decode() and "*" * len(KEY) in archive.read("SOUL.md").decode()
    assert ("instance.file_downloaded", "owner downloaded work/notes from helper.") in claw.events()


def names_in(answer: TestResponse) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        return sorted(archive.namelist())


def test_several_as_one_zip(claw: Claw) -> None:
    owner = claw.people.owner
    (claw.folder / "work/deep/plan.md").write_text("another")
    together = claw.do(owner, "archive", paths=["work/notes", "work/SOUL.md", "work/notes/plan.md"])
    assert together.mimetype == "application/zip" and "helper-work.zip" in together.headers["Content-Disposition"]
    assert names_in(together) == ["SOUL.md", "notes/", "notes/plan.md"]
    assert names_in(claw.do(owner, "archive", paths=["work/notes/plan.md", "work/deep/plan.md"])) == [
        "deep/plan.md",
        "notes/plan.md",
    ]
    assert names_in(claw.do(owner, "archive", paths=["home/.profile", "work/SOUL.md"])) == ["home/.profile", "work/SOUL.md"]
    assert names_in(claw.do(owner, "archive", paths=["work/SOUL.md"])) == ["SOUL.md"]
    for paths, status in (([], 422), (["work/notes", "work/none"], 404), (["work"], 422), (["../x"], 422)):
        assert claw.do(owner, "archive", paths=paths).status_code == status, paths
    developer = claw.people.developer
    assert claw.do(developer, "archive", paths=["work/notes", "state/tokens.json"]).status_code == 403
    assert claw.do(claw.people.viewer, "archive", paths=["work/notes"]).status_code == 403
    assert claw.do(claw.people.stranger, "archive", paths=["work/notes"]).status_code == 404


def test_several_are_measured_together(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAWPORTAL_FILES_ARCHIVE_ENTRIES", "3")
    claw = make_claw(make_people(make_app()))
    for number in range(4):
        (claw.folder / f"work/{number}").write_text("x")
    assert claw.do(claw.people.owner, "archive", paths=["work/0", "work/1", "work/2"]).status_code == 200
    assert claw.do(claw.people.owner, "archive", paths=[f"work/{number}" for number in range(4)]).status_code == 413


def test_what_is_too_much_is_refused_before_it_begins(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAWPORTAL_FILES_ARCHIVE_ENTRIES", "3")
    claw = make_claw(make_people(make_app()))
    owner = claw.people.owner
    assert claw.get(owner, "/archive", path="work/notes").status_code == 200
    for number in range(3):
        (claw.folder / "work" / "notes" / f"{number}.txt").write_text("")
    for refused in (claw.get(owner, "/archive", path="work/notes"), claw.do(owner, "copy", path="work/notes", target="work/x")):
        assert refused.status_code == 413 and "one by one" in refused.get_json()["detail"]


# ---- rights


def test_rights_to_change_files(claw: Claw) -> None:
    """Status of making, deleting, listing the trash and searching, in `work` and in `state`."""
    people = claw.people
    auditor = make_person(people.admin.app, "auditor", "auditor", "default")

    def tried(who: Person) -> list[int]:
        return [
            answer.status_code
            for root in ("work", "state")
            for answer in (
                claw.do(who, "new", path=f"{root}/by-{who.name}"), claw.do(who, "trash", path=f"{root}/by-{who.name}"),
                claw.do(who, "move", path=f"{root}/none", target=f"{root}/x"), claw.get(who, "/archive", path=root),
            )
        ] + [claw.get(who, "/trash").status_code, claw.get(who, "/search", text="x").status_code]  # fmt: skip

    everybody = (people.viewer, auditor, people.operator, people.developer, people.owner, people.admin, people.stranger)
    assert {who.name: tried(who) for who in everybody} == {
        "viewer": [403] * 10, "auditor": [403, 403, 403, 200, 403, 403, 403, 403, 200, 200],
        "operator": [403, 403, 403, 200, 403, 403, 403, 403, 200, 200],
        "developer": [201, 201, 404, 200, 403, 403, 403, 403, 200, 200],
        "owner": [201, 201, 404, 200, 201, 201, 404, 200, 200, 200], "admin": [201, 201, 404, 200, 201, 201, 404, 200, 200, 200],
        "stranger": [404] * 10,
    }  # fmt: skip


def test_what_came_from_state_needs_the_console_in_the_trash_too(claw: Claw) -> None:
    people = claw.people
    item = claw.do(people.owner, "trash", path="state/tokens.json").get_json()
    mine = claw.do(people.developer, "trash", path="work/SOUL.md").get_json()
    for answer in (people.developer.post(claw.url(f"/trash/{item['id']}/restore"), {}),
                   people.developer.delete(claw.url(f"/trash/{item['id']}"))):  # fmt: skip
        assert answer.status_code == 403
    assert people.developer.delete(claw.url("/trash")).get_json() == {"deleted": 1}
    assert [entry["id"] for entry in claw.get(people.owner, "/trash").get_json()["items"]] == [item["id"]] != [mine["id"]]
