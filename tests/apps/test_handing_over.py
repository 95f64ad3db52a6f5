"""Claws whose pages ask for a credential that is made beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from sqlalchemy.pool import QueuePool

from clawportal.contracts.adapters import AdapterIO, Context, HttpAnswer
from clawportal.db import db
from clawportal.errors import GiveUp, Problem, Retry, Unavailable, Unsupported
from clawportal_echo import EchoAdapter
from tests.apps.conftest import OddScene
from tests.conftest import portal_of

PATH = "/.well-known/parrot/key"


class Generous(EchoAdapter):
    """Its page asks for a key, which is made beside it."""

    handover_paths = (PATH,)

    def __init__(self) -> None:
        self.when_asked: Callable[[], None] = lambda: None

    def handover(self, io: AdapterIO, context: Context, port: str, path: str) -> HttpAnswer:
        self.when_asked()
        return HttpAnswer(200, b'{"key": "once"}')

    def fragment(self, told: HttpAnswer, origin: str) -> str:
        return f"key={told.json()['key']}&at={origin}"


@pytest.fixture
def generous(odd_scene: OddScene) -> Generous:
    made = Generous()
    portal_of(odd_scene.server.app).registry.adapters["echo"] = made
    odd_scene.place.port = 1
    return made


def test_a_browser_that_comes_first_gets_a_key(odd_scene: OddScene, generous: Generous) -> None:
    visitor = odd_scene.enter()
    waits = visitor.ask("/.clawportal/wait?to=%2F")
    assert waits.status == 200 and "/.clawportal/let-in?to=%2F" in waits.text
    told = visitor.ask("/.clawportal/let-in?to=%2F")
    assert told.get("Location") == f"/#key=once&at=http://{visitor.host}:{visitor.port}"
    assert visitor.ask(PATH).text == '{"key": "once"}'
    again = visitor.follow(odd_scene.ticket())
    assert again.get("Location") == "/", "a browser that has been here has what it needs"


def test_no_connection_of_the_database_is_held_while_a_key_is_made(odd_scene: OddScene, generous: Generous) -> None:
    held: list[int] = []
    generous.when_asked = lambda: held.append(cast(QueuePool, db.engine.pool).checkedout())
    visitor = odd_scene.enter()
    assert visitor.ask(PATH).status == 200 and visitor.ask("/.clawportal/let-in").status == 303
    assert held == [0, 0]


@pytest.mark.parametrize(
    "error", [OSError("away"), Retry("away"), GiveUp("away"), Unavailable("away"), Unsupported("away"), KeyError("token")]
)
def test_a_key_that_cannot_be_made_is_told(odd_scene: OddScene, generous: Generous, error: Exception) -> None:
    def fail() -> None:
        raise error

    visitor = odd_scene.enter()
    generous.when_asked = fail
    told = visitor.ask(PATH)
    assert told.status == (error.status if isinstance(error, Problem) else 503), told.text
    led = visitor.ask("/.clawportal/let-in?to=%2F")
    assert (led.status, led.get("Location")) == (303, "/"), "the page says itself what it lacks"


def test_a_claw_that_is_gone_hands_nothing_over(odd_scene: OddScene, generous: Generous) -> None:
    """Its way is believed for some seconds; what it is asked for meanwhile is no fault of the portal."""
    visitor = odd_scene.enter()
    assert visitor.ask(PATH).status == 200
    odd_scene.forget_claw()
    assert visitor.ask(PATH).status == 404


def test_who_signed_out_gets_no_key_any_more(odd_scene: OddScene, generous: Generous) -> None:
    """Not even while it is still believed that they may be there: a key lasts."""
    visitor = odd_scene.enter()
    assert visitor.ask(PATH).status == 200
    odd_scene.sign_out()
    assert visitor.ask(PATH).status == 401 and visitor.ask("/.clawportal/let-in").status == 401
