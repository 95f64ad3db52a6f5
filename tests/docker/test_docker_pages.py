"""The own pages of claws in containers, through the portal: at the port of the engine's host, or by the container's address."""

from __future__ import annotations

import pytest
from engine import IMAGE

from tests.conftest import Server, make_person, wait_for
from tests.place_pages import page_comes_back, page_ends_with_rights, page_goes_both_ways, page_of

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("network")]
PATIENCE = 90.0


@pytest.mark.parametrize("reach", ["published", "address"])
def test_a_page_in_a_container(server: Server, engine_url: str, reach: str) -> None:
    admin, name = server.admin, f"engine-{reach}"
    settings = {"url": engine_url, "reach": reach}
    body = {"name": name, "runtime": "docker", "settings": settings, "policy": {"images": {"echo": IMAGE}}}
    assert admin.post("clusters", body).status_code == 201
    wait_for(lambda: admin.get(f"clusters/{name}").get_json()["health"] == "healthy", PATIENCE, "the engine is healthy")
    dora = make_person(server.app, "dora", "developer", "default")
    made = dora.create("parrot", cluster=name)["id"]
    dora.reaches(made, "running", PATIENCE)
    scene = page_of(server, dora, made)
    page_goes_both_ways(scene, PATIENCE)
    page_comes_back(scene, PATIENCE)
    page_ends_with_rights(scene, PATIENCE)
    assert admin.delete(f"instances/{made}").status_code < 300
    admin.reaches(made, "destroyed", PATIENCE)
