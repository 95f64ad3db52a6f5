"""Kinds of claw that an operator describes in a file: a company's own agent needs no Python.

Each `*.yaml` in the folder `claws` of the data folder is one kind. docs/custom-claws.md says what may stand in it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.features import DoctorResult, Feature

if TYPE_CHECKING:
    from clawportal.sdk.adapters import Adapter

SUMMARY = _m("Kinds of claw that an operator describes in a file, without any Python.")

FEATURE = Feature(
    name="custom_claws",
    title=_m("Kinds of claw of one's own"),
    package="clawportal_custom",
    commands=("clawportal_custom.cli:register",),
)


@hookimpl
def register_features() -> list[Feature]:
    return [FEATURE]


@hookimpl
def register_adapters(data_dir: str) -> Iterable[Adapter]:
    """A file that is wrong costs its own kind only; `clawportal doctor` says why."""
    if not data_dir:
        return []
    from clawportal_custom.adapter import CustomAdapter
    from clawportal_custom.reading import read_all

    found = read_all(data_dir)
    for fault in found.faults:
        logging.getLogger(__name__).error("%s is left out: %s", fault.file, fault.message)
    return [CustomAdapter(kind) for kind in found.kinds]


@hookimpl
def doctor_checks(data_dir: str) -> Iterable[DoctorResult]:
    from clawportal_custom.reading import read_all

    found = read_all(data_dir)
    yield from (
        DoctorResult(
            _m("kind of claw in %(file)s", file=fault.file.name), False, fault.message, _m("Correct the file and start again.")
        )
        for fault in found.faults
    )
    if found.kinds:
        names = ", ".join(kind.name for kind in found.kinds)
        yield DoctorResult(_m("kinds of claw of one's own"), True, _m("Described here: %(names)s.", names=names))
