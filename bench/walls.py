"""What the wall around a claw costs: the same program started with and without it, by turns, and the whole wall's measuring."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clawportal.contracts.runtimes import Place, Ref
from clawportal_process import guarded, identity
from clawportal_process.driver import ProcessDriver
from clawportal_process.methods import ROOTS, Own

ROUNDS = 40


def run() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="clawportal-bench-", dir=Path.home()) as folder:
        runtime: Any = ProcessDriver().connect(Place("here", "", {}, f"{folder}/place"))
        begin = time.perf_counter()
        found = runtime.separation()
        measured = time.perf_counter() - begin
        own = _own(runtime, Ref("one"))
        wall, bare, walled = runtime.separator.wall(own), [], []
        for _ in range(ROUNDS):
            bare.append(_start(own.folder, {}))
            walled.append(_start(own.folder, wall))
        more = statistics.median(walled) - statistics.median(bare)
    return [
        {"what": "level", "value": found.level.value},
        {"what": "finding out the level, once for each start of the portal", "seconds": round(measured, 3)},
        {"what": "start to end of one program without a wall", "seconds": round(statistics.median(bare), 4)},
        {"what": "the same behind the wall", "seconds": round(statistics.median(walled), 4), "more": round(more, 4)},
    ]


def _own(runtime: Any, ref: Ref) -> Own:
    folder = runtime.base / "instances" / ref.instance_id
    for name in (*ROOTS, "run"):
        (folder / name).mkdir(parents=True)
    uid = runtime.separator.user(ref.instance_id)
    if uid is not None:
        identity.hand_over(folder.parent, (ref.instance_id,), uid)
    return Own(folder, ROOTS, str(folder / "home"), ref.instance_id, hidden=("run",))


def _start(folder: Path, wall: Mapping[str, Any]) -> float:
    begin = time.perf_counter()
    outcome = guarded.run(["/bin/true"], env={}, cwd=folder if wall else Path("/"), wall=wall, timeout=60)
    if outcome.code != 0:
        raise RuntimeError(f"it did not run: {outcome}")
    return time.perf_counter() - begin
