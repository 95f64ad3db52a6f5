"""Has a claw judge a candidate for its configuration, in a container that lives only for that."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from clawportal.sdk.runtimes import Check, Image, Ref, Workload, secret_env
from clawportal_docker import archives, diagnosis, naming
from clawportal_docker.containers import Containers
from clawportal_docker.engine import Engine
from clawportal_docker.errors import map_errors

_FOLDER = "/candidate"


class Candidates:
    def __init__(self, engine: Engine, containers: Containers) -> None:
        self.engine, self.containers = engine, containers

    def check(self, ref: Ref, workload: Workload, secrets: Mapping[str, str]) -> None:
        """GiveUp with the claw's own words when it refuses; nothing where the workload asks for no check."""
        check, image = workload.check, workload.image
        if check is None or image is None:
            return
        config = self._container(ref, workload, check, image, secrets)
        files = [file for file in workload.files if file.root == "state"]
        client = self.engine.client
        with map_errors(ref, absent=image.reference):
            made = client.create_container_from_config(config)["Id"]
            try:
                client.put_archive(made, _FOLDER, archives.of_files(files, image.uid, image.gid, prefix=False, own=True))
                client.start(made)
                code = self._wait(made, check.timeout)
                lines = client.logs(made, stdout=True, stderr=True, tail=200).decode("utf-8", "replace").splitlines()
            finally:
                self.containers.discard(made, volumes=True)
        diagnosis.judge(check, code, lines, secrets.values())

    def _container(self, ref: Ref, workload: Workload, check: Check, image: Image, secrets: Mapping[str, str]) -> dict[str, Any]:
        values = secret_env(check.secret_env, secrets, ref)
        env = {name: value.replace("{candidate}", _FOLDER) for name, value in check.env.items()}
        variables = naming.environment(ref, env, values) | {"HOME": _FOLDER}
        host = naming.host_config(self.engine.settings, workload, volume="", network="none", ports={})
        return {
            "Image": image.reference, "Entrypoint": [part.replace("{candidate}", _FOLDER) for part in check.argv], "Cmd": [],
            "WorkingDir": _FOLDER, "User": f"{image.uid}:{image.gid}", "Healthcheck": {"Test": ["NONE"]}, "NetworkDisabled": True,
            "Env": [f"{name}={value}" for name, value in variables.items()], "HostConfig": host | {"Mounts": []},
            "Labels": naming.labels(self.engine.place, ref, "check"), "Volumes": {_FOLDER: {}},
        }  # fmt: skip

    def _wait(self, container: str, seconds: float) -> int | None:
        """Exit code; None when the time is over."""
        end = time.monotonic() + seconds
        pause = 0.05
        while time.monotonic() < end:
            state = self.engine.client.inspect_container(container)["State"]
            if state["Status"] in ("exited", "dead"):
                return int(state["ExitCode"])
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        return None
