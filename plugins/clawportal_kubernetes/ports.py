"""How the portal reaches a port of an instance: by the address of its pod, or through a tunnel."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from clawportal.sdk.runtimes import Ref
from clawportal_kubernetes import files
from clawportal_kubernetes.cluster import Cluster
from clawportal_kubernetes.tunnels import Tunnel

if TYPE_CHECKING:
    from websocket import WebSocket


class Ports:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._open: dict[tuple[str, int], Tunnel] = {}
        self._lock = threading.Lock()

    def address(self, ref: Ref, port: int) -> tuple[str, int]:
        by_address = self.cluster.settings.reach == "address" or (
            self.cluster.settings.reach == "auto" and self.cluster.api.in_cluster
        )
        _, found = self.cluster.look(ref)
        if by_address:
            if found is None or not found.ip:
                raise files.not_running(str(ref))
            return found.ip, port
        with self._lock:
            tunnel = self._open.get((ref.instance_id, port))
            if tunnel is None or tunnel.closed:
                tunnel = self._open[ref.instance_id, port] = Tunnel(lambda: self._forward(ref, port))
        return tunnel.address

    def _forward(self, ref: Ref, port: int) -> WebSocket:
        found = self.cluster.pod(ref)
        if found is None:
            raise files.not_running(str(ref))
        path = f"/api/v1/namespaces/{found.space}/pods/{found.name}/portforward"
        return self.cluster.api.websocket(path, {"ports": port}, "v4.channel.k8s.io")

    def close_of(self, ref: Ref) -> None:
        with self._lock:
            mine = [key for key in self._open if key[0] == ref.instance_id]
            gone = [self._open.pop(key) for key in mine]
        for tunnel in gone:
            tunnel.close()

    def close(self) -> None:
        with self._lock:
            tunnels, self._open = list(self._open.values()), {}
        for tunnel in tunnels:
            tunnel.close()
