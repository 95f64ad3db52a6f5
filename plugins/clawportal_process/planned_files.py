"""Files that the portal writes into the folders of an instance."""

from __future__ import annotations

import json
from pathlib import Path

from clawportal.sdk.runtimes import File
from clawportal_process import record, safefiles


def write(folder: Path, files: tuple[File, ...]) -> None:
    for file in files:
        safefiles.write(folder / file.root, file.path, file.content.encode(), mode=file.mode, only_new=file.policy == "seed_once")
    _forget_former(folder, [[file.root, file.path] for file in files if file.policy == "always"])


def _forget_former(folder: Path, owned: list[list[str]]) -> None:
    """What the portal wrote for an earlier plan, and this one no longer names, must not go on having an effect."""
    former = record.load(folder / "run" / "owned.json").get("files", [])
    for root, path in former:
        if [root, path] not in owned:
            safefiles.remove(folder / root, path)
    if former != owned:
        safefiles.write(folder / "run", "owned.json", json.dumps({"files": owned}).encode())
