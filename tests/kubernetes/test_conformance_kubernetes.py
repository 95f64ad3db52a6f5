"""The Kubernetes runtime keeps to what every runtime has to keep to: on the double, or on the cluster that
CLAWPORTAL_TEST_KUBECONFIG names, with real pods."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from kube_cluster import KUBECONFIG, TEST_IMAGE, TEST_PYTHON, Cluster, own_address

from clawportal.contracts.adapters import Adapter
from clawportal.contracts.runtimes import Place, Ref, Runtime
from clawportal.contracts.workloads import Image
from clawportal.testing.fakes import default_version
from clawportal.testing.runtimes import Lab, RuntimeConformance
from clawportal_practice.server import PracticeModel
from clawportal_process.driver import ProcessDriver

NANOBOT_IMAGE = os.environ.get("CLAWPORTAL_TEST_NANOBOT_IMAGE", "")
_CACHE = Path(os.environ.get("CLAWPORTAL_TEST_ARTIFACTS") or Path.home() / ".cache" / "clawportal-tests")
pytestmark = (
    [pytest.mark.kubernetes, pytest.mark.xdist_group("kubernetes")] if KUBECONFIG else [pytest.mark.xdist_group("kubernetes")]
)


class TestKubernetes(RuntimeConformance):
    runtime_name = "kubernetes"
    python = TEST_PYTHON
    image = TEST_IMAGE
    patience = 180.0 if KUBECONFIG else 40.0

    walls_not_shown = "" if KUBECONFIG else "the pods of the double are processes of this machine: only a real cluster has walls"

    practice_bind = "0.0.0.0" if KUBECONFIG else RuntimeConformance.practice_bind

    @pytest.fixture(autouse=True)
    def _here(self, any_cluster: Cluster) -> None:
        self.cluster = any_cluster

    @pytest.fixture
    def connect(self, any_cluster: Cluster) -> Callable[[], Runtime]:
        return any_cluster.connect

    def make_unmanaged_object(self, lab: Lab) -> Callable[[], bool]:
        """A StatefulSet that somebody else has made in the same cluster."""
        api = self.cluster.api()
        name, labels = f"foreign-{secrets.token_hex(4)}", {"app": "foreign"}
        path = f"/apis/apps/v1/namespaces/default/statefulsets/{name}"
        body = {
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name, "labels": labels},
            "spec": {
                "replicas": 0, "serviceName": name, "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels}, "spec": {"containers": [{"name": "one", "image": TEST_IMAGE.reference}]},
                },
            },
        }  # fmt: skip
        api.json("POST", "/apis/apps/v1/namespaces/default/statefulsets", body=body)
        before = api.get(path)["metadata"]["generation"]

        def still_there() -> bool:
            found = api.find(path)
            api.delete(path)
            api.close()
            return found is not None and found["metadata"]["generation"] == before

        return still_there

    def test_the_same_ports_for_two(self, lab: Lab) -> None:
        if not KUBECONFIG:
            pytest.skip("the pods of the double share the network of this machine")
        super().test_the_same_ports_for_two(lab)

    def test_the_cpu_limit_is_enforced(self, lab: Lab) -> None:
        if not KUBECONFIG:
            pytest.skip("kubernetes: only a real cluster holds its pods to a CPU limit; set CLAWPORTAL_TEST_KUBECONFIG")
        super().test_the_cpu_limit_is_enforced(lab)

    def image_of(self, adapter: Adapter) -> Image | None:
        """On the double the programs are those of this machine: an image is a name and the folders of what it would hold."""
        found = super().image_of(adapter)
        if found is None:
            return found
        if KUBECONFIG:
            return self._real_image(adapter, found)
        if adapter.kind == "echo":
            return Image(found.reference, {"python": str(Path(sys.executable).parent.parent)})
        machine = ProcessDriver().connect(Place("here", "This machine", {}, str(_CACHE), dict(os.environ)))
        for artifact in adapter.artifacts(default_version(adapter)):
            if not machine.prepared(artifact):
                machine.prepare(artifact, lambda fraction, words: None)
        return Image(found.reference, dict(machine.layout(Ref("x"), adapter.artifacts(default_version(adapter))).artifacts))

    def _real_image(self, adapter: Adapter, usual: Image) -> Image:
        """What the cluster under test has: it may have no way to fetch images."""
        if adapter.kind == "echo":
            return replace(usual, reference=TEST_IMAGE.reference, artifacts=TEST_IMAGE.artifacts)
        if not NANOBOT_IMAGE:
            pytest.skip(f"CLAWPORTAL_TEST_NANOBOT_IMAGE names no image of {adapter.kind} that the cluster has")
        return replace(usual, reference=NANOBOT_IMAGE)

    def practice_url(self, model: PracticeModel) -> str:
        if not KUBECONFIG:
            return model.url
        return f"http://{own_address()}:{model.url.split('://', 1)[1].split('/')[0].rpartition(':')[2]}/v1"

    def cut_connection(self, lab: Lab) -> None:
        if self.cluster.double is not None:
            return self.cluster.double.cut()
        for stream in lab.runtime.cluster.mirror._streams:  # type: ignore[attr-defined]  # of this runtime
            if stream._answer is not None:
                stream._answer.shutdown()
