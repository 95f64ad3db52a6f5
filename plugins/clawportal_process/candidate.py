"""Lets a claw judge a configuration in a scratch folder, before the running one is touched."""

from __future__ import annotations

import json
import secrets as random_bytes
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path

from clawportal.errors import GiveUp, Retry
from clawportal.types import Check, File
from clawportal_process import guarded, safefiles

_MASK = "********"
_SHOWN = 20


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
        _refuse(outcome, check, mask(outcome.lines, secrets.values()))


def _refuse(outcome: guarded.Outcome, check: Check, lines: tuple[str, ...]) -> None:
    if outcome.code is None:
        raise Retry(
            "CheckTimedOut", f"The claw did not judge its configuration within {check.timeout:g} s.", timedelta(seconds=30)
        )
    if outcome.code == 127:
        raise GiveUp("CheckMissing", f"{check.argv[0]} cannot be started.", "Install this version of the claw again.", lines)
    words = "\n".join(lines[-_SHOWN:]) or f"It said nothing and ended with code {outcome.code}."
    raise GiveUp(
        "ConfigRefused",
        f"The claw refuses this configuration: {words}",
        "Correct the setting that it names, then save again.",
        lines,
    )


def mask(lines: Iterable[str], values: Iterable[str]) -> tuple[str, ...]:
    """Lines without any secret value, in plain or as JSON writes it; a value of several lines is hidden line by line."""
    hidden: set[str] = set()
    for value in values:
        hidden |= {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
        hidden |= {part.strip() for part in value.splitlines()}
    text = list(lines)
    for secret in sorted(filter(None, hidden), key=len, reverse=True):
        text = [line.replace(secret, _MASK) for line in text]
    return tuple(text)
