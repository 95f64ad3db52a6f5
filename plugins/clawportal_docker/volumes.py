"""The volume of an instance."""

from __future__ import annotations

import docker.errors

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp
from clawportal.sdk.runtimes import Ref
from clawportal_docker import naming
from clawportal_docker.containers import Containers
from clawportal_docker.engine import Engine


class Volumes:
    def __init__(self, engine: Engine, containers: Containers) -> None:
        self.engine, self.containers = engine, containers

    def ensure(self, ref: Ref) -> None:
        try:
            found = self.engine.client.inspect_volume(self.containers.volume(ref))
        except docker.errors.NotFound:
            self.engine.client.create_volume(self.containers.volume(ref), labels=naming.labels(self.engine.place, ref, "data"))
            return
        if (found.get("Labels") or {}).get(naming.PLACE) != self.engine.place:
            raise GiveUp(
                _n("NameTaken"),
                _m("A volume named %(volume)s exists that is not this portal's.", volume=self.containers.volume(ref)),
                _m("Rename or remove that volume, or give this cluster another prefix of names."),
            )

    def remove(self, ref: Ref) -> None:
        try:
            found = self.engine.client.inspect_volume(self.containers.volume(ref))
            if (found.get("Labels") or {}).get(naming.PLACE) == self.engine.place:
                self.engine.slow.remove_volume(self.containers.volume(ref))
        except docker.errors.NotFound:
            return
