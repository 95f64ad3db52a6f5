"""Who is told what outside of the pages: routes, their order, and what holds them up."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from clawportal.cli import diagnosis
from clawportal.contracts.permissions import SELF, SYSTEM
from clawportal.db import db, transaction
from clawportal.engine import leader
from clawportal.messages import _m
from clawportal.models import PortalSetting, Tenant
from clawportal.services.events import event_log
from clawportal.services.notices import routes as notices
from clawportal.services.system import portal_settings
from clawportal.settings import Settings
from tests.conftest import counted_sql, portal_of


@dataclass
class Listener:
    """A web server that keeps what is posted, and answers as told."""

    answers: list[int] = field(default_factory=list)
    """Status of the next answers; 204 when there are none left."""
    told: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    meanwhile: Callable[[], None] = lambda: None
    """What happens while it is told something."""


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = made.answers.pop(0) if made.answers else 204
            made.meanwhile()
            if status < 300:
                made.told.append(document | {"header": self.headers["X-Clawportal-Event"]})
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing to the terminal."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        made.url = f"http://127.0.0.1:{server.server_port}/hooks/sesame"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def routed(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[..., Flask]:
    """A portal with these routes, each of which has begun to listen."""

    def make(*routes: dict[str, Any], **settings: Any) -> Flask:
        monkeypatch.setenv("CLAWPORTAL_NOTICES_ROUTES", json.dumps(routes))
        app = make_app(**{"log_level": "info"} | settings)
        logging.getLogger().addHandler(caplog.handler)  # a portal that begins sets up logging anew
        carry(app)
        return app

    return make


def carry(app: Flask) -> None:
    with app.app_context():
        notices.deliver_once(portal_of(app))


def happens(app: Flask, kind: str, words: str = "it happened", **more: Any) -> int:
    with app.app_context(), transaction():
        return event_log.record(portal_of(app), kind, actor=SYSTEM, message=_m("The claw %(words)s.", words=words), **more).seq


def waits_no_more(app: Flask, route: dict[str, Any]) -> None:
    """As if the time had passed that a route waits."""
    with app.app_context():
        mark = notices.Route(**route).mark
        portal_settings.write(mark, portal_settings.read(mark) | {"again": ""})


def test_what_happens_from_now_on_is_told_in_order(routed: Callable[..., Flask], listener: Listener) -> None:
    route = {"via": "webhook", "to": listener.url, "least": "info", "kinds": ["odd.*"]}
    app = routed(route, public_url="https://claws.example.com")
    with app.app_context():
        tenant = db.session.query(Tenant).first()
    first = happens(app, "odd.one", "was seen", level="error", reason="Odd", tenant_id=tenant.id)
    happens(app, "even.one")
    second = happens(app, "odd.two")
    carry(app)
    carry(app)
    assert [one["seq"] for one in listener.told] == [first, second]
    told = listener.told[0]
    assert told["header"] == str(first) and told["text"] == "The claw was seen." and told["tenant"] == tenant.name
    assert (told["kind"], told["title"], told["level"], told["reason"]) == ("odd.one", "odd.one", "error", "Odd")


def test_a_route_names_levels_and_organisations(routed: Callable[..., Flask], caplog: pytest.LogCaptureFixture) -> None:
    app = routed({"via": "log", "tenants": ["default"]}, {"via": "log", "to": "pager", "least": "error"})
    with app.app_context():
        tenant = db.session.query(Tenant).filter_by(name="default").one()
    happens(app, "odd.noted", tenant_id=tenant.id)
    happens(app, "odd.warned", tenant_id=tenant.id, level="warning")
    happens(app, "odd.elsewhere", level="warning")
    happens(app, "odd.broken", level="error")
    carry(app)
    said = [(one.name, one.getMessage()) for one in caplog.records if one.getMessage().startswith("odd.")]
    assert said == [
        ("clawportal.notices", "odd.warned in default: The claw it happened."),
        ("pager", "odd.broken: The claw it happened."),
    ]


def test_what_is_for_one_person_is_told_to_nobody_else(routed: Callable[..., Flask], listener: Listener) -> None:
    app = routed({"via": "webhook", "to": listener.url, "least": "info"})
    happens(app, "odd.private", person_id="somebody", read=SELF)
    carry(app)
    assert listener.told == []


def test_what_cannot_be_told_now_waits_and_keeps_its_order(routed: Callable[..., Flask], listener: Listener) -> None:
    route = {"via": "webhook", "to": listener.url, "least": "info", "kinds": ["odd.*"]}
    app = routed(route)
    listener.answers[:] = [204, 503]
    wanted = [happens(app, f"odd.{name}") for name in ("one", "two", "three")]
    carry(app)
    carry(app)
    assert [one["seq"] for one in listener.told] == wanted[:1], "the second is waited for"
    waits_no_more(app, route)
    carry(app)
    assert [one["seq"] for one in listener.told] == wanted


def test_what_is_refused_is_passed_over_and_said(
    routed: Callable[..., Flask], listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    app = routed({"via": "webhook", "to": listener.url, "least": "info", "kinds": ["odd.*"]})
    listener.answers[:] = [404]
    refused, told = happens(app, "odd.one"), happens(app, "odd.two")
    carry(app)
    assert [one["seq"] for one in listener.told] == [told]
    assert f"event {refused} could not be told via webhook" in caplog.text and "answers 404" in caplog.text
    assert "sesame" not in caplog.text, "what lets one in often stands in the address"


def test_nothing_is_lost_while_nobody_listens_or_the_portal_is_down(
    routed: Callable[..., Flask], make_app: Callable[..., Flask], listener: Listener
) -> None:
    app = routed({"via": "webhook", "to": listener.url, "least": "info", "kinds": ["odd.*"]})
    wanted = [happens(app, "odd.one")]
    again = make_app()  # another process with the same data
    wanted.append(happens(again, "odd.two"))
    carry(again)
    assert [one["seq"] for one in listener.told] == wanted


def test_a_route_that_leads_nowhere_is_named_and_holds_up_no_other(
    routed: Callable[..., Flask], listener: Listener, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    good = {"via": "webhook", "to": listener.url, "least": "info", "kinds": ["odd.*"]}
    app = routed({"via": "pigeon"}, {"via": "webhook", "to": "ftp://x"}, {"via": "webhook", "to": "https://a:b@c/"}, good)
    happens(app, "odd.one")
    carry(app)
    assert len(listener.told) == 1
    assert "There is no notifier 'pigeon'. Known: email, log, webhook." in caplog.text
    found = [one for one in diagnosis.examine(Settings(data_dir=tmp_path / "data")) if one.name.startswith("notices via")]
    assert [one.ok for one in found] == [False, False, False, True]
    assert "http or https" in found[1].message and "without a user or password" in found[2].message


def test_words_are_in_the_language_of_the_route(routed: Callable[..., Flask], listener: Listener) -> None:
    app = routed({"via": "webhook", "to": listener.url, "least": "info", "language": "zh_Hans"})
    with app.app_context(), transaction():
        event_log.record(portal_of(app), "odd.one", actor=SYSTEM, message=_m("%(name)s was created.", name="helper"))
    carry(app)
    assert "helper" in listener.told[0]["text"] and "was created" not in listener.told[0]["text"]


@pytest.mark.parametrize(
    ("routes", "said"),
    [('[{"to": "x"}]', "routes.0.via"), ('[{"via": "log", "least": "loud"}]', "routes.0.least"),
     ('[{"via": "log", "from": "x"}]', "routes.0.from"), ('[{"via": "log", "kinds": []}]', "routes.0.kinds")],
)  # fmt: skip
def test_a_route_that_cannot_be_read_is_named(
    routes: str, said: str, make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    from clawportal.settings import Unreadable

    monkeypatch.setenv("CLAWPORTAL_NOTICES_ROUTES", routes)
    with pytest.raises(Unreadable, match=said):
        make_app()


# ---- several processes, and what a portal was before


def test_a_place_that_another_process_moved_meanwhile_stays(
    routed: Callable[..., Flask], make_app: Callable[..., Flask], listener: Listener
) -> None:
    route = {"via": "webhook", "to": listener.url, "least": "info", "kinds": ["odd.*"]}
    app = routed(route)
    mark, first, last = notices.Route(**route).mark, happens(app, "odd.one"), happens(app, "odd.two")

    def another() -> None:
        with app.app_context():
            portal_settings.write(mark, {"seq": last, "tries": 0, "again": ""})

    listener.meanwhile = another
    carry(app)
    with app.app_context():
        assert portal_settings.read(mark)["seq"] == last
    assert [one["seq"] for one in listener.told] == [first], "the other one carries what follows"


def test_who_leads_no_more_carries_no_more(routed: Callable[..., Flask], listener: Listener) -> None:
    app = routed({"via": "webhook", "to": listener.url, "least": "info", "kinds": ["odd.*"]})
    happens(app, "odd.one")
    with app.app_context():
        assert leader.take(leader.LEAD, "another process")
    carry(app)
    assert listener.told == []
    with app.app_context():
        leader.release(leader.LEAD, "another process")
    carry(app)
    assert len(listener.told) == 1


def kept_places(app: Flask) -> set[str]:
    with app.app_context():
        return set(db.session.scalars(select(PortalSetting.name).where(PortalSetting.name.startswith(notices.PREFIX))))


def test_nothing_is_kept_of_routes_that_are_gone(
    routed: Callable[..., Flask], make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, goes = {"via": "log"}, {"via": "log", "to": "gone"}
    app = routed(stays, goes)
    assert kept_places(app) == {notices.Route(**route).mark for route in (stays, goes)}
    monkeypatch.setenv("CLAWPORTAL_NOTICES_ROUTES", json.dumps([stays]))
    after = make_app()
    carry(after)
    assert kept_places(after) == {notices.Route(**stays).mark}


def test_a_field_that_comes_later_makes_no_other_route_of_an_old_one() -> None:
    class Later(notices.Route):
        colour: str = "grey"

    said = {"via": "log", "kinds": ["instance.*"]}
    assert Later(**said).mark == notices.Route(**said).mark != Later(**said, colour="red").mark


def test_an_event_that_cannot_be_told_is_passed_over(
    routed: Callable[..., Flask], listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    app = routed({"via": "webhook", "to": listener.url, "least": "info", "kinds": ["odd.*"]})
    broken, good = happens(app, "odd.one", level="deafening"), happens(app, "odd.two")
    carry(app)
    assert [one["seq"] for one in listener.told] == [good]
    assert f"event {broken} could not be put into words" in caplog.text


class Clumsy:
    """Leaves the session as a flush that failed does."""

    kind = title = "clumsy"

    def check(self, to: str) -> str:
        db.session.add(Tenant())
        db.session.flush()
        return ""

    def send(self, notice: Any, to: str) -> None:
        raise AssertionError("nobody comes so far")


def test_what_one_route_leaves_of_the_database_reaches_no_other(routed: Callable[..., Flask], listener: Listener) -> None:
    app = routed({"via": "clumsy"}, {"via": "webhook", "to": listener.url, "least": "info", "kinds": ["odd.*"]})
    portal_of(app).registry.notifiers["clumsy"] = Clumsy()
    happens(app, "odd.one")
    carry(app)
    assert len(listener.told) == 1


def test_a_notice_is_kept_once(routed: Callable[..., Flask], listener: Listener) -> None:
    app = routed({"via": "webhook", "to": listener.url, "least": "info", "kinds": ["odd.*"]})
    happens(app, "odd.one")
    with counted_sql(app) as statements:
        carry(app)
    assert len(listener.told) == 1
    assert len([one for one in statements if one.startswith("UPDATE portal_setting")]) == 1


def test_sentences_are_held_once(routed: Callable[..., Flask]) -> None:
    app = routed()
    assert app.extensions["clawportal_catalogues"] is portal_of(app).registry.catalogues


def test_a_route_that_takes_long_leaves_the_rest_to_its_next_pass(
    routed: Callable[..., Flask], listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = routed({"via": "webhook", "to": listener.url, "least": "info", "kinds": ["odd.*"]})
    wanted = [happens(app, "odd.one"), happens(app, "odd.two")]
    monkeypatch.setattr(notices, "LONGEST", 0.0)
    carry(app)
    assert [one["seq"] for one in listener.told] == wanted[:1]
    carry(app)
    assert [one["seq"] for one in listener.told] == wanted
