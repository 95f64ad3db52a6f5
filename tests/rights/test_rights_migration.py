"""Rows of the release before survive the migrations of tenants and rights, up and down, on both databases."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import text

from clawportal.app import prepare_rows
from clawportal.db import db
from tests.core.migrating import legacy, upgrade_all
from tests.core.world import World


def test_rows_survive_up_and_down(make_world: Callable[..., World], database_url: str) -> None:
    world = make_world(start=False, create=False, database_url=database_url)
    with world.context():
        legacy("upgrade", "0001")
        with db.engine.begin() as connection:
            for sql in (
                "INSERT INTO tenant (id, name, title, created_at) VALUES ('t1', 'default', 'Mine', '2026-01-01 00:00:00')",
                "INSERT INTO project (id, tenant_id, name, title, created_at) "
                "VALUES ('p1', 't1', 'default', '', '2026-01-01 00:00:00')",
                "INSERT INTO user_account (id, name, display_name, password_hash, session_epoch, must_change_password, active, "
                "language, theme, created_at) VALUES ('u1', 'ann', '', 'x', 1, false, true, '', '', '2026-01-01 00:00:00')",
                "INSERT INTO membership (id, user_id, tenant_id, role) VALUES ('m1', 'u1', 't1', 'viewer')",
                "INSERT INTO membership (id, user_id, tenant_id, role) VALUES ('m2', 'u1', NULL, 'portal-admin')",
            ):
                connection.execute(text(sql))
        legacy("upgrade", "head")
        assert counted() == (1, 1, 1, 2)
        legacy("downgrade", "0001")
        assert counted() == (1, 1, 1, 2)
        upgrade_all(world.app)
        assert counted() == (1, 1, 1, 2)
        prepare_rows()


def counted() -> tuple[int, ...]:
    with db.engine.connect() as connection:
        return tuple(
            connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
            for table in ("tenant", "project", "user_account", "membership")
        )
