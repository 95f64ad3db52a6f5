"""What every runtime has to keep to, as tests: subclass `RuntimeConformance`, say how to connect, and run pytest.

    class TestMine(RuntimeConformance):
        runtime_name = "mine"
        python = "/usr/local/bin/python3"
        image = Image("python:3.12-slim")

        @pytest.fixture
        def connect(self, tmp_path):
            return lambda: MyDriver().connect(Place("here", "Here", {}, str(tmp_path)))

Each behaviour is one test with instances of its own, which are gone afterwards. A behaviour that needs a capability is skipped
where that is not declared, and for no other reason. `pytest -p clawportal.testing.report --conformance-report FILE` writes down
which runtime showed which behaviour. Needs pytest; the place needs a Python 3.9 or newer for the small programs that it runs.

Beside `connect`, these may be overridden:

- `patience`: seconds that anything may take that the place does in its own time; also for a machine under load.
- `image`, `python`: for places that run images, and where Python is in there.
- `make_unmanaged_object(lab)`: put something into the place that the portal must not touch; answers a function that tells whether
  it is still as it was.
- `cut_connection(lab)`: break the connection below a `watch` that runs.
- `shared_software(lab)`: folders with what several claws run from. `walls_not_shown`: why a double cannot show its walls.
- `image_of(adapter)`, `install(lab, adapter)`, `practice_bind`, `practice_url(model)`: for the behaviours of real claws.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest

_PARTS = (
    "behaviours_life", "behaviours_files", "behaviours_running", "behaviours_exec", "behaviours_separation", "behaviours_place",
    "behaviours_claws",
)  # fmt: skip
pytest.register_assert_rewrite("clawportal.testing.lab", *(f"clawportal.testing.{part}" for part in _PARTS))

from clawportal.contracts.runtimes import Runtime  # noqa: E402
from clawportal.contracts.workloads import Image  # noqa: E402
from clawportal.testing.behaviours_claws import ClawBehaviours  # noqa: E402  # after the line above, which helps failures speak
from clawportal.testing.behaviours_exec import ExecBehaviours  # noqa: E402
from clawportal.testing.behaviours_files import FileBehaviours  # noqa: E402
from clawportal.testing.behaviours_life import LifeBehaviours  # noqa: E402
from clawportal.testing.behaviours_place import PlaceBehaviours  # noqa: E402
from clawportal.testing.behaviours_running import LogBehaviours, MeasureBehaviours, SurroundingsBehaviours  # noqa: E402
from clawportal.testing.behaviours_separation import SeparationBehaviours  # noqa: E402
from clawportal.testing.lab import Lab, Terms  # noqa: E402

__all__ = ["Lab", "RuntimeConformance", "Terms", "behaviours"]

SECTIONS: dict[str, type] = {
    "Beginning and end": LifeBehaviours,
    "Files": FileBehaviours,
    "Surroundings and secrets": SurroundingsBehaviours,
    "Logs": LogBehaviours,
    "Measures and limits": MeasureBehaviours,
    "Commands": ExecBehaviours,
    "Separation": SeparationBehaviours,
    "The place": PlaceBehaviours,
    "Real claws": ClawBehaviours,
}


class RuntimeConformance(
    LifeBehaviours, FileBehaviours, SurroundingsBehaviours, LogBehaviours, MeasureBehaviours, ExecBehaviours,
    SeparationBehaviours, PlaceBehaviours, ClawBehaviours,
):  # fmt: skip
    """See the module. The fixtures may be overridden with a wider scope, such as one place for all tests of a class."""

    runtime_name: ClassVar[str] = ""
    """The column of the conformance table."""
    python: ClassVar[str] = sys.executable
    image: ClassVar[Image | None] = None
    patience: ClassVar[float] = 30.0

    @pytest.fixture
    def connect(self) -> Callable[[], Runtime]:
        raise NotImplementedError("override the fixture `connect`: it gives a function that connects to the place")

    @pytest.fixture
    def lab(self, connect: Callable[[], Runtime]) -> Iterator[Lab]:
        lab = Lab(connect, Terms(self.python, self.image, self.patience))
        try:
            yield lab
        finally:
            lab.close()


def behaviours() -> dict[str, tuple[str, str]]:
    """Every behaviour in its order: name of the test -> section, and what it promises in a sentence."""
    return {
        name: (title, " ".join((test.__doc__ or name).split()))
        for title, section in SECTIONS.items()
        for name, test in vars(section).items() if name.startswith("test_")
    }  # fmt: skip
