"""Ends an instance: its pod, and with a removal all that was made for it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from clawportal.sdk import _m
from clawportal.sdk.errors import Conflict
from clawportal.sdk.runtimes import Ref
from clawportal_kubernetes import names, records
from clawportal_kubernetes.checks import Checks
from clawportal_kubernetes.cluster import Cluster
from clawportal_kubernetes.helper_pods import HelperPods
from clawportal_kubernetes.objects import Objects
from clawportal_kubernetes.ports import Ports


class Terminator:
    kill_patience = 20.0
    """Seconds for a node to end what is killed."""

    def __init__(self, cluster: Cluster, *, objects: Objects, helpers: HelperPods, checks: Checks, ports: Ports) -> None:
        self.cluster, self.objects, self.helpers, self.checks, self.ports = cluster, objects, helpers, checks, ports

    def stop(self, ref: Ref, grace: float) -> None:
        with self.cluster.map_errors(ref):
            owner, _ = self.cluster.look(ref)
            self._scale_down(owner)
            for found in self.cluster.mirror.pods_of(ref.instance_id):
                if not found.deleting:
                    self.end_pod(found, max(1, math.ceil(grace)))

    def kill(self, ref: Ref) -> None:
        with self.cluster.map_errors(ref):
            owner, _ = self.cluster.look(ref)
            self._scale_down(owner)
            pods = {found.uid: found for found in self.cluster.mirror.pods_of(ref.instance_id)}
            unseen = self._unseen(owner)
            if unseen is not None:
                pods.setdefault(unseen.uid, unseen)
            for found in pods.values():
                self.end_pod(found, 1)
            self._force_kill(list(pods.values()))

    def _unseen(self, owner: records.Set | None) -> records.Pod | None:
        """A pod that was made in this very moment is not in the mirror yet."""
        path = f"/api/v1/namespaces/{owner.space}/pods/{owner.name}-0" if owner is not None else ""
        present = self.cluster.api.find(path) if path else None
        return records.pod(present) if present is not None and names.mine(self.cluster.place, present) else None

    def _force_kill(self, pods: Iterable[records.Pod]) -> None:
        """Without a grace the cluster forgets a pod while its processes still run, and a second one could join them on the
        same volume. So that is only for a node which does not tell their end."""
        until = time.monotonic() + self.kill_patience
        for found in pods:
            path, wait = f"/api/v1/namespaces/{found.space}/pods/{found.name}", 0.1
            while (present := self.cluster.api.find(path)) is not None and present["metadata"]["uid"] == found.uid:
                if time.monotonic() > until:
                    self.end_pod(found, 0)
                    break
                time.sleep(wait)
                wait = min(wait * 1.5, 1.0)
            self.cluster.mirror.forget_pod(found.uid)

    def _scale_down(self, owner: records.Set | None) -> None:
        if owner is None or owner.replicas == 0:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        body = {"metadata": {"uid": owner.uid, "annotations": {names.STOPPED: now}}, "spec": {"replicas": 0}}
        answer = self.cluster.api.merge(f"/apis/apps/v1/namespaces/{owner.space}/statefulsets/{owner.name}", body)
        if answer is not None:
            self.cluster.mirror.put_set(answer)

    def end_pod(self, found: records.Pod, grace: int) -> None:
        answer = self.cluster.api.delete(f"/api/v1/namespaces/{found.space}/pods/{found.name}", grace=grace, uid=found.uid)
        if answer is None or grace == 0:
            self.cluster.mirror.forget_pod(found.uid)
        elif answer.get("kind") == "Pod":
            self.cluster.mirror.put_pod(answer)

    def remove(self, ref: Ref, *, keep_data: bool) -> None:
        with self.cluster.map_errors(ref):
            owner, found = self.cluster.look(ref)
            if found is not None or (owner is not None and owner.replicas):
                raise Conflict(_m("%(ref)s still runs. Stop it first.", ref=ref))
            self.ports.close_of(ref)
            self.helpers.end(ref)
            if owner is not None:
                self.cluster.api.delete(f"/apis/apps/v1/namespaces/{owner.space}/statefulsets/{owner.name}", uid=owner.uid)
                self.cluster.mirror.forget_set(owner.uid)
            self._remove_rest(ref, owner, keep_data=keep_data)

    def _remove_rest(self, ref: Ref, owner: records.Set | None, *, keep_data: bool) -> None:
        """Found by label, so that what an interrupted removal left goes too."""
        chosen = names.selector(self.cluster.place, instance=ref.instance_id)
        claims = self.cluster.api.items("/api/v1/persistentvolumeclaims", labelSelector=chosen)
        maps = self.cluster.api.items("/api/v1/configmaps", labelSelector=chosen)
        for one in maps:
            meta = one["metadata"]
            self.cluster.api.delete(f"/api/v1/namespaces/{meta['namespace']}/configmaps/{meta['name']}", uid=meta["uid"])
        for space in {one["metadata"]["namespace"] for one in (*claims, *maps)}:
            self.checks.end(ref, space)
        homes = {
            (meta["namespace"], meta["labels"]["app.kubernetes.io/instance"])
            for meta in (one["metadata"] for one in (*claims, *maps))
        }
        if owner is not None:
            homes.add((owner.space, owner.name))
        for space, name in homes:
            for plural, title in (("services", name), ("secrets", f"{name}-secrets"), ("serviceaccounts", name)):
                self.objects.delete_mine(f"/api/v1/namespaces/{space}/{plural}/{title}")
        if not keep_data and not self.cluster.settings.keep_volumes:
            for one in claims:
                meta = one["metadata"]
                self.cluster.api.delete(
                    f"/api/v1/namespaces/{meta['namespace']}/persistentvolumeclaims/{meta['name']}", uid=meta["uid"]
                )
