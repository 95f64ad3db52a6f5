"""Clusters that were offered before anybody knew what keeps their claws apart stay offered, and are marked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Boolean, Column, DateTime, Integer, MetaData, Table, select

from clawportal.db import db
from clawportal.models import Cluster
from tests.core.migrating import Bare, legacy, upgrade_all


@pytest.fixture
def old(tmp_path: Path, database_url: str) -> Iterator[Bare]:
    made = Bare(tmp_path / "portal", database_url)
    yield made
    made.close()


def _filled(column: Column[Any]) -> Any:
    kinds = ((Boolean, True), (DateTime, datetime(2026, 1, 1)), (JSON, {}), (Integer, 1))
    return next((value for kind, value in kinds if isinstance(column.type, kind)), "local")


def test_clusters_from_before_stay_offered_and_are_marked(old: Bare) -> None:
    with old.context():
        legacy("upgrade", "0021")
        table = Table("cluster", MetaData(), autoload_with=db.engine)
        assert "trusted_at" not in table.c
        with db.engine.begin() as connection:
            connection.execute(table.insert(), {column.name: _filled(column) for column in table.c if not column.nullable})
        upgrade_all(old.app)
        row = db.session.execute(select(Cluster.trusted_at, Cluster.trusted_by, Cluster.separation)).one()
        assert row.trusted_at is not None and not row.trusted_by and not row.separation
