"""Runs the pods of the API double as processes of this machine: the part that a kubelet and the controllers do in a cluster.

A volume is a folder, which a mount moves to where it belongs; what is mounted outside of the double's own folder is left
out. A container is a process with all that it starts. Images are not unpacked: their programs are those of this machine.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil

from tests.kubernetes.double.store import Json, Refused, amount, matches, now

if TYPE_CHECKING:
    from tests.kubernetes.double.api import KubeDouble

_SLOWEST = 5.0
_FORCED = 2.0
"""Seconds for which processes of a pod run on that was deleted without a grace."""
_MARK = "CLAWPORTAL_DOUBLE_CONTAINER"
NODE = "node-1"


def stamp() -> str:
    at = datetime.now(UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond:06d}000Z"


@dataclass
class Container:
    """One container of a pod, over all its runs."""

    spec: Json
    folder: Path
    mark: str
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    runs: int = 0
    state: Json = field(default_factory=lambda: {"waiting": {"reason": "PodInitializing"}})
    last: Json = field(default_factory=dict)
    out_of_memory: bool = False
    cpu_before: float = 0.0

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    def log(self, run: int) -> Path:
        return self.folder / f"{self.name}.{run}.log"

    def pids(self) -> list[psutil.Process]:
        """All that was started in it, also what has left its session."""
        found = []
        wanted = f"{_MARK}={self.mark}".encode()
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/environ", "rb") as file:
                        if wanted in file.read().split(b"\0"):
                            found.append(psutil.Process(int(name)))
                except (OSError, psutil.Error):
                    continue  # it has just ended, or belongs to somebody else
        return found

    def kill(self) -> None:
        for _ in range(20):
            alive = [one for one in self.pids() if one.status() != psutil.STATUS_ZOMBIE] if self.process else []
            if not alive:
                return
            for one in alive:
                with contextlib.suppress(psutil.Error):
                    one.kill()
            time.sleep(0.01)

    def status(self) -> Json:
        running = "running" in self.state
        told = {"name": self.name, "image": self.spec["image"], "restartCount": max(0, self.runs - 1), "ready": running,
                "started": running, "state": self.state, "lastState": {"terminated": self.last} if self.last else {}}  # fmt: skip
        return told


class HostPorts:
    """Pods of the double share the ports of this machine, also with pods of the doubles of other processes, such as those of
    other test workers: who comes second waits until the port is free."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[int, tuple[IO[str], int]] = {}

    def take(self, number: int, give_up: threading.Event) -> bool:
        while not give_up.is_set():
            with self._lock:
                if number in self._held:
                    file, count = self._held[number]
                    self._held[number] = file, count + 1
                    return True
                file = open(f"{tempfile.gettempdir()}/kube-double-port-{number}-{os.getuid()}", "a")  # noqa: SIM115  # kept
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    file.close()
                else:
                    self._held[number] = file, 1
                    return True
            give_up.wait(0.1)
        return False

    def free(self, number: int) -> None:
        with self._lock:
            file, count = self._held.pop(number)
            if count > 1:
                self._held[number] = file, count - 1
            else:
                file.close()


_PORTS = HostPorts()


