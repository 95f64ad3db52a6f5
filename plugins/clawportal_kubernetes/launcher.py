"""Brings an instance to run as planned: its objects, its files, and what somebody else changed of them taken back."""

from __future__ import annotations

import math
import secrets as random_bytes
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import Conflict, Retry
from clawportal.sdk.runtimes import Observed, Ref, RunState, Workload
from clawportal_kubernetes import claims, claw_manifests, explain, file_maps, files, manifests, names, pod_manifests, records
from clawportal_kubernetes.client import Json
from clawportal_kubernetes.cluster import Cluster
from clawportal_kubernetes.commands import Commands
from clawportal_kubernetes.helper_pods import HelperPods
from clawportal_kubernetes.objects import Objects
from clawportal_kubernetes.tenants import Tenants
from clawportal_kubernetes.terminator import Terminator

_SETTLE_SECONDS = 3.0


@dataclass(frozen=True)
class _Plan:
    """What is to run, as the objects are made of it."""

    name: str
    """Of the objects."""
    workload: Workload
    maps: file_maps.Files
    values: Mapping[str, str]
    """Of its secrets; empty where only files are written."""


class Launcher:
    def __init__(
        self,
        cluster: Cluster,
        *,
        tenants: Tenants,
        objects: Objects,
        helpers: HelperPods,
        commands: Commands,
        terminator: Terminator,
    ) -> None:
        self.cluster, self.tenants, self.objects = cluster, tenants, objects
        self.helpers, self.commands, self.terminator = helpers, commands, terminator

    def apply(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> Observed:
        """A claw that runs something else is not touched: whoever asks has to stop it first, because only they know its grace."""
        with self.cluster.map_errors(ref):
            owner, found = self.cluster.look(ref)
            seen = self.cluster.mirror.look(ref)
            if found is not None and (owner is None or owner.replicas == 0 or found.deleting):
                raise Retry(_n("Stopping"), _m("%(ref)s is still being stopped.", ref=ref), timedelta(seconds=1))
            if owner is not None and owner.replicas and seen.state is not RunState.ABSENT:
                return self._already(ref, owner, workload, secrets, seen)
            name, claim = claims.of(self.cluster, ref, owner, self.tenants.space(ref))
            plan = self._planned(ref, name, workload, secrets)
            # refuses what can never run before anything is made
            pod_manifests.pod_spec(self.cluster.settings, ref, name, workload, plan.maps)
            self.helpers.end(ref)
            space = self.tenants.prepare(ref)
            if owner is not None and owner.drift:  # what others added would outlive a restart
                self._take_back(ref, owner, plan, replicas=0)
            return self._launch(ref, space, plan, claim)

    def _planned(self, ref: Ref, name: str, workload: Workload, secrets: Mapping[str, str]) -> _Plan:
        maps = file_maps.files_of(self.cluster.settings, ref, name, workload)
        return _Plan(name, workload, maps, claw_manifests.secret_values(workload, secrets, ref))

    def _set(self, ref: Ref, space: str, plan: _Plan, mark: str | None = None) -> manifests.Named:
        """`mark`: of the secrets, where they are not at hand."""
        mark = claw_manifests.mark(plan.values) if mark is None else mark
        cluster = self.cluster
        return claw_manifests.stateful_set(cluster.settings, cluster.place, ref, space, plan.name, plan.workload, plan.maps, mark)

    def _already(self, ref: Ref, owner: records.Set, workload: Workload, secrets: Mapping[str, str], seen: Observed) -> Observed:
        """What others changed is taken back, also of a pod that was made from it meanwhile."""
        if owner.digest != workload.digest():
            raise Conflict(_m("%(ref)s runs an earlier description of itself. Stop it first, then apply the new one.", ref=ref))
        if owner.drift:
            owner = self._settled(ref, owner)
            plan = self._planned(ref, owner.name, workload, secrets)
            claim = self.cluster.api.find(f"/api/v1/namespaces/{owner.space}/persistentvolumeclaims/{owner.name}-data")
            changed = explain.runs_changed(owner, self.cluster.pod(ref))
            self._take_back(ref, owner, plan, replicas=1)
            seen = self._launch(ref, owner.space, plan, claim)
        else:
            changed = explain.runs_changed(owner, self.cluster.pod(ref))
        found = self.cluster.pod(ref)
        if changed and found is not None and not found.deleting:
            self.terminator.end_pod(found, max(1, math.ceil(workload.stop_grace)))  # it is made again from what was planned
            return self.cluster.mirror.look(ref)
        return seen

    def _settled(self, ref: Ref, owner: records.Set) -> records.Set:
        """Once the cluster has said which revision it is that somebody made."""
        until = time.monotonic() + _SETTLE_SECONDS
        while owner.remade and not owner.revision:
            if time.monotonic() > until:
                raise Retry(
                    _n("Settling"),
                    _m("The cluster has not taken in yet what was changed of %(ref)s.", ref=ref),
                    timedelta(seconds=1),
                )
            time.sleep(0.05)
            with self.cluster.mirror.lock:
                owner = self.cluster.mirror.set_by.get(ref.instance_id, owner)
        return owner

    def _take_back(self, ref: Ref, owner: records.Set, plan: _Plan, *, replicas: int) -> None:
        """Put what was planned in the place of what somebody made of it: an apply would leave what they added.

        The revision that they made is noted with the same write: a pod may run it still, also after a crash of the portal.
        """
        item = self._set(ref, owner.space, plan)
        item.body["spec"]["replicas"] = replicas
        noted = list(dict.fromkeys([*owner.taken_back, *([owner.revision] if owner.remade and owner.revision else [])]))
        path = names.TAKEN_BACK.replace("~", "~0").replace("/", "~1")
        steps = [
            {"op": "test", "path": "/metadata/uid", "value": owner.uid},
            {"op": "add", "path": f"/metadata/annotations/{path}", "value": " ".join(noted[-5:])},
            {"op": "replace", "path": "/spec", "value": item.body["spec"]},
        ]
        self.cluster.api.json(
            "PATCH", item.url, query={"fieldManager": names.MANAGER}, body=steps, kind="application/json-patch+json"
        )

    def _launch(self, ref: Ref, space: str, plan: _Plan, claim: Json | None) -> Observed:
        place, name, mirror = self.cluster.place, plan.name, self.cluster.mirror
        for item in file_maps.config_maps(place, ref, space, name, plan.maps):
            self.objects.create(item, ref)
        self.objects.apply(claw_manifests.account(place, ref, space, name), ref)
        if plan.values:
            self.objects.apply(claw_manifests.secret(place, ref, space, name, plan.values), ref)
        claims.ensure(self.objects, ref, space, name, plan.workload, claim)
        self.objects.apply(claw_manifests.service(place, ref, space, name, plan.workload), ref)
        with mirror.lock:
            mirror.ends.pop(ref.instance_id, None)
        mirror.put_set(self.objects.apply(self._set(ref, space, plan), ref))
        if claim is not None:  # the very first time there can be none of earlier contents
            self._forget_maps(ref, space, plan)
        return mirror.look(ref)

    def _forget_maps(self, ref: Ref, space: str, plan: _Plan) -> None:
        """Those of earlier contents. One that stays behind after a crash is taken away by the next change."""
        keep = {title for title, _ in plan.maps.maps}
        path = f"/api/v1/namespaces/{space}/configmaps"
        for one in self.cluster.api.items(path, labelSelector=names.selector(self.cluster.place, instance=ref.instance_id)):
            title = one["metadata"]["name"]
            if title not in keep and title.startswith(f"{plan.name}-files-"):
                self.cluster.api.delete(f"{path}/{title}", uid=one["metadata"]["uid"])

    def write_files(self, ref: Ref, workload: Workload) -> None:
        with self.cluster.map_errors(ref):
            owner, found = self.cluster.look(ref)
            if owner is None:
                return
            plan = _Plan(owner.name, workload, file_maps.files_of(self.cluster.settings, ref, owner.name, workload), {})
            for item in file_maps.config_maps(self.cluster.place, ref, owner.space, owner.name, plan.maps):
                self.objects.create(item, ref)
            if found is not None and self.cluster.mirror.look(ref).state is RunState.RUNNING:
                scratch = f"{manifests.layout(self.cluster.settings, ref, None).tmp}/.portal-{random_bytes.token_hex(4)}"
                files.place(self.commands.opener(ref, found), plan.maps.contents, scratch)
            self._note_files(ref, owner, plan)

    def _note_files(self, ref: Ref, owner: records.Set, plan: _Plan) -> None:
        """The pod's template follows, without a restart: only a pod that is deleted is made anew from it."""
        path = f"/apis/apps/v1/namespaces/{owner.space}/statefulsets/{owner.name}"
        present = self.cluster.api.find(path)
        if present is None:
            return
        mark = present["spec"]["template"]["metadata"].get("annotations", {}).get("clawportal.io/secrets", "")
        item = self._set(ref, owner.space, plan, mark)
        item.body["spec"]["replicas"] = present["spec"].get("replicas", 1)
        self.cluster.mirror.put_set(self.objects.apply(item, ref, present))
        self._forget_maps(ref, owner.space, plan)
