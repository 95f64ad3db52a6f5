"""A cluster for the tests: the double, or, for those that can, the real one that CLAWPORTAL_TEST_KUBECONFIG names."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clawportal.contracts.runtimes import Place, Runtime
from clawportal.contracts.workloads import Image
from clawportal.testing.certs import Authority
from clawportal_kubernetes.client import Api
from clawportal_kubernetes.driver import KubernetesDriver
from clawportal_kubernetes.settings import KubernetesSettings
from tests.kubernetes.double.api import KubeDouble

KUBECONFIG = os.environ.get("CLAWPORTAL_TEST_KUBECONFIG", "")
CONTEXT = os.environ.get("CLAWPORTAL_TEST_CONTEXT", "")
"""Of that kubeconfig, by which the portal under test connects, such as one with the least rights."""
ADDRESS = os.environ.get("CLAWPORTAL_TEST_ADDRESS", "")
"""Of this machine, as pods of the real cluster reach it; otherwise the one that leads out of it."""
IMAGE = os.environ.get("CLAWPORTAL_TEST_IMAGE", "python:3.12-slim")
PYTHON = os.environ.get("CLAWPORTAL_TEST_PYTHON", "/usr/local/bin/python3")


def own_address() -> str:
    if ADDRESS:
        return ADDRESS
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("203.0.113.1", 9))  # nothing is sent
        return str(out.getsockname()[0])


@dataclass
class Cluster:
    """What the tests connect to. Each has a cluster id of its own, so that many may share one real cluster."""

    settings: dict[str, object]
    folder: Path
    double: KubeDouble | None = None
    id: str = field(default_factory=lambda: f"test-{secrets.token_hex(4)}")
    opened: list[Runtime] = field(default_factory=list)

    def connect(self, **settings: object) -> Runtime:
        given = {**self.settings, **self.rights(), **settings}
        secret = {"kubeconfig": str(given.pop("kubeconfig", ""))}
        runtime = KubernetesDriver().connect(Place(self.id, "Test", given, str(self.folder), secrets=secret))
        self.opened.append(runtime)
        return runtime

    def rights(self) -> dict[str, object]:
        return {"context": CONTEXT} if CONTEXT and self.double is None else {}

    def api(self) -> Api:
        """Beside the portal, as somebody with kubectl."""
        return Api(KubernetesSettings.model_validate(self.settings))

    def end(self) -> None:
        for runtime in self.opened:
            runtime.close()
        if self.double is None:
            api = self.api()
            for one in api.items("/api/v1/namespaces", labelSelector=f"clawportal.io/place={self.id}"):
                api.delete(f"/api/v1/namespaces/{one['metadata']['name']}")
            api.close()


@pytest.fixture
def double() -> Iterator[KubeDouble]:
    with KubeDouble() as found:
        yield found


@pytest.fixture
def cluster(double: KubeDouble, tmp_path: Path) -> Iterator[Cluster]:
    """The double alone, with its knobs."""
    found = Cluster(double.settings(), tmp_path, double)
    yield found
    found.end()


@pytest.fixture(scope="session")
def shared_double() -> Iterator[KubeDouble | None]:
    if KUBECONFIG:
        yield None
        return
    with KubeDouble(authority=Authority()) as found:
        yield found


@pytest.fixture
def any_cluster(shared_double: KubeDouble | None, tmp_path: Path) -> Iterator[Cluster]:
    """The real cluster where one is named, or the double."""
    if shared_double is not None:
        found = Cluster(shared_double.settings(), tmp_path, shared_double)
    else:
        text = Path(KUBECONFIG).read_text(encoding="utf-8")
        found = Cluster({"kubeconfig": text, "namespace_prefix": "clawtest-", "volume_size": "1Gi"}, tmp_path)
    yield found
    found.end()


@pytest.fixture
def connect(any_cluster: Cluster) -> Callable[[], Runtime]:
    return any_cluster.connect


TEST_IMAGE = Image(IMAGE, {"python": "/usr/local"})
TEST_PYTHON = PYTHON if KUBECONFIG else sys.executable
