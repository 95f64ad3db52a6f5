"""The first steps are worked out when somebody opens home, and not with each change of the fleet."""

from __future__ import annotations

from tests.conftest import People, counted_sql
from tests.web.conftest import Browser


def test_the_live_part_of_home_asks_for_no_cards(people: People) -> None:
    people.owner.create("one", start=False)
    browser = Browser(people.admin)
    assert "First steps" in browser.page("/")
    with counted_sql(people.admin.app) as whole:
        browser.page("/")
    with counted_sql(people.admin.app) as live:
        text = browser.page("/?part=now", htmx=True)
    assert "First steps" not in text and 'id="now"' in text and 'id="lately"' in text
    assert len(live) <= 20 and len(whole) - len(live) >= 8
