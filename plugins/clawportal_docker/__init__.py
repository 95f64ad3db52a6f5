"""Docker: claws as containers of a Docker Engine, or of Podman through its compatible socket.

One hardened container for each process, one named volume for each instance, one network for each tenant. Everything
that belongs to the portal carries its labels; nothing else is ever touched.
"""

from __future__ import annotations

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.runtimes import RuntimeDriver
from clawportal_docker.driver import DockerDriver

SUMMARY = _m("Docker: claws as containers of a Docker Engine, or of Podman through its compatible socket.")


@hookimpl
def register_runtimes() -> list[RuntimeDriver]:
    return [DockerDriver()]
