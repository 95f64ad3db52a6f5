"""The objects that the runtime makes, and that they are all it has the rights for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from clawportal.contracts.runtimes import Ref, TenantLimits
from clawportal.contracts.workloads import File, Image, Probe, Process, Workload
from clawportal.errors import GiveUp
from clawportal_kubernetes import claw_manifests, file_maps, names, pod_manifests, tenant_manifests
from clawportal_kubernetes.diagnose import NEEDS
from clawportal_kubernetes.settings import KubernetesSettings

ROOT = Path(__file__).resolve().parents[2]
REF = Ref("01NORA", "Nora the claw!", "t-1", "ACME Inc.", TenantLimits(3, 4.0, 4 << 30, 20 << 30))
WORK = Workload(
    files=(File("a/b.json", "{}"), File("SOUL.md", "it's me", "work", policy="seed_once")),
    processes=(
        Process("echo", ("/bin/echo", "$(HOME)", "$x"), {"A": "$$"}, {"TOKEN": "token"}), Process("Side Car", ("/bin/cat",)),
    ),
    ports={"http": 8700}, memory_bytes=512 << 20, cpu_cores=0.5, stop_grace=7.5, image=Image("registry/claw:1", uid=1234, gid=99),
    probe=Probe("http", "/health"), startup_seconds=31.0,
)  # fmt: skip


def settings(**given: object) -> KubernetesSettings:
    return KubernetesSettings.model_validate(given)


def whole(**given: object) -> dict[str, object]:
    chosen = settings(**given)
    files = file_maps.files_of(chosen, REF, "nora", WORK)
    return claw_manifests.stateful_set(chosen, "c1", REF, "claw-acme", "nora", WORK, files, "mark").body


def test_nothing_runs_with_more_than_it_needs() -> None:
    pod = whole()["spec"]["template"]["spec"]  # type: ignore[index]  # a document
    assert pod["automountServiceAccountToken"] is False and pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 1234 and pod["securityContext"]["fsGroup"] == 99
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in (*pod["initContainers"], *pod["containers"]):
        own = one["securityContext"]
        assert own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"] and own["capabilities"] == {"drop": ["ALL"]}
        assert one["resources"]["limits"]["memory"] and one["resources"]["requests"]["cpu"]


def test_a_workload_becomes_one_pod() -> None:
    body = whole()
    spec, pod = body["spec"], body["spec"]["template"]["spec"]  # type: ignore[index]  # a document
    assert spec["replicas"] == 1 and spec["updateStrategy"] == {"type": "OnDelete"}  # type: ignore[index]  # as above
    assert pod["terminationGracePeriodSeconds"] == 8
    first, second = pod["containers"]
    assert first["command"] == ["/bin/echo", "$$(HOME)", "$$x"] and first["name"] == "echo" and second["name"] == "side-car"
    env = {one["name"]: one for one in first["env"]}
    assert env["A"]["value"] == "$$$$" and env["TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "nora-secrets", "key": "token"}
    assert first["resources"]["limits"] == {"memory": str(256 << 20), "cpu": "250m"}
    assert first["startupProbe"]["failureThreshold"] == 16 and first["startupProbe"]["httpGet"]["path"] == "/health"
    assert "startupProbe" not in second


def test_equal_input_gives_equal_objects() -> None:
    assert json.dumps(whole(), sort_keys=True) == json.dumps(whole(), sort_keys=True)


def test_the_cluster_decides_about_nodes_and_images() -> None:
    body = whole(
        node_selector={"claws": "yes"}, tolerations=[{"key": "claws", "operator": "Exists"}], runtime_class="gvisor",
        priority_class="low", spread_over="topology.kubernetes.io/zone", image_pull_secret='{"auths": {}}',
        image_pull_policy="Always",
    )  # fmt: skip
    pod = body["spec"]["template"]["spec"]  # type: ignore[index]  # a document
    assert pod["nodeSelector"] == {"claws": "yes"} and pod["runtimeClassName"] == "gvisor" and pod["priorityClassName"] == "low"
    assert pod["topologySpreadConstraints"][0]["topologyKey"] == "topology.kubernetes.io/zone"
    assert pod["imagePullSecrets"] == [{"name": "claw-registry"}] and pod["containers"][0]["imagePullPolicy"] == "Always"


def test_a_tenant_is_kept_apart() -> None:
    chosen = settings(blocked_networks=["10.0.0.0/8", "fd00::/8"])
    found = {
        item.body["metadata"]["name"]: item.body for item in tenant_manifests.tenant_objects(chosen, "c1", REF, "s", "portal")
    }
    assert found["claw-deny-all"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    blocks = [rule["to"][0]["ipBlock"] for rule in found["claw-egress"]["spec"]["egress"] if "to" in rule]
    assert [one["except"] for one in blocks] == [["10.0.0.0/8"], ["fd00::/8"]]
    assert found["claw-quota"]["spec"]["hard"] == {
        "count/statefulsets.apps": "3", "limits.cpu": "4000m", "limits.memory": str(4 << 30), "requests.storage": str(20 << 30),
    }  # fmt: skip
    assert "claw-portal" in found
    space = tenant_manifests.namespace(chosen, "c1", REF, "s").body["metadata"]["labels"]
    assert space["pod-security.kubernetes.io/enforce"] == "restricted"


def test_names_can_be_read_and_fit() -> None:
    assert names.object_name(REF).startswith("nora-the-claw-") and names.namespace_name("claw-", "c1", REF).startswith(
        "claw-acme-inc-"
    )
    long = Ref("01X", "ü" * 30 + "9" * 100, "t", "x" * 200)
    assert len(names.object_name(long)) <= 49 and names.object_name(long)[0].isalpha()
    assert len(names.namespace_name("a" * 20, "c1", long)) <= 63
    assert names.namespace_name("claw-", "c1", REF) != names.namespace_name("claw-", "c2", REF)


def test_what_can_never_run_is_refused() -> None:
    chosen = settings()
    files = file_maps.files_of(chosen, REF, "n", WORK)
    for bad in (
        Workload(image=Image("x")),
        Workload(processes=WORK.processes),
        Workload(processes=WORK.processes, image=Image("x", uid=0)),
    ):
        with pytest.raises(GiveUp):
            pod_manifests.pod_spec(chosen, REF, "n", bad, files)
    with pytest.raises(GiveUp, match="bytes"):
        file_maps.files_of(chosen, REF, "n", Workload(files=(File("big", "x" * 1_000_000),)))
    many = file_maps.files_of(chosen, REF, "n", Workload(files=tuple(File(f"f{n}", "x" * 400_000) for n in range(5))))
    assert len(many.maps) == 3


def test_rights_are_those_that_the_connection_test_asks_for() -> None:
    documents = yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "rbac.yaml").read_text(encoding="utf-8"))
    role = next(one for one in documents if one["kind"] == "ClusterRole")
    given = {(group, resource, verb) for rule in role["rules"] for group in rule["apiGroups"] for resource in rule["resources"]
             for verb in rule["verbs"]}  # fmt: skip
    assert given == {(need.group, need.resource, verb) for need in NEEDS for verb in need.verbs}


def test_the_client_is_imported_by_the_first_call_only() -> None:
    code = (
        "import sys\nfrom clawportal.contracts.runtimes import Place\nimport clawportal.app\n"
        "from clawportal_kubernetes.driver import KubernetesDriver\n"
        "KubernetesDriver().settings_model().model_json_schema()\n"
        "KubernetesDriver().connect(Place('c', 'C', {}, '/nonexistent'))\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'kubernetes'])"
    )
    path = f"{ROOT}:{ROOT / 'plugins'}"
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": path},
    )
    assert found.stdout.strip() == "[]", found.stderr
