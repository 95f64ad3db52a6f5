"""The runtime of this machine with a cache of installed claws that outlives a test run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawportal.contracts.adapters import Adapter
from clawportal.contracts.runtimes import Place, Runtime
from clawportal_practice.server import PracticeModel
from clawportal_process.driver import ProcessDriver

_INSTALLERS_NEED = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "PIP_INDEX_URL",
    "PIP_CERT",
    "npm_config_registry",
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
)


def _connect(folder: Path) -> Runtime:
    given = {name: os.environ[name] for name in (*_INSTALLERS_NEED, *map(str.upper, _INSTALLERS_NEED[:3])) if name in os.environ}
    return ProcessDriver().connect(Place("local", "local", {}, str(folder), given))


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    """Instances in a folder of the test, artifacts in CLAWPORTAL_TEST_ARTIFACTS."""
    cache = Path(os.environ.get("CLAWPORTAL_TEST_ARTIFACTS") or Path.home() / ".cache" / "clawportal-tests")
    (cache / "artifacts").mkdir(parents=True, exist_ok=True)
    place = tmp_path / "place"
    place.mkdir()
    (place / "artifacts").symlink_to(cache / "artifacts")
    connected = _connect(place)
    yield connected
    connected.close()


@pytest.fixture
def install(tmp_path: Path) -> object:
    """Installs what an adapter needs into the cache, by the path that it keeps: an environment remembers where it was made."""

    def into_cache(adapter: Adapter) -> None:
        cache = Path(os.environ.get("CLAWPORTAL_TEST_ARTIFACTS") or Path.home() / ".cache" / "clawportal-tests")
        installer = _connect(cache)
        for version in adapter.versions():
            for artifact in adapter.artifacts(version.version):
                installer.prepare(artifact, lambda fraction, words: None)
        installer.close()

    return into_cache


@pytest.fixture
def practice() -> Iterator[PracticeModel]:
    with PracticeModel(api_key="key-of-the-model", delay=0.01) as server:
        yield server
