"""One file: opened with a tag, saved over what was read and over nothing else, and previews that are bounded."""

from __future__ import annotations

import sqlite3
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from clawportal.sdk.errors import PreconditionFailed
from clawportal.sdk.files import INSTANCE_FILES_WRITE, reach
from clawportal_files import editing, previews
from tests.conftest import Person, make_people, portal_of
from tests.files.conftest import KEY, Claw, make_claw
from tests.web.conftest import Browser

PLAN_MD = "work/notes/plan.md"


def save(claw: Claw, who: Person, path: str, data: bytes, **headers: str) -> TestResponse:
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    return who.request("PUT", claw.url(f"/{path}"), data=data, headers=given, content_type="application/octet-stream")


def opened(claw: Claw, who: Person, path: str) -> TestResponse:
    answer = who.get(claw.url(f"/{path}"))
    assert answer.status_code == 200, answer.get_json()
    return answer


def test_a_file_is_saved_over_what_was_read(claw: Claw) -> None:
    owner = claw.people.owner
    found = opened(claw, owner, PLAN_MD)
    assert found.data == b"one\ntwo\n" and found.headers["Content-Security-Policy"].startswith("sandbox")
    first = save(claw, owner, PLAN_MD, b"three\r\n", If_Match=found.headers["ETag"])
    assert first.status_code == 200 and first.headers["ETag"] == f'"{first.get_json()["etag"]}"'
    assert (claw.folder / PLAN_MD).read_bytes() == b"three\r\n"
    stale = save(claw, owner, PLAN_MD, b"lost", If_Match=found.headers["ETag"])
    assert stale.status_code == 412 and "Nothing was overwritten" in stale.get_json()["detail"]
    assert save(claw, owner, PLAN_MD, b"four", If_Match=first.headers["ETag"]).status_code == 200
    assert ("instance.file_uploaded", f"owner replaced {PLAN_MD} in helper.") in claw.events()


def test_what_the_claw_wrote_meanwhile_stays(claw: Claw) -> None:
    """Also within one second and with the same size."""
    owner, tag = claw.people.owner, opened(claw, claw.people.owner, PLAN_MD).headers["ETag"]
    (claw.folder / PLAN_MD).write_text("ONE\ntwo\n")
    assert save(claw, owner, PLAN_MD, b"mine", If_Match=tag).status_code == 412
    (claw.folder / PLAN_MD).unlink()
    gone = save(claw, owner, PLAN_MD, b"mine", If_Match=tag)
    assert gone.status_code == 412 and "deleted" in gone.get_json()["detail"]
    assert save(claw, owner, PLAN_MD, b"mine", If_None_Match="*").status_code == 200


class Together:
    """A place where two read at the same time, if they can."""

    def __init__(self, real: Any) -> None:
        self._real, self._both = real, threading.Barrier(2)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def read_file(self, *where: Any) -> bytes:
        found: bytes = self._real.read_file(*where)
        with suppress(threading.BrokenBarrierError):
            self._both.wait(0.5)
        return found


def test_of_two_who_read_the_same_one_saves(claw: Claw) -> None:
    app, actor = claw.people.owner.app, claw.people.owner.actor
    tag = editing.tag_of((claw.folder / PLAN_MD).read_bytes())
    with app.app_context():
        files = reach(portal_of(app), actor, claw.id, INSTANCE_FILES_WRITE)
    files = replace(files, runtime=cast(Any, Together(files.runtime)))

    def saved(text: bytes) -> bool:
        with app.app_context():
            try:
                editing.write(portal_of(app), actor, files, PLAN_MD, text, seen=tag)
            except PreconditionFailed:
                return False
            return True

    with ThreadPoolExecutor(2) as threads:
        found = dict(zip((b"mine", b"yours"), threads.map(saved, (b"mine", b"yours")), strict=True))
    assert sorted(found.values()) == [False, True] and found[(claw.folder / PLAN_MD).read_bytes()]


def test_saving_needs_to_say_over_what(claw: Claw) -> None:
    owner = claw.people.owner
    assert (
        save(claw, owner, PLAN_MD, b"x").status_code == 428 and save(claw, owner, PLAN_MD, b"x", If_Match="*").status_code == 428
    )
    assert save(claw, owner, PLAN_MD, b"x", If_Match='"7"').status_code == 400
    taken = save(claw, owner, PLAN_MD, b"x", If_None_Match="*")
    assert taken.status_code == 409 and taken.get_json()["code"] == "exists"
    assert (claw.folder / PLAN_MD).read_text() == "one\ntwo\n"
    assert save(claw, owner, "work/new/of me.txt", b"x").status_code == 200 and (claw.folder / "work/new/of me.txt").exists()
    for path, status in (("state/config.json", 409), ("work/deep", 409), ("tmp/x", 404), ("work/../x", 404)):
        assert save(claw, owner, path, b"x").status_code in (status, 422), path


