"""A real OpenID provider, portals that know it, and portals on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from tests.core.conftest import both, database_url, make_world, postgres, still
from tests.sign_in.conftest import make_browser, travel
from tests.single_sign_on import oidc_provider
from tests.single_sign_on.oidc_provider import OpenIdProvider
from tests.single_sign_on.scene import BACK, Scene, set_up

__all__ = ["both", "database_url", "make_browser", "make_world", "postgres", "still", "travel"]


@pytest.fixture(scope="session")
def process() -> Iterator[OpenIdProvider]:
    if why := oidc_provider.missing():
        pytest.skip(why)
    with oidc_provider.running() as found:
        yield found


@pytest.fixture
def there(process: OpenIdProvider) -> OpenIdProvider:
    """The provider, with Anna as its only account."""
    process.reset(BACK)
    return process


@pytest.fixture
def scene(portal_app: Flask, there: OpenIdProvider) -> Scene:
    return set_up(portal_app, there)
