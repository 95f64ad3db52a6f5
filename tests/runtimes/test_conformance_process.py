"""The process runtime keeps to what every runtime has to keep to."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from clawportal.contracts.adapters import Adapter
from clawportal.contracts.runtimes import Place, Runtime
from clawportal.testing.runtimes import Lab, RuntimeConformance
from clawportal_process.driver import ProcessDriver

_CACHE = Path(os.environ.get("CLAWPORTAL_TEST_ARTIFACTS") or Path.home() / ".cache" / "clawportal-tests")
_INSTALLERS_NEED = (
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PIP_INDEX_URL", "PIP_CERT",
    "SSL_CERT_FILE",
)  # fmt: skip


def _connect(folder: Path) -> Runtime:
    given = {name: os.environ[name] for name in _INSTALLERS_NEED if name in os.environ}
    return ProcessDriver().connect(Place("here", "This machine", {}, str(folder), given))


class TestProcess(RuntimeConformance):
    runtime_name = "process"

    @pytest.fixture
    def connect(self, tmp_path: Path) -> Callable[[], Runtime]:
        return lambda: _connect(tmp_path / "place")

    def make_unmanaged_object(self, lab: Lab) -> Callable[[], bool]:
        """A folder that somebody put beside the instances, with something in it."""
        folder = lab.runtime.base / "instances" / "not-from-the-portal"  # type: ignore[attr-defined]  # of this runtime
        folder.mkdir()
        (folder / "kept").write_text("kept")
        return lambda: (folder / "kept").read_text() == "kept"

    def shared_software(self, lab: Lab) -> Sequence[str]:
        return [str(lab.runtime.base / "artifacts")]  # type: ignore[attr-defined]  # of this runtime

    def install(self, lab: Lab, adapter: Adapter) -> None:
        """Into a cache that outlives the run, by the path that it keeps: an environment remembers where it was made."""
        cache = _connect(_CACHE)
        super().install(Lab(lambda: cache, lab.terms), adapter)
        artifacts = lab.runtime.base / "artifacts"  # type: ignore[attr-defined]  # of this runtime
        artifacts.rmdir()
        artifacts.symlink_to(_CACHE / "artifacts")
