"""Days of the audit page are the reader's: a Tuesday in Shanghai begins before it does in London."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clawportal import clock
from clawportal.web.audit import Change, shown
from tests.audit.conftest import entries
from tests.conftest import People

MONDAY_EVENING = datetime(2026, 11, 16, 20, tzinfo=UTC)


@pytest.fixture
def claw(people: People) -> str:
    clock.travel(MONDAY_EVENING - clock.now())
    try:
        return str(people.owner.create("night-shift")["id"])
    finally:
        clock.travel(datetime.now(UTC) - clock.now())
        clock.take_jump()


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("", 16),
        ("Europe/London", 16),
        ("America/New_York", 16),
        ("Asia/Shanghai", 17),
        ("No/Such", 16),
        ("../etc", 16),
        ("Asia", 16),
    ],
)
def test_a_day_is_the_readers(people: People, claw: str, zone: str, day: int) -> None:
    found = {
        number for number in (15, 16, 17, 18)
        if "tbody" in _page(people, claw, zone, f"since=2026-11-{number}&until=2026-11-{number}")
    }  # fmt: skip
    assert found == {day}


def test_every_day_of_the_last_week_is_one_click(people: People, claw: str) -> None:
    text = _page(people, claw, "", "q=night&action=instance")
    today = clock.now().date()
    for back in range(8):
        assert f"since={today - timedelta(days=back)}" in text
    assert "q=night&amp;action=instance&amp;since" in text, "the other filters stay"
    with_day = _page(people, claw, "", f"since={today}&until={today}")
    assert with_day.count('aria-current="true"') == 1


def _page(people: People, claw: str, zone: str, query: str) -> str:
    client = people.owner.browser()
    client.set_cookie("clawportal_zone", zone)
    answer = client.get(f"/instances/{claw}/changes?{query}")
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def test_a_change_in_a_long_text_is_marked_word_by_word() -> None:
    was, now = Change("spec.persona", "You answer customers. Be brief.", "You answer customers of the shop. Be brief.").pieces
    assert [text for text, changed in was if changed] == []
    assert [text for text, changed in now if changed] == [" of the shop"]
    assert Change("spec.model.name", "gpt-5-mini", "other").pieces == ([("gpt-5-mini", True)], [("other", True)])


def test_the_model_is_told_first(people: People) -> None:
    people.owner.create("alpha", "nanobot", labels={"a": "b"}, spec={"model": {"provider": "openai", "name": "gpt-5"}},
                        secrets={"model_api_key": "sk-test"})  # fmt: skip
    with people.owner.app.test_request_context():
        entry = shown(entries(people.owner.app)[-1])
        assert entry.changes[0].path == "spec.model.name" and entry.changes[0].title == "Model"
