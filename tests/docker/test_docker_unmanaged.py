"""Containers that somebody else made, on a real engine: listed, observed without a touch, adopted as they are."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import docker
import docker.errors
import pytest
from engine import IMAGE, connected

from clawportal.contracts.runtimes import Place, Ref, RunState
from clawportal.contracts.workloads import Image, Process, Workload
from clawportal.errors import Conflict, GiveUp, NotFound, Unsupported
from clawportal_docker.driver import DockerDriver
from clawportal_docker.runtime import DockerRuntime
from tests.conftest import Server, make_cluster, wait_for
from tests.place_files import console_answers

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("network")]
PATIENCE = 60.0
LOOP = "echo it speaks; echo it warns >&2; trap 'exit 0' TERM; while true; do sleep 0.2; done"
Make = Callable[..., str]


@pytest.fixture
def client(engine_url: str) -> Iterator[docker.APIClient]:
    with connected(engine_url) as client:
        yield client


@pytest.fixture
def make(client: docker.APIClient) -> Iterator[Make]:
    """`make(name, **config)`: a container as somebody makes it by hand; answers its id."""
    made: list[str] = []
    volume = f"hand-{secrets.token_hex(4)}"

    def one(name: str, **more: Any) -> str:
        mounts = [{"Type": "volume", "Source": volume, "Target": "/data"}]
        host = {"NetworkMode": "none", "Mounts": mounts, "Memory": 64 << 20, "RestartPolicy": {"Name": "unless-stopped"}}
        config = {
            "Image": IMAGE, "Entrypoint": ["sh", "-c"], "Cmd": [LOOP], "Env": ["OPENCLAW_TOKEN=not-to-be-seen", "MODE=calm"],
            "HostConfig": host,
        }  # fmt: skip
        made.append(client.create_container_from_config(config | more, name=f"{name}-{volume}")["Id"])
        client.start(made[-1])
        return made[-1]

    yield one
    for container in made:
        with suppress(docker.errors.NotFound):
            client.remove_container(container, force=True)
    client.remove_volume(volume)


@pytest.fixture
def runtime(engine_url: str, tmp_path: Any) -> Iterator[DockerRuntime]:
    found: Any = DockerDriver().connect(Place(f"place-{secrets.token_hex(4)}", "Docker", {"url": engine_url}, str(tmp_path)))
    yield found
    found.close()


def facts(client: docker.APIClient, container: str) -> dict[str, Any]:
    """What must stay the same, whatever the portal does."""
    told = client.inspect_container(container)
    return {key: told[key] for key in ("Id", "Name", "Created", "Config", "Mounts")} | {"host": told["HostConfig"]}


def test_what_others_made_is_told_without_its_secrets(runtime: DockerRuntime, make: Make, client: docker.APIClient) -> None:
    one = make("openclaw")
    mine = client.create_container_from_config({"Image": IMAGE, "Cmd": ["true"], "Labels": {"io.clawportal.place": "another"}})[
        "Id"
    ]
    try:
        items = {item.id: item for item in runtime.unmanaged()}
        assert one in items and mine not in items and items[one].adapter == "openclaw"
        [item] = runtime.unmanaged(items[one].name)
        assert item.details["env"]["MODE"] == "calm" and "not-to-be-seen" not in str(item)
        assert (item.details["memory_bytes"], item.details["restart"], item.details["user"]) == (64 << 20, "always", "root")
        for name in ("no-such-container", mine):
            with pytest.raises(NotFound):
                runtime.unmanaged(name)
    finally:
        client.remove_container(mine)


def test_only_the_named_container_is_anybodys(runtime: DockerRuntime, make: Make, client: docker.APIClient) -> None:
    """An id opens one container of a stranger; never one of a portal, and nothing while it is only observed."""
    one, other = make("openclaw"), make("thing", Tty=True)
    before = [facts(client, container) for container in (one, other)]
    ref = Ref("one", "one", "t", unmanaged_id=one, read_only=True)
    assert runtime.observe() == []
    runtime.recognise([ref])
    assert [seen.ref.instance_id for seen in runtime.observe()] == ["one"]
    calls: list[Callable[[], Any]] = [
        lambda: runtime.stop(ref, 1), lambda: runtime.kill(ref), lambda: runtime.remove(ref, keep_data=False),
        lambda: runtime.resume(ref), lambda: runtime.exec(ref, ("true",)),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(Conflict):
            call()
    workload = Workload(processes=(Process("main", ("true",)),), image=Image(IMAGE))
    with pytest.raises(GiveUp):
        runtime.apply(Ref("one", unmanaged_id=one), workload, {})
    with pytest.raises(Unsupported):
        runtime.list_files(ref, "work")
    assert [facts(client, container) for container in (one, other)] == before
    labels = {"io.clawportal.place": "another", "io.clawportal.instance": "x", "io.clawportal.role": "claw"}
    theirs = client.create_container_from_config({"Image": IMAGE, "Entrypoint": ["sleep", "60"], "Labels": labels})["Id"]
    try:
        client.start(theirs)
        stolen = Ref("y", unmanaged_id=theirs)
        runtime.recognise([stolen])
        assert runtime.inspect(stolen).state is RunState.ABSENT and runtime.observe() == [] and runtime.sample() == []
        runtime.kill(stolen)
        with pytest.raises(GiveUp):
            runtime.resume(stolen)
        runtime.remove(stolen, keep_data=False)
        assert client.inspect_container(theirs)["State"]["Running"]
    finally:
        client.remove_container(theirs, force=True)
    told = [line.text for line in runtime.logs(Ref("tty", unmanaged_id=other), tail=10) if line is not None]
    assert told == ["it speaks", "it warns"], "the log of a terminal has no frames"


def test_a_container_made_by_hand_comes_into_the_portal(
    server: Server, engine_url: str, make: Make, client: docker.APIClient
) -> None:
    """From the list to the end: observed without a touch, adopted as the same container, ended and taken away at last."""
    admin, one = server.admin, make("openclaw")
    before = facts(client, one)
    make_cluster(server.app, "engine", None, "docker", settings={"url": engine_url})
    items = {item["id"]: item for item in admin.get("clusters/engine/foreign").get_json()["items"]}
    assert items[one]["adapter"] == "openclaw"
    answer = admin.post(f"clusters/engine/foreign/{items[one]['name']}/import", {"name": "old-one"})
    assert answer.status_code == 201, answer.get_data(as_text=True)
    made = answer.get_json()["id"]
    found = admin.reaches(made, "running", PATIENCE)
    assert found["managed"] is False and found["spec"]["resources"]["memory"] == "64Mi"
    for verb in ("stop", "kill", "restart"):
        assert admin.post(f"instances/{made}/{verb}").status_code == 409
    assert admin.delete(f"instances/{made}").status_code == 409
    lines = admin.get(f"instances/{made}/logs?tail=10").get_json()["lines"]
    assert {"it speaks", "it warns"} == {line["text"] for line in lines}
    wait_for(lambda: admin.get(f"instances/{made}").get_json()["usage"], PATIENCE, "it is measured")
    client.stop(one, timeout=5)
    admin.reaches(made, "stopped", PATIENCE)
    client.start(one)
    admin.reaches(made, "running", PATIENCE)
    assert facts(client, one) == before

    assert admin.post(f"instances/{made}/adopt").status_code == 202
    settled(server, made)
    assert admin.post(f"instances/{made}/stop").status_code == 202
    admin.reaches(made, "stopped", PATIENCE)
    assert client.inspect_container(one)["State"]["Status"] == "exited"
    assert admin.post(f"instances/{made}/start").status_code == 202
    admin.reaches(made, "running", PATIENCE)
    started = client.inspect_container(one)["State"]["StartedAt"]
    assert admin.post(f"instances/{made}/restart").status_code == 202
    wait_for(lambda: client.inspect_container(one)["State"]["StartedAt"] != started, PATIENCE, "it was started again")
    settled(server, made)
    assert facts(client, one) == before, "the same container with the same volumes"
    console_answers(server, made, "echo $((6*7))-$MODE; exit\n", ("42-calm",), PATIENCE, leave=False)
    assert admin.post(f"instances/{made}/kill").status_code == 202
    admin.reaches(made, "stopped", PATIENCE)
    assert admin.delete(f"instances/{made}").status_code == 202
    admin.reaches(made, "destroyed", PATIENCE)
    with pytest.raises(docker.errors.NotFound):
        client.inspect_container(one)
    assert client.inspect_volume(before["Mounts"][0]["Name"]), "its named volume stays"


def settled(server: Server, made: str) -> None:
    def done() -> bool:
        found = server.admin.get(f"instances/{made}").get_json()
        return bool(found["observed_generation"] == found["generation"] and found["phase"] == "running")

    wait_for(done, PATIENCE, "it is as it is wanted")