def test_secrets_are_not_overwritten_by_asterisks(claw: Claw) -> None:
    developer = claw.people.developer
    found = opened(claw, developer, "work/SOUL.md")
    assert KEY not in found.text and "*" * len(KEY) in found.text
    refused = save(claw, developer, "work/SOUL.md", found.data, If_Match=found.headers["ETag"])
    assert refused.status_code == 409 and "secrets" in refused.get_json()["detail"]
    assert KEY in (claw.folder / "work/SOUL.md").read_text()
    assert developer.get(claw.url("/state/tokens.json")).status_code == 403
    assert save(claw, claw.people.operator, PLAN_MD, b"x").status_code == 403
    assert claw.people.stranger.get(claw.url(f"/{PLAN_MD}")).status_code == 404


def test_what_is_too_large_is_not_opened(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAWPORTAL_FILES_EDIT_KIB", "1")
    claw = make_claw(make_people(make_app()))
    (claw.folder / "work/big").write_bytes(b"x" * 1025)
    assert claw.people.owner.get(claw.url("/work/big")).status_code == 413
    assert save(claw, claw.people.owner, "work/new", b"x" * 1025).status_code == 413
    page = Browser(claw.people.owner.browser()).page(f"/instances/{claw.id}/files/view?path=work/big")
    assert "Download it instead" in page and "file-content" not in page


def test_deleting_by_path(claw: Claw) -> None:
    owner = claw.people.owner
    assert owner.delete(claw.url(f"/{PLAN_MD}")).status_code == 204 and owner.get(claw.url(f"/{PLAN_MD}")).status_code == 404
    assert [item["path"] for item in claw.get(owner, "/trash").get_json()["items"]] == [PLAN_MD]


# ---- what is shown


def test_pages_of_files(claw: Claw) -> None:
    owner = Browser(claw.people.owner.browser())
    address = f"/instances/{claw.id}/files/view?path="
    (claw.folder / "work/evil.md").write_text("</script><script>alert(1)</script><b>bold")
    evil = owner.page(f"{address}work/evil.md")
    assert "<script>alert" not in evil and "<b>bold" not in evil and "data-writable" in evil
    assert "data-writable" not in owner.page(f"{address}state/config.json"), "the portal writes that"
    assert "asterisks" in Browser(claw.people.developer.browser()).page(f"{address}work/SOUL.md")
    (claw.folder / "work/bin").write_bytes(b"\0\1\2")
    assert "This is no text" in owner.page(f"{address}work/bin")
    assert owner.page(f"{address}work/none", status=404) and owner.page(f"{address}../x", status=422)


@pytest.mark.parametrize(
    ("name", "mimetype", "tag"),
    [("a.png", "image/png", "<img"), ("B.PDF", "application/pdf", "<iframe"), ("a b.mp3", "audio/mpeg", "<audio"),
     ("a.webm", "video/webm", "<video")],
)  # fmt: skip
def test_what_a_browser_shows_as_it_is(claw: Claw, name: str, mimetype: str, tag: str) -> None:
    owner, there = Browser(claw.people.owner.browser()), f"/instances/{claw.id}/files"
    (claw.folder / "work" / name).write_bytes(b"<script>alert(1)</script>" * 200_000)
    page = owner.get(f"{there}/view?path=work/{name}")
    assert tag in page.text and page.headers["Content-Security-Policy"].endswith("frame-src 'self'; media-src 'self'")
    assert not [kind for kind, _ in claw.events() if kind.endswith("downloaded")], "the page itself reads nothing of it"
    answer = owner.get(f"{there}/shown?path=work/{name}")
    assert answer.mimetype == mimetype and len(answer.data) == 5_000_000 == answer.content_length
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'; frame-ancestors 'self'"
    assert (
        answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    )
    assert [kind for kind, _ in claw.events()] == ["instance.file_downloaded"]


def test_sound_comes_in_parts(claw: Claw) -> None:
    """As browsers ask for it, and with one event for all of them."""
    data = bytes(range(256)) * 4000
    (claw.folder / "work/a.mp3").write_bytes(data)
    owner, shown = claw.people.owner.browser(), f"/instances/{claw.id}/files/shown?path=work/a.mp3"
    for wanted, part in (("bytes=0-1", data[:2]), ("bytes=500000-", data[500_000:]), ("bytes=-10", data[-10:])):
        answer = owner.get(shown, headers={"Range": wanted})
        assert answer.status_code == 206 and answer.data == part and answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["Content-Range"].endswith(f"/{len(data)}") and answer.content_length == len(part)
    assert owner.get(shown, headers={"Range": "bytes=5000000-"}).status_code == 416
    assert owner.get(shown).data == data
    assert [kind for kind, _ in claw.events()] == ["instance.file_downloaded"]
    assert claw.people.developer.browser().get(shown).status_code == 200
    assert len(claw.events()) == 2, "somebody else is another"


def test_what_is_not_shown_as_it_is(claw: Claw, tmp_path: Path) -> None:
    owner, shown = Browser(claw.people.owner.browser()), f"/instances/{claw.id}/files/shown?path="
    (tmp_path / "outside.png").write_bytes(b"not yours")
    (claw.folder / "work/link.png").symlink_to(tmp_path / "outside.png")
    (claw.folder / "work/folder.png").mkdir()
    for path, status in (("work/notes/plan.md", 404), ("work/x.svg", 404), ("work/none.png", 404), ("work/link.png", 409),
                         ("work/folder.png", 409), ("../x.png", 422)):  # fmt: skip
        assert owner.get(shown + path).status_code == status, path
    (claw.folder / "state/a.png").write_bytes(b"secret")
    assert Browser(claw.people.developer.browser()).get(f"{shown}state/a.png").status_code == 403
    with open(claw.folder / "work/large.pdf", "wb") as file:
        file.truncate((64 << 20) + 1)
    assert owner.get(f"{shown}work/large.pdf").status_code == 413
    assert "Download it instead" in owner.page(f"/instances/{claw.id}/files/view?path=work/large.pdf")
    (claw.folder / "work/mine.png").write_text(KEY)
    assert KEY.encode() not in Browser(claw.people.developer.browser()).get(f"{shown}work/mine.png").data


def test_tables_are_shown_by_their_beginning(tmp_path: Path) -> None:
    [table] = previews.tables_of("a.csv", b"name,size\n" + b"x,1\n" * 500)
    assert table.head == ["name", "size"] and len(table.rows) == previews.ROWS and table.more
    [lines] = previews.tables_of("a.jsonl", '{"a": 1, "b": [1, 2]}\n\n{"a": "ü", "c": null}\n'.encode())
    assert lines.head == ["a", "b", "c"] and list(lines.rows) == [["1", "[1, 2]", ""], ["ü", "", ""]] and not lines.more
    [halves] = previews.tables_of("a.jsonl", rb'{"\ud800": "\udfff", "b": {"c": "\ud800"}}')
    assert [*halves.head, *halves.rows[0]] == ["?", "b", "?", '{"c": "?"}']
    assert previews.tables_of("a.jsonl", b"[" * 100_000) == [] == previews.tables_of("a.jsonl", b"9" * 100_000)
    for deep in (200, 800, 900, 950, 990):
        assert len(previews.tables_of("a.jsonl", b"[" * deep + b"]" * deep)) <= 1
    broken = {"a.jsonl": b"no json", "a.csv": b"", "a.txt": b"a,b", "b.csv": b"\xff\0", "a.db": b"SQLite format 3\0junk"}
    for name, raw in broken.items():
        assert previews.tables_of(name, raw) == [], name


def test_a_database_is_only_read(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    base = sqlite3.connect(file)
    base.execute('CREATE TABLE "odd ""name" (a, b)')
    base.executemany('INSERT INTO "odd ""name" VALUES (?, ?)', [(number, b"raw") for number in range(300)])
    base.execute("CREATE TABLE empty (x)")
    base.execute("CREATE VIEW slow AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n")
    base.commit()
    base.close()
    before = file.read_bytes()
    tables = {table.title: table for table in previews.tables_of("memory.sqlite", before)}
    assert set(tables) == {'odd "name', "empty"} and file.read_bytes() == before
    odd = tables['odd "name']
    assert odd.more and len(odd.rows) == previews.ROWS and odd.rows[0] == ["0", "(3 bytes)"] and tables["empty"].rows == []


def database(tmp_path: Path, *statements: str) -> bytes:
    file = tmp_path / "made.db"
    with closing(sqlite3.connect(file)) as base:
        for statement in statements:
            base.execute(statement)
        base.commit()
    return file.read_bytes()


def test_a_hostile_database_takes_neither_memory_nor_time(tmp_path: Path) -> None:
    """Columns that compute gigabytes, values that grow, views below tables of programs, and schemas that are nonsense."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS rowid, i AS a FROM n WHERE i < 0"
    raw = database(
        tmp_path, "CREATE TABLE huge (a, b AS (hex(zeroblob(400000000))), c AS (hex(zeroblob(400000000))) VIRTUAL)",
        "INSERT INTO huge (a) VALUES (1), (2)", "CREATE TABLE large (a)", "INSERT INTO large VALUES ('first'), ('second')",
        "INSERT INTO large VALUES (zeroblob(400000))", f"CREATE VIEW slow AS {endless}",
        "CREATE VIRTUAL TABLE words USING fts5(a, content=slow)", f"CREATE TABLE \"{'n' * 5000}\" (\"{'c' * 5000}\")",
    )  # fmt: skip
    tracemalloc.start()
    tables = {table.title: table for table in previews.tables_of("a.db", raw)}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20 and "words" not in tables and "n" * previews.CELL in tables
    assert (tables["huge"].head, tables["huge"].rows) == (["a"], [["1"], ["2"]])
    assert tables["large"].rows[0] == ["first"] and len(tables["large"].rows) < 3 and tables["large"].more, (
        "what is too large is not read, and is told"
    )


def test_sqlite_itself_is_bounded_from_its_first_word_on() -> None:
    with closing(sqlite3.connect(":memory:")) as base:
        patience = previews._bounded(base)
        with pytest.raises(sqlite3.Error, match="too big"):
            base.execute("SELECT hex(zeroblob(400000000))").fetchall()
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            base.execute(endless).fetchall()
        patience.again()
        patience._until = 0.0
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            base.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000) SELECT max(i) FROM n"
            ).fetchall()