class PodWorker(threading.Thread):
    """One pod from its start to its end."""

    def __init__(self, double: KubeDouble, pod: Json) -> None:
        super().__init__(name=f"pod {pod['metadata']['name']}", daemon=True)
        self.double, self.pod = double, pod
        self.uid, self.space, self.title = (pod["metadata"][key] for key in ("uid", "namespace", "name"))
        self.key = ("/pods", self.space, self.title)
        self.folder = double.folder / "pods" / self.uid
        self.spec = pod["spec"]
        self.init = [self._container(one) for one in self.spec.get("initContainers", ())]
        self.containers = [self._container(one) for one in self.spec["containers"]]
        self.wanted = threading.Event()
        """Set when it has to end; `grace` says how fast."""
        self.grace = 30.0
        self.gone = False
        self.since = now()
        self.where: dict[str, Path] = {}
        """Home of each volume by its name."""
        self._told = threading.Lock()

    def _container(self, spec: Json) -> Container:
        return Container(spec, self.folder, f"{self.uid}/{spec['name']}")

    def run(self) -> None:
        taken: list[int] = []
        try:
            self._volumes()
            if self._initialize() and self._take_ports(taken):
                self._all_containers()
        except Refused:
            pass  # it was deleted meanwhile
        finally:
            self._end_all()
            for number in taken:
                _PORTS.free(number)

    def _take_ports(self, taken: list[int]) -> bool:
        for number in (port["containerPort"] for one in self.containers for port in one.spec.get("ports", ())):
            if not _PORTS.take(number, self.wanted):
                return False
            taken.append(number)
        return True

    # ---- surroundings

    def _volumes(self) -> None:
        self.folder.mkdir(parents=True)
        for volume in self.spec.get("volumes", ()):
            self.where[volume["name"]] = self._volume(volume)

    def _volume(self, volume: Json) -> Path:
        if "persistentVolumeClaim" in volume:
            claim = self.double.store.get(("/persistentvolumeclaims", self.space, volume["persistentVolumeClaim"]["claimName"]))
            path: Path = self.double.folder / "volumes" / claim["metadata"]["uid"]
            if path not in self.double.mounted.values():
                path.mkdir(parents=True, exist_ok=True)
            return path
        path = self.folder / "volumes" / str(volume["name"])
        path.mkdir(parents=True)
        for source in (volume.get("projected") or {}).get("sources", ()):
            found = self.double.store.get(("/configmaps", self.space, source["configMap"]["name"]))
            for name, text in (found.get("data") or {}).items():
                (path / name).write_bytes(text.encode())
            for name, text in (found.get("binaryData") or {}).items():
                (path / name).write_bytes(base64.b64decode(text))
        return path

    def _mount(self, container: Container) -> None:
        for one in sorted(container.spec.get("volumeMounts", ()), key=lambda one: one["mountPath"]):
            path = Path(one["mountPath"])
            if path.is_relative_to(self.double.mounts):
                self.double.mount(path, self.where[one["name"]])

    def _environment(self, container: Container) -> dict[str, str]:
        path = f"{self.double.programs}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        told = {"PATH": path, "HOSTNAME": self.title, _MARK: container.mark}
        for one in container.spec.get("env", ()):
            if "valueFrom" in one:
                wanted = one["valueFrom"]["secretKeyRef"]
                found = self.double.store.get(("/secrets", self.space, wanted["name"]))
                told[one["name"]] = base64.b64decode(found["data"][wanted["key"]]).decode()
            else:
                told[one["name"]] = expanded(one.get("value", ""), told)
        return told

    # ---- running

    def _initialize(self) -> bool:
        for container in self.init:
            pause = 0.2
            while True:
                if not self._start(container):
                    self._report("Pending")
                    return not self.wanted.wait(3600)
                self._report("Pending")
                self._wait(container)
                if self.wanted.is_set():
                    return False
                if container.state["terminated"]["exitCode"] == 0:
                    self._report("Pending")
                    break
                container.last = container.state["terminated"]
                container.state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}}
                self._report("Pending")
                if self.wanted.wait(pause):
                    return False
                pause = min(pause * 2, _SLOWEST)
        return True

    def _all_containers(self) -> None:
        threads = [threading.Thread(target=self._keep, args=(one,), daemon=True) for one in self.containers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _keep(self, container: Container) -> None:
        """Restart what ends, ever more slowly."""
        pause = 0.3
        while not self.wanted.is_set():
            if not self._start(container):
                self._report("Running" if any(one.runs for one in self.containers) else "Pending")
            else:
                self._report("Running")
                self._wait(container)
                if self.spec.get("restartPolicy") == "Never":
                    failed = container.state["terminated"]["exitCode"] != 0
                    self._report("Failed" if failed else "Succeeded")
                    self.wanted.wait()
                    return
                if self.wanted.is_set():
                    return
                container.last = container.state["terminated"]
                self._report("Running")
                container.state = {
                    "waiting": {"reason": "CrashLoopBackOff", "message": f"back-off {pause:g}s restarting failed container"}
                }
                self._report("Running")
            if self.wanted.wait(pause):
                return
            pause = min(pause * 2, _SLOWEST)

    def _start(self, container: Container) -> bool:
        """False when it could not even be started; its state says why."""
        image = container.spec["image"]
        if image in self.double.missing_images:
            container.state = {
                "waiting": {"reason": "ErrImagePull", "message": f"failed to pull and unpack image {image}: not found"}
            }
            self.double.event(self.pod, "Warning", "Failed", f'Failed to pull image "{image}": not found')
            return False
        try:
            container.env = self._environment(container)
        except Refused as error:
            container.state = {"waiting": {"reason": "CreateContainerConfigError", "message": error.message}}
            return False
        self._mount(container)
        argv = [expanded(part, container.env) for part in (*container.spec.get("command", ()), *container.spec.get("args", ()))]
        container.out_of_memory = False
        try:
            container.process = subprocess.Popen(
                self.double.found_here(argv), env=container.env, cwd=container.spec.get("workingDir") or str(self.folder),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=hear_signals,
            )  # fmt: skip
        except OSError as error:
            words = f'failed to create containerd task: exec: "{argv[0]}": {error.strerror}: unknown'
            container.last = {"exitCode": 128, "reason": "StartError", "message": words, "finishedAt": now()}
            container.state = {"waiting": {"reason": "RunContainerError", "message": words}}
            container.runs += 1
            return False
        container.runs += 1
        container.state = {"running": {"startedAt": now()}}
        threading.Thread(target=_record, args=(container.process, container.log(container.runs)), daemon=True).start()
        return True

    def _wait(self, container: Container) -> None:
        """Until its first process has ended, by itself or because the pod has to."""
        process = container.process
        assert process is not None
        limit = ((container.spec.get("resources") or {}).get("limits") or {}).get("memory")
        asked = 0.0
        next_look = time.monotonic() + 0.2
        while process.poll() is None:
            if self.wanted.is_set() and not asked:
                asked = time.monotonic()
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
            if asked and time.monotonic() - asked > self.grace:
                container.kill()
            if limit and time.monotonic() > next_look:
                next_look = time.monotonic() + 0.5
                if self.memory(container) > amount(limit):
                    container.out_of_memory = True
                    container.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05 if asked else 0.2)
        container.kill()
        code = process.returncode
        container.state = {"terminated": {
            "exitCode": 128 - code if code < 0 else code, "finishedAt": stamp(), "startedAt": self.since,
            "reason": "OOMKilled" if container.out_of_memory else "Completed" if code == 0 else "Error",
        }}  # fmt: skip
        if container in self.init and code:
            container.state["terminated"]["message"] = _last_words(container.log(container.runs))

    def memory(self, container: Container) -> int:
        try:
            parent = psutil.Process(container.process.pid) if container.process else None
            family = [parent, *parent.children(recursive=True)] if parent else []
            return sum(one.memory_info().rss for one in family)
        except psutil.Error:
            return 0

    def usage(self) -> tuple[float, int, int]:
        """CPU seconds, bytes and processes."""
        cpu, memory, count = 0.0, 0, 0
        for container in self.containers:
            for one in container.pids():
                with contextlib.suppress(psutil.Error):
                    times = one.cpu_times()
                    cpu, memory, count = cpu + times.user + times.system, memory + one.memory_info().rss, count + 1
        return cpu, memory, count

    # ---- telling

    def _report(self, phase: str) -> None:
        if phase == "Running" and not self.wanted.is_set():
            time.sleep(self.double.slow_status)
        if self.double.silent_node:
            return
        with self._told:
            ready = "True" if all("running" in one.state for one in self.containers) else "False"
            status = {
                "phase": phase, "podIP": "127.0.0.1", "hostIP": "127.0.0.1", "startTime": self.since,
                "conditions": [
                    {"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready, "lastTransitionTime": now()},
                ],
                "initContainerStatuses": [one.status() for one in self.init],
                "containerStatuses": [one.status() for one in self.containers],
            }  # fmt: skip
            self.double.set_status(self.key, self.uid, status)

    def end(self, grace: float) -> None:
        self.grace = min(self.grace, grace) if self.wanted.is_set() else grace
        self.wanted.set()

    def _end_all(self) -> None:
        for container in (*self.init, *self.containers):
            container.kill()
        self.gone = True
        with contextlib.suppress(Refused):
            if self.wanted.is_set():
                self._report("Running")
                self.double.store.finish(self.key, self.uid)
        self.double.unmount(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.double.workers.pop(self.uid, None)

    def find(self, name: str) -> Container:
        for one in (*self.init, *self.containers):
            if one.name == name or not name:
                return one
        raise Refused(400, "BadRequest", f"container {name} is not valid for pod {self.title}")


def hear_signals() -> None:
    """A container begins with nothing ignored, however the tests were started: children inherit what is ignored."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)


def expanded(text: str, env: dict[str, str]) -> str:
    """`$(NAME)` becomes its value, `$$` a dollar."""
    out, place = [], 0
    while place < len(text):
        if text[place] == "$" and place + 1 < len(text):
            if text[place + 1] == "$":
                out.append("$")
                place += 2
                continue
            end = text.find(")", place) if text[place + 1] == "(" else -1
            if end > 0:
                name = text[place + 2 : end]
                out.append(env.get(name, text[place : end + 1]))
                place = end + 1
                continue
        out.append(text[place])
        place += 1
    return "".join(out)


def _record(process: subprocess.Popen[bytes], path: Path) -> None:
    """Every line with its time, as the kubelet writes it."""
    assert process.stdout is not None
    try:
        with open(path, "ab", buffering=0) as file:
            for line in process.stdout:
                file.write(stamp().encode() + b" " + line.rstrip(b"\n") + b"\n")
    except (OSError, ValueError):
        pass  # the pod's folder is gone already


def _last_words(path: Path) -> str:
    time.sleep(0.05)  # its last line may still be on its way
    try:
        lines = path.read_text(errors="replace").splitlines()[-5:]
    except OSError:
        return ""
    return "\n".join(line.partition(" ")[2] for line in lines)


class Controllers(threading.Thread):
    """StatefulSets, volume claims, scheduling and the start of pods; looks whenever something has changed."""

    def __init__(self, double: KubeDouble) -> None:
        super().__init__(name="controllers of the double", daemon=True)
        self.double, self.store = double, double.store
        self.ending = threading.Event()
        self._asked_for: dict[str, float] = {}
        """When each claim was seen first."""

    def run(self) -> None:
        seen = -1
        while not self.ending.is_set():
            with self.store.changed:
                if self.store.version == seen:
                    self.store.changed.wait(0.5)
                seen = self.store.version
            for step in (self._claims, self._sets, self._pods, self._orphans, self._namespaces):
                for work in list(step()):
                    with contextlib.suppress(Refused):  # somebody else was faster; the next look sees what is there then
                        work()

    def _claims(self) -> Iterator[Any]:
        classes = {one["metadata"]["name"]: one for one in self.store.select("storage.k8s.io/storageclasses", "", "")[1]}
        default = next((name for name, one in classes.items() if (one["metadata"].get("annotations") or {}).get(
            "storageclass.kubernetes.io/is-default-class") == "true"), "")  # fmt: skip
        for claim in self.store.select("/persistentvolumeclaims", "", "")[1]:
            wanted = claim["spec"].get("storageClassName") or default
            asked = self._asked_for.setdefault(claim["metadata"]["uid"], time.monotonic())
            if time.monotonic() - asked < self.double.bind_seconds:
                continue
            if claim["status"]["phase"] == "Pending" and wanted in classes:
                yield lambda claim=claim, wanted=wanted: self._bind(claim, wanted)

    def _bind(self, claim: Json, name: str) -> None:
        key = ("/persistentvolumeclaims", claim["metadata"]["namespace"], claim["metadata"]["name"])
        body = self.store.get(key)
        body["spec"]["storageClassName"] = name
        body["status"] = {"phase": "Bound", "capacity": body["spec"]["resources"]["requests"]}
        self.store.update(key, body, "kube-controller-manager", status=True)

    def _sets(self) -> Iterator[Any]:
        for owner in self.store.select("apps/statefulsets", "", "")[1]:
            yield lambda owner=owner: self._set(owner)

    def _set(self, owner: Json) -> None:
        meta, spec = owner["metadata"], owner["spec"]
        key = ("/pods", meta["namespace"], f"{meta['name']}-0")
        self._tell_revision(owner)
        present = self.store.objects["/pods"].get(key[1:])
        if present is not None and not _owned(present, meta["uid"]):
            return
        if spec["replicas"] == 0:
            if present is not None and not present["metadata"].get("deletionTimestamp"):
                self.store.delete(key)
            return
        if present is not None and present["status"].get("phase") == "Failed":
            self.store.delete(key, grace=0)
            present = None
        if present is None:
            self._create(owner, key)

    def _tell_revision(self, owner: Json) -> None:
        """As the controller does, of the template as it is, whatever runs."""
        meta, status = owner["metadata"], owner.get("status") or {}
        told = {"observedGeneration": meta["generation"], "updateRevision": revision(owner)}
        if told.items() - status.items():
            self.double.set_status(("apps/statefulsets", meta["namespace"], meta["name"]), meta["uid"], {**status, **told})

    def _create(self, owner: Json, key: tuple[str, str, str]) -> None:
        template, meta = owner["spec"]["template"], owner["metadata"]
        labels = {**template["metadata"].get("labels", {}), "statefulset.kubernetes.io/pod-name": key[2],
                  "controller-revision-hash": revision(owner)}  # fmt: skip
        body = {
            "apiVersion": "v1", "kind": "Pod", "spec": {**template["spec"], "hostname": key[2]},
            "metadata": {
                "labels": labels, "annotations": template["metadata"].get("annotations", {}),
                "ownerReferences": [{"kind": "StatefulSet", "name": meta["name"], "uid": meta["uid"], "controller": True}],
            },
        }  # fmt: skip
        try:
            self.store.create(key, body, "kube-controller-manager")
        except Refused as error:
            words = f"create Pod {key[2]} in StatefulSet {meta['name']} failed error: {error.message}"
            self.double.event(owner, "Warning", "FailedCreate", words)
            return
        self.double.event(owner, "Normal", "SuccessfulCreate", f"create Pod {key[2]} in StatefulSet {meta['name']} successful")

    def _pods(self) -> Iterator[Any]:
        for pod in self.store.select("/pods", "", "")[1]:
            worker = self.double.workers.get(pod["metadata"]["uid"])
            if pod["metadata"].get("deletionTimestamp"):
                grace = pod["metadata"]["deletionGracePeriodSeconds"]
                if self.double.silent_node:
                    continue
                if worker is not None:
                    worker.end(grace)
                else:
                    yield lambda pod=pod: self.store.finish(_key(pod), pod["metadata"]["uid"])
            elif worker is None and not pod["status"].get("containerStatuses") and not self.double.idle:
                yield lambda pod=pod: self._schedule(pod)

    def _schedule(self, pod: Json) -> None:
        words = self._obstacle(pod)
        if words:
            status = {"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}]}  # fmt: skip
            if pod["status"] != status:
                self.double.event(pod, "Warning", "FailedScheduling", words)
                self.double.set_status(_key(pod), pod["metadata"]["uid"], status)
            return
        if not pod["spec"].get("nodeName"):
            body = self.store.get(_key(pod))
            body["spec"]["nodeName"] = NODE
            pod = self.store.update(_key(pod), body, "kube-scheduler", status=True)
            self.double.event(pod, "Normal", "Scheduled", f"Successfully assigned {pod['metadata']['name']} to {NODE}")
        worker = PodWorker(self.double, pod)
        self.double.workers[worker.uid] = worker
        worker.start()

    def _obstacle(self, pod: Json) -> str:
        for volume in pod["spec"].get("volumes", ()):
            if "persistentVolumeClaim" not in volume:
                continue
            name = volume["persistentVolumeClaim"]["claimName"]
            claim = self.store.objects["/persistentvolumeclaims"].get((pod["metadata"]["namespace"], name))
            if claim is None:
                return f'0/1 nodes are available: persistentvolumeclaim "{name}" not found. not found'
            if claim["status"]["phase"] != "Bound":
                return "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"  # so says 1.36
        nodes = self.store.select("/nodes", "", "")[1]
        wanted = ",".join(f"{name}={value}" for name, value in (pod["spec"].get("nodeSelector") or {}).items())
        if not any(matches(node, wanted) for node in nodes):
            return f"0/{len(nodes)} nodes are available: {len(nodes)} node(s) didn't match Pod's node affinity/selector."
        room = max((amount(node["status"]["allocatable"]["memory"]) for node in nodes), default=0.0)
        asked = sum(
            amount(((one.get("resources") or {}).get("requests") or {}).get("memory", "0")) for one in pod["spec"]["containers"]
        )
        return f"0/{len(nodes)} nodes are available: {len(nodes)} Insufficient memory." if asked > room else ""

    def _orphans(self) -> Iterator[Any]:
        """Pods of StatefulSets that are gone, and processes of pods that are gone."""
        sets = {one["metadata"]["uid"] for one in self.store.select("apps/statefulsets", "", "")[1]}
        pods = {one["metadata"]["uid"]: one for one in self.store.select("/pods", "", "")[1]}
        for pod in pods.values():
            owners = pod["metadata"].get("ownerReferences") or ()
            if owners and owners[0]["uid"] not in sets and not pod["metadata"].get("deletionTimestamp"):
                yield lambda pod=pod: self.store.delete(_key(pod))
        for uid, worker in list(self.double.workers.items()):
            if uid not in pods:
                worker.end(_FORCED)  # a real node hears of it late, and its processes run on until then

    def _namespaces(self) -> Iterator[Any]:
        for space in self.store.select("/namespaces", "", "")[1]:
            if not space["metadata"].get("deletionTimestamp"):
                continue
            name = space["metadata"]["name"]
            left = [(resource, one) for resource in self.store.objects for one in self.store.select(resource, name, "")[1]
                    if resource not in ("/namespaces",) and one["metadata"].get("namespace") == name]  # fmt: skip
            for resource, one in left:
                yield lambda key=(resource, name, one["metadata"]["name"]): self.store.delete(key, grace=0)
            if not left:
                yield lambda space=space: self.store.finish(
                    ("/namespaces", "", space["metadata"]["name"]), space["metadata"]["uid"]
                )

    def end(self) -> None:
        self.ending.set()
        with self.store.changed:
            self.store.changed.notify_all()
        self.join(5)


def revision(owner: Json) -> str:
    """Of a StatefulSet's template."""
    text = json.dumps(owner["spec"]["template"], sort_keys=True)
    return f"{owner['metadata']['name']}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _owned(pod: Json, uid: str) -> bool:
    return any(one["uid"] == uid for one in pod["metadata"].get("ownerReferences") or ())


def _key(pod: Json) -> tuple[str, str, str]:
    return "/pods", pod["metadata"]["namespace"], pod["metadata"]["name"]
