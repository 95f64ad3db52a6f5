"""Real engines for the tests of this folder, once for each worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import engine as engines


@pytest.fixture(scope="session")
def engine_url() -> Iterator[str]:
    yield from engines.reached("docker", engines.why_not(), engines.engine)


@pytest.fixture
def walled_url() -> Iterator[str]:
    yield from engines.reached("docker", engines.why_not(own=True), engines.walled_engine)


@pytest.fixture(scope="session")
def podman_url() -> Iterator[str]:
    yield from engines.reached("podman", engines.why_no_podman(), engines.podman)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a class that names its `quick` tests only these are run, unless CLAWPORTAL_TEST_WHOLE asks for all."""
    if os.environ.get("CLAWPORTAL_TEST_WHOLE"):
        return
    left = [item for item in items if (quick := getattr(getattr(item, "cls", None), "quick", None)) and _name(item) not in quick]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def _name(item: pytest.Item) -> str:
    return getattr(item, "originalname", item.name)
