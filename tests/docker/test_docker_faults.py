"""What goes wrong on real engines, and what the runtime makes of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest
from engine import IMAGE, NoEngineError, connected, own_engine, why_not

from clawportal.contracts.runtimes import Observed, Place, Ref, RunState
from clawportal.contracts.workloads import Artifact, Image, Process, Workload
from clawportal.errors import Conflict, GiveUp, Problem, Retry
from clawportal.testing.lab import SLEEPER
from clawportal_docker.driver import DockerDriver
from clawportal_docker.runtime import DockerRuntime

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("network")]

WORK = Workload(
    processes=(Process("main", ("/usr/local/bin/python3", "-I", "-S", "-u", "-c", SLEEPER)),), image=Image(IMAGE), stop_grace=2.0
)
PATIENCE = 60.0
Connect = Callable[..., DockerRuntime]


def eventually(found: Callable[[], Any], what: str) -> Any:
    until = time.monotonic() + PATIENCE
    while True:
        if answer := found():
            return answer
        assert time.monotonic() < until, f"not in time: {what}"
        time.sleep(0.05)


def state(runtime: DockerRuntime, ref: Ref, wanted: RunState) -> Observed:
    def look() -> Observed | None:
        with suppress(Problem, Retry):  # while the engine is away
            seen = runtime.inspect(ref)
            return seen if seen.state is wanted else None
        return None

    return eventually(look, f"{ref} is {wanted}")  # type: ignore[no-any-return]


@contextmanager
def place(url: str, folder: Path, **settings: Any) -> Iterator[Connect]:
    """`connect()` gives portals on one place; nothing of it is left on the engine afterwards."""
    found = Place(f"place-{secrets.token_hex(4)}", "Docker", {"url": url, **settings}, str(folder))
    made: list[DockerRuntime] = []

    def connect() -> DockerRuntime:
        made.append(DockerDriver().connect(found))  # type: ignore[arg-type]  # of this kind
        return made[-1]

    try:
        yield connect
    finally:
        for runtime in made:
            runtime.close()
        with connected(url) as client:
            mine = {"label": f"io.clawportal.place={found.cluster_id}"}
            for entry in client.containers(all=True, filters=mine):
                client.remove_container(entry["Id"], force=True)
            for volume in client.volumes(filters=mine)["Volumes"] or []:
                client.remove_volume(volume["Name"])
            for network in client.networks(filters=mine):
                client.remove_network(network["Id"])


@pytest.fixture
def connect(engine_url: str, tmp_path: Path) -> Iterator[Connect]:
    with place(engine_url, tmp_path) as connect:
        yield connect


@pytest.fixture
def client(engine_url: str) -> Iterator[docker.APIClient]:
    with connected(engine_url) as client:
        yield client


@pytest.fixture
def ref() -> Ref:
    return Ref(f"one-{secrets.token_hex(4)}", "one", f"t-{secrets.token_hex(3)}", "acme")


# ---- an engine that is not there


@pytest.mark.parametrize("url", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"])
def test_a_wrong_address_is_told_with_what_to_do(url: str, tmp_path: Path) -> None:
    runtime = DockerDriver().connect(Place("p", "Docker", {"url": url}, str(tmp_path)))
    [finding] = runtime.diagnose()
    assert not finding.ok and url in finding.message and finding.remedy
    with pytest.raises(Problem):
        runtime.observe()
    with pytest.raises(Problem):
        runtime.apply(Ref("x"), WORK, {})
    runtime.close()


@pytest.mark.slow
@pytest.mark.parametrize("live_restore", [True, False], ids=["live-restore", "plain"])
def test_an_engine_that_is_restarted(live_restore: bool, tmp_path: Path, ref: Ref) -> None:
    """With live-restore the claw goes on; without it has ended, and that is told. The portal needs no restart either way."""
    if reason := why_not(own=True):
        pytest.skip(f"docker: {reason}")
    try:
        with own_engine(live_restore=live_restore) as daemon, place(daemon.url, tmp_path) as connect:
            runtime = connect()
            runtime.apply(ref, WORK, {})
            before = state(runtime, ref, RunState.RUNNING)
            heard: list[Observed] = []
            over: list[bool] = []
            with ThreadPoolExecutor(1) as pool:
                pool.submit(lambda: heard.extend(filter(None, runtime.watch(lambda: bool(over)))))
                eventually(lambda: runtime.observer.streams, "it listens")
                daemon.stop()
                with pytest.raises(Problem):
                    runtime.inspect(ref)
                daemon.start()
                after = state(runtime, ref, RunState.RUNNING if live_restore else RunState.EXITED)
                over.append(True)
            if live_restore:
                assert after.incarnation == before.incarnation
                runtime.kill(ref)
            else:
                runtime.apply(ref, WORK, {})
                state(runtime, ref, RunState.RUNNING)
    except NoEngineError as error:
        pytest.skip(f"docker: {error}")


# ---- images


def test_an_image_that_does_not_exist(connect: Connect) -> None:
    with pytest.raises((GiveUp, Retry), match="cannot be fetched") as caught:
        connect().prepare(Artifact("echo", "1", "image", ("127.0.0.1:1/claws/none:1",)), lambda fraction, words: None)
    assert "127.0.0.1:1/claws/none:1" in str(caught.value)


def test_an_image_that_is_gone_by_the_start_is_fetched_again(connect: Connect, ref: Ref) -> None:
    runtime = connect()
    with pytest.raises(Retry) as caught:
        runtime.apply(ref, Workload(processes=WORK.processes, image=Image("clawportal-test/none:1")), {})
    assert caught.value.reason == "ImageMissing"
    assert runtime.inspect(ref).state is RunState.ABSENT


# ---- strangers


def test_a_strangers_container_with_our_name_is_not_touched(connect: Connect, client: docker.APIClient, ref: Ref) -> None:
    made = client.create_container_from_config({"Image": IMAGE, "Entrypoint": ["sleep", "3600"]}, name=f"claw-{ref.instance_id}")
    try:
        with pytest.raises(GiveUp) as caught:
            connect().apply(ref, WORK, {})
        assert caught.value.reason == "NameTaken" and caught.value.remedy
        assert client.inspect_container(made["Id"])["Name"] == f"/claw-{ref.instance_id}"
    finally:
        client.remove_container(made["Id"], force=True)


def test_a_strangers_volume_with_our_name_is_not_touched(connect: Connect, client: docker.APIClient, ref: Ref) -> None:
    name = f"claw-{ref.instance_id}-data"
    client.create_volume(name, labels={"owner": "somebody"})
    try:
        runtime = connect()
        with pytest.raises(GiveUp) as caught:
            runtime.apply(ref, WORK, {})
        assert caught.value.reason == "NameTaken"
        runtime.remove(ref, keep_data=False)
        assert client.inspect_volume(name)["Labels"] == {"owner": "somebody"}
    finally:
        client.remove_volume(name)


def test_a_strangers_network_with_our_name_is_not_used(connect: Connect, client: docker.APIClient, ref: Ref) -> None:
    from clawportal_docker import naming

    runtime = connect()
    made = client.create_network(naming.network_name("claw", runtime.engine.place, ref), driver="bridge")
    try:
        with pytest.raises(GiveUp) as caught:
            runtime.apply(ref, WORK, {})
        assert caught.value.reason == "NameTaken"
    finally:
        client.remove_network(made["Id"])


# ---- somebody's hands


def test_a_container_that_somebody_removed_is_absent_and_starts_again(
    connect: Connect, client: docker.APIClient, ref: Ref
) -> None:
    runtime = connect()
    runtime.apply(ref, WORK, {})
    client.remove_container(f"claw-{ref.instance_id}", force=True)
    assert runtime.inspect(ref).state is RunState.ABSENT
    runtime.apply(ref, WORK, {})
    state(runtime, ref, RunState.RUNNING)


def test_a_network_that_somebody_removed_is_made_again(connect: Connect, client: docker.APIClient, ref: Ref) -> None:
    runtime = connect()
    runtime.apply(ref, WORK, {})
    runtime.kill(ref)
    state(runtime, ref, RunState.EXITED)
    [network] = client.networks(filters={"label": f"io.clawportal.tenant={ref.tenant}"})
    client.remove_network(network["Id"])
    runtime.apply(ref, WORK, {})
    state(runtime, ref, RunState.RUNNING)


def test_tenants_have_networks_of_their_own_while_they_have_claws(connect: Connect, client: docker.APIClient, ref: Ref) -> None:
    runtime = connect()
    other = Ref(f"{ref.instance_id}-b", "b", f"{ref.tenant}-b")
    for one in (ref, other):
        runtime.apply(one, WORK, {})
    networks = {one: _networks(client, one) for one in (ref, other)}
    assert len(networks[ref]) == len(networks[other]) == 1 and networks[ref] != networks[other]
    runtime.kill(ref)
    state(runtime, ref, RunState.EXITED)
    runtime.remove(ref, keep_data=False)
    assert _networks(client, ref) == [] and _networks(client, other) == networks[other]


def _networks(client: docker.APIClient, ref: Ref) -> list[str]:
    return [network["Id"] for network in client.networks(filters={"label": f"io.clawportal.tenant={ref.tenant}"})]


def _twin(client: docker.APIClient, network: str) -> str:
    """A network that another portal has made at the same moment, of the same name."""
    first = client.inspect_network(network)
    return str(client.create_network(first["Name"], driver="bridge", labels=first["Labels"])["Id"])


def test_of_two_networks_of_one_name_the_older_one_stays(connect: Connect, client: docker.APIClient, ref: Ref) -> None:
    runtime = connect()
    runtime.apply(ref, WORK, {})
    runtime.kill(ref)
    state(runtime, ref, RunState.EXITED)
    [first] = _networks(client, ref)
    _twin(client, first)
    runtime.apply(ref, WORK, {})
    state(runtime, ref, RunState.RUNNING)
    assert _networks(client, ref) == [first]


def test_two_networks_of_one_name_in_use_are_told(connect: Connect, client: docker.APIClient, ref: Ref) -> None:
    runtime, other = connect(), Ref(f"{ref.instance_id}-b", "b", ref.tenant)
    runtime.apply(ref, WORK, {})
    [first] = _networks(client, ref)
    stranger = client.create_container(IMAGE, ["/usr/local/bin/python3", "-c", "import time; time.sleep(600)"])["Id"]
    try:
        client.start(stranger)
        client.connect_container_to_network(stranger, twin := _twin(client, first))
        with pytest.raises(Retry, match="two networks of one name") as told:
            runtime.apply(other, WORK, {})
        assert told.value.reason == "NetworkTwice"
        client.disconnect_container_from_network(stranger, twin)
        runtime.apply(other, WORK, {})  # now it is empty, and goes
    finally:
        client.remove_container(stranger, force=True)
    state(runtime, other, RunState.RUNNING)
    assert _networks(client, ref) == [first]


def test_two_portals_start_it_once_and_see_the_same(connect: Connect, client: docker.APIClient, ref: Ref) -> None:
    one, two = connect(), connect()

    def start(runtime: DockerRuntime) -> str:
        try:
            return runtime.apply(ref, WORK, {}).incarnation
        except (Retry, Conflict) as error:
            return type(error).__name__

    with ThreadPoolExecutor(2) as pool:
        told = set(pool.map(start, (one, two)))
    seen = state(one, ref, RunState.RUNNING)
    assert told <= {seen.incarnation, "Retry", "Conflict"}
    assert state(two, ref, RunState.RUNNING).incarnation == seen.incarnation
    assert len(client.containers(all=True, filters={"label": f"io.clawportal.instance={ref.instance_id}"})) == 1


def test_what_a_volume_holds_is_measured(connect: Connect, ref: Ref) -> None:
    runtime = connect()
    runtime.apply(ref, WORK, {})
    state(runtime, ref, RunState.RUNNING)
    session = runtime.exec(ref, ("dd", "if=/dev/zero", "of=/claw/work/big", "bs=1048576", "count=3"))
    eventually(lambda: session.exit_code is not None, "three MiB are written")
    session.close()
    [sample] = [found for found in connect().sample() if found.ref.instance_id == ref.instance_id]
    assert sample.disk_bytes is not None and sample.disk_bytes >= 3 << 20
