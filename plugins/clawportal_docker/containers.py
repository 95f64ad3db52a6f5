"""The containers of an instance: how they are named, found again and removed.

The state is the engine's: labels say what belongs to which instance. So any portal that opens the same engine sees the same.
A name can be taken once only: that is the lock between portals; within one portal it is `locked`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import docker.errors

from clawportal.sdk import _m, _n
from clawportal.sdk.errors import Conflict, GiveUp, Retry, Unsupported
from clawportal.sdk.runtimes import NoFolderYet, Ref
from clawportal_docker import naming
from clawportal_docker.engine import Engine

RUNS = ("running", "paused", "restarting")
FRESH = 60.0
"""Seconds in which a container that was created and not yet started belongs to somebody who is just starting it."""


class Containers:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.recognised: dict[str, Ref] = {}
        """Unmanaged workloads that are instances now, by the ids of their containers: the portal tells, no label can."""
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def name(self, ref: Ref, suffix: str = "") -> str:
        if not naming.valid_id(ref.instance_id):
            raise GiveUp(
                _n("InvalidId"), _m("%(instance_id)s cannot be the id of an instance.", instance_id=repr(ref.instance_id)),
                _m("Use letters, digits, dot, dash and underscore."),
            )  # fmt: skip
        return naming.base_name(self.engine.settings.prefix, ref) + suffix

    def volume(self, ref: Ref) -> str:
        return self.name(ref, "-data")

    @contextmanager
    def locked(self, ref: Ref) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(ref.instance_id, threading.Lock())
        if not lock.acquire(timeout=60):
            raise Retry(_n("Busy"), _m("Another change of this instance is still under way."), timedelta(seconds=2))
        try:
            yield
        finally:
            lock.release()

    def mine(self, *more: str, everywhere: bool = True) -> list[dict[str, Any]]:
        filters = {"label": [f"{naming.PLACE}={self.engine.place}", f"{naming.ROLE}=claw", *more]}
        return self.engine.client.containers(all=everywhere, filters=filters)  # type: ignore[no-any-return]  # untyped client

    def of(self, ref: Ref, *, previous: bool = False) -> list[dict[str, Any]]:
        """Of one instance, the first process first."""
        self.name(ref)
        if ref.unmanaged_id:
            return [] if previous else self.unmanaged((ref.unmanaged_id,))
        found = self.mine(f"{naming.INSTANCE}={ref.instance_id}")
        chosen = [entry for entry in found if is_previous(entry) == previous]
        return sorted(chosen, key=lambda entry: (entry["Created"], entry["Names"][0]))

    def main(self, ref: Ref) -> dict[str, Any] | None:
        """The container of the first process; None where there is none."""
        if ref.unmanaged_id:
            return next(iter(self.of(ref)), None)
        name = "/" + self.name(ref)
        return next((entry for entry in self.of(ref) if name in entry["Names"]), None)

    def any(self, ref: Ref) -> dict[str, Any]:
        """A container with the instance's volume, running or not."""
        if ref.unmanaged_id:
            raise Unsupported(
                _m("The files of %(ref)s lie where the maker of its container put them. Use its console, or docker cp.", ref=ref)
            )
        found = self.main(ref) or next(iter(self.of(ref, previous=True)), None)
        if found is None:
            raise NoFolderYet(_m("%(ref)s was never started, so it has no files yet.", ref=ref))
        return found

    def unmanaged(self, ids: Collection[str], *, everywhere: bool = True) -> list[dict[str, Any]]:
        """Exactly these containers, as far as they are there. Never one that a portal made: that is an instance already."""
        found = self.engine.client.containers(all=everywhere, filters={"id": list(ids)}) if ids else []
        known = [entry | {"Labels": entry.get("Labels") or {}} for entry in found]
        return [entry for entry in known if entry["Id"] in ids and naming.PLACE not in entry["Labels"]]

    def may_change(self, ref: Ref) -> None:
        if ref.read_only:
            raise Conflict(_m("%(ref)s is only observed: the portal does nothing to its container. Adopt it first.", ref=ref))

    def discard(self, container: str, *, volumes: bool = False) -> None:
        try:
            self.engine.slow.remove_container(container, force=True, v=volumes)
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            if error.status_code != 409 or "already in progress" not in str(error.explanation):
                raise
            self._until_gone(container)

    def _until_gone(self, container: str) -> None:
        """Somebody else, perhaps another portal, is removing it already."""
        end = time.monotonic() + 30
        with suppress(docker.errors.NotFound):
            while self.engine.client.inspect_container(container) and time.monotonic() < end:
                time.sleep(0.1)


def is_previous(entry: Mapping[str, Any]) -> bool:
    """Whether a container is the run before, kept for its log."""
    return any(name.endswith(naming.PREVIOUS) for name in entry["Names"])


def dependents_first(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Podman removes a container only after those that use its network. The first process has the shortest name."""
    return sorted(entries, key=lambda entry: -len(entry["Names"][0]))
