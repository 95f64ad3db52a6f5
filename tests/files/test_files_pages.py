"""The pages of a claw's files: rows, what is marked and protected, searching, the trash, and many rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from clawportal.pluginmanager import BUNDLED
from tests.conftest import Person, make_people
from tests.files.conftest import Claw, make_claw
from tests.web.conftest import Browser


@pytest.fixture
def look(claw: Claw) -> Callable[..., str]:
    """`look(person, tail)`: the page of the files of the claw."""
    return lambda who, tail="", status=200: Browser(who.browser()).page(f"/instances/{claw.id}/files{tail}", status=status)


def test_rows_are_marked_and_protected(claw: Claw, look: Callable[..., str]) -> None:
    owner, developer = claw.people.owner, claw.people.developer
    work = look(owner, "?path=work/deep")
    assert "of the portal" in work and "data-mine" not in work, "what the portal writes has no menu"
    shared = look(developer, "?path=work")
    assert "of the claw" in shared and shared.count("data-mine") == 3 and "archive?path=work" in shared
    state = look(developer, "?path=state")
    assert "data-mine" not in state and "data-do" not in state and "archive?path" not in state
    assert "data-do" not in look(claw.people.operator, "?path=work")
    claw.do(owner, "trash", path="work/notes")
    assert ".clawportal" not in look(owner, "?path=home")


def test_searching_in_the_page(claw: Claw, look: Callable[..., str]) -> None:
    owner = claw.people.owner
    found = look(owner, "?path=work&q=PLAN")
    assert 'data-path="work/notes/plan.md"' in found and "1 found" in found and "data-folder" not in found
    assert "Nothing has such a name" in look(owner, "?path=work&q=nothing+like+it") and "1 found" in look(owner, "?q=profile")
    assert "slash" in look(owner, "?path=work&q=a/b", 422)


def test_the_page_of_the_trash(claw: Claw, look: Callable[..., str]) -> None:
    owner, developer = claw.people.owner, claw.people.developer
    assert "The trash is empty" in look(owner, "/trash")
    claw.do(owner, "trash", path="state/tokens.json")
    full = look(owner, "/trash")
    assert "state/tokens.json" in full and 'data-do="restore"' in full and 'data-do="empty-trash"' in full
    assert 'data-do="restore"' not in look(developer, "/trash") and "state/tokens.json" in look(developer, "/trash")
    assert look(claw.people.stranger, "/trash", 404) and look(claw.people.viewer, "/trash", 403)


def test_many_rows_come_page_by_page(claw: Claw, look: Callable[..., str]) -> None:
    owner = claw.people.owner
    for number in range(450):
        (claw.folder / "work" / "notes" / f"f{number:03}").write_text("x" * number)
    for tail, first, rows in (("", "f000", 200), ("&offset=200", "f200", 200), ("&offset=999999", "f400", 51),
                              ("&sort=-size", "f449", 200), ("&sort=nonsense&offset=x", "f000", 200)):  # fmt: skip
        page = look(owner, f"?path=work/notes{tail}")
        names = [part.partition('"')[0] for part in page.split('data-name="')[1:]]
        assert len(names) == rows and first in names[:2], (tail, names[:2])


def test_without_the_plugin_the_rest_works(make_app: Callable[..., Flask]) -> None:
    rest = ",".join(name for name in BUNDLED if name != "clawportal_files")
    claw = make_claw(make_people(make_app(plugins=rest)))
    owner: Person = claw.people.owner
    assert claw.do(owner, "new", path="work/x").status_code in (404, 405)
    assert claw.get(owner, "", path="work").status_code == 200
    put = owner.request("PUT", f"{claw.url('/content')}?path=work/x", data=b"x", content_type="application/octet-stream")
    assert put.status_code == 201 and (claw.folder / "work/x").read_bytes() == b"x"
    browser = Browser(owner.browser())
    assert "/files" not in browser.page(f"/instances/{claw.id}") and browser.page(f"/instances/{claw.id}/files", status=404)
