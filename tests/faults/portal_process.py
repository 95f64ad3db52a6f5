"""A portal as a process of its own, made to be killed: reads `[method, arguments...]` as JSON lines, answers each with a line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from clawportal.contracts.workloads import Artifact
from clawportal.testing.places import QuietAdapter
from tests.core.world import World


def with_software(world: World) -> None:
    """A kind of claw that has to be installed from a wheel before it can sleep."""
    artifact = Artifact("tiny", "1.0", "pip", ("tiny==1.0",), expected_packages=1, check=("bin/tiny", "--version"))
    world.portal.registry.adapters["quiet"] = QuietAdapter(needs=(artifact,))


def main() -> None:
    world = World(Path(sys.argv[1]), start=False, create=not (Path(sys.argv[1]) / "clawportal.db").exists())
    with_software(world)
    world.start()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        method, positional, named = json.loads(line)
        answer: Any = getattr(world, method)(*positional, **named)
        print(json.dumps(answer if isinstance(answer, (str, int, type(None))) else str(answer)), flush=True)


if __name__ == "__main__":
    main()
