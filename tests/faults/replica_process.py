"""One of several portals on one database, made to be killed: takes `[method, arguments...]` as JSON lines, answers each."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from clawportal.app import start_jobs
from clawportal.testing.places import QuietAdapter
from tests.core.world import World


def main() -> None:
    folder, database_url, lease_seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    world = World(folder, start=False, create=False, database_url=database_url, lease_seconds=lease_seconds)
    world.portal.registry.adapters["quiet"] = QuietAdapter()
    runner = start_jobs(world.app, exclusive=False)
    assert runner is not None
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        method, positional, named = json.loads(line)
        if method == "keeps":  # the clusters that are watched from here
            answer: Any = sorted(monitor.name for monitor in runner._monitors.values() if not monitor.stopped())
        else:
            answer = getattr(world, method)(*positional, **named)
        print(json.dumps(answer if isinstance(answer, (str, int, list, type(None))) else str(answer)), flush=True)


if __name__ == "__main__":
    main()
