"""Commands in the pod of an instance."""

from __future__ import annotations

import time
from collections.abc import Sequence

from clawportal.sdk.runtimes import ExecSession, Ref, RunState
from clawportal_kubernetes import files, records
from clawportal_kubernetes.cluster import Cluster
from clawportal_kubernetes.streams import Channel, Command, open_channel


class Commands:
    begin_patience = 10.0
    """Seconds in which what has just been started may turn out to run."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def start(self, ref: Ref, argv: Sequence[str], *, tty: bool = False, columns: int = 80, rows: int = 24) -> ExecSession:
        found = self._running(ref)

        def open_it(words: Sequence[str], stdin: bool, terminal: bool) -> Channel:
            return open_channel(
                self.cluster.api, found.space, found.name, found.names[0], words, str(ref), stdin=stdin, tty=terminal
            )

        with self.cluster.map_errors(ref):
            return Command(
                open_it, tuple(argv), tty=tty, columns=columns, rows=rows, patience=max(30.0, self.cluster.api.timeout)
            )

    def opener_of(self, space: str, pod: str, container: str, who: str) -> files.Open:
        def open_it(argv: Sequence[str], stdin: bool) -> Channel:
            return open_channel(self.cluster.api, space, pod, container, argv, who, stdin=stdin)

        return open_it

    def opener(self, ref: Ref, found: records.Pod) -> files.Open:
        return self.opener_of(found.space, found.name, found.names[0], str(ref))

    def _running(self, ref: Ref) -> records.Pod:
        found = self.begun(ref)
        if found is None or self.cluster.mirror.look(ref).state is not RunState.RUNNING or not found.containers:
            raise files.not_running(str(ref))
        return found

    def begun(self, ref: Ref) -> records.Pod | None:
        """A claw speaks some seconds before its node tells the cluster that it runs; those are waited for."""
        until = time.monotonic() + self.begin_patience
        while True:
            _, found = self.cluster.look(ref)
            if found is None or found.deleting or self.cluster.mirror.look(ref).state is not RunState.PENDING:
                return found
            if any(one.end is not None for one in found.containers) or time.monotonic() > until:
                return found
            time.sleep(0.1)
