"""A real engine for the tests of this folder, once for each worker."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import engine as engines


@pytest.fixture(scope="session")
def engine_url() -> Iterator[str]:
    reason = engines.why_not()
    if reason:
        pytest.skip(f"docker: {reason}")
    with ExitStack() as stack:
        try:
            url = stack.enter_context(engines.engine())
        except engines.NoEngineError as error:
            pytest.skip(f"docker: {error}")
        yield url
