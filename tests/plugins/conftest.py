"""The wheel of the portal, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugins.sites import portal_wheel


@pytest.fixture(scope="session")
def built_portal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return portal_wheel(tmp_path_factory.mktemp("portal-wheel"))
