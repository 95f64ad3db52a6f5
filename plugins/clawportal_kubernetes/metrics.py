"""What the pods of the portal use: by one call to the metrics API, or from the kubelets where there is no metrics server."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from clawportal.sdk.errors import Problem
from clawportal.sdk.runtimes import Ref, Sample
from clawportal_kubernetes import explain, names, records
from clawportal_kubernetes.client import Api, ApiError, Json, parse_time, segment

METRICS = "/apis/metrics.k8s.io/v1beta1"
_NUMBER = re.compile(r"^(\d+(?:\.\d+)?)(n|u|m|k|M|G|T|Ki|Mi|Gi|Ti)?$")
_FACTORS = {"": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2.0**10, "Mi": 2.0**20,
            "Gi": 2.0**30, "Ti": 2.0**40}  # fmt: skip
_LOOK_AGAIN = 20
"""After so many samples from the kubelets the metrics API is tried again."""


def quantity(text: str) -> float:
    """As the metrics API writes it, down to nanocores; 0 for what cannot be read."""
    found = _NUMBER.match(text)
    return float(found[1]) * _FACTORS[found[2] or ""] if found else 0.0


class Meter:
    """Keeps what the metrics API leaves out: the CPU time since the start, as the sum of what was used between two looks."""

    def __init__(self, api: Api, place: str) -> None:
        self.api, self.place = api, place
        self._lock = threading.Lock()
        self._used: dict[str, tuple[float, datetime]] = {}
        """CPU seconds until a time, by the pod's uid."""
        self._skip = 0

    def sample(self, pods: Mapping[tuple[str, str], records.Pod]) -> list[Sample]:
        """By namespace and name of the pods that count."""
        if not pods:
            return []
        with self._lock:
            if self._skip > 0:
                self._skip -= 1
            else:
                found = self._from_metrics(pods)
                if found is not None:
                    return found
                self._skip = _LOOK_AGAIN
            return self._from_kubelets(pods)

    # ---- metrics.k8s.io

    def _from_metrics(self, pods: Mapping[tuple[str, str], records.Pod]) -> list[Sample] | None:
        try:
            answer = self.api.get(f"{METRICS}/pods", labelSelector=names.selector(self.place, role="claw"))
        except ApiError as error:
            if error.status in (403, 404, 503):
                return None
            raise
        found = []
        for item in answer.get("items", ()):
            meta = item["metadata"]
            pod = pods.get((meta["namespace"], meta["name"]))
            if pod is not None:
                found.append(self._sample(pod, item))
        self._used = {uid: kept for uid, kept in self._used.items() if uid in {pod.uid for pod in pods.values()}}
        return found

    def _sample(self, pod: records.Pod, item: Json) -> Sample:
        parts = [part.get("usage") or {} for part in item.get("containers") or ()]
        rate = sum(quantity(part.get("cpu", "0")) for part in parts)
        memory = sum(quantity(part.get("memory", "0")) for part in parts)
        at = parse_time(item.get("timestamp")) or datetime.now(UTC)
        used, until = self._used.get(pod.uid, (0.0, explain.started(pod) or at))
        used += rate * max(0.0, (at - until).total_seconds())
        self._used[pod.uid] = (used, max(at, until))
        return Sample(_ref(pod), used, int(memory), max(1, len(parts)), at)

    # ---- kubelets

    def _from_kubelets(self, pods: Mapping[tuple[str, str], records.Pod]) -> list[Sample]:
        nodes = sorted({pod.node for pod in pods.values() if pod.node})
        with ThreadPoolExecutor(8, thread_name_prefix="kubelet") as pool:
            answers = list(pool.map(self._summary, nodes))
        return [sample for answer in answers for sample in _of_summary(answer, pods)]

    def _summary(self, node: str) -> Json:
        """Empty where a node does not answer: the others still do."""
        try:
            return self.api.get(f"/api/v1/nodes/{segment(node)}/proxy/stats/summary")
        except (ApiError, Problem):
            return {}


def _of_summary(answer: Json, pods: Mapping[tuple[str, str], records.Pod]) -> Iterable[Sample]:
    for item in answer.get("pods") or ():
        about = item.get("podRef") or {}
        pod = pods.get((about.get("namespace", ""), about.get("name", "")))
        if pod is None or about.get("uid", pod.uid) != pod.uid:
            continue
        cpu, memory = item.get("cpu") or {}, item.get("memory") or {}
        volumes = [one for one in item.get("volume") or () if one.get("name") == "data"]
        yield Sample(
            _ref(pod), cpu.get("usageCoreNanoSeconds", 0) / 1e9, memory.get("workingSetBytes", 0),
            (item.get("process_stats") or {}).get("process_count") or max(1, len(item.get("containers") or ())),
            parse_time(cpu.get("time")) or datetime.now(UTC), disk_bytes=volumes[0].get("usedBytes") if volumes else None,
        )  # fmt: skip


def _ref(pod: records.Pod) -> Ref:
    return Ref(pod.instance, tenant=pod.tenant)


def totals(nodes: Iterable[Mapping[str, Any]], used: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """What all nodes have together, and what is in use."""
    told = dict.fromkeys(("cpu", "memory", "disk", "memory_used"), 0.0)
    for node in nodes:
        room = (node.get("status") or {}).get("allocatable") or {}
        if (node.get("spec") or {}).get("unschedulable"):
            continue
        for key, name in (("cpu", "cpu"), ("memory", "memory"), ("disk", "ephemeral-storage")):
            told[key] += quantity(str(room.get(name, "0")))
    for one in used:
        told["memory_used"] += quantity(str((one.get("usage") or {}).get("memory", "0")))
    return told
