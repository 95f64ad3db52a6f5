"""Commands of the portal's own that live for a moment: in a container that runs, or in one made for it."""

from __future__ import annotations

from collections.abc import Sequence

from clawportal.sdk.runtimes import Image, Ref
from clawportal_docker import naming
from clawportal_docker.client import whole
from clawportal_docker.containers import Containers
from clawportal_docker.engine import LONG, Engine


class Helpers:
    def __init__(self, engine: Engine, containers: Containers) -> None:
        self.engine, self.containers = engine, containers

    def run(self, container: str, argv: Sequence[str], user: str) -> tuple[int, bytes]:
        """In a container that runs. Exit code and output."""
        made = self.engine.client.exec_create(container, list(argv), user=user)
        output = whole(self.engine.slow.exec_start(made["Id"], stream=True), LONG)
        return int(self.engine.client.exec_inspect(made["Id"])["ExitCode"] or 0), output

    def beside(
        self, ref: Ref, image: Image | None, argv: Sequence[str], *, reference: str = "", user: str = "0:0"
    ) -> tuple[int, bytes]:
        """A helper that lives for a moment: the same image and volume, no network, nothing else. Exit code and output."""
        config = {
            "Image": image.reference if image else reference, "Entrypoint": list(argv), "Cmd": [], "User": user, "Env": [],
            "Labels": naming.labels(self.engine.place, ref, "hand"), "NetworkDisabled": True, "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": {
                "CapDrop": ["ALL"], "CapAdd": ["DAC_OVERRIDE"] if user == "0:0" else [], "SecurityOpt": ["no-new-privileges"],
                "PidsLimit": 64, "Memory": 256 << 20, "NetworkMode": "none", "ReadonlyRootfs": True,
                "Mounts": [{"Type": "volume", "Source": self.containers.volume(ref), "Target": naming.BASE}],
            },
        }  # fmt: skip
        made = self.engine.client.create_container_from_config(config)
        try:
            self.engine.client.start(made["Id"])
            code = self.engine.slow.wait(made["Id"])["StatusCode"]
            return code, self.engine.client.logs(made["Id"], stdout=True, stderr=False)
        finally:
            self.containers.discard(made["Id"], volumes=True)
