"""Lets a claw judge a configuration in a scratch folder, before the running one is touched."""

from __future__ import annotations

import secrets as random_bytes
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path

from clawportal.errors import GiveUp, Retry
from clawportal.runtimes import config_refused, masked
from clawportal.types import Check, File
from clawportal_process import guarded, safefiles


def run_check(
    check: Check,
    files: Iterable[File],
    folder: Path,
    environment: Mapping[str, str],
    values: Mapping[str, str],
    secrets: Mapping[str, str],
) -> None:
    """GiveUp with the claw's own words when it refuses; the scratch folder is gone afterwards in any case."""
    scratch = folder / "tmp" / f"check-{random_bytes.token_hex(4)}"
    scratch.mkdir(mode=0o700)
    try:
        for file in files:
            if file.root == "state":
                safefiles.write(scratch, file.path, file.content.encode(), mode=file.mode)
        argv = [part.replace("{candidate}", str(scratch)) for part in check.argv]
        own = {name: value.replace("{candidate}", str(scratch)) for name, value in check.env.items()}
        outcome = guarded.run(argv, env={**environment, **own, **values}, cwd=scratch, timeout=check.timeout)
    finally:
        safefiles.remove_tree(scratch)
    if outcome.code != 0:
        _refuse(outcome, check, masked(outcome.lines, secrets.values()))


def _refuse(outcome: guarded.Outcome, check: Check, lines: tuple[str, ...]) -> None:
    if outcome.code is None:
        raise Retry(
            "CheckTimedOut", f"The claw did not judge its configuration within {check.timeout:g} s.", timedelta(seconds=30)
        )
    if outcome.code == 127:
        raise GiveUp("CheckMissing", f"{check.argv[0]} cannot be started.", "Install this version of the claw again.", lines)
    raise config_refused(outcome.code, lines)
