"""A portal and a Kubernetes cluster from end to end, through the API and the console's socket; on the double or a real one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from kube_cluster import KUBECONFIG, TEST_IMAGE, Cluster

from clawportal_kubernetes.client import Api
from tests.conftest import Server, wait_for
from tests.place_files import console_answers, files_and_words

pytestmark = [pytest.mark.xdist_group("kubernetes"), *([pytest.mark.kubernetes, pytest.mark.slow] if KUBECONFIG else [])]
PATIENCE = 240.0 if KUBECONFIG else 60.0


@pytest.fixture
def place(server: Server, any_cluster: Cluster) -> str:
    """As an administrator adds it: tried first, stored then, and found to answer."""
    settings = {**any_cluster.settings, **any_cluster.rights()}
    secrets = {"kubeconfig": settings.pop("kubeconfig")}
    body = {"runtime": "kubernetes", "settings": settings, "secrets": secrets}
    tried = server.admin.post("clusters/test", body).get_json()
    assert tried["ok"] and "Kubernetes v1" in tried["version"], tried
    made = server.admin.post("clusters", {**body, "name": "k8s", "policy": {"images": {"echo": TEST_IMAGE.reference}}})
    assert made.status_code == 201, made.get_data(as_text=True)
    any_cluster.id = str(made.get_json()["id"])  # so that its namespaces go in the end
    wait_for(lambda: server.admin.get("clusters/k8s").get_json()["health"] == "healthy", PATIENCE, "the cluster is healthy")
    return any_cluster.id


@pytest.fixture
def api(any_cluster: Cluster) -> Iterator[Api]:
    """Beside the portal, as somebody with kubectl."""
    found = any_cluster.api()
    yield found
    found.close()


def test_a_claw_lives_on_kubernetes(server: Server, api: Api, place: str) -> None:
    admin = server.admin
    made = admin.create("helper", cluster=place)["id"]
    well(server, made)
    assert chat(server, made, "hello") == "You said: hello (message 1)"
    assert wait_for(lambda: admin.get(f"instances/{made}/logs?tail=50").get_json()["lines"], PATIENCE, "its log can be read")

    [pod] = pods(api, made)
    inner = pod["spec"]["containers"][0]["securityContext"]
    assert inner["readOnlyRootFilesystem"] and inner["capabilities"]["drop"] == ["ALL"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"] and pod["spec"]["automountServiceAccountToken"] is False
    secret = api.items("/api/v1/secrets", labelSelector=f"clawportal.io/instance={made}")
    assert [len(one["data"]) for one in secret] == [1]

    console_answers(server, made, "echo $((6*7))-sum; stty size\n", ("42-sum", "24 80"), PATIENCE)
    files_and_words(admin, made, PATIENCE)
    wait_for(lambda: any(measured(server, made)), PATIENCE, "its memory is measured")

    assert admin.post(f"instances/{made}/stop").status_code < 300
    admin.reaches(made, "stopped", PATIENCE)
    assert pods(api, made) == []
    assert admin.post(f"instances/{made}/start").status_code < 300
    well(server, made)
    assert chat(server, made, "again") == "You said: again (message 2)", "its data outlives a stop"

    # somebody takes the pod away behind the portal's back: the cluster makes a new one
    [pod] = pods(api, made)
    api.delete(f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}", grace=1)
    wait_for(lambda: [one for one in pods(api, made) if one["metadata"]["uid"] != pod["metadata"]["uid"]], PATIENCE, "a new pod")
    wait_for(lambda: answers(server, made), PATIENCE, "it answers again")

    assert admin.delete(f"instances/{made}").status_code < 300
    admin.reaches(made, "destroyed", PATIENCE)
    wait_for(lambda: left(api, made) == [], PATIENCE, "nothing of it is left in the cluster")


def well(server: Server, made: str) -> None:
    server.admin.reaches(made, "running", PATIENCE)
    wait_for(lambda: server.admin.get(f"instances/{made}").get_json()["health"] == "healthy", PATIENCE, "it is healthy")


def chat(server: Server, made: str, text: str) -> str:
    answer = server.admin.post(f"instances/{made}/chat", {"text": text, "session": "s"})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return str(answer.get_json()["text"])


def answers(server: Server, made: str) -> bool:
    return bool(server.admin.post(f"instances/{made}/chat", {"text": "x", "session": "t"}).status_code == 200)


def measured(server: Server, made: str) -> list[float | None]:
    return list(server.admin.get(f"instances/{made}/metrics").get_json()["memory_bytes"])


def pods(api: Api, made: str) -> list[dict[str, Any]]:
    return api.items("/api/v1/pods", labelSelector=f"clawportal.io/instance={made}")


def left(api: Api, made: str) -> list[str]:
    told = []
    for path in ("api/v1/pods", "api/v1/services", "api/v1/configmaps", "api/v1/secrets", "api/v1/serviceaccounts",
                 "api/v1/persistentvolumeclaims", "apis/apps/v1/statefulsets"):  # fmt: skip
        told += [
            f"{path} {one['metadata']['name']}" for one in api.items(f"/{path}", labelSelector=f"clawportal.io/instance={made}")
        ]
    return told


@pytest.mark.skipif(bool(KUBECONFIG), reason="a real cluster cannot be made to hang")
def test_a_cluster_that_never_answers_slows_nobody(cluster: Cluster, server: Server) -> None:
    admin, double = server.admin, cluster.double
    assert double is not None
    double.go_mute()
    settings = {**cluster.settings, "request_timeout": 3}
    secrets = {"kubeconfig": settings.pop("kubeconfig")}
    policy = {"images": {"echo": TEST_IMAGE.reference}}
    body = {"name": "mute", "runtime": "kubernetes", "settings": settings, "secrets": secrets, "policy": policy}
    made = admin.post("clusters", body)
    assert made.status_code == 201, made.get_data(as_text=True)
    # only one is to run: the pods of the double share the network of this machine
    stuck = [admin.create(f"stuck-{number}", cluster="mute", start=number == 0)["id"] for number in range(6)]

    began = time.monotonic()
    free = [admin.create(f"free-{number}")["id"] for number in range(3)]
    for one in free:
        admin.reaches(one, "running", 20)
    assert time.monotonic() - began < 20
    browser = admin.browser()
    pages = ("/", "/instances", "/operations", "/clusters", "/clusters/mute", f"/instances/{stuck[0]}", f"/instances/{free[0]}")
    for path in pages:
        took = []
        for _ in range(2):  # the first time it may be compiled; one that asks the cluster waits each time
            began = time.monotonic()
            assert browser.get(path).status_code == 200, path
            took.append(time.monotonic() - began)
        assert min(took) < 2.5, f"{path} waited for the cluster"
    wait_for(lambda: admin.get("clusters/mute").get_json()["health"] == "unreachable", 60, "it is known not to answer")
    told = admin.get(f"instances/{stuck[0]}").get_json()
    assert told["phase"] in ("pending", "creating") and "does not answer" in told["message"], told
    late = admin.create("late")["id"]
    admin.reaches(late, "running", 20)

    double.come_back()
    admin.reaches(stuck[0], "running", PATIENCE)
    for one in stuck[1:]:
        admin.reaches(one, "stopped", PATIENCE)
    assert admin.delete("clusters/mute").status_code == 409, "it is not empty"
