"""Pages of lists by cursor: every entry once, whatever comes and goes; and what is no cursor of this list is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from clawportal import clock, paging
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.errors import Invalid
from clawportal.ids import new_id
from clawportal.models import Cluster, Instance, Operation, Project
from clawportal.paging import Slice, Which
from clawportal.services.fleet import instances, operations
from clawportal.services.fleet.instances import Filters
from tests.core.world import World

COUNT = 450
Read = Callable[[Which], Slice[Any]]


def seed(world: World, count: int = COUNT) -> None:
    """Rows with many equal sort keys: three names of phases, and creation times that five have in common."""
    with world.context():
        project = db.session.scalars(select(Project)).first()
        cluster = db.session.scalars(select(Cluster)).first()
        assert project and cluster
        begin = clock.now() - timedelta(hours=1)
        shared = {"tenant_id": project.tenant_id, "project_id": project.id, "cluster_id": cluster.id, "adapter": "echo"}
        rows = [
            {"id": new_id(), "name": f"c{number:04}", "version": "1", "spec": {}, "labels": {}, "due_at": None,
             "phase": ("running", "failed", "stopped")[number % 3], "created_at": begin + timedelta(seconds=number // 5),
             **shared}
            for number in range(count)
        ]  # fmt: skip
        with transaction():
            db.session.execute(insert(Instance), rows)
        made = [
            {"id": new_id(), "kind": "instance.create", "instance_id": row["id"], "tenant_id": row["tenant_id"],
             "state": "succeeded", "subject": row["name"], "created_at": row["created_at"], "created_by": "t"}
            for row in rows
        ]  # fmt: skip
        with transaction():
            db.session.execute(insert(Operation), made)


def lean(sort: str, filters: Filters = Filters()) -> Read:  # noqa: B008 - frozen, and without a state
    return lambda which: instances.lean_listing(SYSTEM, filters, which, sort=sort)


def whole_rows(sort: str) -> Read:
    return lambda which: instances.listing(SYSTEM, Filters(), which, sort=sort)


def walked(read: Read, limit: int) -> list[list[str]]:
    """The pages from the first to the last, by their cursors."""
    pages, page = [], read(Which(limit))
    while True:
        pages.append([row.id for row in page.items])
        if not page.next:
            return pages
        page = read(Which(limit, cursor=page.next))


def flat(pages: Sequence[Sequence[str]]) -> list[str]:
    return [name for page in pages for name in page]


def test_every_order_is_walked_whole_in_both_directions(both: World) -> None:
    seed(both, 130)
    orders = [sign + name for name in instances.SORTS for sign in ("", "-")]
    with both.context():
        for read in [kind(sort) for sort in orders for kind in (lean, whole_rows)]:
            pages = walked(read, 40)
            assert [len(page) for page in pages] == [40, 40, 40, 10] and len(set(flat(pages))) == 130
            assert flat(pages) == [row.id for row in read(Which(200)).items]
            page, back = read(Which(40, cursor=read(Which(40)).last)), []
            while True:
                back = [row.id for row in page.items] + back
                if not page.previous:
                    break
                page = read(Which(40, cursor=page.previous))
            assert back == flat(pages)


def test_an_offset_finds_the_same_from_either_end(both: World) -> None:
    """From the middle on a large offset is read from the end; nobody can tell."""
    seed(both)
    with both.context():
        for read in (lean("phase"), whole_rows("-created_at"), lambda which: operations.listing(SYSTEM, which=which)):
            everything = flat(walked(read, 200))
            assert len(everything) == COUNT
            for offset in (0, 7, 199, 200, 224, 225, 226, 300, 401, 440, 449, 450, 451, 9999):
                page = read(Which(50, offset))
                assert [row.id for row in page.items] == everything[offset : offset + 50], offset
                assert page.total == COUNT
                assert bool(page.next) == (offset + 50 < COUNT) and bool(page.previous) == (offset > 0)
                if page.next:
                    on = read(Which(50, cursor=page.next))
                    assert [row.id for row in on.items] == everything[offset + 50 : offset + 100], offset


def test_nothing_is_skipped_or_repeated_when_entries_come_and_go(both: World) -> None:
    seed(both, 30)
    with both.context():
        read = lean("-created_at")
        first = read(Which(10))
        before = [row.id for row in read(Which(200)).items]
        made = both.create("newest")
        with transaction():
            # the very entry that the cursor names
            db.session.get_one(Instance, before[9]).destroyed_at = clock.now()
        second = read(Which(10, cursor=first.next))
        assert [row.id for row in second.items] == before[10:20] and second.total == 30
        back = read(Which(10, cursor=second.previous))
        assert [row.id for row in back.items] == [made, *before[:9]] and not back.previous


def test_people_get_whole_pages_at_both_ends(still: World) -> None:
    seed(still, 25)
    with still.context():
        read = lean("name")
        second = read(Which(10, cursor=read(Which(10)).next))
        back = paging.whole(Which(20, cursor=second.previous), read)
        assert len(back.items) == 20 and not back.previous, "the first page is whole"
        cursor = read(Which(10, 10)).next
        with transaction():
            for row in db.session.scalars(select(Instance).order_by(Instance.name).offset(20)):
                row.destroyed_at = clock.now()
        assert not read(Which(10, cursor=cursor)).items
        last = paging.whole(Which(10, cursor=cursor), read)
        assert [row.name for row in last.items] == [f"c{number:04}" for number in range(10, 20)]


def test_what_is_no_cursor_of_this_list_is_refused(both: World) -> None:
    seed(both, 30)
    with both.context():
        good = lean("-created_at")(Which(10)).next
        for wrong in _damaged(good):
            with pytest.raises(Invalid) as told:
                lean("-created_at")(Which(10, cursor=wrong))
            assert told.value.errors[0].path == "cursor" and "first page" in told.value.errors[0].message
        others = (lean("created_at"), lean("-name"), lean("-created_at", Filters(text="c")), whole_rows("name"))
        for read in others:
            with pytest.raises(Invalid):
                read(Which(10, cursor=good))
        with pytest.raises(Invalid):
            operations.listing(SYSTEM, which=Which(10, cursor=good))


def _damaged(good: str) -> list[str]:
    changed = [good[:n] + ("A" if good[n] != "A" else "B") + good[n + 1 :] for n in range(len(good))]
    return [*changed, good[:-1], good[1:], good + "A", good + "=", good + "\n", " " + good, "x", "é", "%", "A" * 5000, good * 2]


_MADE_UP: list[list[Any]] = [
    [1, "x"], ["2026-01-01", 5], [None, None], [], ["2026-01-01T00:00:00+00:00"], ["not a time", "x"], [{}, []],
     ["9999-12-31T23:59:59-23:00", "x"], ["2026-01-01T00:00:00+00:00", "a\0b"], ["2026-01-01T00:00:00+00:00", "\ud800"],
]  # fmt: skip


def test_a_made_up_cursor_is_refused_like_a_broken_one(still: World) -> None:
    with still.context():
        about = ("instances", Filters(), "-created_at")
        for key in _MADE_UP:
            for way in (paging.AFTER, paging.BEFORE, "sideways"):
                with pytest.raises(Invalid):
                    lean("-created_at")(Which(10, cursor=paging.cursor(about, way, key)))
