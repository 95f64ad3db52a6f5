"""The network that an instance joins: its tenant's own, unless the settings name another."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import docker.errors

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import GiveUp, Retry
from clawportal.sdk.runtimes import Ref
from clawportal_docker import naming
from clawportal_docker.containers import Containers
from clawportal_docker.engine import Engine


class Networks:
    def __init__(self, engine: Engine, containers: Containers) -> None:
        self.engine, self.containers = engine, containers
        self._joining = threading.Lock()

    def join(self, ref: Ref) -> str:
        """The network that the instance joins: the tenant's own is made when it is missed, and meant by its id.

        An engine does not keep two portals from making networks of one name at the same time, and then starts nothing that
        joins one of them. The older one counts; each portal takes away what is left of others.
        """
        if self.engine.settings.network != "tenant":
            return self.engine.settings.network
        with self._joining:  # many may start at once, and one network is enough
            found = self._of_tenant(ref)
            if not found:
                self._make(ref)
                found = self._of_tenant(ref)
            if not found:  # the last claw of the tenant has just left, in another portal
                raise Retry(
                    _n("NetworkMissing"),
                    _m("The network of %(ref)s was removed while it was starting.", ref=ref),
                    timedelta(seconds=1),
                )
            self._remove(found[1:])
            return str(found[0]["Id"])

    def _of_tenant(self, ref: Ref) -> list[dict[str, Any]]:
        labels = [f"{naming.PLACE}={self.engine.place}", f"{naming.TENANT}={ref.tenant}"]
        found = self.engine.client.networks(filters={"label": labels})
        return sorted(found, key=lambda network: (str(network.get("Created", "")), network["Id"]))

    def _make(self, ref: Ref) -> None:
        name = naming.network_name(self.engine.settings.prefix, self.engine.place, ref)
        labels = {naming.PLACE: self.engine.place, naming.TENANT: ref.tenant}
        # Docker keeps bridges apart by itself; Podman those that ask for it, and not in every version
        options = {"isolate": "true"} if self.engine.podman else {}
        try:
            self.engine.client.create_network(name, driver="bridge", check_duplicate=True, labels=labels, options=options)
        except docker.errors.APIError as error:
            if self._of_tenant(ref):  # made by another portal a moment ago
                return
            if "already exists" in str(error.explanation):
                raise GiveUp(
                    _n("NameTaken"), _m("A network named %(name)s exists that is not this portal's.", name=name),
                    _m("Remove that network, or give this cluster another prefix of names."),
                ) from error  # fmt: skip
            raise Retry(
                _n("NetworkMissing"),
                _m(
                    "The network %(name)s cannot be made: %(explanation)s. If the engine has no free addresses "
                    "left, widen `default-address-pools` in its daemon.json.",
                    name=name,
                    explanation=error.explanation,
                ),
            ) from error

    def leave(self, ref: Ref) -> None:
        """The last one out takes the tenant's network along: an engine has addresses for some thirty only."""
        if self.engine.settings.network == "tenant" and not self.containers.mine(f"{naming.TENANT}={ref.tenant}"):
            self._remove(self._of_tenant(ref))

    def _remove(self, networks: Iterable[Mapping[str, Any]]) -> None:
        for network in networks:
            with suppress(docker.errors.APIError):  # somebody joins it this very moment, or has removed it
                self.engine.client.remove_network(network["Id"])
