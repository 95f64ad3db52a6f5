"""The Docker runtime keeps to what every runtime has to keep to, on a real engine."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from engine import IMAGE

from clawportal.testing.runtimes import Lab, RuntimeConformance
from clawportal.types import Adapter, Image, Place, Runtime
from clawportal_docker.driver import DockerDriver

pytestmark = pytest.mark.docker


class TestDocker(RuntimeConformance):
    runtime_name = "docker"
    python = "/usr/local/bin/python3"
    image = Image(IMAGE, {"python": "/usr/local"})
    patience = 60.0

    @pytest.fixture
    def connect(self, engine_url: str, tmp_path: Path) -> Callable[[], Runtime]:
        place = Place(f"place-{secrets.token_hex(4)}", "Docker", {"url": engine_url}, str(tmp_path))
        return lambda: DockerDriver().connect(place)

    def make_foreign_object(self, lab: Lab) -> Callable[[], bool]:
        """A container that somebody else runs."""
        client = docker.APIClient(lab.runtime.settings.url, version="1.41")  # type: ignore[attr-defined]  # of this runtime
        made = client.create_container_from_config({"Image": IMAGE, "Entrypoint": ["sleep", "3600"], "NetworkDisabled": True})
        client.start(made["Id"])

        def untouched() -> bool:
            try:
                return bool(client.inspect_container(made["Id"])["State"]["Running"])
            finally:
                client.remove_container(made["Id"], force=True)

        return untouched

    def cut_connection(self, lab: Lab) -> None:
        for stream in list(lab.runtime.streams):  # type: ignore[attr-defined]  # of this runtime
            stream.close()

    def image_of(self, adapter: Adapter) -> Image | None:
        """No registry is there to fetch from: the image of the tests holds Python, which is all that the echo claw needs."""
        found = super().image_of(adapter)
        return replace(found, reference=IMAGE) if found and adapter.kind == "echo" else found
