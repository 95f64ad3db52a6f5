"""Whoever signs in from where they never did before is told so, and nobody else is."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select

from clawportal.contracts.permissions import SELF
from clawportal.db import db
from clawportal.models import EventRow
from tests.conftest import Person
from tests.sign_in.conftest import ELSEWHERE, HERE, Browser


def test_a_sign_in_from_a_new_place_is_an_event_of_its_own(make_browser: Callable[..., Browser], admin: Person) -> None:
    def told() -> list[tuple[str, str | None, str]]:
        with admin.app.app_context():
            rows = db.session.scalars(select(EventRow).where(EventRow.kind == "session.new_place"))
            return [(row.message, row.person_id, row.read_permission) for row in rows]

    make_browser(HERE).sign_in()
    assert told() == [], "the first place is no other one"
    make_browser(HERE).sign_in()
    assert told() == []
    make_browser(ELSEWHERE).sign_in()
    [(words, person, right)] = told()
    assert ELSEWHERE in words and (person, right) == (admin.actor.id, str(SELF))
    make_browser(ELSEWHERE).sign_in()
    assert len(told()) == 1, "it is known from then on"
