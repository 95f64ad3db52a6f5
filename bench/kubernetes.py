"""How the Kubernetes runtime bears ten thousand pods: listing, a pass without change, changes, creates.

Against the API double, whose pods are only kept, not run; against the cluster of CLAWPORTAL_TEST_KUBECONFIG the creates alone.
The double runs in a process of its own, so that its memory and its time are not taken for the runtime's.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import secrets
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from clawportal.contracts.runtimes import Observed, Place, Ref, RunState
from clawportal.contracts.workloads import File, Image, Process, Workload

PODS = 10_000
CREATES = 200
CHANGES = 300
_PLACE = "bench-place"


def run() -> list[dict[str, Any]]:
    kubeconfig = os.environ.get("CLAWPORTAL_TEST_KUBECONFIG")
    rows = _kept()
    rows += _creates("the double")
    if kubeconfig:
        text = Path(kubeconfig).read_text(encoding="utf-8")
        rows += _creates("the real API server", {"kubeconfig": text, "namespace_prefix": "clawbench-"})
    return rows


def _connect(settings: dict[str, Any], place: str) -> Any:
    from clawportal_kubernetes.driver import KubernetesDriver

    given = {name: value for name, value in settings.items() if name != "kubeconfig"}
    return KubernetesDriver().connect(
        Place(place, "Bench", given, tempfile.mkdtemp(), secrets={"kubeconfig": settings["kubeconfig"]})
    )


def _memory() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def _workload() -> Workload:
    main = Process("main", (sys.executable, "-c", "import time; time.sleep(3600)"))
    return Workload(processes=(main,), files=(File("config.json", "{}"),), image=Image("python:3.12-slim"), memory_bytes=64 << 20)


# ---- the double in its own process


def _serve(pipe: Any, pods: int) -> None:
    from tests.kubernetes.double.api import KubeDouble

    with KubeDouble(idle=True) as double:
        double._controllers.end()
        _fill(double, pods)
        pipe.send(double.settings())
        while (asked := pipe.recv()) is not None:
            if asked == "requests":
                pipe.send(sum(double.requests.values()))
                continue
            key, uid, status = asked
            double.set_status(key, uid, status)
            pipe.send(time.time())


def _fill(double: Any, pods: int) -> None:
    """As the runtime itself would make them, with what a kubelet adds: one is made, and copied under other names."""
    from clawportal_kubernetes import claw_manifests, file_maps, names
    from clawportal_kubernetes.settings import KubernetesSettings

    if not pods:
        return
    store, settings, workload = double.store, KubernetesSettings.model_validate({}), _workload()
    ref, space, name = Ref("i-NUMBER", "claw NUMBER", "t-GROUP"), "default", "claw-number"
    files = file_maps.files_of(settings, ref, name, workload)
    body = claw_manifests.stateful_set(settings, _PLACE, ref, space, name, workload, files, "").body
    owner = store.create(("apps/statefulsets", space, name), body, names.MANAGER, operation="Apply")
    template = owner["spec"]["template"]
    pod = store.create(("/pods", space, f"{name}-0"), {
        "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": {**template["spec"], "nodeName": "node-1"},
        "status": _status("Running"),
    })  # fmt: skip
    for plural, made in (("apps/statefulsets", owner), ("/pods", pod)):
        text = json.dumps(made).replace('"namespace": "default"', '"namespace": "claw-GROUP"').replace(name, "claw-NUMBER")
        store.objects[plural].clear()
        for number in range(pods):
            copy = json.loads(text.replace("NUMBER", str(number)).replace("GROUP", str(number % 100)))
            store.version += 1
            copy["metadata"] |= {"uid": f"{plural[-4:]}-{number:08d}-0000", "resourceVersion": str(store.version)}
            store.objects[plural][copy["metadata"]["namespace"], copy["metadata"]["name"]] = copy
            store.text(copy)


def _status(phase: str, restarts: int = 0) -> dict[str, Any]:
    done = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-01-01T00:00:00Z"}}
    return {
        "phase": phase, "podIP": "10.0.0.1", "startTime": "2026-01-01T00:00:00Z",
        "conditions": [{"type": name, "status": "True"} for name in ("PodScheduled", "Initialized", "ContainersReady", "Ready")],
        "initContainerStatuses": [{"name": "files", "restartCount": 0, "ready": True, "image": "x", "state": done}],
        "containerStatuses": [{
            "name": "main", "restartCount": restarts, "ready": True, "image": "python:3.12-slim",
            "imageID": "sha256:" + "0" * 64, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        }],
    }  # fmt: skip


def _kept() -> list[dict[str, Any]]:
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    server = multiprocessing.get_context("fork").Process(target=_serve, args=(theirs, PODS), daemon=True)
    server.start()
    settings = ours.recv()
    bare = _bare(settings)
    runtime = _connect(settings, _PLACE)
    before = _memory()
    begin, used = time.perf_counter(), time.process_time()
    seen: list[Observed] = runtime.observe()
    first, first_used = time.perf_counter() - begin, time.process_time() - used
    assert len(seen) == PODS and all(one.state is RunState.RUNNING for one in seen)
    after = _memory()
    begin, used = time.perf_counter(), time.process_time()
    _no_change(runtime)
    again, again_used = time.perf_counter() - begin, time.process_time() - used
    rows = [
        {
            "what": f"{PODS:,} pods: first list of all, to every state",
            "value": round(first, 2),
            "unit": "s",
            "goal": "with next: 5",
        },
        {"what": f"{PODS:,} pods: look at all and at each, nothing changed", "value": round(again, 2), "unit": "s"},
        {"what": "CPU of the runtime for these two", "value": round(first_used + again_used, 2), "unit": "s"},
        {"what": "CPU of fetching the same lists and json.loads alone", "value": round(bare, 2), "unit": "s"},
        {"what": "CPU of the first list to that", "value": round(first_used / bare, 2), "unit": ""},
        *_portal_rounds(runtime, seen),
        {"what": f"{PODS:,} pods: more memory", "value": round(after - before, 1), "unit": "MB", "goal": "250"},
        *_changes(runtime, ours),
        {"what": "memory after that, more than after the list", "value": round(_memory() - after, 1), "unit": "MB"},
    ]
    runtime.close()
    ours.send(None)
    server.join(30)
    return rows


def _bare(settings: dict[str, Any]) -> float:
    """CPU of reading the two lists with nothing done about them: what nobody can do without who reads JSON in Python."""
    runtime = _connect(settings, "bench-bare")
    chosen = {"labelSelector": f"clawportal.io/place={_PLACE}"}
    runtime.cluster.api.get("/version")  # connects, and imports the client
    used = time.process_time()
    kept = [runtime.cluster.api.items(path, **chosen) for path in ("/api/v1/pods", "/apis/apps/v1/statefulsets")]
    used = time.process_time() - used
    assert [len(items) for items in kept] == [PODS, PODS]
    runtime.close()
    return used


def _portal_rounds(runtime: Any, seen: list[Observed]) -> list[dict[str, Any]]:
    """The portal's comparison of all that with as many rows, on SQLite."""
    from sqlalchemy import event, insert, select

    from clawportal import app as portal_app
    from clawportal import clock
    from clawportal.db import db, transaction
    from clawportal.engine.portal import Portal
    from clawportal.jobs import sync
    from clawportal.models import Cluster, Instance, Project
    from clawportal.settings import Settings
    from clawportal.testing.places import MemoryDriver

    app = portal_app.create_app(Settings(data_dir=Path(tempfile.mkdtemp()), jobs=False, log_level="error"))
    with app.app_context():
        db.create_all()
        portal_app.prepare_rows()
        portal: Portal = app.extensions["clawportal"]
        portal.registry.runtimes["measured"] = MemoryDriver(runtime, kind="measured")
        with transaction():
            db.session.add(Cluster(id=_PLACE, name="measured", title="Measured", runtime="measured"))
            project = db.session.execute(select(Project.id, Project.tenant_id)).one()
        fixed = {
            "tenant_id": project.tenant_id, "project_id": project.id, "cluster_id": _PLACE, "adapter": "echo", "version": "1.0",
            "spec": {}, "phase": "running", "sync": "synced", "health": "healthy", "observed_generation": 1, "due_at": None,
            "created_at": clock.now(), "labels": {},
        }  # fmt: skip
        with transaction():
            db.session.execute(insert(Instance), [
                {**fixed, "id": one.ref.instance_id, "name": one.ref.instance_id, "incarnation": one.incarnation} for one in seen
            ])  # fmt: skip
        statements: list[str] = []
        event.listen(db.engine, "before_cursor_execute", lambda _c, _u, statement, *_: statements.append(statement))
        cluster = db.session.get_one(Cluster, _PLACE)
        begin, used = time.perf_counter(), time.process_time()
        due = sync.sync_cluster(portal, cluster)
        took, used = time.perf_counter() - begin, time.process_time() - used
        assert due == 0, "nothing has changed"
        db.engine.dispose()
    return [
        {"what": f"{PODS:,} rows: the portal's round, nothing changed", "value": round(took, 2), "unit": "s", "goal": "5"},
        {"what": "CPU of that", "value": round(used, 2), "unit": "s"},
        {"what": "SQL statements of that", "value": len(statements), "unit": ""},
    ]


