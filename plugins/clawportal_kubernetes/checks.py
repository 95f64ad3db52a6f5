"""Has a claw judge a candidate for its configuration, in its own pod or in one that lives only for that."""

from __future__ import annotations

import json
import secrets as random_bytes
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from clawportal.sdk import _m, _n, redact
from clawportal.sdk.errors import GiveUp, Retry
from clawportal.sdk.runtimes import Ref, RunState, Workload, config_refused, secret_env
from clawportal_kubernetes import claims, claw_manifests, files, manifests, names, pod_manifests, scripts
from clawportal_kubernetes.cluster import Cluster
from clawportal_kubernetes.commands import Commands
from clawportal_kubernetes.helper_pods import HelperPods, is_over
from clawportal_kubernetes.objects import Objects
from clawportal_kubernetes.tenants import Tenants


class Checks:
    patience = 8.0
    """For which one look waits for the pod of a check. Others may want something of the instance meanwhile."""

    def __init__(self, cluster: Cluster, tenants: Tenants, objects: Objects, helpers: HelperPods, commands: Commands) -> None:
        self.cluster, self.tenants, self.objects, self.helpers, self.commands = cluster, tenants, objects, helpers, commands
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def check(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> None:
        check = workload.check
        if check is None:
            return
        with self.cluster.map_errors(ref):
            values = secret_env(check.secret_env, secrets, ref)
            folder = f"{manifests.layout(self.cluster.settings, ref, None).tmp}/check-{random_bytes.token_hex(4)}"
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
                        _n("CheckTimedOut"),
                        _m("The claw did not judge its configuration within %(timeout)s s.", timeout=f"{check.timeout:g}"),
                        timedelta(seconds=30),
                    ) from error
            _accept(outcome, argv[0], secrets)

    @contextmanager
    def _judge(self, ref: Ref, workload: Workload) -> Iterator[files.Open]:
        """The running pod, where it runs the same image; otherwise a pod that lives only for this."""
        owner, found = self.cluster.look(ref)
        runs = self.cluster.mirror.look(ref).state is RunState.RUNNING
        if owner is not None and found is not None and runs and not found.deleting:
            template = self.cluster.api.find(f"/api/v1/namespaces/{found.space}/pods/{found.name}")
            image = (template or {}).get("spec", {}).get("containers", [{}])[0].get("image")
            if workload.image is not None and image == workload.image.reference:
                yield self.commands.opener(ref, found)
                return
        space = self.tenants.as_it_is(ref)
        name, _ = claims.of(self.cluster, ref, owner, self.tenants.space(ref))
        pod = pod_manifests.helper_pod(
            self.cluster.settings, self.cluster.place, ref, space, name, f"{name}-check", workload, data=False
        )
        # named by what it is: one that could not run yet is found again by the next look, and goes on from there
        mark = claw_manifests.mark({"pod": json.dumps(pod.body, sort_keys=True)})
        title = "-".join((name, "check", mark))
        pod.body["metadata"]["name"] = title
        self.end(ref, space, keep=title)
        with self._lock:
            lock = self._locks.setdefault(ref.instance_id, threading.Lock())
        with lock:  # two of the same instance would end each other's pod
            present = self.cluster.api.find(pod.url)
            if present is not None and (present["metadata"].get("deletionTimestamp") or is_over(present)):
                self.helpers.delete(space, title)
                present = None
            if present is None:
                self.objects.create(pod, ref)
            self.helpers.wait_ready(space, title, ref, self.patience)  # a Retry leaves it: it may run by the next look
            try:
                yield self.commands.opener_of(space, title, "helper", str(ref))
            finally:
                self.helpers.delete(space, title)

    def end(self, ref: Ref, space: str, keep: str = "") -> None:
        """Of descriptions that nobody asks about any more, also of a portal that was killed."""
        chosen = names.selector(self.cluster.place, instance=ref.instance_id, role="helper")
        for one in self.cluster.api.items(f"/api/v1/namespaces/{space}/pods", labelSelector=chosen):
            title = one["metadata"]["name"]
            if "-check-" in title and title != keep:
                self.helpers.delete(space, title)


def _accept(outcome: files.Outcome, program: str, secrets: Mapping[str, str]) -> None:
    if outcome.code == 0:
        return
    if outcome.code is None:
        raise Retry(_n("CheckInterrupted"), _m("The connection to the cluster was cut while the claw judged its configuration."))
    said = (outcome.out + outcome.err).decode(errors="replace").splitlines()
    lines = redact.masked([line for line in said if line.strip()], secrets.values())
    if outcome.code in (126, 127):
        raise GiveUp(
            _n("CheckMissing"), _m("%(program)s cannot be started.", program=program), _m("Check the image of the claw."), lines
        )
    raise config_refused(outcome.code, lines)
