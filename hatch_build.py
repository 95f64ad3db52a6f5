"""Compiles the catalogues of sentences when the package is built, so that they need not be kept in the repository."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PATTERN = "*/translations/*/LC_MESSAGES/*.po"


class Catalogues(BuildHookInterface[Any]):
    """Writes `messages.mo` beside each `messages.po` and takes it along in spite of .gitignore."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        for file in sorted([*root.glob(PATTERN), *root.glob(f"plugins/{PATTERN}")]):
            with file.open("rb") as source:
                catalogue = read_po(source, locale=file.parent.parent.name)
            _write(catalogue, file.with_suffix(".mo"))
            if self.target_name == "wheel":
                build_data["artifacts"].append(f"/{file.with_suffix('.mo').relative_to(root)}")


def _write(catalogue: Catalog, made: Path) -> None:
    """At once as a whole: in a checkout a portal may be reading it."""
    beside = made.with_name(f".{made.name}.{os.getpid()}")
    with beside.open("wb") as target:
        write_mo(target, catalogue)
    os.replace(beside, made)
