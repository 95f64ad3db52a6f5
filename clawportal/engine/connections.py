"""Open connections to clusters: one per cluster, made when first needed, shared by all threads."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clawportal.contracts.runtimes import Place, Runtime
from clawportal.errors import Problem, Retry
from clawportal.messages import _m, _n
from clawportal.pluginmanager import Registry
from clawportal.redact import Masker

log = logging.getLogger(__name__)

WAIT_FOR_CONNECT = 30.0
"""Seconds that others wait for a thread that is just connecting, before they say that the cluster does not answer."""


@dataclass(frozen=True)
class Target:
    """How a cluster is reached, as its row says it at one revision."""

    cluster_id: str
    name: str
    kind: str
    settings: Mapping[str, Any]
    revision: int = 1
    secrets: Callable[[], Mapping[str, str]] = dict
    """Opens the sealed ones; only called to connect."""


@dataclass
class _Line:
    """The connection of one cluster. Its lock is held while connecting, so that a slow cluster blocks nobody else."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    runtime: Runtime | None = None
    revision: int = 0


class Connections:
    """Runtimes by cluster id."""

    def __init__(self, registry: Registry, data_dir: Path, environment: Mapping[str, str], private: Iterable[Path] = ()) -> None:
        self._registry = registry
        self._data_dir = data_dir
        self._private = (str(data_dir), *map(str, private))
        self._environment = environment
        self._lock = threading.Lock()
        self._lines: dict[str, _Line] = {}

    def get(self, target: Target) -> Runtime:
        """The runtime of a cluster. Retry when its plugin is missing or it cannot be reached."""
        with self._lock:
            line = self._lines.setdefault(target.cluster_id, _Line())
        # a row that was read before the last change must not bring the old connection back
        if (runtime := line.runtime) is not None and line.revision >= target.revision:
            return runtime
        if not line.lock.acquire(timeout=WAIT_FOR_CONNECT):
            raise Retry(
                _n("ClusterUnreachable"), _m("Cluster %(name)s does not answer: connecting takes very long.", name=target.name)
            )
        try:
            if line.runtime is None or line.revision < target.revision:
                old, line.runtime = line.runtime, None
                _close(target.cluster_id, old)
                line.runtime, line.revision = self._connect(target), target.revision
            return line.runtime
        finally:
            line.lock.release()

    def place(self, target: Target, folder: Path) -> Place:
        """What a driver is given."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Place(
            target.cluster_id, target.name, target.settings, str(folder), self._environment, target.secrets(), self._private
        )

    def _connect(self, target: Target) -> Runtime:
        driver = self._registry.runtimes.get(target.kind)
        if driver is None:
            raise Retry(
                _n("RuntimeMissing"),
                _m(
                    "No loaded plugin brings the runtime %(kind)s that cluster %(name)s needs.",
                    kind=repr(target.kind),
                    name=target.name,
                ),
            )
        values: Mapping[str, str] = {}
        try:
            place = self.place(target, self._data_dir / "clusters" / target.name)
            values = place.secrets
            return driver.connect(place)
        except Retry:
            raise
        except Exception as error:
            words = Masker(values.values())(error.detail if isinstance(error, Problem) else str(error))
            log.warning("cluster %s cannot be connected: %s", target.name, type(error).__name__)
            raise Retry(
                _n("ClusterUnreachable"), _m("Cluster %(name)s cannot be reached: %(words)s", name=target.name, words=words)
            ) from error

    def drop(self, cluster_id: str) -> None:
        """Close the connection of a cluster that is gone or paused; the next `get` makes a new one."""
        with self._lock:
            line = self._lines.pop(cluster_id, None)
        if line is not None:
            _close(cluster_id, line.runtime)

    def forget(self, cluster_id: str, name: str) -> None:
        """Close it, and delete what was kept for it on the portal's machine, such as certificates of an earlier version."""
        self.drop(cluster_id)
        shutil.rmtree(self._data_dir / "clusters" / name, ignore_errors=True)

    def close(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, {}
        for cluster_id, line in lines.items():
            _close(cluster_id, line.runtime)


def _close(cluster_id: str, runtime: Runtime | None) -> None:
    if runtime is None:
        return
    try:
        runtime.close()
    except Exception:
        log.exception("the connection of cluster %s did not close well", cluster_id)
