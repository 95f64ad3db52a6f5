"""How the portal reaches a port of an instance."""

from __future__ import annotations

from clawportal.sdk import _m
from clawportal.sdk.errors import Unavailable
from clawportal.sdk.runtimes import Ref
from clawportal_docker.containers import Containers
from clawportal_docker.engine import Engine
from clawportal_docker.errors import map_errors


class Ports:
    def __init__(self, engine: Engine, containers: Containers) -> None:
        self.engine, self.containers = engine, containers

    def address(self, ref: Ref, port: int) -> tuple[str, int]:
        if self.engine.settings.network == "host" and not ref.unmanaged_id:
            return self.engine.host(), port
        with map_errors(ref):
            main = self.containers.main(ref)
            if main is None or main["State"] != "running":
                raise Unavailable(_m("%(ref)s does not run.", ref=ref))
            if (main.get("HostConfig") or {}).get("NetworkMode") == "host":
                return self.engine.host(), port
            if self.engine.settings.by_address:
                for network in (main.get("NetworkSettings") or {}).get("Networks", {}).values():
                    if network.get("IPAddress"):
                        return str(network["IPAddress"]), port
            for opened in main.get("Ports") or []:
                if opened.get("PrivatePort") == port and opened.get("PublicPort"):
                    return self.engine.host(), int(opened["PublicPort"])
        raise Unavailable(_m("%(ref)s has no address yet.", ref=ref))
