"""The volume claim of an instance, which outlives its pod and keeps the name of its objects."""

from __future__ import annotations

from datetime import timedelta

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp, Retry
from clawportal.sdk.runtimes import Ref, Workload
from clawportal_kubernetes import claw_manifests, names, records
from clawportal_kubernetes.client import ApiError, Json
from clawportal_kubernetes.cluster import Cluster
from clawportal_kubernetes.objects import Objects, with_name


def of(cluster: Cluster, ref: Ref, owner: records.Set | None, space: str) -> tuple[str, Json | None]:
    """The name of its objects, and its volume claim where it has one: both outlive another name of the instance."""
    within = f"/namespaces/{space}" if space else ""  # a list of all namespaces costs the server a look at every claim
    path, mine = f"/api/v1{within}/persistentvolumeclaims", names.selector(cluster.place, instance=ref.instance_id)
    claim = next(iter(cluster.api.items(path, labelSelector=mine)), None)
    if claim is not None and claim["metadata"].get("deletionTimestamp"):
        raise Retry(_n("VolumeEnding"), _m("The volume of %(ref)s is still being deleted.", ref=ref), timedelta(seconds=2))
    if owner is not None:
        return owner.name, claim
    if claim is not None:
        return claim["metadata"]["name"].removesuffix("-data"), claim
    return names.object_name(ref), None


def ensure(objects: Objects, ref: Ref, space: str, name: str, workload: Workload, present: Json | None) -> None:
    """Made once. Of one that is there nothing but its size is ever sent: the cluster has filled in what may not change."""
    item = claw_manifests.claim(objects.cluster.settings, objects.cluster.place, ref, space, name, workload)
    if present is None:
        try:
            objects.cluster.api.create(item.path, item.body)
            return
        except ApiError as error:
            present = objects.cluster.api.find(item.url) if error.status == 409 else None
            if present is None:
                raise with_name(error, item, ref) from error
    objects.must_be_mine(item, present)
    changes = claw_manifests.claim_changes(item, present)
    if changes:
        changes["metadata"] = {**changes.get("metadata", {}), "uid": present["metadata"]["uid"]}
        try:
            objects.cluster.api.merge(item.url, changes)
        except ApiError as error:
            if "spec" in changes and error.status in (403, 422):
                raise GiveUp(
                    _n("VolumeCannotGrow"), _m("The volume of %(ref)s cannot grow: %(message)s", ref=ref, message=error.message),
                    _m("Ask for the size that it has, or allow its storage class to expand volumes."),
                ) from error  # fmt: skip
            raise with_name(error, item, ref) from error
