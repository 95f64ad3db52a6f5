"""Runs claws as plain processes of this machine: no container engine, no root, nothing to install first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from clawportal.sdk import _m, hookimpl

SUMMARY = _m("Runs claws as plain processes of this machine: no container engine, no root, nothing to install first.")

if TYPE_CHECKING:
    from clawportal.sdk.runtimes import DoctorResult, RuntimeDriver


@hookimpl
def register_runtimes() -> Iterable[RuntimeDriver]:
    from clawportal_process.driver import ProcessDriver

    return [ProcessDriver()]


@hookimpl
def doctor_checks(data_dir: str) -> Iterable[DoctorResult]:
    from clawportal_process.doctor import checks

    return checks(data_dir)
