"""Places of claws that hang or fail: what they hold up, and what not."""

from __future__ import annotations

from typing import cast

import pytest
from sqlalchemy import select
from sqlalchemy.pool import QueuePool

from clawportal.db import db, transaction
from clawportal.errors import Retry, Unavailable
from clawportal.models import Cluster
from clawportal.models.clusters import UNREACHABLE
from clawportal.testing.fakes import rude_server
from tests.apps.conftest import OddScene

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"


def test_no_connection_of_the_database_is_held_while_a_place_is_asked(odd_scene: OddScene) -> None:
    held: list[int] = []
    odd_scene.place.when_asked = lambda: held.append(cast(QueuePool, db.engine.pool).checkedout())
    visitor = odd_scene.open()
    with rude_server(FINE) as port:
        odd_scene.stands_at(port)
        assert visitor.ask().text == "fine"
    assert len(held) >= 2 and not any(held)


@pytest.mark.parametrize("error", [OSError("away"), Retry("ClusterUnreachable"), Unavailable("away")])
def test_a_place_that_fails_is_told_as_such(odd_scene: OddScene, error: Exception) -> None:
    def fail() -> None:
        raise error

    visitor = odd_scene.open()
    odd_scene.place.when_asked = fail
    odd_scene.stands_at(1)
    told = visitor.ask()
    assert told.status == 503 and "The port http of parrot cannot be reached just now." in told.text


def test_a_place_that_is_known_to_be_away_is_told_as_such(odd_scene: OddScene) -> None:
    visitor = odd_scene.open()
    with odd_scene.server.app.app_context(), transaction():
        row = db.session.scalars(select(Cluster).where(Cluster.name == "odd")).one()
        row.health, row.health_message = UNREACHABLE, "Nobody answers."
    odd_scene.stands_at(1)
    assert visitor.ask().status == 503
