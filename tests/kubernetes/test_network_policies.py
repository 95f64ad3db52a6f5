"""Who reaches whom on a cluster whose network keeps NetworkPolicies; many clusters take them and keep none."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import pytest
from kube_cluster import IMAGE, KUBECONFIG, PYTHON, TEST_IMAGE, Cluster, own_address

from clawportal.contracts.runtimes import Ref, RunState, Runtime
from clawportal.contracts.workloads import Process, Workload
from clawportal.errors import Retry
from clawportal_kubernetes import names

KEPT = os.environ.get("CLAWPORTAL_TEST_NETWORK_POLICIES", "")
pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.xdist_group("kubernetes"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (KUBECONFIG and KEPT),
        reason="kubernetes: needs a cluster that keeps NetworkPolicies; set CLAWPORTAL_TEST_KUBECONFIG and "
        "CLAWPORTAL_TEST_NETWORK_POLICIES=1",
    ),
]
SERVE = """
import socket
server = socket.create_server(("0.0.0.0", 8000))
while True:
    one, _ = server.accept()
    one.sendall(b"hello")
    one.close()
"""
ASK = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 3) as one:
        print(one.recv(5).decode())
except OSError:
    print("refused")
"""
WORK = Workload(
    processes=(Process("main", (PYTHON, "-I", "-u", "-c", SERVE)),), image=TEST_IMAGE, ports={"api": 8000}, stop_grace=1.0
)
PATIENCE = 120.0


def eventually(found: Callable[[], object], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < until, f"not in time: {what}"
        time.sleep(0.5)


def start(runtime: Runtime, name: str, tenant: str) -> Ref:
    ref = Ref(f"{name}-{secrets.token_hex(4)}", name, tenant, tenant)
    until = time.monotonic() + PATIENCE
    while True:
        try:
            runtime.apply(ref, WORK, {})
            break
        except Retry:
            assert time.monotonic() < until, "it cannot be started"
            time.sleep(0.5)
    eventually(lambda: runtime.inspect(ref).state is RunState.RUNNING, f"{name} runs")
    return ref


def ask(runtime: Runtime, ref: Ref, host: str, port: int = 8000) -> str:
    """What the claw hears from there."""
    session, said, until = runtime.exec(ref, (PYTHON, "-I", "-c", ASK, host, str(port))), b"", time.monotonic() + PATIENCE
    with closing(session), suppress(EOFError):
        while time.monotonic() < until:
            piece = session.receive(1.0)
            said += piece[1] if piece else b""
    return said.decode().strip()


def pod_address(cluster: Cluster, ref: Ref) -> str:
    with closing(cluster.api()) as api:
        [pod] = api.items("/api/v1/pods", labelSelector=names.selector(cluster.id, instance=ref.instance_id))
        return str(pod["status"]["podIP"])


@contextmanager
def listening() -> Iterator[int]:
    """Somebody outside of the cluster, on this machine."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        server.settimeout(0.2)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                with suppress(OSError):
                    one, _ = server.accept()
                    one.sendall(b"hello")
                    one.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            thread.join()


@contextmanager
def stranger(cluster: Cluster) -> Iterator[tuple[str, Callable[[str], str]]]:
    """A pod in a namespace that is not the portal's: its namespace, and what it hears from an address."""
    name = f"clawtest-stranger-{secrets.token_hex(4)}"
    with closing(cluster.api()) as api:
        api.json("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})

        def ask_from_there(host: str) -> str:
            pods, one = f"/api/v1/namespaces/{name}/pods", f"ask-{secrets.token_hex(4)}"
            container = {"name": "main", "image": IMAGE, "command": [PYTHON, "-I", "-c", ASK, host, "8000"]}
            spec = {"containers": [container], "restartPolicy": "Never", "automountServiceAccountToken": False}
            api.json("POST", pods, body={"metadata": {"name": one}, "spec": spec})
            eventually(lambda: api.get(f"{pods}/{one}")["status"]["phase"] in ("Succeeded", "Failed"), "a stranger asks")
            return bytes(api.request("GET", f"{pods}/{one}/log").data).decode().strip()

        try:
            yield name, ask_from_there
        finally:
            api.delete(f"/api/v1/namespaces/{name}")


def test_claws_reach_the_world_and_nobody_reaches_them(any_cluster: Cluster) -> None:
    runtime = any_cluster.connect()
    one, same, other = start(runtime, "one", "t-acme"), start(runtime, "two", "t-acme"), start(runtime, "one", "t-rival")
    with listening() as port:
        eventually(lambda: ask(runtime, one, own_address(), port) == "hello", "a claw reaches what is outside")
    assert ask(runtime, one, "127.0.0.1") == "hello", "it listens"
    for who, whom in ((one, other), (other, one), (one, same)):
        eventually(lambda who=who, whom=whom: ask(runtime, who, pod_address(any_cluster, whom)) == "refused", f"{who} to {whom}")
    with stranger(any_cluster) as (_namespace, heard):
        assert heard(pod_address(any_cluster, one)) == "refused"
    host, port = runtime.open_port(one, 8000)
    with socket.create_connection((host, port), 10) as tunnel:
        assert tunnel.recv(5) == b"hello", "the portal reaches it through the API server"


def test_the_portal_in_the_cluster_reaches_claws(any_cluster: Cluster) -> None:
    with stranger(any_cluster) as (namespace, heard):
        runtime = any_cluster.connect(portal_namespace=namespace)
        one = start(runtime, "one", "t-acme")
        eventually(lambda: heard(pod_address(any_cluster, one)) == "hello", "the portal's namespace reaches a claw")


def test_blocked_networks_are_out_of_reach(any_cluster: Cluster) -> None:
    runtime = any_cluster.connect(blocked_networks=[f"{own_address()}/32"])
    one = start(runtime, "one", "t-acme")
    with listening() as port:
        eventually(lambda: ask(runtime, one, own_address(), port) == "refused", "what is blocked cannot be reached")
