"""The own pages of claws in pods, through the portal and a tunnel of the API server; on the double or a real cluster."""

from __future__ import annotations

import pytest
from kube_cluster import KUBECONFIG, TEST_IMAGE, Cluster

from tests.conftest import Server, make_person, wait_for
from tests.place_pages import page_comes_back, page_ends_with_rights, page_goes_both_ways, page_of

pytestmark = [pytest.mark.xdist_group("kubernetes"), *([pytest.mark.kubernetes, pytest.mark.slow] if KUBECONFIG else [])]
PATIENCE = 240.0 if KUBECONFIG else 60.0


def test_a_page_in_a_pod(server: Server, any_cluster: Cluster) -> None:
    settings = {**any_cluster.settings, **any_cluster.rights(), "reach": "tunnel"}
    secrets = {"kubeconfig": settings.pop("kubeconfig")}
    policy = {"images": {"echo": TEST_IMAGE.reference}}
    body = {"name": "k8s", "runtime": "kubernetes", "settings": settings, "secrets": secrets, "policy": policy}
    made = server.admin.post("clusters", body)
    assert made.status_code == 201, made.get_data(as_text=True)
    any_cluster.id = str(made.get_json()["id"])  # so that its namespaces go in the end
    wait_for(lambda: server.admin.get("clusters/k8s").get_json()["health"] == "healthy", PATIENCE, "the cluster is healthy")
    dora = make_person(server.app, "dora", "developer", "default")
    claw = dora.create("parrot", cluster="k8s")["id"]
    dora.reaches(claw, "running", PATIENCE)
    scene = page_of(server, dora, claw)
    page_goes_both_ways(scene, PATIENCE)
    page_comes_back(scene, PATIENCE)
    page_ends_with_rights(scene, PATIENCE)
    assert server.admin.delete(f"instances/{claw}").status_code < 300
    server.admin.reaches(claw, "destroyed", PATIENCE)
