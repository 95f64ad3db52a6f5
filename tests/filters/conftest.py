"""Portals with everybody in them, on both databases."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from tests.conftest import People, make_people
from tests.core.conftest import database_url, postgres
from tests.web.conftest import browse

__all__ = ["browse", "database_url", "postgres"]


@pytest.fixture
def people(make_app: Callable[..., Flask], database_url: str | None) -> People:
    return make_people(make_app(**({"database_url": database_url} if database_url else {})))
