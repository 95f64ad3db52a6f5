"""When to ask a cluster again that does not answer: a few quick looks, then probes at growing intervals.

Pure: it reads no clock and touches no cluster, so that every rule can be tried.
"""

from __future__ import annotations

from dataclasses import dataclass

FAILURES_TO_OPEN = 3
"""So many failures in a row before everybody is kept from asking: one lost answer is no news."""
LONGEST_PROBE = 60.0


@dataclass
class Breaker:
    """Closed while the cluster answers, open after some failures in a row; one good answer closes it."""

    failures: int = 0

    @property
    def open(self) -> bool:
        return self.failures >= FAILURES_TO_OPEN

    def good(self) -> None:
        self.failures = 0

    def bad(self) -> bool:
        """One more failure. Whether the breaker opened by it."""
        self.failures += 1
        return self.failures == FAILURES_TO_OPEN

    def trip(self) -> bool:
        """Open at once, for a cluster that leaves a question open. Whether that is news."""
        news, self.failures = not self.open, max(self.failures, FAILURES_TO_OPEN)
        return news

    def wait(self, interval: float, jitter: float = 0.0) -> float:
        """Seconds until the next look: the interval while all is well, then 0.5, 1, and probes at 1, 2, 4 ... 60 seconds.

        `jitter` (0..1) stretches it by up to a tenth, so that clusters are not asked in step.
        """
        if not self.failures:
            seconds = interval
        elif not self.open:
            seconds = min(interval, 0.5 * 2 ** (self.failures - 1))
        else:
            seconds = min(LONGEST_PROBE, 2.0 ** min(self.failures - FAILURES_TO_OPEN, 10))
        return seconds * (1 + 0.1 * jitter)
