"""The health of the portal: what is wrong with its own parts is said at once, and no longer than it is so."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask
from sqlalchemy import text

from clawportal.db import db, transaction
from tests.conftest import People, Person
from tests.web.conftest import Browser


def test_a_broken_audit_is_told_at_once(portal_app: Flask, people: People, browse: Callable[[Person], Browser]) -> None:
    browser, said = browse(people.admin), "The audit is broken at entry"
    assert said not in browser.page("/about")
    for value, shown in (("1", True), ("NULL", False)):
        with portal_app.app_context(), transaction():
            db.session.execute(text(f"UPDATE audit_head SET broken_at = {value}"))
        assert (said in browser.page("/about")) is shown is (said in browser.page("/"))
