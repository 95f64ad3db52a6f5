"""The runtime of one Kubernetes cluster: a namespace for each tenant, a StatefulSet of one pod for each instance.

Everything that has to be known stands in the objects themselves, so that any portal that connects sees the same. Each object
is applied by server-side apply, after a look whether one of that name belongs to somebody else.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets as random_bytes
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from clawportal.sdk.errors import Conflict, GiveUp, Problem, Retry
from clawportal.sdk.runtimes import (
    IN_CONTAINERS,
    Artifact,
    Capacity,
    DoctorResult,
    ExecSession,
    FileEntry,
    Image,
    Layout,
    LogLine,
    Observed,
    Progress,
    Ref,
    RunState,
    RuntimeEvent,
    Sample,
    Separation,
    Without,
    Workload,
    config_refused,
    masked,
    secret_env,
)
from clawportal_kubernetes import diagnose, explain, files, logs, metrics, names, render, scripts
from clawportal_kubernetes.client import Api, ApiError, Json, verdict
from clawportal_kubernetes.mirror import Mirror
from clawportal_kubernetes.streams import Channel, Command, Tunnel, open_channel

if TYPE_CHECKING:
    from websocket import WebSocket

    from clawportal.sdk.runtimes import Place
    from clawportal_kubernetes.settings import KubernetesSettings

_ROOTS = ("home", "state", "work")
_HELPER_SECONDS = 180.0
_HELPER_IDLE = 120.0
_SETTLE_SECONDS = 3.0
_NEVER = ("ImagePullFailed", "CannotStart", "OutOfMemory", "Restarting")
"""Reasons for which a pod of a moment is given up."""
_TENANT_FRESH = 300.0
"""Seconds after which the objects of a tenant are applied again with the next instance."""


class _Tenant(NamedTuple):
    """What was made for a tenant, and when."""

    space: str
    uid: str
    """Of its namespace."""
    made_of: str
    at: float


class KubernetesRuntime(Without):
    """See `clawportal.contracts.runtimes.Runtime`."""

    title = "Kubernetes"
    kill_patience = 20.0
    """Seconds for a node to end what is killed."""
    check_patience = 8.0
    """For which one look waits for the pod of a check. Others may want something of the instance meanwhile."""
    begin_patience = 10.0
    """Seconds in which what has just been started may turn out to run."""
    capabilities = frozenset(
        {
            "images", "logs", "logs.previous", "metrics", "limits.memory", "limits.cpu", "limits.kernel", "volumes",
            "exec", "files", "events", "restarts", "drift", "processes",
        }
    )  # fmt: skip

    def __init__(self, place: Place, settings: KubernetesSettings) -> None:
        self.settings = settings
        self.place = place.cluster_id
        self.api = Api(settings)
        self.mirror = Mirror(self.api, self.place, settings.namespace_prefix)
        self.meter = metrics.Meter(self.api, self.place)
        self._tenants: dict[str, _Tenant] = {}
        self._tunnels: dict[tuple[str, int], Tunnel] = {}
        self._checks: dict[str, threading.Lock] = {}
        self._helpers: dict[str, tuple[str, str, float]] = {}
        """Namespace and pod of a files helper, and when it was used last, by instance."""
        self._lock = threading.Lock()

    def close(self) -> None:
        """What runs goes on; only what this connection opened ends."""
        self.mirror.close()
        with self._lock:
            tunnels, helpers = list(self._tunnels.values()), list(self._helpers.values())
            self._tunnels, self._helpers = {}, {}
        for tunnel in tunnels:
            tunnel.close()
        for space, pod, _ in helpers:
            try:
                self._delete_pod(space, pod)
            except (ApiError, Problem):
                pass  # it ends by itself after a while
        self.api.close()

    # ---- names

    def layout(self, ref: Ref, artifacts: Iterable[Artifact], image: Image | None = None) -> Layout:
        return render.layout(self.settings, ref, image)

    def prepared(self, artifact: Artifact) -> bool:
        return True  # nodes fetch images themselves

    def prepare(self, artifact: Artifact, progress: Progress) -> None:
        """Nothing to install in a cluster."""

    def _look(self, ref: Ref) -> tuple[explain.Set | None, explain.Pod | None]:
        names.check_ids(self.place, ref)
        self.mirror.ready()
        with self.mirror.lock:
            return self.mirror.set_by.get(ref.instance_id), self.mirror.pod_of(ref.instance_id)

    # ---- a tenant

    def _tenant(self, ref: Ref) -> str:
        """The namespace of the tenant, with all that belongs into it."""
        wanted = hashlib.sha256(json.dumps([ref.tenant_name, str(ref.limits)]).encode()).hexdigest()
        known = self._tenants.get(ref.tenant)
        if known is not None and known.made_of == wanted and time.monotonic() - known.at < _TENANT_FRESH and self._there(known):
            return known.space
        present = self._namespace(ref)
        space = present["metadata"]["name"]
        for item in self._surroundings(ref, space):
            self._apply(item, ref)
        self._tenants[ref.tenant] = _Tenant(space, present["metadata"]["uid"], wanted, time.monotonic())
        return space

    def _surroundings(self, ref: Ref, space: str) -> list[render.Named]:
        portal = self.settings.portal_namespace or (self.api.own_namespace() if self.api.in_cluster else "")
        return render.tenant_objects(self.settings, self.place, ref, space, portal)

    def _there(self, known: _Tenant) -> bool:
        """Still the very namespace that was filled: somebody may have deleted it, and all that is in it."""
        present = self.api.find(f"/api/v1/namespaces/{known.space}")
        meta = present["metadata"] if present else {}
        return meta.get("uid") == known.uid and not meta.get("deletionTimestamp")

    def _tenant_as_it_is(self, ref: Ref) -> str:
        """The namespace, where what is missing is made, and what is there stays as it is: for what only looks."""
        known = self._tenants.get(ref.tenant)
        if known is not None and self._there(known):
            return known.space
        present = self._namespace_of(ref)
        if present is None:
            return self._tenant(ref)
        self._must_not_end(present)
        space = str(present["metadata"]["name"])
        for item in self._surroundings(ref, space):
            if self.api.find(item.url) is None:
                self._apply(item, ref)
        return space

    def _namespace(self, ref: Ref) -> Json:
        present = self._namespace_of(ref)
        name = present["metadata"]["name"] if present else names.namespace_name(self.settings.namespace_prefix, self.place, ref)
        item = render.namespace(self.settings, self.place, ref, name)
        if not ref.tenant_name and present:  # the caller did not say it; what is known stays
            item.body["metadata"]["annotations"] = present["metadata"].get("annotations") or {}
        if present:
            self._must_not_end(present)
        return self._apply(item, ref, present)

    def _must_not_end(self, present: Json) -> None:
        meta = present["metadata"]
        if meta.get("deletionTimestamp"):
            words = f"The namespace {meta['name']} is being deleted; it is made again then."
            raise Retry("NamespaceEnding", words, timedelta(seconds=1))

    def _namespace_of(self, ref: Ref) -> Json | None:
        """By label: the tenant may have had another name when it was made."""
        found = self.api.items("/api/v1/namespaces", labelSelector=names.selector(self.place, tenant=ref.tenant or "none"))
        return min(found, key=lambda one: str(one["metadata"]["creationTimestamp"]), default=None)

    def _apply(self, item: render.Named, ref: Ref, present: Json | None = None) -> Json:
        """Create or update one object; what belongs to somebody else is left alone."""
        present = present or self.api.find(item.url)
        body = item.body
        if present is not None:
            self._must_be_mine(item, present)
            # the very object that was looked at: one that took its place meanwhile is refused by the server
            body = {**body, "metadata": {**body["metadata"], "uid": present["metadata"]["uid"]}}
        try:
            return self.api.apply(item.url, body)
        except ApiError as error:
            raise _with_name(error, item, ref) from error

    def _create(self, item: render.Named, ref: Ref) -> None:
        """One that is never changed, as it is named by what is in it, or as that is the cluster's: one request, and the server
        itself sees that the name is free. One that another thread or an earlier pass made has to hold the same."""
        try:
            self.api.create(item.path, item.body)
        except ApiError as error:
            present = self.api.find(item.url) if error.status == 409 else None
            if present is None:
                raise _with_name(error, item, ref) from error
            self._must_be_mine(item, present)
            if any(present.get(part) != item.body.get(part) for part in ("data", "binaryData")):
                raise _with_name(error, item, ref) from error

    def _must_be_mine(self, item: render.Named, present: Json) -> None:
        if not names.mine(self.place, present):
            raise GiveUp(
                "NameTaken", f"There is a {item} in the cluster that this portal did not make; it is left alone.",
                "Rename or delete it, or give the instance another name.",
            )  # fmt: skip

    # ---- starting

    def apply(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> Observed:
        """A claw that runs something else is not touched: whoever asks has to stop it first, because only they know its grace."""
        with self._told(ref):
            owner, found = self._look(ref)
            seen = self.mirror.look(ref)
            if found is not None and (owner is None or owner.replicas == 0 or found.deleting):
                raise Retry("Stopping", f"{ref} is still being stopped.", timedelta(seconds=1))
            if owner is not None and owner.replicas and seen.state is not RunState.ABSENT:
                return self._already(ref, owner, workload, secrets, seen)
            name, claim = self._name(ref, owner)
            files_ = render.files_of(self.settings, ref, name, workload)
            values = render.secret_values(workload, secrets, ref)
            render.pod_spec(self.settings, ref, name, workload, files_)  # refuses what can never run before anything is made
            self._end_helper(ref)
            space = self._tenant(ref)
            if owner is not None and owner.drift:  # what others added would outlive a restart
                self._take_back(ref, owner, workload, files_, values, replicas=0)
            return self._launch(ref, space, name, workload, files_, values, claim)

    def _already(self, ref: Ref, owner: explain.Set, workload: Workload, secrets: Mapping[str, str], seen: Observed) -> Observed:
        """What others changed is taken back, also of a pod that was made from it meanwhile."""
        if owner.digest != workload.digest():
            raise Conflict(f"{ref} runs an earlier description of itself. Stop it first, then apply the new one.")
        if owner.drift:
            owner = self._settled(ref, owner)
            files_ = render.files_of(self.settings, ref, owner.name, workload)
            values = render.secret_values(workload, secrets, ref)
            claim = self.api.find(f"/api/v1/namespaces/{owner.space}/persistentvolumeclaims/{owner.name}-data")
            foreign = explain.runs_foreign(owner, self._pod(ref))
            self._take_back(ref, owner, workload, files_, values, replicas=1)
            seen = self._launch(ref, owner.space, owner.name, workload, files_, values, claim)
        else:
            foreign = explain.runs_foreign(owner, self._pod(ref))
        found = self._pod(ref)
        if foreign and found is not None and not found.deleting:
            self._end_pod(found, max(1, math.ceil(workload.stop_grace)))  # it is made again from what was planned
            return self.mirror.look(ref)
        return seen

    def _settled(self, ref: Ref, owner: explain.Set) -> explain.Set:
        """Once the cluster has said which revision it is that somebody made."""
        until = time.monotonic() + _SETTLE_SECONDS
        while owner.remade and not owner.revision:
            if time.monotonic() > until:
                raise Retry("Settling", f"The cluster has not taken in yet what was changed of {ref}.", timedelta(seconds=1))
            time.sleep(0.05)
            with self.mirror.lock:
                owner = self.mirror.set_by.get(ref.instance_id, owner)
        return owner

    def _take_back(
        self, ref: Ref, owner: explain.Set, workload: Workload, files_: render.Files, values: Mapping[str, str], *, replicas: int
    ) -> None:
        """Put what was planned in the place of what somebody made of it: an apply would leave what they added.

        The revision that they made is noted with the same write: a pod may run it still, also after a crash of the portal.
        """
        item = render.stateful_set(self.settings, self.place, ref, owner.space, owner.name, workload, files_, _mark(values))
        item.body["spec"]["replicas"] = replicas
        noted = list(dict.fromkeys([*owner.foreign, *([owner.revision] if owner.remade and owner.revision else [])]))
        path = names.FOREIGN.replace("~", "~0").replace("/", "~1")
        steps = [
            {"op": "test", "path": "/metadata/uid", "value": owner.uid},
            {"op": "add", "path": f"/metadata/annotations/{path}", "value": " ".join(noted[-5:])},
            {"op": "replace", "path": "/spec", "value": item.body["spec"]},
        ]
        self.api.json("PATCH", item.url, query={"fieldManager": names.MANAGER}, body=steps, kind="application/json-patch+json")

    def _name(self, ref: Ref, owner: explain.Set | None) -> tuple[str, Json | None]:
        """The name of its objects, and its volume claim where it has one: both outlive another name of the instance."""
        known = self._tenants.get(ref.tenant)
        within = f"/namespaces/{known.space}" if known else ""  # a list of all namespaces costs the server a look at every claim
        path, mine = f"/api/v1{within}/persistentvolumeclaims", names.selector(self.place, instance=ref.instance_id)
        claim = next(iter(self.api.items(path, labelSelector=mine)), None)
        if claim is not None and claim["metadata"].get("deletionTimestamp"):
            raise Retry("VolumeEnding", f"The volume of {ref} is still being deleted.", timedelta(seconds=2))
        if owner is not None:
            return owner.name, claim
        if claim is not None:
            return claim["metadata"]["name"].removesuffix("-data"), claim
        return names.object_name(ref), None

    def _launch(
        self,
        ref: Ref,
        space: str,
        name: str,
        workload: Workload,
        files_: render.Files,
        values: Mapping[str, str],
        claim: Json | None,
    ) -> Observed:
        for item in render.config_maps(self.place, ref, space, name, files_):
            self._create(item, ref)
        self._apply(render.account(self.place, ref, space, name), ref)
        if values:
            self._apply(render.secret(self.place, ref, space, name, values), ref)
        self._claim(ref, space, name, workload, claim)
        self._apply(render.service(self.place, ref, space, name, workload), ref)
        item = render.stateful_set(self.settings, self.place, ref, space, name, workload, files_, _mark(values))
        with self.mirror.lock:
            self.mirror.ends.pop(ref.instance_id, None)
        self.mirror.put_set(self._apply(item, ref))
        if claim is not None:  # the very first time there can be none of earlier contents
            self._forget_maps(ref, space, name, files_)
        return self.mirror.look(ref)

    def _claim(self, ref: Ref, space: str, name: str, workload: Workload, present: Json | None) -> None:
        """Made once. Of one that is there nothing but its size is ever sent: the cluster has filled in what may not change."""
        item = render.claim(self.settings, self.place, ref, space, name, workload)
        if present is None:
            try:
                self.api.create(item.path, item.body)
                return
            except ApiError as error:
                present = self.api.find(item.url) if error.status == 409 else None
                if present is None:
                    raise _with_name(error, item, ref) from error
        self._must_be_mine(item, present)
        changes = render.claim_changes(item, present)
        if changes:
            changes["metadata"] = {**changes.get("metadata", {}), "uid": present["metadata"]["uid"]}
            try:
                self.api.merge(item.url, changes)
            except ApiError as error:
                if "spec" in changes and error.status in (403, 422):
                    raise GiveUp(
                        "VolumeCannotGrow", f"The volume of {ref} cannot grow: {error.message}",
                        "Ask for the size that it has, or allow its storage class to expand volumes.",
                    ) from error  # fmt: skip
                raise _with_name(error, item, ref) from error

    def _forget_maps(self, ref: Ref, space: str, name: str, files_: render.Files) -> None:
        """Those of earlier contents. One that stays behind after a crash is taken away by the next change."""
        keep = {title for title, _ in files_.maps}
        path = f"/api/v1/namespaces/{space}/configmaps"
        for one in self.api.items(path, labelSelector=names.selector(self.place, instance=ref.instance_id)):
            title = one["metadata"]["name"]
            if title not in keep and title.startswith(f"{name}-files-"):
                self.api.delete(f"{path}/{title}", uid=one["metadata"]["uid"])

    def write_files(self, ref: Ref, workload: Workload) -> None:
        with self._told(ref):
            owner, found = self._look(ref)
            if owner is None:
                return
            files_ = render.files_of(self.settings, ref, owner.name, workload)
            for item in render.config_maps(self.place, ref, owner.space, owner.name, files_):
                self._create(item, ref)
            if found is not None and self.mirror.look(ref).state is RunState.RUNNING:
                scratch = f"{self.layout(ref, ()).tmp}/.portal-{random_bytes.token_hex(4)}"
                files.place(self._opener(ref, found), files_.contents, scratch)
            self._note_files(ref, owner, workload, files_)

    def _note_files(self, ref: Ref, owner: explain.Set, workload: Workload, files_: render.Files) -> None:
        """The pod's template follows, without a restart: only a pod that is deleted is made anew from it."""
        path = f"/apis/apps/v1/namespaces/{owner.space}/statefulsets/{owner.name}"
        present = self.api.find(path)
        if present is None:
            return
        mark = present["spec"]["template"]["metadata"].get("annotations", {}).get("clawportal.io/secrets", "")
        item = render.stateful_set(self.settings, self.place, ref, owner.space, owner.name, workload, files_, mark)
        item.body["spec"]["replicas"] = present["spec"].get("replicas", 1)
        self.mirror.put_set(self._apply(item, ref, present))
        self._forget_maps(ref, owner.space, owner.name, files_)

    # ---- judging a candidate

    def check(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> None:
        check = workload.check
        if check is None:
            return
        with self._told(ref):
            values = secret_env(check.secret_env, secrets, ref)
            folder = f"{self.layout(ref, ()).tmp}/check-{random_bytes.token_hex(4)}"
            argv = [part.replace("{candidate}", folder) for part in check.argv]
            env = {name: value.replace("{candidate}", folder) for name, value in check.env.items()}
            env |= values
            candidates = [file for file in workload.files if file.root == "state"]
            scripts.check_planned(candidates)
            with self._judge(ref, workload) as opener:
                try:
                    outcome = files.judge(opener, candidates, folder, argv, env, check.timeout)
                except TimeoutError as error:
                    raise Retry(
                        "CheckTimedOut",
                        f"The claw did not judge its configuration within {check.timeout:g} s.",
                        timedelta(seconds=30),
                    ) from error
            _accept(outcome, argv[0], secrets)

    @contextmanager
    def _judge(self, ref: Ref, workload: Workload) -> Iterator[files.Open]:
        """The running pod, where it runs the same image; otherwise a pod that lives only for this."""
        owner, found = self._look(ref)
        if owner is not None and found is not None and self.mirror.look(ref).state is RunState.RUNNING and not found.deleting:
            template = self.api.find(f"/api/v1/namespaces/{found.space}/pods/{found.name}")
            image = (template or {}).get("spec", {}).get("containers", [{}])[0].get("image")
            if workload.image is not None and image == workload.image.reference:
                yield self._opener(ref, found)
                return
        space = self._tenant_as_it_is(ref)
        name, _ = self._name(ref, owner)
        pod = render.helper_pod(self.settings, self.place, ref, space, name, f"{name}-check", workload, data=False)
        # named by what it is: one that could not run yet is found again by the next look, and goes on from there
        mark = _mark({"pod": json.dumps(pod.body, sort_keys=True)})
        title = "-".join((name, "check", mark))
        pod.body["metadata"]["name"] = title
        self._end_checks(ref, space, keep=title)
        with self._lock:
            lock = self._checks.setdefault(ref.instance_id, threading.Lock())
        with lock:  # two of the same instance would end each other's pod
            present = self.api.find(pod.url)
            if present is not None and (present["metadata"].get("deletionTimestamp") or _is_over(present)):
                self._delete_pod(space, title)
                present = None
            if present is None:
                self._create(pod, ref)
            self._await_helper(space, title, ref, self.check_patience)  # a Retry leaves it: it may run by the next look
            try:
                yield self._opener_of(space, title, "helper", str(ref))
            finally:
                self._delete_pod(space, title)

    def _end_checks(self, ref: Ref, space: str, keep: str = "") -> None:
        """Of descriptions that nobody asks about any more, also of a portal that was killed."""
        chosen = names.selector(self.place, instance=ref.instance_id, role="helper")
        for one in self.api.items(f"/api/v1/namespaces/{space}/pods", labelSelector=chosen):
            title = one["metadata"]["name"]
            if "-check-" in title and title != keep:
                self._delete_pod(space, title)

    def _await_helper(self, space: str, title: str, ref: Ref, seconds: float = _HELPER_SECONDS) -> None:
        until = time.monotonic() + seconds
        while True:
            present = self.api.find(f"/api/v1/namespaces/{space}/pods/{title}")
            if present is None:
                raise Retry("HelperGone", f"The pod {title} was deleted from outside.", timedelta(seconds=2))
            found = explain.pod(present)
            if found.containers and found.containers[0].state == "running":
                return
            why = explain.why(found)
            if why.reason in _NEVER or found.phase == "Failed":
                self._delete_pod(space, title)
                raise GiveUp(why.reason or "HelperFailed", why.message or "A pod for this moment has failed.", why.remedy)
            if time.monotonic() > until:
                raise Retry(why.reason or "Pending", f"{why.message} {why.remedy}".strip(), timedelta(seconds=5))
            time.sleep(0.2)

    def _delete_pod(self, space: str, title: str) -> None:
        self.api.delete(f"/api/v1/namespaces/{space}/pods/{title}", grace=0)

    # ---- ending

    def stop(self, ref: Ref, grace: float) -> None:
        with self._told(ref):
            owner, _ = self._look(ref)
            self._scale_down(owner)
            for found in self.mirror.pods_of(ref.instance_id):
                if not found.deleting:
                    self._end_pod(found, max(1, math.ceil(grace)))

    def kill(self, ref: Ref) -> None:
        with self._told(ref):
            owner, _ = self._look(ref)
            self._scale_down(owner)
            pods = {found.uid: found for found in self.mirror.pods_of(ref.instance_id)}
            unseen = self._unseen(owner)
            if unseen is not None:
                pods.setdefault(unseen.uid, unseen)
            for found in pods.values():
                self._end_pod(found, 1)
            self._force(list(pods.values()))

    def _unseen(self, owner: explain.Set | None) -> explain.Pod | None:
        """A pod that was made in this very moment is not in the mirror yet."""
        path = f"/api/v1/namespaces/{owner.space}/pods/{owner.name}-0" if owner is not None else ""
        present = self.api.find(path) if path else None
        return explain.pod(present) if present is not None and names.mine(self.place, present) else None

    def _force(self, pods: Iterable[explain.Pod]) -> None:
        """Without a grace the cluster forgets a pod while its processes still run, and a second one could join them on the
        same volume. So that is only for a node which does not tell their end."""
        until = time.monotonic() + self.kill_patience
        for found in pods:
            path, wait = f"/api/v1/namespaces/{found.space}/pods/{found.name}", 0.1
            while (present := self.api.find(path)) is not None and present["metadata"]["uid"] == found.uid:
                if time.monotonic() > until:
                    self._end_pod(found, 0)
                    break
                time.sleep(wait)
                wait = min(wait * 1.5, 1.0)
            self.mirror.forget_pod(found.uid)

    def _scale_down(self, owner: explain.Set | None) -> None:
        if owner is None or owner.replicas == 0:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        body = {"metadata": {"uid": owner.uid, "annotations": {names.STOPPED: now}}, "spec": {"replicas": 0}}
        answer = self.api.merge(f"/apis/apps/v1/namespaces/{owner.space}/statefulsets/{owner.name}", body)
        if answer is not None:
            self.mirror.put_set(answer)

    def _end_pod(self, found: explain.Pod, grace: int) -> None:
        answer = self.api.delete(f"/api/v1/namespaces/{found.space}/pods/{found.name}", grace=grace, uid=found.uid)
        if answer is None or grace == 0:
            self.mirror.forget_pod(found.uid)
        elif answer.get("kind") == "Pod":
            self.mirror.put_pod(answer)

    def remove(self, ref: Ref, *, keep_data: bool) -> None:
        with self._told(ref):
            owner, found = self._look(ref)
            if found is not None or (owner is not None and owner.replicas):
                raise Conflict(f"{ref} still runs. Stop it first.")
            self._close_tunnels(ref)
            self._end_helper(ref)
            if owner is not None:
                self.api.delete(f"/apis/apps/v1/namespaces/{owner.space}/statefulsets/{owner.name}", uid=owner.uid)
                self.mirror.forget_set(owner.uid)
            self._remove_rest(ref, owner, keep_data=keep_data)

    def _remove_rest(self, ref: Ref, owner: explain.Set | None, *, keep_data: bool) -> None:
        """Found by label, so that what an interrupted removal left goes too."""
        chosen = names.selector(self.place, instance=ref.instance_id)
        claims = self.api.items("/api/v1/persistentvolumeclaims", labelSelector=chosen)
        maps = self.api.items("/api/v1/configmaps", labelSelector=chosen)
        for one in maps:
            meta = one["metadata"]
            self.api.delete(f"/api/v1/namespaces/{meta['namespace']}/configmaps/{meta['name']}", uid=meta["uid"])
        for space in {one["metadata"]["namespace"] for one in (*claims, *maps)}:
            self._end_checks(ref, space)
        homes = {
            (meta["namespace"], meta["labels"]["app.kubernetes.io/instance"])
            for meta in (one["metadata"] for one in (*claims, *maps))
        }
        if owner is not None:
            homes.add((owner.space, owner.name))
        for space, name in homes:
            for plural, title in (("services", name), ("secrets", f"{name}-secrets"), ("serviceaccounts", name)):
                self._delete_mine(f"/api/v1/namespaces/{space}/{plural}/{title}")
        if not keep_data and not self.settings.keep_volumes:
            for one in claims:
                meta = one["metadata"]
                self.api.delete(f"/api/v1/namespaces/{meta['namespace']}/persistentvolumeclaims/{meta['name']}", uid=meta["uid"])

    def _delete_mine(self, url: str) -> None:
        present = self.api.find(url)
        if present is not None and names.mine(self.place, present):
            self.api.delete(url, uid=present["metadata"]["uid"])

    # ---- looking

    def inspect(self, ref: Ref) -> Observed:
        self._look(ref)
        return self.mirror.look(ref)

    def observe(self) -> list[Observed]:
        self.mirror.ready()
        return self.mirror.observe()

    def watch(self, stop: Callable[[], bool]) -> Iterator[Observed | None]:
        return self.mirror.watch(stop)

    def events(self, ref: Ref) -> list[RuntimeEvent]:
        owner, _ = self._look(ref)
        if owner is None:
            return []
        return [
            RuntimeEvent(one.at, "warning" if one.warning else "info", one.reason, one.message, one.count)
            for one in self.mirror.events_of(owner)
        ]

    def sample(self) -> list[Sample]:
        self.mirror.ready()
        with self.mirror.lock:
            pods = {
                (one.space, one.name): one
                for kept in self.mirror.pod_by.values()
                for one in kept.values()
                if one.phase == "Running"
            }
        with self._told(Ref("", "the cluster")):
            return self.meter.sample(pods)

    def logs(
        self, ref: Ref, *, tail: int | None = None, since: datetime | None = None, follow: bool = False,
        previous: bool = False, stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[LogLine | None]:  # fmt: skip
        _, found = self._look(ref)
        if follow:
            yield from logs.Follow(self.api, lambda: self._pod(ref), tail=tail, since=since, stop=stop)
        elif found is not None:
            with self._told(ref):
                yield from logs.read(self.api, found, tail=tail, since=since, previous=previous, stop=stop)

    def _pod(self, ref: Ref) -> explain.Pod | None:
        with self.mirror.lock:
            return self.mirror.pod_of(ref.instance_id)

    # ---- commands

    def _opener_of(self, space: str, pod: str, container: str, who: str) -> files.Open:
        def open_it(argv: Sequence[str], stdin: bool) -> Channel:
            return open_channel(self.api, space, pod, container, argv, who, stdin=stdin)

        return open_it

    def _opener(self, ref: Ref, found: explain.Pod) -> files.Open:
        return self._opener_of(found.space, found.name, found.names[0], str(ref))

    def _running(self, ref: Ref) -> explain.Pod:
        found = self._begun(ref)
        if found is None or self.mirror.look(ref).state is not RunState.RUNNING or not found.containers:
            raise files.not_running(str(ref))
        return found

    def _begun(self, ref: Ref) -> explain.Pod | None:
        """A claw speaks some seconds before its node tells the cluster that it runs; those are waited for."""
        until = time.monotonic() + self.begin_patience
        while True:
            _, found = self._look(ref)
            if found is None or found.deleting or self.mirror.look(ref).state is not RunState.PENDING:
                return found
            if any(one.end is not None for one in found.containers) or time.monotonic() > until:
                return found
            time.sleep(0.1)

    def exec(self, ref: Ref, argv: Sequence[str], *, tty: bool = False, columns: int = 80, rows: int = 24) -> ExecSession:
        found = self._running(ref)

        def open_it(words: Sequence[str], stdin: bool, terminal: bool) -> Channel:
            return open_channel(self.api, found.space, found.name, found.names[0], words, str(ref), stdin=stdin, tty=terminal)

        with self._told(ref):
            return Command(open_it, tuple(argv), tty=tty, columns=columns, rows=rows, patience=max(30.0, self.api.timeout))

    def shell(self, ref: Ref) -> tuple[str, ...]:
        return ("/bin/sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash; exec sh")

    # ---- files

    def _root(self, ref: Ref, root: str) -> str:
        if root not in _ROOTS:
            raise FileNotFoundError(f"There is no root {root!r}; there are {', '.join(_ROOTS)}.")
        return str(getattr(self.layout(ref, ()), root))

    def _files(self, ref: Ref) -> files.Open:
        """The pod that runs, or one that lives only to hand out files while the claw is stopped."""
        found = self._begun(ref)
        if found is not None and self.mirror.look(ref).state is RunState.RUNNING and found.containers:
            return self._opener(ref, found)
        owner, found = self._look(ref)
        if owner is None:
            raise FileNotFoundError(f"{ref} is not in this cluster.")
        if found is not None or owner.replicas:
            raise files.not_running(f"{ref} is just starting, so that it")
        return self._helper(ref, owner)

    def _helper(self, ref: Ref, owner: explain.Set) -> files.Open:
        title = f"{owner.name}-files"
        with self._lock:
            known = self._helpers.get(ref.instance_id)
        if known is None or self.api.find(f"/api/v1/namespaces/{owner.space}/pods/{title}") is None:
            present = self.api.find(f"/apis/apps/v1/namespaces/{owner.space}/statefulsets/{owner.name}")
            if present is None:
                raise FileNotFoundError(f"{ref} is not in this cluster.")
            spec = present["spec"]["template"]["spec"]
            user = spec["securityContext"]
            image = Image(spec["containers"][0]["image"], {}, user["runAsUser"], user["runAsGroup"])
            if known is None:
                self._delete_pod(owner.space, title)  # of a portal that was killed
            item = render.helper_pod(self.settings, self.place, ref, owner.space, owner.name, title, image, data=True)
            self._create(item, ref)
        self._await_helper(owner.space, title, ref)
        with self._lock:
            self._helpers[ref.instance_id] = (owner.space, title, time.monotonic())
        self._end_idle_helpers()
        return self._opener_of(owner.space, title, "helper", str(ref))

    def _end_idle_helpers(self) -> None:
        with self._lock:
            old = [key for key, (_, _, used) in self._helpers.items() if time.monotonic() - used > _HELPER_IDLE]
            gone = [self._helpers.pop(key) for key in old]
        for space, title, _ in gone:
            self._delete_pod(space, title)

    def _end_helper(self, ref: Ref) -> None:
        """A volume that is mounted elsewhere would keep the claw from starting."""
        with self._lock:
            known = self._helpers.pop(ref.instance_id, None)
        if known is not None:
            self._delete_pod(known[0], known[1])

    def list_files(self, ref: Ref, root: str, path: str = "") -> list[FileEntry]:
        folder = self._root(ref, root)
        scripts.safe(path)
        with self._told(ref):
            return files.list_folder(self._files(ref), folder, path)

    def pull(self, ref: Ref, root: str, path: str = "") -> Iterator[bytes]:
        folder = self._root(ref, root)
        scripts.safe(path)
        with self._told(ref):
            yield from files.pull(self._files(ref), folder, path)

    def push(self, ref: Ref, root: str, path: str, chunks: Iterable[bytes]) -> None:
        folder = self._root(ref, root)
        scripts.safe(path)
        with self._told(ref):
            files.push(self._files(ref), folder, path, chunks)

    def read_file(self, ref: Ref, root: str, path: str, limit: int) -> bytes:
        folder = self._root(ref, root)
        scripts.safe(path)
        with self._told(ref):
            return files.read(self._files(ref), folder, path, limit)

    # ---- ports

    def open_port(self, ref: Ref, port: int) -> tuple[str, int]:
        by_address = self.settings.reach == "address" or (self.settings.reach == "auto" and self.api.in_cluster)
        _, found = self._look(ref)
        if by_address:
            if found is None or not found.ip:
                raise files.not_running(str(ref))
            return found.ip, port
        with self._lock:
            tunnel = self._tunnels.get((ref.instance_id, port))
            if tunnel is None or tunnel.closed:
                tunnel = self._tunnels[ref.instance_id, port] = Tunnel(lambda: self._forward(ref, port))
        return tunnel.address

    def _forward(self, ref: Ref, port: int) -> WebSocket:
        found = self._pod(ref)
        if found is None:
            raise files.not_running(str(ref))
        path = f"/api/v1/namespaces/{found.space}/pods/{found.name}/portforward"
        return self.api.websocket(path, {"ports": port}, "v4.channel.k8s.io")

    def _close_tunnels(self, ref: Ref) -> None:
        with self._lock:
            mine = [key for key in self._tunnels if key[0] == ref.instance_id]
            gone = [self._tunnels.pop(key) for key in mine]
        for tunnel in gone:
            tunnel.close()

    def port_free(self, port: int) -> bool:
        return True  # every pod has an address of its own

    # ---- the cluster

    def separation(self) -> Separation:
        return IN_CONTAINERS

    def diagnose(self) -> list[DoctorResult]:
        return diagnose.run(self.api, self.settings)

    def version(self) -> str:
        with self._told(Ref("", "the cluster")):
            return f"Kubernetes {self.api.get('/version').get('gitVersion', '')}"

    def capacity(self) -> Capacity:
        with self._told(Ref("", "the cluster")):
            nodes = self.api.items("/api/v1/nodes")
            try:
                used = self.api.items(f"{metrics.METRICS}/nodes")
            except ApiError:
                used = []
            told = metrics.totals(nodes, used)
        free = max(0.0, told["memory"] - told["memory_used"])
        return Capacity(told["cpu"], int(told["memory"]), int(free), int(told["disk"]), int(told["disk"]))

    # ---- errors

    @contextmanager
    def _told(self, ref: Ref) -> Iterator[None]:
        try:
            yield
        except ApiError as error:
            raise verdict(error, str(ref)) from error


def _is_over(pod: Json) -> bool:
    return pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def _mark(values: Mapping[str, str]) -> str:
    """By which a pod tells what secrets it was made with, without telling them."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8] if values else ""


def _with_name(error: ApiError, item: render.Named, ref: Ref) -> Exception:
    if error.status == 409 and "uid" in error.message.lower():
        return Retry("Conflict", f"{item} was replaced meanwhile.", timedelta(seconds=1))
    if error.status == 409 and item.body["kind"] == "Namespace":
        return Retry("NamespaceEnding", f"{item}: {error.message}", timedelta(seconds=3))
    return verdict(error, f"{item} of {ref}")


def _accept(outcome: files.Outcome, program: str, secrets: Mapping[str, str]) -> None:
    if outcome.code == 0:
        return
    if outcome.code is None:
        raise Retry("CheckInterrupted", "The connection to the cluster was cut while the claw judged its configuration.")
    said = (outcome.out + outcome.err).decode(errors="replace").splitlines()
    lines = masked([line for line in said if line.strip()], secrets.values())
    if outcome.code in (126, 127):
        raise GiveUp("CheckMissing", f"{program} cannot be started.", "Check the image of the claw.", lines)
    raise config_refused(outcome.code, lines)
