"""Tells at the end of a run where its time went: `pytest -p tests.slowest`. The slowest tests, each as a whole, and the folders.

pytest's own `--durations` lists setup, call and teardown apart, so that a test with a dear fixture stands in three places.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

SHOWN = 30


@dataclass
class Times:
    """Seconds of each test by phase: `setup`, `call`, `teardown`."""

    tests: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(float)))

    def add(self, name: str, phase: str, seconds: float) -> None:
        self.tests[name][phase] += seconds

    def lines(self) -> Iterator[str]:
        """Slowest first; what a test shares with others is counted where it was first needed."""
        whole = {name: sum(phases.values()) for name, phases in self.tests.items()}
        total = sum(whole.values())
        chosen = sorted(whole, key=lambda name: whole[name], reverse=True)[:SHOWN]
        share = sum(whole[name] for name in chosen) / total * 100 if total else 0
        yield f"The {len(chosen)} slowest of {len(whole)} tests take {share:.0f} % of {total / 60:.1f} min."
        for name in chosen:
            around = self.tests[name]["setup"] + self.tests[name]["teardown"]
            yield f"{whole[name]:7.1f} s  {name}" + (f"  ({around:.1f} s of it around it)" if around >= 1 else "")
        folders: dict[str, float] = defaultdict(float)
        for name, seconds in whole.items():
            folders[name.partition("::")[0].rpartition("/")[0] or "."] += seconds
        ranked = sorted(folders.items(), key=lambda item: item[1], reverse=True)
        yield "By folder: " + ", ".join(f"{folder} {seconds / 60:.1f} min" for folder, seconds in ranked)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # with xdist, only the one that hears all
        config.pluginmanager.register(_Reporter(), "slowest-reporter")


class _Reporter:
    def __init__(self) -> None:
        self.times = Times()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.times.add(report.nodeid, report.when or "call", report.duration)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.times.tests:
            terminalreporter.section("where the time went")
            for line in self.times.lines():
                terminalreporter.write_line(line)
