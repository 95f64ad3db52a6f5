"""The Docker runtime keeps to what every runtime has to keep to, on a real engine."""

from __future__ import annotations

import functools
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import docker
import pytest
from engine import IMAGE, gateway, load_environment

from clawportal.contracts.adapters import Adapter
from clawportal.contracts.runtimes import Place, Ref, Runtime
from clawportal.contracts.workloads import Image
from clawportal.testing.fakes import default_version
from clawportal.testing.runtimes import Lab, RuntimeConformance, Terms
from clawportal_docker.driver import DockerDriver
from clawportal_practice.server import PracticeModel
from clawportal_process.driver import ProcessDriver

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("network")]
_CACHE = Path(os.environ.get("CLAWPORTAL_TEST_ARTIFACTS") or Path.home() / ".cache" / "clawportal-tests")
_INSTALLERS_NEED = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PIP_INDEX_URL", "PIP_CERT",
                    "SSL_CERT_FILE")  # fmt: skip


class TestDocker(RuntimeConformance):
    runtime_name = "docker"
    python = "/usr/local/bin/python3"
    image = Image(IMAGE, {"python": "/usr/local"})
    patience = 60.0
    has_filter: ClassVar[bool] = bool(os.environ.get("DOCKER_HOST"))

    @pytest.fixture
    def connect(self, engine_url: str, tmp_path: Path) -> Callable[[], Runtime]:
        place = Place(f"place-{secrets.token_hex(4)}", "Docker", {"url": engine_url}, str(tmp_path))
        return lambda: DockerDriver().connect(place)

    def make_unmanaged_object(self, lab: Lab) -> Callable[[], bool]:
        """A container that somebody else runs."""
        client = docker.APIClient(lab.runtime.engine.settings.url, version="1.41")  # type: ignore[attr-defined]  # of this runtime
        made = client.create_container_from_config({"Image": IMAGE, "Entrypoint": ["sleep", "3600"], "NetworkDisabled": True})
        client.start(made["Id"])

        def untouched() -> bool:
            try:
                return bool(client.inspect_container(made["Id"])["State"]["Running"])
            finally:
                client.remove_container(made["Id"], force=True)

        return untouched

    @pytest.fixture
    def lab(self, request: pytest.FixtureRequest, connect: Callable[[], Runtime], tmp_path: Path) -> Iterator[Lab]:
        """The usual engine of these tests has no packet filter; what needs one gets an engine that has it."""
        if request.function.__name__ == "test_another_tenants_network_is_out_of_reach" and not self.has_filter:
            place = Place(
                f"place-{secrets.token_hex(4)}", "Docker", {"url": request.getfixturevalue("walled_url")}, str(tmp_path)
            )
            connect = functools.partial(DockerDriver().connect, place)
        lab = Lab(connect, Terms(self.python, self.image, self.patience))
        try:
            yield lab
        finally:
            lab.close()

    def cut_connection(self, lab: Lab) -> None:
        for stream in list(lab.runtime.observer.streams):  # type: ignore[attr-defined]  # of this runtime
            stream.close()

    practice_bind = "0.0.0.0"  # containers come from their bridge

    @pytest.fixture(autouse=True)
    def _address(self, engine_url: str) -> None:
        self.engine_url = engine_url

    def practice_url(self, model: PracticeModel) -> str:
        port = model.url.split("://", 1)[1].split("/")[0].rpartition(":")[2]
        return f"http://{gateway(self.engine_url)}:{port}/v1"

    def image_of(self, adapter: Adapter) -> Image | None:
        """No registry is there to fetch from: what an image would hold is put on top of the image of the tests."""
        found = super().image_of(adapter)
        assert found
        if adapter.kind == "echo":  # Python is all that it needs
            return replace(found, reference=IMAGE)
        [artifact] = adapter.artifacts(default_version(adapter))
        given = {name: os.environ[name] for name in _INSTALLERS_NEED if name in os.environ}
        machine = ProcessDriver().connect(Place("here", "This machine", {}, str(_CACHE), given))
        try:
            if not machine.prepared(artifact):
                machine.prepare(artifact, lambda fraction, words: None)
            path = machine.layout(Ref("any"), [artifact]).artifacts[artifact.name]
        finally:
            machine.close()
        return replace(found, reference=load_environment(self.engine_url, artifact.name, Path(path)))

    def install(self, lab: Lab, adapter: Adapter) -> None:
        """It comes with the image."""
