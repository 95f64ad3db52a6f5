"""Lets a claw judge a configuration in a scratch folder, before the running one is touched."""

from __future__ import annotations

import os
import secrets as random_bytes
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from clawportal.sdk import _m, _n, redact
from clawportal.sdk.errors import GiveUp, Retry
from clawportal.sdk.runtimes import Check, File, config_refused
from clawportal_process import guarded, safefiles


@contextmanager
def scratch(folder: Path, uid: int | None) -> Iterator[Path]:
    """Beside the folders of the claw, which runs meanwhile and could put a link in its place."""
    found = folder / f"check-{random_bytes.token_hex(4)}"
    found.mkdir(mode=0o700)
    try:
        if uid is not None:
            os.chown(found, uid, uid)
        yield found
    finally:
        safefiles.remove_tree(found)


def judge(
    check: Check,
    files: Iterable[File],
    place: Path,
    environment: Mapping[str, str],
    wall: Mapping[str, Any],
    secrets: Mapping[str, str],
) -> None:
    """GiveUp with the claw's own words when it refuses."""
    for file in files:
        if file.root == "state":
            safefiles.write(place, file.path, file.content.encode(), mode=file.mode)
    argv = [part.replace("{candidate}", str(place)) for part in check.argv]
    own = {name: value.replace("{candidate}", str(place)) for name, value in check.env.items()}
    outcome = guarded.run(argv, env={**environment, **own}, cwd=place, wall=wall, timeout=check.timeout)
    if outcome.code != 0:
        _refuse(outcome, check, redact.masked(outcome.lines, secrets.values()))


def _refuse(outcome: guarded.Outcome, check: Check, lines: tuple[str, ...]) -> None:
    if outcome.code is None:
        raise Retry(
            _n("CheckTimedOut"),
            _m("The claw did not judge its configuration within %(timeout)s s.", timeout=f"{check.timeout:g}"),
            timedelta(seconds=30),
        )
    if outcome.code == 127:
        raise GiveUp(
            _n("CheckMissing"),
            _m("%(argv)s cannot be started.", argv=check.argv[0]),
            _m("Install this version of the claw again."),
            lines,
        )
    raise config_refused(outcome.code, lines)
