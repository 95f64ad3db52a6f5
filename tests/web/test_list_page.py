"""The list of instances as a page: counts that add up, pages that lead on, and where each claw is."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product

from flask import Flask
from sqlalchemy import insert, select

from clawportal import clock
from clawportal.contracts.adapters import HealthState
from clawportal.contracts.permissions import SYSTEM
from clawportal.db import db, transaction
from clawportal.ids import new_id
from clawportal.lifecycle import Phase, Sync
from clawportal.models import Cluster, Instance, Project
from clawportal.services.fleet import instances
from clawportal.services.fleet.saved_filters import STATES
from tests.conftest import People
from tests.web.conftest import Browser

Browse = Callable[..., Browser]


def seed(app: Flask, rows: list[dict[str, str]]) -> None:
    with app.app_context(), transaction():
        project, cluster = db.session.scalars(select(Project)).first(), db.session.scalars(select(Cluster)).first()
        assert project and cluster
        shared = {
            "tenant_id": project.tenant_id, "project_id": project.id, "cluster_id": cluster.id, "adapter": "echo", "version": "1",
            "spec": {}, "labels": {}, "due_at": None, "created_at": clock.now(),
        }  # fmt: skip
        db.session.execute(
            insert(Instance), [{**shared, "id": new_id(), "name": f"s-{n:03}", **row} for n, row in enumerate(rows)]
        )


def test_the_counts_of_the_tabs_are_disjoint_and_add_up(people: People, portal_app: Flask, browse: Browse) -> None:
    """Every phase with every health and sync: each claw is under one tab besides All, and the numbers are those of the lists."""
    phases = [phase for phase in Phase if phase is not Phase.DESTROYED]
    seed(portal_app, [{"phase": p, "health": h, "sync": s} for p, h, s in product(phases, HealthState, Sync)])
    with portal_app.app_context():
        found = instances.counts(SYSTEM)
        assert found.total == len(phases) * len(HealthState) * len(Sync)
        assert found.total == found.trouble + found.calm_running + found.calm_stopped + found.calm_changing
        assert found.total == found.running + found.stopped + found.failed + found.changing, "by phase alone"
        tabs = ("attention", "running", "progressing", "stopped")
        totals = [instances.listing(SYSTEM, STATES[tab]).total for tab in tabs]
        assert totals == [found.trouble, found.calm_running, found.calm_changing, found.calm_stopped]
    text = browse(people.admin).page("/instances")
    told = re.findall(r"<span>(\d+)</span></a>", text)
    assert [int(number) for number in told] == [found.total, *totals]


def test_pages_lead_on_and_back_by_cursor(people: People, portal_app: Flask, browse: Browse) -> None:
    seed(portal_app, [{} for _ in range(23)])
    browser = browse(people.admin)
    text, names = browser.page("/instances?limit=10&sort=name&q=s-"), []
    assert "1–10 of 23" in text and 'rel="prev"' not in text
    while True:
        names += re.findall(r'data-name="(s-\d+)"', text)
        following = re.search(r'rel="next" href="([^"]+)"', text)
        if not following:
            break
        text = browser.page(following[1].replace("&amp;", "&"))
    assert names == [f"s-{number:03}" for number in range(23)] and "21–23 of 23" in text
    back = re.search(r'rel="prev" href="([^"]+)"', text)
    assert back and "10 of 23" in (before := browser.page(back[1].replace("&amp;", "&")))
    # another order begins anew
    assert "cursor" not in "".join(re.findall(r'<th[^>]*>\s*<a href="([^"]+)"', before))
    browser.page("/instances?cursor=broken", status=422)


def test_a_row_names_its_project_and_cluster(people: People, browse: Browse) -> None:
    made = people.owner.create("placed", labels={"team": "research", "big": ""})
    for path in ("/instances", f"/instances/{made['id']}?part=row"):
        text = browse(people.admin).page(path, htmx="part" in path)
        row = text[text.index(f'id="row-{made["id"]}"') :]
        assert row.count("This machine") == 2 and ">team=research<" in row and ">big<" in row
