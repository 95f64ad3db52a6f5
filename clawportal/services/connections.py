"""Open connections to clusters: one per cluster, made when first needed, shared by all threads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clawportal.errors import Retry
from clawportal.pluginmanager import Registry
from clawportal.types import Place, Runtime

log = logging.getLogger(__name__)


class Connections:
    """Runtimes by cluster id."""

    def __init__(self, registry: Registry, data_dir: Path, environment: Mapping[str, str]) -> None:
        self._registry = registry
        self._data_dir = data_dir
        self._environment = environment
        self._lock = threading.Lock()
        self._open: dict[str, Runtime] = {}

    def get(self, cluster_id: str, name: str, kind: str, settings: Mapping[str, Any]) -> Runtime:
        """The runtime of a cluster. Retry when its plugin is missing or it cannot be reached."""
        with self._lock:
            runtime = self._open.get(cluster_id)
            if runtime is None:
                runtime = self._open[cluster_id] = self._connect(cluster_id, name, kind, settings)
        return runtime

    def _connect(self, cluster_id: str, name: str, kind: str, settings: Mapping[str, Any]) -> Runtime:
        driver = self._registry.runtimes.get(kind)
        if driver is None:
            raise Retry("RuntimeMissing", f"No loaded plugin brings the runtime {kind!r} that cluster {name} needs.")
        folder = self._data_dir / "clusters" / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            return driver.connect(Place(cluster_id, name, settings, str(folder), self._environment))
        except Exception as error:
            log.exception("cluster %s cannot be reached", name)
            raise Retry("ClusterUnreachable", f"Cluster {name} cannot be reached: {error}") from error

    def close(self) -> None:
        with self._lock:
            for runtime in self._open.values():
                runtime.close()
            self._open.clear()
