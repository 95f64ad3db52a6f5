"""Decides what stands between the claws of this machine: the strongest wall that the kernel, the portal's own rights and the
cluster's settings allow. Whether it holds is not believed but tried (see `probe`)."""

from __future__ import annotations

import threading
from typing import Any

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp, Retry
from clawportal.sdk.runtimes import DoctorResult, Separation, SeparationLevel
from clawportal_process import probe
from clawportal_process.methods import AUTO, OFF, Decision, Method, Own, methods
from clawportal_process.walls import Walls

_RANKS = (SeparationLevel.NONE, SeparationLevel.SECCOMP, SeparationLevel.NAMESPACE, SeparationLevel.USER)


class Separator:
    """The wall that one place uses. `wanted`: what the cluster's settings ask for."""

    def __init__(self, walls: Walls, wanted: str) -> None:
        self.walls, self.wanted = walls, wanted
        self._decision: Decision | None = None
        self._guard = threading.Lock()

    def decision(self) -> Decision:
        """Measured once; the first who asks waits for it."""
        with self._guard:
            if self._decision is None:
                found = probe.decide(self.walls, methods(self.wanted, root=self.walls.root), off=self.wanted == OFF)
                if found.method is None:
                    return found  # it is asked again: nothing runs until then
                self._decision = found
            return self._decision

    def measure(self) -> Separation:
        try:
            return self.decision().separation
        except (OSError, Retry) as error:
            finding = DoctorResult(
                _m("separation"), False, _m("It cannot be found out now: %(error)s", error=error), _m("Try again in a minute.")
            )
            return Separation(SeparationLevel.NONE, (finding,))

    def method(self) -> Method:
        """GiveUp where nothing may run."""
        found = self.decision()
        if found.method is None:
            raise GiveUp(
                _n("NeverAsRoot"),
                _m("A claw never runs as root, and this portal, which does, cannot give it another user."),
                _m(
                    "Put the portal's data where other users may pass, such as "
                    "/var/lib/clawportal, or run it as an ordinary user."
                ),
            )
        if self.wanted not in (AUTO, OFF) and _RANKS.index(found.separation.level) < _RANKS.index(SeparationLevel(self.wanted)):
            raise GiveUp(
                _n("NotSeparated"),
                _m(
                    "The cluster asks for the separation %(wanted)s, and this machine has %(value)s.",
                    wanted=self.wanted,
                    value=found.separation.level.value,
                ),
                _m("Read the connection test of the cluster for what is missing, or ask for less in its settings."),
            )
        return found.method

    def user(self, owner: str) -> int | None:
        """The user that it runs as; None for the portal's own."""
        return self.walls.user(owner, self.method())

    def wall(self, own: Own) -> dict[str, Any]:
        """For `confine.enter`."""
        return self.walls.wall(own, self.method())
