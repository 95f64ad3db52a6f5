"""The namespace of a tenant, with all that belongs into it."""

from __future__ import annotations

import hashlib
import json
import time
from datetime import timedelta
from typing import NamedTuple

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import Retry
from clawportal.sdk.runtimes import Ref
from clawportal_kubernetes import manifests, names, tenant_manifests
from clawportal_kubernetes.client import Json
from clawportal_kubernetes.cluster import Cluster
from clawportal_kubernetes.objects import Objects

_FRESH = 300.0
"""Seconds after which the objects of a tenant are applied again with the next instance."""


class _Tenant(NamedTuple):
    """What was made for a tenant, and when."""

    space: str
    uid: str
    """Of its namespace."""
    made_of: str
    at: float


class Tenants:
    def __init__(self, cluster: Cluster, objects: Objects) -> None:
        self.cluster, self.objects = cluster, objects
        self._known: dict[str, _Tenant] = {}

    def space(self, ref: Ref) -> str:
        """The namespace as far as it is known; empty where nothing was made for the tenant yet."""
        known = self._known.get(ref.tenant)
        return known.space if known else ""

    def prepare(self, ref: Ref) -> str:
        """The namespace of the tenant, with all that belongs into it."""
        wanted = hashlib.sha256(json.dumps([ref.tenant_name, str(ref.limits)]).encode()).hexdigest()
        known = self._known.get(ref.tenant)
        if known is not None and known.made_of == wanted and time.monotonic() - known.at < _FRESH and self._there(known):
            return known.space
        present = self._namespace(ref)
        space = str(present["metadata"]["name"])
        for item in self._surroundings(ref, space):
            self.objects.apply(item, ref)
        self._known[ref.tenant] = _Tenant(space, present["metadata"]["uid"], wanted, time.monotonic())
        return space

    def _surroundings(self, ref: Ref, space: str) -> list[manifests.Named]:
        portal = self.cluster.settings.portal_namespace or (
            self.cluster.api.own_namespace() if self.cluster.api.in_cluster else ""
        )
        return tenant_manifests.tenant_objects(self.cluster.settings, self.cluster.place, ref, space, portal)

    def _there(self, known: _Tenant) -> bool:
        """Still the very namespace that was filled: somebody may have deleted it, and all that is in it."""
        present = self.cluster.api.find(f"/api/v1/namespaces/{known.space}")
        meta = present["metadata"] if present else {}
        return meta.get("uid") == known.uid and not meta.get("deletionTimestamp")

    def as_it_is(self, ref: Ref) -> str:
        """The namespace, where what is missing is made, and what is there stays as it is: for what only looks."""
        known = self._known.get(ref.tenant)
        if known is not None and self._there(known):
            return known.space
        present = self._namespace_of(ref)
        if present is None:
            return self.prepare(ref)
        self._must_not_end(present)
        space = str(present["metadata"]["name"])
        for item in self._surroundings(ref, space):
            if self.cluster.api.find(item.url) is None:
                self.objects.apply(item, ref)
        return space

    def _namespace(self, ref: Ref) -> Json:
        present = self._namespace_of(ref)
        name = (
            present["metadata"]["name"]
            if present
            else names.namespace_name(self.cluster.settings.namespace_prefix, self.cluster.place, ref)
        )
        item = tenant_manifests.namespace(self.cluster.settings, self.cluster.place, ref, name)
        if not ref.tenant_name and present:  # the caller did not say it; what is known stays
            item.body["metadata"]["annotations"] = present["metadata"].get("annotations") or {}
        if present:
            self._must_not_end(present)
        return self.objects.apply(item, ref, present)

    def _must_not_end(self, present: Json) -> None:
        meta = present["metadata"]
        if meta.get("deletionTimestamp"):
            words = _m("The namespace %(meta)s is being deleted; it is made again then.", meta=meta["name"])
            raise Retry(_n("NamespaceEnding"), words, timedelta(seconds=1))

    def _namespace_of(self, ref: Ref) -> Json | None:
        """By label: the tenant may have had another name when it was made."""
        found = self.cluster.api.items(
            "/api/v1/namespaces", labelSelector=names.selector(self.cluster.place, tenant=ref.tenant or "none")
        )
        return min(found, key=lambda one: str(one["metadata"]["creationTimestamp"]), default=None)
