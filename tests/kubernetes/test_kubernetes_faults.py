"""What goes wrong in real clusters, and what the runtime says about it; on the double, whose knobs bring the faults."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kube_cluster import TEST_IMAGE, Cluster

from clawportal.contracts.runtimes import Observed, Ref, RunState, TenantLimits
from clawportal.contracts.workloads import Check, File, Image, Process, Workload
from clawportal.errors import Conflict, GiveUp, Invalid, Problem, Retry, Unavailable
from clawportal_kubernetes import explain, names
from tests.kubernetes.double.api import KubeDouble

SLEEP = Process("main", (sys.executable, "-I", "-S", "-c", "import time; print('ready', flush=True); time.sleep(3600)"))
WORK = Workload(processes=(SLEEP,), files=(File("a", "one"),), image=TEST_IMAGE, stop_grace=2.0, memory_bytes=256 << 20)
REF = Ref("01NORA", "Nora", "t-1", "ACME Inc.")


def eventually(found: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    until = time.monotonic() + seconds
    while True:
        answer = found()
        if answer:
            return answer
        assert time.monotonic() < until, f"not in time: {what}"
        time.sleep(0.05)


def running(runtime: Any, ref: Ref = REF) -> Observed:
    eventually(lambda: runtime.inspect(ref).state is RunState.RUNNING, f"{ref} runs")
    return runtime.inspect(ref)  # type: ignore[no-any-return]


def reason(runtime: Any, wanted: str, ref: Ref = REF) -> Observed:
    return eventually(lambda: (seen := runtime.inspect(ref)).reason == wanted and seen, wanted)  # type: ignore[no-any-return]


# ---- connecting


def test_a_kubeconfig_that_cannot_work_is_refused_with_the_field(cluster: Cluster) -> None:
    good = str(cluster.settings["kubeconfig"])
    for text, words in (
        ("{", "no YAML"), ("a: 1", "must hold clusters"), (good.replace('"clusters": [', '"clusters": ["x", '), "lists"),
        (good.replace('"token": "double-token"', '"tokenFile": "/etc/shadow"'), "names a file"),
        (good.replace('"token": "double-token"', '"exec": {"command": "id"}'), "program"),
        (good.replace('"user": "portal"', '"user": "nobody"'), "no user"), (good.replace("http://", "ftp://"), "no server"),
    ):  # fmt: skip
        with pytest.raises(Invalid) as caught:
            cluster.connect(kubeconfig=text)
        assert caught.value.errors[0].path == "kubeconfig" and words in caught.value.detail, text
    with pytest.raises(Invalid) as caught:
        cluster.connect(context="other")
    assert caught.value.errors[0].path == "context"


def test_a_token_that_is_not_accepted_is_told(cluster: Cluster, double: KubeDouble) -> None:
    runtime = cluster.connect(kubeconfig=double.kubeconfig("expired"))
    finding = runtime.diagnose()[-1]
    assert not finding.ok and "credentials" in finding.message and "kubeconfig" in finding.remedy
    with pytest.raises(Problem, match="credentials"):
        runtime.observe()


def test_nobody_at_the_address_is_a_finding(cluster: Cluster, double: KubeDouble) -> None:
    text = double.kubeconfig().replace(double.address, "http://127.0.0.1:1")
    finding = cluster.connect(kubeconfig=text).diagnose()[0]
    assert not finding.ok and "nobody listens" in finding.message


def test_every_missing_right_is_told(cluster: Cluster, double: KubeDouble) -> None:
    double.denied |= {("create", "pods/exec"), ("patch", "statefulsets")}
    bad = {one.name: one.message for one in cluster.connect().diagnose() if not one.ok}
    assert set(bad) == {"Right: pods/exec", "Right: statefulsets.apps"}
    assert "create pods/exec" in bad["Right: pods/exec"]
    double.denied.clear()
    assert all(one.ok for one in cluster.connect().diagnose())


def test_a_missing_right_ends_a_start_in_words(cluster: Cluster, double: KubeDouble) -> None:
    double.denied.add(("patch", "statefulsets"))
    with pytest.raises(GiveUp) as caught:
        cluster.connect().apply(REF, WORK, {})
    assert caught.value.reason == "RightsMissing" and "rbac.yaml" in caught.value.remedy


def test_a_storage_class_that_is_missing_is_found(cluster: Cluster) -> None:
    runtime = cluster.connect(storage_class="fast")
    finding = next(one for one in runtime.diagnose() if one.name == "Storage class")
    assert not finding.ok and "standard" in finding.message
    runtime.apply(REF, WORK, {})
    assert "storage class" in reason(runtime, "VolumePending").remedy


# ---- what does not start


def test_an_image_that_does_not_exist(cluster: Cluster, double: KubeDouble) -> None:
    double.missing_images.add("nobody/nothing:1")
    runtime = cluster.connect()
    runtime.apply(REF, replace(WORK, image=Image("nobody/nothing:1")), {})
    seen = reason(runtime, "ImagePullFailed")
    assert seen.state is RunState.PENDING and "nobody/nothing:1" in seen.message and "image" in seen.remedy


def test_a_pod_that_no_node_may_run(cluster: Cluster) -> None:
    runtime = cluster.connect(node_selector={"disk": "fast"})
    runtime.apply(REF, WORK, {})
    assert "node selector" in reason(runtime, "Unschedulable").remedy
    other = replace(REF, instance_id="01BIG", name="big")
    roomy = cluster.connect()
    roomy.apply(other, replace(WORK, memory_bytes=64 << 30), {})
    assert "memory" in reason(roomy, "NoRoom", other).remedy


def test_a_full_quota(cluster: Cluster) -> None:
    runtime = cluster.connect()
    ref = replace(REF, limits=TenantLimits(memory_bytes=300 << 20))
    runtime.apply(ref, WORK, {})
    running(runtime)
    second = replace(ref, instance_id="01TWO", name="two")
    runtime.apply(second, WORK, {})
    seen = reason(runtime, "QuotaExceeded", second)
    assert seen.state is RunState.PENDING and "limits.memory" in seen.message and seen.remedy
    third = replace(ref, instance_id="01THREE", name="three", limits=TenantLimits(instances=2))
    with pytest.raises(Retry) as caught:
        runtime.apply(third, WORK, {})
    assert caught.value.reason == "QuotaExceeded"


def test_files_that_cannot_be_placed(cluster: Cluster) -> None:
    runtime = cluster.connect()
    runtime.apply(REF, replace(WORK, files=(File("a", "x"), File("a/b", "y"))), {})
    seen = reason(runtime, "FilesFailed")
    assert "a/b" in seen.message


def test_a_claw_that_runs_out_of_memory(cluster: Cluster) -> None:
    hungry = replace(SLEEP, argv=(*SLEEP.argv[:4], "import time; time.sleep(1); x = bytearray(200 << 20); time.sleep(60)"))
    runtime = cluster.connect()
    runtime.apply(REF, replace(WORK, processes=(hungry,), memory_bytes=100 << 20), {})
    assert "memory limit" in reason(runtime, "OutOfMemory").remedy


def test_a_crash_loop(cluster: Cluster) -> None:
    runtime = cluster.connect()
    broken = replace(SLEEP, argv=(*SLEEP.argv[:4], "import sys; sys.exit(7)"))
    runtime.apply(REF, replace(WORK, processes=(broken,)), {})
    seen = eventually(lambda: (one := runtime.inspect(REF)).restarts >= 2 and one.reason == "CrashLoop" and one, "a crash loop")
    assert seen.exit_code == 7 and "code 7" in seen.message and "log" in seen.remedy
    runtime.kill(REF)
    eventually(lambda: runtime.inspect(REF).state is RunState.EXITED, "it ends")


@pytest.mark.parametrize(
    ("status", "state", "wanted"),
    [
        ({"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}, RunState.PENDING, "Evicted"),
        ({"phase": "Unknown", "reason": "NodeLost"}, RunState.UNKNOWN, "NodeLost"),
    ],
)
def test_what_nodes_do(tmp_path: Any, status: dict[str, Any], state: RunState, wanted: str) -> None:
    with KubeDouble(idle=True) as double:
        cluster = Cluster(double.settings(), tmp_path, double)
        runtime = cluster.connect()
        runtime.apply(REF, WORK, {})
        pods = double.store.objects["/pods"]
        key = eventually(lambda: next(iter(pods), None), "its pod")
        double._controllers.end()  # else an evicted pod is made anew at once
        double.set_status(("/pods", *key), pods[key]["metadata"]["uid"], status)
        seen = reason(runtime, wanted)
        assert seen.state is state and seen.message and seen.remedy
        cluster.end()


# ---- hands of others


def test_unmanaged_objects_of_the_same_name_are_refused(cluster: Cluster, double: KubeDouble) -> None:
    runtime = cluster.connect()
    space = names.namespace_name("claw-", cluster.id, REF)
    double.store.create(("/namespaces", "", space), {"apiVersion": "v1", "kind": "Namespace", "metadata": {}})
    with pytest.raises(GiveUp) as caught:
        runtime.apply(REF, WORK, {})
    assert caught.value.reason == "NameTaken" and space in caught.value.message
    other = replace(REF, tenant="t-2")
    claim = {"apiVersion": "v1", "kind": "Secret", "metadata": {"labels": {"app": "x"}}, "data": {"a": "eA=="}}
    runtime.apply(other, WORK, {})
    running(runtime, other)
    space, name = names.namespace_name("claw-", cluster.id, other), names.object_name(replace(other, instance_id="01SEC"))
    double.store.create(("/secrets", space, f"{name}-secrets"), claim)
    with pytest.raises(GiveUp, match="did not make"):
        wanted = replace(WORK, processes=(replace(SLEEP, secret_env={"T": "token"}),))
        runtime.apply(replace(other, instance_id="01SEC"), wanted, {"token": "x"})
    assert double.store.get(("/secrets", space, f"{name}-secrets"))["data"] == {"a": "eA=="}


def test_what_is_edited_by_hand_is_told_and_taken_back(cluster: Cluster, double: KubeDouble) -> None:
    runtime = cluster.connect()
    runtime.apply(REF, WORK, {})
    first = running(runtime)
    key = next(("apps/statefulsets", *one) for one in double.store.objects["apps/statefulsets"])
    found = double.store.get(key)
    found["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"
    found["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "ADDED", "value": "x"})
    double.store.update(key, found, "kubectl-edit")
    seen = eventually(lambda: (one := runtime.inspect(REF)).drift and one, "the change is told")
    assert "kubectl-edit changed" in seen.drift and "image" in seen.drift and seen.incarnation == first.incarnation
    runtime.apply(REF, WORK, {})
    eventually(lambda: not runtime.inspect(REF).drift, "it is taken back")
    container = double.store.get(key)["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == TEST_IMAGE.reference and "ADDED" not in {one["name"] for one in container["env"]}
    assert runtime.inspect(REF).incarnation == first.incarnation


def test_what_is_deleted_by_hand_is_seen_and_comes_back_with_its_data(cluster: Cluster, double: KubeDouble) -> None:
    runtime = cluster.connect()
    runtime.apply(REF, WORK, {})
    running(runtime)
    key = next(("apps/statefulsets", *one) for one in double.store.objects["apps/statefulsets"])
    double.store.delete(key)
    eventually(lambda: runtime.inspect(REF).state is RunState.ABSENT, "it is gone")
    runtime.apply(REF, WORK, {})
    running(runtime)
    assert double.store.get(key)["metadata"]["name"] == key[2], "the same names, found by its volume"
    pod = ("/pods", key[1], f"{key[2]}-0")
    before = runtime.inspect(REF).incarnation
    double.store.delete(pod, grace=0)
    eventually(lambda: (one := runtime.inspect(REF)).state is RunState.RUNNING and one.incarnation != before, "a new pod runs")


def test_two_portals_at_once(cluster: Cluster, double: KubeDouble) -> None:
    portals = [cluster.connect() for _ in range(4)]

    def start(portal: Any) -> None:
        for _ in range(50):
            try:
                portal.apply(REF, WORK, {})
                return
            except Retry:
                time.sleep(0.05)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, portals))
    seen = {running(portal).incarnation for portal in portals}
    assert len(seen) == 1 and len(double.store.objects["apps/statefulsets"]) == 1
    with pytest.raises(Conflict):
        portals[0].apply(REF, replace(WORK, files=(File("a", "two"),)), {})


# ---- the API server


def test_a_server_that_is_away(cluster: Cluster, double: KubeDouble) -> None:
    runtime = cluster.connect()
    runtime.apply(REF, WORK, {})
    first = running(runtime)
    double.go_away()
    eventually(lambda: _unavailable(runtime.observe), "nobody is told a state that is not known")
    with pytest.raises((Unavailable, Retry)):
        runtime.apply(replace(REF, instance_id="01LATER"), WORK, {})
    double.come_back()
    eventually(lambda: not _unavailable(runtime.observe), "it is heard again")
    assert runtime.inspect(REF).incarnation == first.incarnation


def _unavailable(work: Callable[[], Any]) -> bool:
    try:
        work()
    except Unavailable:
        return True
    return False


def test_history_that_expired_is_listed_again(cluster: Cluster, double: KubeDouble) -> None:
    runtime = cluster.connect()
    runtime.apply(REF, WORK, {})
    running(runtime)
    lists = runtime.cluster.mirror.lists()  # type: ignore[attr-defined]  # of this runtime
    double.go_away()
    key = next(("/pods", *one) for one in double.store.objects["/pods"])
    double.store.delete(key, grace=0)
    double.store.compact()
    double.come_back()
    eventually(lambda: runtime.cluster.mirror.lists() >= lists + 2, "it lists again")  # type: ignore[attr-defined]  # as above
    running(runtime)


def test_a_watch_goes_on_where_it_was_cut(cluster: Cluster, double: KubeDouble) -> None:
    runtime = cluster.connect()
    runtime.apply(REF, WORK, {})
    running(runtime)
    lists = runtime.cluster.mirror.lists()  # type: ignore[attr-defined]  # of this runtime
    for _ in range(3):
        double.cut()
        time.sleep(0.2)
    runtime.kill(REF)
    eventually(lambda: runtime.inspect(REF).state is RunState.EXITED, "the end is seen")
    assert runtime.cluster.mirror.lists() == lists, "nothing was listed again"  # type: ignore[attr-defined]  # as above


def test_the_steady_state_asks_nothing(cluster: Cluster, double: KubeDouble) -> None:
    runtime = cluster.connect()
    runtime.apply(REF, WORK, {})
    running(runtime)
    before = double.requests.total()
    for _ in range(100):
        runtime.inspect(REF)
        runtime.observe()
        runtime.apply(REF, WORK, {})
    assert double.requests.total() - before <= 2


def test_a_lost_node_is_left_by_a_kill(cluster: Cluster, double: KubeDouble) -> None:
    runtime = cluster.connect()
    runtime.apply(REF, WORK, {})
    running(runtime)
    double.silent_node = True
    leave_by_a_kill(runtime)


def leave_by_a_kill(runtime: Any) -> None:
    runtime.terminator.kill_patience = 0.5
    runtime.kill(REF)
    assert runtime.inspect(REF).state is RunState.EXITED


# ---- what a real cluster taught


def test_a_kill_waits_for_the_end_of_what_it_kills(cluster: Cluster, double: KubeDouble) -> None:
    """Deleted without a grace, a pod is forgotten while it runs on, and the next one would join it on its volume."""
    runtime = cluster.connect()
    runtime.apply(REF, WORK, {})
    running(runtime)
    worker = next(iter(double.workers.values()))
    runtime.kill(REF)
    assert runtime.inspect(REF).state is RunState.EXITED and not worker.containers[0].pids()


def test_what_has_just_said_that_it_runs_can_be_used(cluster: Cluster, double: KubeDouble) -> None:
    runtime = cluster.connect()
    double.slow_status = 1.0
    runtime.apply(REF, WORK, {})
    eventually(lambda: [line for line in runtime.logs(REF) if line and line.text == "ready"], "it speaks")
    assert runtime.inspect(REF).state is RunState.PENDING
    session = runtime.exec(REF, ("true",))
    session.close()
    assert [one.name for one in runtime.list_files(REF, "state")] == ["a"]


def test_a_ping_does_not_hold_up_whoever_listens(cluster: Cluster, double: KubeDouble) -> None:
    runtime = cluster.connect()
    runtime.apply(REF, WORK, {})
    running(runtime)
    session = runtime.exec(REF, ("sleep", "600"))
    with ThreadPoolExecutor(1) as pool:
        double.ping()
        try:
            assert pool.submit(session.receive, 0.3).result(20) is None
        finally:
            session.close()


def test_a_volume_is_never_sent_again(cluster: Cluster, double: KubeDouble) -> None:
    """Not with what the cluster filled in left out, not by two at once; only another name and a greater size."""
    runtime, other = cluster.connect(), cluster.connect()
    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(each.apply, REF, WORK, {}) for each in (runtime, other)]:
            one.result()
    claims = double.store.objects["/persistentvolumeclaims"]
    assert [one["spec"]["storageClassName"] for one in claims.values()] == ["standard"]
    for bytes_, wanted in ((None, "1Gi"), (3 << 30, str(3 << 30)), (2 << 30, str(3 << 30))):
        runtime.kill(REF)
        runtime.apply(REF, replace(WORK, storage_bytes=bytes_), {})
        assert next(iter(claims.values()))["spec"]["resources"]["requests"]["storage"] == wanted


def test_a_life_needs_no_right_that_is_not_granted(cluster: Cluster, double: KubeDouble) -> None:
    """What is really asked for, beside what the connection test asks about."""
    runtime = cluster.connect()
    runtime.check(REF, replace(WORK, check=Check((sys.executable, "-c", "pass"))), {})
    runtime.apply(REF, WORK, {})
    running(runtime)
    runtime.write_files(REF, replace(WORK, files=(File("a", "two"),)))
    runtime.kill(REF)
    assert [one.name for one in runtime.list_files(REF, "state")] == ["a"]
    runtime.remove(REF, keep_data=False)
    rules = yaml.safe_load_all((Path(__file__).parents[2] / "deploy" / "kubernetes" / "rbac.yaml").read_text(encoding="utf-8"))
    role = next(one for one in rules if one["kind"] == "ClusterRole")
    granted = {(verb, name) for rule in role["rules"] for name in rule["resources"] for verb in rule["verbs"]}
    assert double.used - granted == set()


CHECKED = replace(WORK, check=Check((sys.executable, "-c", "pass")))
WHOLE = replace(REF, limits=TenantLimits(instances=3, memory_bytes=8 << 30))


def quotas(double: KubeDouble) -> list[dict[str, str]]:
    """What the quota of the tenant ever was."""
    told = [one.object for one in double.store.since(0, "/resourcequotas", 0.0) if one.kind != "DELETED"]
    return [one["spec"].get("hard") or {} for one in told]


def test_a_check_changes_nothing_of_the_tenant(cluster: Cluster, double: KubeDouble) -> None:
    """Also one that says less than it could of the tenant, and one that is refused."""
    runtime = cluster.connect()
    runtime.apply(replace(WHOLE, instance_id="01FIRST", name="first"), WORK, {})
    before, space = quotas(double), double.store.get(("/namespaces", "", names.namespace_name("claw-", cluster.id, WHOLE)))
    later = cluster.connect()  # another portal, which remembers nothing
    for ref in (REF, replace(REF, tenant_name=""), WHOLE):
        later.check(ref, CHECKED, {})
    with pytest.raises(GiveUp):
        later.check(REF, replace(CHECKED, check=Check((sys.executable, "-c", "import sys; sys.exit(3)"))), {})
    assert quotas(double) == before and before[-1]["limits.memory"] == str(8 << 30)
    now = double.store.get(("/namespaces", "", space["metadata"]["name"]))
    assert now["metadata"]["annotations"] == space["metadata"]["annotations"] == {names.NAME: "ACME Inc."}
    assert not [key for key in double.store.objects["/pods"] if "-check-" in key[1]], "no pod of a check is left"


def test_a_check_makes_what_is_missing_of_the_tenant(cluster: Cluster, double: KubeDouble) -> None:
    runtime = cluster.connect()
    runtime.check(WHOLE, CHECKED, {})
    [(space, name)] = double.store.objects["/resourcequotas"]
    double.store.delete(("/resourcequotas", space, name))
    cluster.connect().check(WHOLE, CHECKED, {})
    assert double.store.get(("/resourcequotas", space, name))["spec"]["hard"]["count/statefulsets.apps"] == "3"


def test_a_namespace_that_was_deleted_is_made_again_at_once(cluster: Cluster, double: KubeDouble) -> None:
    """What is remembered of a tenant holds for the very namespace that was filled."""
    runtime = cluster.connect()
    runtime.apply(WHOLE, WORK, {})
    running(runtime)
    space = names.namespace_name("claw-", cluster.id, WHOLE)
    cluster.api().delete(f"/api/v1/namespaces/{space}")
    eventually(lambda: runtime.inspect(REF).state is RunState.ABSENT, "all of it is gone")
    heard = set()

    def again() -> bool:
        try:
            runtime.apply(WHOLE, WORK, {})
            return True
        except Retry as later:
            heard.add(later.reason)
            return False

    eventually(again, "it is made again", 10)
    running(runtime)
    assert heard <= {"NamespaceEnding", "VolumeEnding", "Stopping"}
    assert (
        quotas(double)[-1]["count/statefulsets.apps"] == "3"
        and double.store.select("networking.k8s.io/networkpolicies", space, "")[1]
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found", "VolumePending"),
        ('0/1 nodes are available: persistentvolumeclaim "nora-data" not found. not found', "VolumeMissing"),
        ("0/3 nodes are available: 3 node(s) had volume node affinity conflict. preemption: not found", "VolumePending"),
        ("0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate, preemption: not found", "NoRoom"),
    ],
)
def test_a_claim_that_is_not_bound_yet_is_not_missing(words: str, reason: str) -> None:
    """In the words of Kubernetes 1.36."""
    assert explain.unschedulable(words).reason == reason


def test_a_volume_that_takes_a_moment_is_waited_for(cluster: Cluster, double: KubeDouble) -> None:
    double.bind_seconds = 1.0
    runtime = cluster.connect()
    runtime.apply(REF, WORK, {})
    heard = set()
    eventually(lambda: heard.add((seen := runtime.inspect(REF)).reason) or seen.state is RunState.RUNNING, "it runs")
    assert "VolumeMissing" not in heard and "VolumePending" in heard


def test_a_claw_too_large_for_any_node_passes_its_check_and_tells_of_room(cluster: Cluster) -> None:
    runtime = cluster.connect()
    large = replace(CHECKED, memory_bytes=100 << 30)
    runtime.check(REF, large, {})
    runtime.apply(REF, large, {})
    assert "memory" in reason(runtime, "NoRoom").remedy
    began = time.monotonic()
    runtime.kill(REF)
    runtime.remove(REF, keep_data=False)
    assert time.monotonic() - began < 10


def test_a_check_that_finds_no_node_says_so_and_lets_others_go_on(cluster: Cluster, double: KubeDouble) -> None:
    """The next look finds the same pod again."""
    runtime = cluster.connect(node_selector={"disk": "fast"})
    runtime.checks.patience = 0.5  # type: ignore[attr-defined]  # of this runtime
    found = set()
    for _ in range(2):
        with pytest.raises(Retry) as caught:
            runtime.check(REF, CHECKED, {})
        assert caught.value.reason == "Unschedulable"
        found |= {one["metadata"]["uid"] for one in double.store.objects["/pods"].values()}
    assert len(found) == 1
    node = double.store.get(("/nodes", "", "node-1"))
    node["metadata"]["labels"]["disk"] = "fast"
    double.store.update(("/nodes", "", "node-1"), node, "test")
    eventually(lambda: _checked(runtime), "it was judged")
    assert not double.store.objects["/pods"]


def _checked(runtime: Any) -> bool:
    try:
        runtime.check(REF, CHECKED, {})
        return True
    except Retry:
        return False


# ---- what others change


def set_env(double: KubeDouble) -> tuple[str, str, str]:
    """As `kubectl set env statefulset/... ADDED=x`."""
    key = next(("apps/statefulsets", *one) for one in double.store.objects["apps/statefulsets"])
    with double.store.lock:
        found = double.store.get(key)
        found["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "ADDED", "value": "x"})
        double.store.update(key, found, "kubectl-set")
    return key


def pod_env(double: KubeDouble) -> set[str]:
    [pod] = [one for one in double.store.objects["/pods"].values() if not one["metadata"].get("deletionTimestamp")]
    return {one["name"] for one in pod["spec"]["containers"][0]["env"]}


def test_a_restart_takes_back_what_somebody_added(cluster: Cluster, double: KubeDouble) -> None:
    """It is what the page advises."""
    runtime = cluster.connect()
    runtime.apply(REF, WORK, {})
    running(runtime)
    key = set_env(double)
    eventually(lambda: "kubectl-set" in runtime.inspect(REF).drift, "the change is told")
    runtime.stop(REF, 2.0)
    eventually(lambda: runtime.inspect(REF).state is RunState.EXITED, "it has ended")
    runtime.apply(REF, WORK, {})
    running(runtime)
    assert not runtime.inspect(REF).drift and "ADDED" not in pod_env(double)
    assert "ADDED" not in str(double.store.get(key)["spec"])


def test_a_pod_that_was_made_from_a_change_is_made_again(cluster: Cluster, double: KubeDouble) -> None:
    """To mend the StatefulSet is not enough: until the pod is another one, what runs is told as changed."""
    runtime = cluster.connect()
    runtime.apply(REF, WORK, {})
    first = running(runtime)
    key = set_env(double)
    eventually(lambda: runtime.inspect(REF).drift, "the change is told")
    double.store.delete(("/pods", key[1], f"{key[2]}-0"))
    eventually(
        lambda: (seen := runtime.inspect(REF)).state is RunState.RUNNING and seen.incarnation != first.incarnation, "again"
    )
    assert "ADDED" in pod_env(double)
    runtime.apply(REF, WORK, {})
    eventually(
        lambda: not (seen := runtime.inspect(REF)).drift and seen.state is RunState.RUNNING, "what runs is what was planned"
    )
    assert "ADDED" not in pod_env(double)
    quiet = runtime.inspect(REF).incarnation
    for _ in range(3):
        runtime.apply(REF, WORK, {})
    assert runtime.inspect(REF).incarnation == quiet, "and only once"


def test_what_somebody_changed_elsewhere_restarts_nothing(cluster: Cluster, double: KubeDouble) -> None:
    runtime = cluster.connect()
    runtime.apply(REF, WORK, {})
    first = running(runtime)
    key = next(("apps/statefulsets", *one) for one in double.store.objects["apps/statefulsets"])
    with double.store.lock:
        found = double.store.get(key)
        found["spec"]["minReadySeconds"] = 3
        double.store.update(key, found, "kubectl-edit")
    eventually(lambda: runtime.inspect(REF).drift, "the change is told")
    for _ in range(3):
        runtime.apply(REF, WORK, {})
    assert running(runtime).incarnation == first.incarnation and not runtime.inspect(REF).drift


def test_a_node_without_a_kubelet_is_told_and_left_by_a_kill(cluster: Cluster, double: KubeDouble) -> None:
    """All that its pods say is that they run: the cluster says of them that they are not ready, and why in an event."""
    runtime = cluster.connect()
    runtime.apply(REF, WORK, {})
    first = running(runtime)
    double.lose_node()
    seen = reason(runtime, "NodeLost")
    assert seen.state is RunState.UNKNOWN and "node-1" in seen.message and "kill" in seen.remedy
    double.find_node()
    eventually(lambda: runtime.inspect(REF).state is RunState.RUNNING, "it is back")
    assert runtime.inspect(REF).incarnation == first.incarnation
    double.lose_node()
    reason(runtime, "NodeLost")
    leave_by_a_kill(runtime)


def test_a_pod_that_is_only_not_ready_is_no_lost_node(cluster: Cluster, double: KubeDouble) -> None:
    runtime = cluster.connect()
    runtime.apply(REF, WORK, {})
    running(runtime)
    key, pod = next(iter(double.store.objects["/pods"].items()))
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": pod["metadata"]["creationTimestamp"]}
    double.set_status(("/pods", *key), pod["metadata"]["uid"], {**pod["status"], "conditions": [ready]})
    time.sleep(0.3)
    assert runtime.inspect(REF).state is RunState.RUNNING
