"""A portal and a Docker engine from end to end, through the API and the console's socket."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import docker.errors
import pytest
from engine import IMAGE, connected

from tests.conftest import Server, wait_for
from tests.place_files import console_answers, files_and_words

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("network")]
PATIENCE = 90.0


@pytest.fixture
def engine(engine_url: str) -> Iterator[docker.APIClient]:
    with connected(engine_url) as client:
        yield client


@pytest.fixture
def cluster(server: Server, engine_url: str) -> str:
    """As an administrator adds it: tried first, stored then, and found to answer."""
    settings = {"url": engine_url}
    tried = server.admin.post("clusters/test", {"runtime": "docker", "settings": settings}).get_json()
    assert tried["ok"], tried
    assert "Docker Engine" in tried["version"] or "Podman" in tried["version"]
    assert {"Connection", "Network", "Memory limits"} <= {finding["name"] for finding in tried["findings"]}
    body = {"name": "engine", "runtime": "docker", "settings": settings, "policy": {"images": {"echo": IMAGE}}}
    made = server.admin.post("clusters", body)
    assert made.status_code == 201, made.get_data(as_text=True)
    wait_for(lambda: server.admin.get("clusters/engine").get_json()["health"] == "healthy", PATIENCE, "the engine is healthy")
    return str(made.get_json()["id"])


def test_a_claw_lives_on_docker(server: Server, engine: docker.APIClient, cluster: str) -> None:
    admin = server.admin
    made = admin.create("helper", cluster=cluster)["id"]
    found = admin.reaches(made, "running", PATIENCE)
    wait_for(lambda: admin.get(f"instances/{made}").get_json()["health"] == "healthy", PATIENCE, "it is healthy")
    assert found["cluster"] in ("engine", cluster) or "engine" in str(found["cluster"])

    def chat(text: str) -> str:
        answer = admin.post(f"instances/{made}/chat", {"text": text, "session": "s"})
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return str(answer.get_json()["text"])

    assert chat("hello") == "You said: hello (message 1)"
    assert wait_for(lambda: admin.get(f"instances/{made}/logs?tail=50").get_json()["lines"], PATIENCE, "its log can be read")

    label = {"label": f"io.clawportal.instance={made}"}
    [container] = engine.containers(filters=label)
    inspected = engine.inspect_container(container["Id"])
    assert inspected["HostConfig"]["CapDrop"] == ["ALL"] and inspected["HostConfig"]["ReadonlyRootfs"]
    assert inspected["Config"]["User"] == "1000:1000"

    console_answers(server, made, "id -u; echo $((6*7))-sum\n", ("42-sum", "1000"), PATIENCE)
    files_and_words(admin, made, PATIENCE)

    assert admin.post(f"instances/{made}/stop").status_code < 300
    admin.reaches(made, "stopped", PATIENCE)
    assert engine.containers(filters=label) == []
    assert admin.post(f"instances/{made}/start").status_code < 300
    admin.reaches(made, "running", PATIENCE)
    wait_for(lambda: admin.get(f"instances/{made}").get_json()["health"] == "healthy", PATIENCE, "it is healthy again")
    assert chat("again") == "You said: again (message 2)", "its data outlives a stop"

    # somebody takes the container away behind the portal's back
    [container] = engine.containers(filters=label)
    engine.remove_container(container["Id"], force=True)
    wait_for(
        lambda: [one for one in engine.containers(filters=label) if one["Id"] != container["Id"]], PATIENCE, "a new one runs"
    )
    wait_for(lambda: _answers(server, made), PATIENCE, "it answers again")

    assert admin.delete(f"instances/{made}").status_code < 300
    admin.reaches(made, "destroyed", PATIENCE)
    assert engine.containers(all=True, filters=label) == []
    assert not engine.volumes(filters=label)["Volumes"]
    assert engine.networks(filters={"label": f"io.clawportal.place={cluster}"}) == [], "the last one takes the network along"


def _answers(server: Server, made: str) -> bool:
    return bool(server.admin.post(f"instances/{made}/chat", {"text": "x", "session": "t"}).status_code == 200)


def test_an_image_that_cannot_be_had_is_told_on_the_instance(server: Server, cluster: str) -> None:
    policy = {"images": {"echo": "127.0.0.1:1/claws/echo:1"}}
    read = server.admin.get(f"clusters/{cluster}").get_json()["generation"]
    assert server.admin.patch(f"clusters/{cluster}", {"policy": policy, "generation": read}).status_code == 200
    made = server.admin.create("pictureless", cluster=cluster)["id"]

    def told() -> str | None:
        found = server.admin.get(f"instances/{made}").get_json()
        words = str(found)
        return words if "127.0.0.1:1/claws/echo:1" in words else None

    assert "cannot be fetched" in wait_for(told, PATIENCE, "the instance names its image")
