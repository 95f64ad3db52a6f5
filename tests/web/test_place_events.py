"""What the place says about an instance: by API and page, marked as its words, without secrets, and told when nobody answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from clawportal.db import db, transaction
from clawportal.models import Cluster
from clawportal.models.clusters import UNREACHABLE
from clawportal.services.clusters import clusters
from clawportal.testing.places import MemoryDriver, MemoryRuntime
from clawportal_process import history
from tests.conftest import People, Person, portal_of
from tests.web.conftest import Browser

Browse = Callable[[Person], Browser]
KEY = "sk-only-the-claw-knows"


@pytest.fixture
def claw(people: People) -> str:
    """Not started by anybody, but with notes as the supervisor of this machine writes them."""
    found = people.owner.create("helper", spec={"model": {"provider": "practice"}}, secrets={"model_api_key": KEY})["id"]
    app = people.admin.app
    run = Path(portal_of(app).settings.data_dir) / "clusters" / "local" / "instances" / found / "run"
    with app.app_context():
        cluster = db.session.query(Cluster).one()
        clusters.connect(portal_of(app), cluster)
    run.mkdir(parents=True)
    history.note(run, {"at": time.time() - 60, "what": "started"})
    history.note(run, {"at": time.time(), "what": "ended", "reason": "OutOfMemory", "message": f"It said {KEY} and <b>more</b>."})
    return str(found)


def test_the_place_is_asked_by_api(people: People, claw: str) -> None:
    told = people.viewer.get(f"instances/{claw}/runtime-events").get_json()["items"]
    assert [(one["level"], one["reason"]) for one in told] == [("info", "Started"), ("warning", "OutOfMemory")]
    assert KEY not in str(told) and "********" in told[1]["message"]
    assert people.stranger.get(f"instances/{claw}/runtime-events").status_code == 404


def test_the_tab_says_who_said_what(people: People, browse: Browse, claw: str) -> None:
    browser = browse(people.viewer)
    page = browser.page(f"/instances/{claw}/events")
    assert "What the portal noted" in page and "What its cluster says" in page
    assert 'hx-trigger="load, live"' in page and "OutOfMemory" not in page, "it is asked once the page is there"
    part = browser.page(f"/instances/{claw}/place-events", htmx=True)
    assert "<html" not in part and "It was started." in part and "Out of memory" in part and 'hx-trigger="live"' in part
    assert KEY not in part and "<b>more</b>" not in part and "&lt;b&gt;more" in part
    whole = browser.page(f"/instances/{claw}/place-events")
    assert "What the portal noted" in whole and "Out of memory" in whole, "without scripts, by a link"
    assert browse(people.stranger).get(f"/instances/{claw}/place-events").status_code == 404


def test_a_place_that_does_not_answer_is_told(people: People, browse: Browse, claw: str) -> None:
    words = "Nobody answers at 10.0.0.1."
    with people.admin.app.app_context(), transaction():
        db.session.execute(update(Cluster).values(health=UNREACHABLE, health_message=words))
    answer = people.viewer.get(f"instances/{claw}/runtime-events")
    assert answer.status_code == 503 and words in answer.get_json()["detail"]
    browser = browse(people.viewer)
    assert browser.get(f"/instances/{claw}/events").status_code == 200
    assert words in browser.page(f"/instances/{claw}/place-events", htmx=True)


@pytest.mark.parametrize(
    ("capabilities", "fails", "status"), [((), None, 409), (("events",), TimeoutError("too slow"), 503)], ids=["mute", "slow"]
)
def test_a_place_without_words(people: People, capabilities: tuple[str, ...], fails: Any, status: int) -> None:
    class Place(MemoryRuntime):
        def events(self, ref: Any) -> Any:
            raise fails

    app = people.admin.app
    driver = MemoryDriver(Place(None, *capabilities))
    portal_of(app).registry.runtimes[driver.kind] = driver
    with app.app_context(), transaction():
        db.session.add(Cluster(name="memory", title="memory", runtime=driver.kind))
    made = people.owner.create("quiet", cluster="memory")["id"]
    answer = people.viewer.get(f"instances/{made}/runtime-events")
    assert answer.status_code == status and answer.get_json()["detail"]
