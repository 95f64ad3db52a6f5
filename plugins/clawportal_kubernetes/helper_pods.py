"""Pods that live for a moment: waiting for one, and those that hand out files while the claw is stopped."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp, Problem, Retry
from clawportal.sdk.runtimes import Image, NoFolderYet, Ref
from clawportal_kubernetes import explain, files, pod_manifests, records
from clawportal_kubernetes.client import ApiError, Json
from clawportal_kubernetes.cluster import Cluster
from clawportal_kubernetes.commands import Commands
from clawportal_kubernetes.objects import Objects

_HELPER_SECONDS = 180.0
_HELPER_IDLE = 120.0
_NEVER = ("ImagePullFailed", "CannotStart", "OutOfMemory", "Restarting")
"""Reasons for which a pod of a moment is given up."""


class HelperPods:
    def __init__(self, cluster: Cluster, objects: Objects, commands: Commands) -> None:
        self.cluster, self.objects, self.commands = cluster, objects, commands
        self._known: dict[str, tuple[str, str, float]] = {}
        """Namespace and pod of a files helper, and when it was used last, by instance."""
        self._lock = threading.Lock()

    def for_files(self, ref: Ref, owner: records.Set) -> files.Open:
        title = f"{owner.name}-files"
        with self._lock:
            known = self._known.get(ref.instance_id)
        if known is None or self.cluster.api.find(f"/api/v1/namespaces/{owner.space}/pods/{title}") is None:
            present = self.cluster.api.find(f"/apis/apps/v1/namespaces/{owner.space}/statefulsets/{owner.name}")
            if present is None:
                raise NoFolderYet(_m("%(ref)s is not in this cluster.", ref=ref))
            spec = present["spec"]["template"]["spec"]
            user = spec["securityContext"]
            image = Image(spec["containers"][0]["image"], {}, user["runAsUser"], user["runAsGroup"])
            if known is None:
                self.delete(owner.space, title)  # of a portal that was killed
            item = pod_manifests.helper_pod(
                self.cluster.settings, self.cluster.place, ref, owner.space, owner.name, title, image, data=True
            )
            self.objects.create(item, ref)
        self.wait_ready(owner.space, title, ref)
        with self._lock:
            self._known[ref.instance_id] = (owner.space, title, time.monotonic())
        self._end_idle()
        return self.commands.opener_of(owner.space, title, "helper", str(ref))

    def wait_ready(self, space: str, title: str, ref: Ref, seconds: float = _HELPER_SECONDS) -> None:
        until = time.monotonic() + seconds
        while True:
            present = self.cluster.api.find(f"/api/v1/namespaces/{space}/pods/{title}")
            if present is None:
                raise Retry(
                    _n("HelperGone"), _m("The pod %(title)s was deleted from outside.", title=title), timedelta(seconds=2)
                )
            found = records.pod(present)
            if found.containers and found.containers[0].state == "running":
                return
            why = explain.why(found)
            if why.reason in _NEVER or found.phase == "Failed":
                self.delete(space, title)
                raise GiveUp(why.reason or _n("HelperFailed"), why.message or _m("A pod for this moment has failed."), why.remedy)
            if time.monotonic() > until:
                raise Retry(why.reason or _n("Pending"), f"{why.message} {why.remedy}".strip(), timedelta(seconds=5))
            time.sleep(0.2)

    def _end_idle(self) -> None:
        with self._lock:
            old = [key for key, (_, _, used) in self._known.items() if time.monotonic() - used > _HELPER_IDLE]
            gone = [self._known.pop(key) for key in old]
        for space, title, _ in gone:
            self.delete(space, title)

    def end(self, ref: Ref) -> None:
        """A volume that is mounted elsewhere would keep the claw from starting."""
        with self._lock:
            known = self._known.pop(ref.instance_id, None)
        if known is not None:
            self.delete(known[0], known[1])

    def delete(self, space: str, title: str) -> None:
        self.cluster.api.delete(f"/api/v1/namespaces/{space}/pods/{title}", grace=0)

    def close(self) -> None:
        with self._lock:
            known, self._known = list(self._known.values()), {}
        for space, pod, _ in known:
            try:
                self.delete(space, pod)
            except (ApiError, Problem):
                pass  # it ends by itself after a while


def is_over(pod: Json) -> bool:
    return pod.get("status", {}).get("phase") in ("Failed", "Succeeded")
