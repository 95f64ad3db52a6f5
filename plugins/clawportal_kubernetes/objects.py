"""Creates, changes and deletes objects of the cluster, and leaves alone what this portal did not make."""

from __future__ import annotations

from datetime import timedelta

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp, Retry
from clawportal.sdk.runtimes import Ref
from clawportal_kubernetes import manifests, names
from clawportal_kubernetes.client import ApiError, Json, verdict
from clawportal_kubernetes.cluster import Cluster


class Objects:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def apply(self, item: manifests.Named, ref: Ref, present: Json | None = None) -> Json:
        """Create or update one object; what belongs to somebody else is left alone."""
        present = present or self.cluster.api.find(item.url)
        body = item.body
        if present is not None:
            self.must_be_mine(item, present)
            # the very object that was looked at: one that took its place meanwhile is refused by the server
            body = {**body, "metadata": {**body["metadata"], "uid": present["metadata"]["uid"]}}
        try:
            return self.cluster.api.apply(item.url, body)
        except ApiError as error:
            raise with_name(error, item, ref) from error

    def create(self, item: manifests.Named, ref: Ref) -> None:
        """One that is never changed, as it is named by what is in it, or as that is the cluster's: one request, and the server
        itself sees that the name is free. One that another thread or an earlier pass made has to hold the same."""
        try:
            self.cluster.api.create(item.path, item.body)
        except ApiError as error:
            present = self.cluster.api.find(item.url) if error.status == 409 else None
            if present is None:
                raise with_name(error, item, ref) from error
            self.must_be_mine(item, present)
            if any(present.get(part) != item.body.get(part) for part in ("data", "binaryData")):
                raise with_name(error, item, ref) from error

    def must_be_mine(self, item: manifests.Named, present: Json) -> None:
        if not names.mine(self.cluster.place, present):
            raise GiveUp(
                _n("NameTaken"),
                _m("There is a %(item)s in the cluster that this portal did not make; it is left alone.", item=item),
                _m("Rename or delete it, or give the instance another name."),
            )

    def delete_mine(self, url: str) -> None:
        present = self.cluster.api.find(url)
        if present is not None and names.mine(self.cluster.place, present):
            self.cluster.api.delete(url, uid=present["metadata"]["uid"])


def with_name(error: ApiError, item: manifests.Named, ref: Ref) -> Exception:
    """A refusal, with the object that it is about."""
    if error.status == 409 and "uid" in error.message.lower():
        return Retry(_n("Conflict"), _m("%(item)s was replaced meanwhile.", item=item), timedelta(seconds=1))
    if error.status == 409 and item.body["kind"] == "Namespace":
        return Retry(_n("NamespaceEnding"), f"{item}: {error.message}", timedelta(seconds=3))
    return verdict(error, f"{item} of {ref}")
