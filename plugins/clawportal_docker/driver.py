"""Connects to a Docker or Podman host. Imports no client of it before that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from clawportal.sdk import _m
from clawportal_docker.settings import DockerSettings

if TYPE_CHECKING:
    from clawportal.sdk.runtimes import Place, Runtime


class DockerDriver:
    """Kind `docker`."""

    kind = "docker"
    title = _m("Docker or Podman")

    def settings_model(self) -> type[BaseModel]:
        return DockerSettings

    def connect(self, place: Place) -> Runtime:
        from clawportal_docker.runtime import DockerRuntime

        return DockerRuntime(place, DockerSettings.model_validate({**place.settings, **place.secrets}))
