"""What an API server of Kubernetes keeps, and the rules by which it changes that: the part of the double without any network.

It enforces what matters to a runtime: resource versions and conflicts, ownership of fields under server-side apply, immutable
fields, unknown fields, namespaces, quotas, pod security, a history that expires.
"""

from __future__ import annotations

import copy
import functools
import json
import re
import threading
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

Json = dict[str, Any]
Path = tuple[str, ...]
Key = tuple[str, str, str]
"""Resource as `group/plural`, namespace, name."""

_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")
_LABEL = re.compile(r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
_VALUE = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")
_NUMBER = re.compile(r"^(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")
_FACTORS = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}
_KEYED = {
    "containers": ("name",), "initContainers": ("name",), "volumes": ("name",), "env": ("name",), "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",), "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}  # fmt: skip
"""Lists whose items are told apart by these fields; all others are one value."""
_SERVER = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "deletionTimestamp",
           "deletionGracePeriodSeconds", "selfLink")  # fmt: skip

CLUSTER_WIDE = ("/namespaces", "/nodes", "/persistentvolumes", "storage.k8s.io/storageclasses")
KINDS = {
    "/namespaces": "Namespace", "/pods": "Pod", "/services": "Service", "/configmaps": "ConfigMap", "/secrets": "Secret",
    "/serviceaccounts": "ServiceAccount", "/persistentvolumeclaims": "PersistentVolumeClaim", "/events": "Event",
    "/resourcequotas": "ResourceQuota", "/limitranges": "LimitRange", "/nodes": "Node", "apps/statefulsets": "StatefulSet",
    "networking.k8s.io/networkpolicies": "NetworkPolicy", "storage.k8s.io/storageclasses": "StorageClass",
}  # fmt: skip

_POD_SPEC = {
    "serviceAccountName",
    "serviceAccount",
    "automountServiceAccountToken",
    "enableServiceLinks",
    "securityContext",
    "imagePullSecrets",
    "nodeSelector",
    "tolerations",
    "runtimeClassName",
    "priorityClassName",
    "topologySpreadConstraints",
    "terminationGracePeriodSeconds",
    "initContainers",
    "containers",
    "volumes",
    "restartPolicy",
    "activeDeadlineSeconds",
    "nodeName",
    "hostname",
    "subdomain",
    "dnsPolicy",
    "schedulerName",
    "affinity",
    "hostNetwork",
}
_CONTAINER = {
    "name",
    "image",
    "imagePullPolicy",
    "command",
    "args",
    "env",
    "envFrom",
    "workingDir",
    "securityContext",
    "resources",
    "terminationMessagePolicy",
    "terminationMessagePath",
    "volumeMounts",
    "ports",
    "startupProbe",
    "livenessProbe",
    "readinessProbe",
    "lifecycle",
    "stdin",
    "tty",
}
_SPECS = {
    "StatefulSet": {
        "replicas",
        "serviceName",
        "selector",
        "updateStrategy",
        "podManagementPolicy",
        "revisionHistoryLimit",
        "template",
        "minReadySeconds",
        "volumeClaimTemplates",
        "ordinals",
        "persistentVolumeClaimRetentionPolicy",
    },
    "PersistentVolumeClaim": {"accessModes", "resources", "storageClassName", "volumeName", "volumeMode", "selector"},
    "Service": {
        "clusterIP",
        "selector",
        "publishNotReadyAddresses",
        "ports",
        "type",
        "clusterIPs",
        "ipFamilies",
        "sessionAffinity",
    },
    "NetworkPolicy": {"podSelector", "policyTypes", "ingress", "egress"},
    "ResourceQuota": {"hard", "scopes"},
    "LimitRange": {"limits"},
    "Pod": _POD_SPEC,
}
_FIXED = {
    "StatefulSet": ("serviceName", "selector", "podManagementPolicy", "volumeClaimTemplates"),
    "PersistentVolumeClaim": ("accessModes", "storageClassName"),
    "Service": ("clusterIP",),
    "Pod": ("containers", "initContainers", "volumes", "restartPolicy", "serviceAccountName", "securityContext"),
}