def _no_change(runtime: Any) -> None:
    for one in runtime.observe():
        runtime.inspect(one.ref)


def _changes(runtime: Any, pipe: Any) -> list[dict[str, Any]]:
    """From the server's write of a status to the runtime's word about it."""
    heard: dict[str, float] = {}
    over = threading.Event()

    def listen() -> None:
        for one in filter(None, runtime.watch(over.is_set)):
            heard.setdefault(f"{one.ref.instance_id}/{one.restarts}", time.time())

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    time.sleep(0.5)
    took = []
    pods = list(runtime.cluster.mirror.pods.things.values())
    for number, pod in enumerate(pods[:CHANGES]):
        pipe.send((("/pods", pod.space, pod.name), pod.uid, _status("Running", restarts=number + 1)))
        written = pipe.recv()
        key = f"{pod.instance}/{number + 1}"
        while key not in heard:
            time.sleep(0.0005)
        took.append(heard[key] - written)
    over.set()
    thread.join(5)
    cuts = statistics.quantiles(took, n=100)
    return [
        {"what": "a status change to the runtime's word, p50", "value": round(1000 * cuts[49], 1), "unit": "ms"},
        {"what": "a status change to the runtime's word, p99", "value": round(1000 * cuts[98], 1), "unit": "ms", "goal": "1000"},
    ]


# ---- creating


def _creates(where: str, settings: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    place = f"bench-{secrets.token_hex(4)}"
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    server = None
    if settings is None:
        server = multiprocessing.get_context("fork").Process(target=_serve, args=(theirs, 0), daemon=True)
        server.start()
        settings = ours.recv()
    runtime = _connect(settings, place)
    runtime.observe()
    workload = _workload()
    begin = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda number: runtime.apply(Ref(f"{place}-{number}", f"claw {number}", "t"), workload, {}), range(CREATES))
        )
    took = time.perf_counter() - begin
    rows = [{"what": f"{CREATES} creates reach {where}", "value": round(took, 2), "unit": "s", "goal": "20"}]
    if server is not None:
        ours.send("requests")
        rows.append({"what": "requests for each create", "value": round(ours.recv() / CREATES, 1), "unit": ""})
    assert len(runtime.observe()) == CREATES
    if server is None:
        for one in runtime.cluster.api.items("/api/v1/namespaces", labelSelector=f"clawportal.io/place={place}"):
            runtime.cluster.api.delete(f"/api/v1/namespaces/{one['metadata']['name']}")
    runtime.close()
    if server is not None:
        ours.send(None)
        server.join(30)
    return rows


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
