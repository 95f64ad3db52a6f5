"""Writes down which runtime showed which behaviour: `pytest -p clawportal.testing.report --conformance-report FILE ...`.

The file is JSON. What it holds of other runtimes, and of behaviours that this run did not try, stays, so that several runs on
several machines make one table.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

_RUNTIME, _BEHAVIOUR, _SOFTWARE = "conformance-runtime", "conformance-behaviour", "conformance-software"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("clawportal")
    group.addoption("--conformance-report", metavar="FILE", help="write what runtimes showed of the conformance suite as JSON")


def pytest_configure(config: pytest.Config) -> None:
    target = config.getoption("--conformance-report", None)
    if target and not hasattr(config, "workerinput"):  # with xdist, only the one that hears all
        config.pluginmanager.register(_Writer(Path(target)), "clawportal-conformance-writer")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, None]:
    """Mark a test of the suite; properties travel with its report, also from another process."""
    runtime = getattr(getattr(item, "cls", None), "runtime_name", "")
    if runtime:
        item.user_properties += [(_RUNTIME, runtime), (_BEHAVIOUR, getattr(item, "originalname", item.name))]
    yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, None]:
    """Ask the place for its version while it is there."""
    lab = getattr(item, "funcargs", {}).get("lab")
    if lab is not None and getattr(item, "originalname", "") == "test_the_version_is_told":
        item.user_properties.append((_SOFTWARE, lab.runtime.version()))
    yield


class _Writer:
    def __init__(self, target: Path) -> None:
        self.target = target
        self.found: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test has up to three reports: any failure counts, and a skip is told once."""
        told = {str(name): str(value) for name, value in report.user_properties}
        if _RUNTIME not in told:
            return
        runtime = self.found.setdefault(told[_RUNTIME], {"software": "", "results": {}})
        runtime["software"] = told.get(_SOFTWARE, runtime["software"])
        result = runtime["results"].setdefault(told[_BEHAVIOUR], {"outcome": "passed"})
        if report.skipped and result["outcome"] != "failed":
            result.update(outcome="skipped", reason=_reason(report))
        elif report.failed:
            result.update(outcome="failed", reason=_last_line(report))

    def pytest_sessionfinish(self) -> None:
        if not self.found:
            return
        known = _known(self.target)
        today = datetime.now(UTC).date().isoformat()
        for name, found in self.found.items():
            before = known.get(name, {})
            known[name] = {
                "date": today,
                "software": found["software"] or before.get("software", ""),
                "results": dict(sorted({**before.get("results", {}), **found["results"]}.items())),
            }
        text = json.dumps(dict(sorted(known.items())), indent=1, ensure_ascii=False)
        self.target.write_text(text + "\n", encoding="utf-8")


def _known(target: Path) -> dict[str, Any]:
    try:
        found = json.loads(target.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def _last_line(report: pytest.TestReport) -> str:
    lines = [line for line in str(getattr(report.longrepr, "reprcrash", "") or report.longrepr).splitlines() if line.strip()]
    return lines[0].rpartition(": ")[2][:300] if lines else ""