class Refused(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.details = status, reason, message, details

    def document(self) -> Json:
        return {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message,
            "reason": self.reason, "details": self.details, "code": self.status,
        }  # fmt: skip


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def amount(text: str) -> float:
    found = _NUMBER.match(str(text))
    if not found:
        raise Refused(400, "BadRequest", f"quantities must match the regular expression: {text!r}")
    return float(found[1]) * _FACTORS[found[2] or ""]


@dataclass(frozen=True)
class Change:
    version: int
    resource: str
    kind: str
    object: Json
    before: Json | None


class Store:
    """Thread-safe. `changed` wakes whoever waits for something new."""

    def __init__(self, history: int = 20_000) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.version = 1000
        self.objects: dict[str, dict[tuple[str, str], Json]] = {resource: {} for resource in KINDS}
        self.owners: dict[str, dict[tuple[str, str], set[Path]]] = {}
        """Paths by uid, then by manager and operation."""
        self.history: deque[Change] = deque(maxlen=history)
        self._texts: dict[str, tuple[str, str]] = {}
        self.expired = 0
        """Watches from this version or an earlier one have come too late."""

    # ---- reading

    def text(self, found: Json) -> str:
        """As JSON; written once for each version, since lists ask again and again."""
        meta = found["metadata"]
        kept = self._texts.get(meta["uid"])
        if kept is None or kept[0] != meta["resourceVersion"]:
            kept = self._texts[meta["uid"]] = (meta["resourceVersion"], json.dumps(found))
        return kept[1]

    def get(self, key: Key) -> Json:
        with self.lock:
            found = self.objects[key[0]].get(key[1:])
            if found is None:
                raise Refused(404, "NotFound", f'{_title(key[0])} "{key[2]}" not found')
            return copy.deepcopy(found)

    def select(self, resource: str, namespace: str, labels: str, fields: str = "") -> tuple[int, list[Json]]:
        with self.lock:
            found = [
                (key, one) for key, one in self.objects[resource].items()
                if namespace in ("", key[0]) and matches(one, labels) and _fields(one, fields)
            ]  # fmt: skip
            found.sort(key=itemgetter(0))
            return self.version, [one for _, one in found]

    def since(self, version: int, resource: str, timeout: float) -> list[Change]:
        """Changes after a version, as soon as there are any; `Refused` 410 where history does not reach back so far."""
        with self.lock:
            if version < self.expired:
                raise Refused(410, "Expired", f"too old resource version: {version} ({self.expired})")
            found = self._after(version, resource)
            if not found:
                self.changed.wait(timeout)
                found = self._after(version, resource)
            return found

    def _after(self, version: int, resource: str) -> list[Change]:
        found = []
        for change in reversed(self.history):
            if change.version <= version:
                break
            if change.resource == resource:
                found.append(change)
        return found[::-1]

    def compact(self) -> None:
        """Forget all history, as etcd does after some minutes."""
        with self.lock:
            self.version += 1
            self.history.clear()
            self.expired = self.version
            self.changed.notify_all()

    # ---- writing

    def _put(self, key: Key, found: Json, kind: str, before: Json | None) -> Json:
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        found["metadata"]["managedFields"] = self._managed(found["metadata"]["uid"], found["apiVersion"])
        if kind == "DELETED":
            self.objects[key[0]].pop(key[1:], None)
            self.owners.pop(found["metadata"]["uid"], None)
            self._texts.pop(found["metadata"]["uid"], None)
        else:
            self.objects[key[0]][key[1:]] = found
        if len(self.history) == self.history.maxlen:
            self.expired = max(self.expired, self.history[0].version)
        self.history.append(Change(self.version, key[0], kind, found, before))
        self.changed.notify_all()
        return copy.deepcopy(found)

    def create(self, key: Key, body: Json, manager: str = "test", *, dry: bool = False, operation: str = "Update") -> Json:
        with self.lock:
            if key[1:] in self.objects[key[0]]:
                raise Refused(409, "AlreadyExists", f'{_title(key[0])} "{key[2]}" already exists')
            self._namespace_open(key)
            found = copy.deepcopy(body)
            meta = found.setdefault("metadata", {})
            for word in _SERVER:
                meta.pop(word, None)
            meta |= {"name": key[2], "uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 1}
            if key[1]:
                meta["namespace"] = key[1]
            found.setdefault("apiVersion", "v1")
            found.setdefault("kind", KINDS[key[0]])
            self._validate(key, found)
            self._admit(key, found)
            self._default(key, found)
            if dry:
                return found
            self.owners[meta["uid"]] = {(manager, operation): leaves(_own(body))}
            return self._put(key, found, "ADDED", None)

    def _default(self, key: Key, found: Json) -> None:
        kind = found["kind"]
        if kind == "Namespace":
            found["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = key[2]
            found["status"] = {"phase": "Active"}
        elif kind in ("Pod", "PersistentVolumeClaim"):
            found.setdefault("status", {"phase": "Pending"})
            if kind == "PersistentVolumeClaim" and self._default_class():
                found["spec"].setdefault("storageClassName", self._default_class())
        elif kind == "StatefulSet":
            found["spec"].setdefault("replicas", 1)
            found.setdefault("status", {"replicas": 0})

    def _default_class(self) -> str:
        word = "storageclass.kubernetes.io/is-default-class"
        classes = self.objects["storage.k8s.io/storageclasses"].values()
        chosen = [one["metadata"]["name"] for one in classes if (one["metadata"].get("annotations") or {}).get(word) == "true"]
        return str(chosen[0]) if chosen else ""

    def update(self, key: Key, body: Json, manager: str, *, status: bool = False) -> Json:
        with self.lock:
            before = self._present(key, body)
            if _same(before, body):
                return copy.deepcopy(before)
            found = copy.deepcopy(body)
            for word in _SERVER:
                if word in before["metadata"]:
                    found["metadata"][word] = copy.deepcopy(before["metadata"][word])
            if not status:
                found["status"] = copy.deepcopy(before.get("status", {}))
                self._validate(key, found)
                self._immutable(before, found)
                if found.get("spec") != before.get("spec"):
                    found["metadata"]["generation"] = before["metadata"].get("generation", 1) + 1
                self._changed_by(before, found, manager)
            return self._put(key, found, "MODIFIED", before)

    def _changed_by(self, before: Json, found: Json, manager: str) -> None:
        """Whoever changes a field owns it; all others lose what has another value now, or is gone."""
        owners = self.owners.setdefault(found["metadata"]["uid"], {})
        old, new = values(_own(before)), values(_own(found))
        changed = {path for path, value in new.items() if old.get(path, ...) != value}
        for mine in owners.values():
            mine -= changed
            mine.intersection_update(new)
        if changed:
            owners.setdefault((manager, "Update"), set()).update(changed)

    def patch(self, key: Key, body: Json, manager: str) -> Json:
        with self.lock:
            before = self._present(key, body)
            return self.update(key, merged(before, body), manager)

    def replace(self, key: Key, steps: list[Json], manager: str) -> Json:
        """RFC 6902, as far as runtimes use it: `test` and `replace` of what is there."""
        with self.lock:
            found = self.get(key)
            for step in steps:
                *way, last = step["path"].strip("/").split("/")
                inner = found
                for part in way:
                    inner = inner[part]
                last = last.replace("~1", "/").replace("~0", "~")
                if step["op"] == "test" and inner[last] != step["value"]:
                    raise Refused(422, "Invalid", f"the server rejected our request: test of {step['path']} failed")
                if step["op"] in ("replace", "add"):
                    inner[last] = step["value"]
            return self.update(key, found, manager)

    def apply(self, key: Key, body: Json, manager: str, *, force: bool, strict: bool) -> tuple[Json, bool]:
        """The object, and whether it is new."""
        with self.lock:
            if strict:
                unknown_fields(body)
            if body.get("metadata", {}).get("name") != key[2]:
                raise Refused(400, "BadRequest", "the name of the object does not match the name on the URL")
            if key[1:] not in self.objects[key[0]]:
                if body["metadata"].get("uid"):
                    raise Refused(409, "Conflict", f'{_title(key[0])} "{key[2]}": uid mismatch: the object does not exist')
                body = {**body, "metadata": {name: value for name, value in body["metadata"].items() if name != "uid"}}
                return self.create(key, body, manager, operation="Apply"), True
            before = self._present(key, body)
            self._claim_again(before, body)
            return self._applied(key, before, body, manager, force=force), False

    def _applied(self, key: Key, before: Json, body: Json, manager: str, *, force: bool) -> Json:
        owners = self.owners.setdefault(before["metadata"]["uid"], {})
        wanted = leaves(_own(body))
        had, new = values(_own(before)), values(_own(body))
        conflicts = {
            (who, path) for (who, operation), mine in owners.items() if (who, operation) != (manager, "Apply")
            for path in mine & wanted if who != manager and had.get(path, ...) != new[path]
        }  # fmt: skip
        if conflicts and not force:
            who, path = min(conflicts)
            raise Refused(409, "Conflict", f'Apply failed with 1 conflict: conflict with "{who}": .{".".join(path)}')
        lost = owners.get((manager, "Apply"), set()) - wanted
        others = set[Path]().union(*(mine for owner, mine in owners.items() if owner != (manager, "Apply")))
        found = copy.deepcopy(before)
        for path in lost - others:
            _remove(found, path)
        _overlay(found, _own(body))
        self._validate(key, found)
        self._immutable(before, found)
        for owner, mine in owners.items():
            if owner != (manager, "Apply"):
                mine -= {path for path in mine & wanted if had.get(path, ...) != new[path]}
        same = _same(before, found) and owners.get((manager, "Apply")) == wanted
        owners[manager, "Apply"] = wanted
        if same:
            return copy.deepcopy(before)
        if found.get("spec") != before.get("spec"):
            found["metadata"]["generation"] = before["metadata"].get("generation", 1) + 1
        return self._put(key, found, "MODIFIED", before)

    def delete(self, key: Key, *, uid: str = "", grace: int | None = None) -> Json:
        """A pod that runs is only marked; the kubelet takes it away by `finish`."""
        with self.lock:
            found = self.get(key)
            if uid and found["metadata"]["uid"] != uid:
                raise Refused(409, "Conflict", f"Precondition failed: UID in precondition: {uid}, UID in object meta: other")
            if key[0] == "/pods" and grace != 0 and found.get("status", {}).get("containerStatuses"):
                planned = found["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace
                was = found["metadata"].get("deletionGracePeriodSeconds")
                if was is None or planned < was:
                    found["metadata"] |= {"deletionTimestamp": now(), "deletionGracePeriodSeconds": planned}
                    return self._put(key, found, "MODIFIED", self.objects[key[0]][key[1:]])
                return found
            return self._put(key, found, "DELETED", found)

    def finish(self, key: Key, uid: str) -> None:
        """Take away what was marked as deleted."""
        with self.lock:
            found = self.objects[key[0]].get(key[1:])
            if found is not None and found["metadata"]["uid"] == uid:
                self._put(key, copy.deepcopy(found), "DELETED", found)

    # ---- rules

    def _present(self, key: Key, body: Json) -> Json:
        before = self.objects[key[0]].get(key[1:])
        if before is None:
            raise Refused(404, "NotFound", f'{_title(key[0])} "{key[2]}" not found')
        told = body.get("metadata", {})
        if told.get("uid") and told["uid"] != before["metadata"]["uid"]:
            raise Refused(409, "Conflict", f"Precondition failed: UID in precondition: {told['uid']}, UID in object meta differs")
        if told.get("resourceVersion") and told["resourceVersion"] != before["metadata"]["resourceVersion"]:
            words = "the object has been modified; please apply your changes to the latest version and try again"
            raise Refused(409, "Conflict", f'Operation cannot be fulfilled on {_title(key[0])} "{key[2]}": {words}')
        return before

    def _namespace_open(self, key: Key) -> None:
        if key[0] in CLUSTER_WIDE or key[0] == "/events":
            return
        space = self.objects["/namespaces"].get(("", key[1]))
        if space is None:
            raise Refused(404, "NotFound", f'namespaces "{key[1]}" not found')
        if space["metadata"].get("deletionTimestamp"):
            words = f"unable to create new content in namespace {key[1]} because it is being terminated"
            raise Refused(403, "Forbidden", f'{_title(key[0])} "{key[2]}" is forbidden: {words}')

    def _validate(self, key: Key, found: Json) -> None:
        def invalid(words: str) -> Refused:
            return Refused(422, "Invalid", f'{found["kind"]} "{key[2]}" is invalid: {words}')

        if not _NAME.match(key[2]) or (
            found["kind"] in ("Service", "Namespace") and not _LABEL.match(key[2].lstrip("0123456789"))
        ):
            raise invalid("metadata.name: Invalid value: a lowercase RFC 1123 subdomain is needed")
        if found["kind"] == "StatefulSet" and len(key[2]) > 52:
            raise invalid("metadata.name: must be no more than 52 characters")
        for name, value in (found["metadata"].get("labels") or {}).items():
            if not isinstance(value, str) or not _VALUE.match(value):
                raise invalid(f"metadata.labels: Invalid value: {name}={value!r}")
        if found["kind"] == "StatefulSet":
            spec = found["spec"]
            chosen = spec.get("selector", {}).get("matchLabels") or {}
            if not chosen or chosen.items() - (spec["template"]["metadata"].get("labels") or {}).items():
                raise invalid("spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`")
            _valid_pod(spec["template"]["spec"], invalid)
        if found["kind"] == "Pod":
            _valid_pod(found["spec"], invalid)
        if found["kind"] in ("ConfigMap", "Secret"):
            size = sum(
                len(str(value).encode()) for field in ("data", "binaryData") for value in (found.get(field) or {}).values()
            )
            if size > 1_048_576:
                raise invalid("[]: Too long: may not be more than 1048576 bytes")

    def _claim_again(self, before: Json, body: Json) -> None:
        """Two applies at once can meet as this: what was filled in at the creation counts as taken out by the second."""
        if before["kind"] == "PersistentVolumeClaim" and not (body.get("spec") or {}).get("storageClassName"):
            raise Refused(
                422, "Invalid",
                f'PersistentVolumeClaim "{before["metadata"]["name"]}" is invalid: spec: Forbidden: spec is immutable after '
                "creation except resources.requests and volumeAttributesClassName for bound claims",
            )  # fmt: skip

    def _immutable(self, before: Json, found: Json) -> None:
        for field in _FIXED.get(found["kind"], ()):
            old, new = before.get("spec", {}).get(field), found.get("spec", {}).get(field)
            if old is not None and old != new:
                raise Refused(
                    422, "Invalid",
                    f'{found["kind"]} "{found["metadata"]["name"]}" is invalid: spec: updates to {field} are forbidden',
                )  # fmt: skip
        if before.get("immutable") and (before.get("data"), before.get("binaryData")) != (
            found.get("data"),
            found.get("binaryData"),
        ):
            raise Refused(
                422, "Invalid", f"{found['kind']} is invalid: data: Forbidden: field is immutable when `immutable` is set"
            )
        if found["kind"] == "PersistentVolumeClaim":
            old, new = (amount(one["spec"]["resources"]["requests"]["storage"]) for one in (before, found))
            if new < old:
                raise Refused(
                    422, "Invalid", "spec.resources.requests.storage: Forbidden: field can not be less than previous value"
                )

    def _admit(self, key: Key, found: Json) -> None:
        if found["kind"] == "Pod":
            self._limit_range(key, found)
            self._pod_security(key, found)
        self._quota(key, found)

    def _limit_range(self, key: Key, found: Json) -> None:
        for one in self.select("/limitranges", key[1], "")[1]:
            for item in one["spec"]["limits"]:
                for container in (*found["spec"].get("initContainers", ()), *found["spec"]["containers"]):
                    resources = container.setdefault("resources", {})
                    for field, source in (("limits", "default"), ("requests", "defaultRequest")):
                        resources[field] = {**(item.get(source) or {}), **(resources.get(field) or {})}

    def _pod_security(self, key: Key, found: Json) -> None:
        space = self.objects["/namespaces"].get(("", key[1])) or {"metadata": {}}
        if (space["metadata"].get("labels") or {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            return
        spec, faults = found["spec"], []
        whole = spec.get("securityContext") or {}
        for one in (*spec.get("initContainers", ()), *spec["containers"]):
            own = one.get("securityContext") or {}
            if own.get("allowPrivilegeEscalation") is not False:
                faults.append(f'allowPrivilegeEscalation != false (container "{one["name"]}")')
            if "ALL" not in (own.get("capabilities") or {}).get("drop", ()):
                faults.append(f'unrestricted capabilities (container "{one["name"]}")')
            if not own.get("runAsNonRoot", whole.get("runAsNonRoot")) or own.get("runAsUser", whole.get("runAsUser")) == 0:
                faults.append("runAsNonRoot != true")
        if not (whole.get("seccompProfile") or {}).get("type"):
            faults.append("seccompProfile")
        if faults:
            words = f'violates PodSecurity "restricted:latest": {", ".join(faults)}'
            raise Refused(403, "Forbidden", f'pods "{key[2]}" is forbidden: {words}')

    def _quota(self, key: Key, found: Json) -> None:
        asked = _asks(found)
        for quota in self.select("/resourcequotas", key[1], "")[1] if key[1] else ():
            hard = quota["spec"].get("hard") or {}
            for name in hard.keys() & asked.keys():
                used = sum(
                    _asks(one).get(name, 0.0) for resource in ("/pods", "/persistentvolumeclaims", "apps/statefulsets")
                    for one in self.select(resource, key[1], "")[1]
                )  # fmt: skip
                if used + asked[name] > amount(hard[name]):
                    words = (
                        f"exceeded quota: {quota['metadata']['name']}, requested: {name}={asked[name]:g}, used: {name}={used:g}, "
                    )
                    words += f"limited: {name}={hard[name]}"
                    raise Refused(403, "Forbidden", f'{_title(key[0])} "{key[2]}" is forbidden: {words}')

    def _managed(self, uid: str, version: str) -> list[Json]:
        return [
            {"manager": who, "operation": operation, "apiVersion": version, "fieldsType": "FieldsV1",
             "fieldsV1": _fields_v1(paths)}
            for (who, operation), paths in self.owners.get(uid, {}).items() if paths
        ]  # fmt: skip


def _valid_pod(spec: Json, invalid: Any) -> None:
    volumes = {one["name"] for one in spec.get("volumes", ())}
    names = [one.get("name", "") for one in (*spec.get("initContainers", ()), *spec.get("containers", ()))]
    if not spec.get("containers"):
        raise invalid("spec.containers: Required value")
    if len(set(names)) != len(names):
        raise invalid("spec.containers[1].name: Duplicate value")
    for one in (*spec.get("initContainers", ()), *spec["containers"]):
        if not _LABEL.match(one.get("name", "")) or not one.get("image"):
            raise invalid("spec.containers: name and image: Required value")
        for place in one.get("volumeMounts", ()):
            if place["name"] not in volumes:
                raise invalid(f'spec.containers[0].volumeMounts[0].name: Not found: "{place["name"]}"')
        for port in one.get("ports", ()):
            if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?", port.get("name", "p")):
                raise invalid(f"spec.containers[0].ports[0].name: Invalid value: {port.get('name')!r}")
        requests, limits = ((one.get("resources") or {}).get(field) or {} for field in ("requests", "limits"))
        for name in requests.keys() & limits.keys():
            if amount(requests[name]) > amount(limits[name]):
                raise invalid(f"spec.containers[0].resources.requests: must be less than or equal to {name} limit")


def _asks(found: Json) -> dict[str, float]:
    """What an object counts against quotas."""
    if found["kind"] == "StatefulSet":
        return {"count/statefulsets.apps": 1.0}
    if found["kind"] == "PersistentVolumeClaim":
        return {"requests.storage": amount(found["spec"]["resources"]["requests"]["storage"])}
    if found["kind"] != "Pod" or found.get("status", {}).get("phase") in ("Failed", "Succeeded"):
        return {}
    told: dict[str, float] = {"pods": 1.0}
    for name in ("cpu", "memory"):
        each = [amount(((one.get("resources") or {}).get("limits") or {}).get(name, "0")) for one in found["spec"]["containers"]]
        told[f"limits.{name}"] = sum(each)
    return told


# --------------------------------------------------------------------------------------------------------------------
# Selectors


def matches(found: Json, selector: str) -> bool:
    labels = found["metadata"].get("labels") or {}
    return all(_holds(labels, *term) for term in _terms(selector))


def _holds(labels: Mapping[str, str], name: str, sign: str, value: str) -> bool:
    if sign == "!=":
        return labels.get(name) != value
    return labels.get(name) == value if sign else name in labels


@functools.lru_cache(maxsize=512)
def _terms(selector: str) -> tuple[tuple[str, str, str], ...]:
    """Name, sign and value of each."""
    told = []
    for term in filter(None, map(str.strip, selector.split(","))):
        name, sign, value = term.partition("!=" if "!=" in term else "=")
        told.append((name, sign, value if sign == "!=" else value.lstrip("=")))
    return tuple(told)


def _fields(found: Json, selector: str) -> bool:
    for term in filter(None, selector.split(",")):
        path, _, value = term.partition("=")
        inner: Any = found
        for part in path.split("."):
            inner = inner.get(part, {}) if isinstance(inner, dict) else {}
        if inner != value:
            return False
    return True


def _title(resource: str) -> str:
    group, _, plural = resource.partition("/")
    return f"{plural}.{group}" if group else plural


# --------------------------------------------------------------------------------------------------------------------
# Fields


def unknown_fields(body: Json) -> None:
    """What `fieldValidation=Strict` refuses, for the parts that a runtime writes."""
    allowed = {"apiVersion", "kind", "metadata", "spec", "data", "stringData", "binaryData", "type", "immutable", "status",
               "automountServiceAccountToken", "imagePullSecrets", "provisioner"}  # fmt: skip
    _only(body, allowed, "")
    spec = body.get("spec") or {}
    if body["kind"] in _SPECS:
        _only(spec, _SPECS[body["kind"]], "spec.")
    pod = spec.get("template", {}).get("spec") if body["kind"] == "StatefulSet" else spec if body["kind"] == "Pod" else None
    if pod is not None:
        _only(pod, _POD_SPEC, "spec.template.spec.")
        for one in (*pod.get("initContainers", ()), *pod.get("containers", ())):
            _only(one, _CONTAINER, "spec.template.spec.containers[0].")


def _only(found: Json, allowed: set[str], path: str) -> None:
    odd = found.keys() - allowed
    if odd:
        raise Refused(400, "BadRequest", f'strict decoding error: unknown field "{path}{min(odd)}"')


def _own(body: Json) -> Json:
    """What can have an owner."""
    meta = {name: value for name, value in body.get("metadata", {}).items() if name in ("labels", "annotations", "finalizers")}
    rest = {name: value for name, value in body.items() if name not in ("apiVersion", "kind", "metadata", "status")}
    return {**rest, "metadata": meta}


def _steps(field: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Items of a list that are told apart by fields; nothing for a list that is one value."""
    keys = _KEYED.get(field)
    if keys and isinstance(value, list) and all(isinstance(one, dict) and keys[0] in one for one in value):
        for one in value:
            yield "k:" + json.dumps({key: one.get(key) for key in keys}, sort_keys=True, separators=(",", ":")), one


def values(found: Any, path: Path = ()) -> dict[Path, Any]:
    """Every leaf with its value."""
    told: dict[Path, Any] = {}
    for name, value in found.items():
        here = (*path, f"f:{name}")
        items = list(_steps(name, value))
        if items:
            for step, one in items:
                told |= values(one, (*here, step))
        elif isinstance(value, dict) and value:
            told |= values(value, here)
        else:
            told[here] = value
    return told


def leaves(found: Json) -> set[Path]:
    return set(values(found))


def _fields_v1(paths: set[Path]) -> Json:
    told: Json = {}
    for path in sorted(paths):
        inner = told
        for step in path:
            inner = inner.setdefault(step, {})
    return told


def _item(found: list[Json], step: str) -> Json | None:
    wanted = json.loads(step[2:])
    return next((one for one in found if all(one.get(key) == value for key, value in wanted.items())), None)


def _remove(found: Any, path: Path) -> None:
    trail: list[tuple[Any, str]] = []
    inner: Any = found
    for step in path[:-1]:
        trail.append((inner, step))
        inner = _item(inner, step) if step.startswith("k:") else inner.get(step[2:])
        if inner is None:
            return
    inner.pop(path[-1][2:], None)
    for owner, step in reversed(trail):  # what became empty goes too
        below = _item(owner, step) if step.startswith("k:") else owner.get(step[2:])
        if below or below is None:
            return
        if step.startswith("k:"):
            owner.remove(below)
        else:
            del owner[step[2:]]


def _overlay(found: Json, body: Json) -> None:
    for name, value in body.items():
        if list(_steps(name, value)) and isinstance(found.get(name), list):
            for step, one in _steps(name, value):
                there = _item(found[name], step)
                if there is None:
                    found[name].append(copy.deepcopy(one))
                else:
                    _overlay(there, one)
        elif isinstance(value, dict) and isinstance(found.get(name), dict):
            _overlay(found[name], value)
        else:
            found[name] = copy.deepcopy(value)


def merged(found: Any, body: Any) -> Any:
    """RFC 7396."""
    if not isinstance(body, dict):
        return copy.deepcopy(body)
    told = copy.deepcopy(found) if isinstance(found, dict) else {}
    for name, value in body.items():
        if value is None:
            told.pop(name, None)
        else:
            told[name] = merged(told.get(name), value)
    return told


def _same(one: Json, other: Json) -> bool:
    def bare(found: Json) -> Json:
        return {**found, "metadata": {key: value for key, value in found["metadata"].items() if key not in _SERVER}}

    return bare(one) == bare(other)
