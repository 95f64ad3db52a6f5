"""One engine and what is asked of it again and again: its connections, an instance's names, its containers, its notes.

The state is the engine's: labels say what belongs to which instance, and a note in the volume what was written last. So
any portal that opens the same engine sees the same. A name can be taken once only: that is the lock between portals.
"""

from __future__ import annotations

import os
import shutil
import ssl
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import docker.errors

from clawportal.sdk import certificates
from clawportal.sdk.bounded import parse_json
from clawportal.sdk.errors import Conflict, GiveUp, Invalid, Retry, Unavailable, Unsupported
from clawportal.sdk.runtimes import Image, Ref
from clawportal_docker import archives, naming
from clawportal_docker.client import Client, whole
from clawportal_docker.diagnosis import is_podman
from clawportal_docker.errors import BROKEN
from clawportal_docker.forward import Forward

if TYPE_CHECKING:
    from clawportal.sdk.runtimes import Place
    from clawportal_docker.settings import DockerSettings

API = "1.41"
"""Docker Engine 20.10 and Podman 4 speak it; nothing newer is needed."""
TIMEOUT = 30
LONG = 600


class Engine:
    def __init__(self, place: Place, settings: DockerSettings) -> None:
        self.settings = settings
        self.place = place.cluster_id
        self.data = Path(place.data_dir)
        self._tls = self._trust()
        self._forward = Forward(settings.url) if settings.url.startswith("ssh://") else None
        try:
            self._client = self._connect(TIMEOUT)
            self._slow = self._connect(LONG)
        except BaseException:
            self._end_forward()
            raise
        """For calls that the engine only answers when they are done."""
        self._guard = threading.Lock()
        self._joining = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._ended: dict[str, Mapping[str, Any]] = {}
        """What is known of containers that have exited: that never changes again."""
        self._guests: dict[str, Ref] = {}
        """Containers that somebody else made and that are instances now, by their ids: the portal tells, no label can."""
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="docker")

    def _trust(self) -> ssl.SSLContext | None:
        """What the settings say of TLS, in memory alone. An earlier version laid it into files."""
        shutil.rmtree(self.data / "tls", ignore_errors=True)
        given = self.settings
        if not (given.tls_ca or given.tls_cert):
            return None
        try:
            made = certificates.context(given.tls_ca, given.tls_cert, given.tls_key)
        except ValueError as error:
            raise self._unfit() from error
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        if not given.tls_ca and bundle and os.path.isfile(bundle):
            made.load_verify_locations(bundle)
        return made

    def _unfit(self) -> Invalid:
        """Which of the three it is."""
        for name, read in (
            ("tls_ca", certificates.certificates), ("tls_cert", certificates.certificates), ("tls_key", certificates.private_key),
        ):  # fmt: skip
            try:
                read(getattr(self.settings, name))
            except ValueError as error:
                return Invalid.field(name, f"It {error}.")
        return Invalid.field("tls_key", "It does not belong to the client certificate.")

    def _connect(self, timeout: float) -> docker.APIClient:
        where = self._forward.address() if self._forward else self.settings.url
        try:
            return Client(where, version=API, timeout=int(timeout), context=self._tls, num_pools=16, max_pool_size=64)
        except BROKEN as error:
            raise Unavailable(f"The container engine cannot be reached at {self.settings.url}: {error}") from error

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for client in (self._client, self._slow):
            with suppress(*BROKEN):
                client.close()
        self._end_forward()

    def _end_forward(self) -> None:
        if self._forward is not None:
            self._forward.close()

    @cached_property
    def podman(self) -> bool:
        """Whether this is Podman, which tells some things in another way."""
        return is_podman(self._client.version())

    # ---- what belongs to an instance

    def _name(self, ref: Ref, suffix: str = "") -> str:
        if not naming.valid_id(ref.instance_id):
            raise GiveUp(
                "InvalidId", f"{ref.instance_id!r} cannot be the id of an instance.",
                "Use letters, digits, dot, dash and underscore.",
            )  # fmt: skip
        return naming.base_name(self.settings.prefix, ref) + suffix

    def _volume(self, ref: Ref) -> str:
        return self._name(ref, "-data")

    @contextmanager
    def _locked(self, ref: Ref) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(ref.instance_id, threading.Lock())
        if not lock.acquire(timeout=60):
            raise Retry("Busy", "Another change of this instance is still under way.", timedelta(seconds=2))
        try:
            yield
        finally:
            lock.release()

    def _mine(self, *more: str, everywhere: bool = True) -> list[dict[str, Any]]:
        filters = {"label": [f"{naming.PLACE}={self.place}", f"{naming.ROLE}=claw", *more]}
        return self._client.containers(all=everywhere, filters=filters)  # type: ignore[no-any-return]  # untyped client

    def _containers(self, ref: Ref, *, previous: bool = False) -> list[dict[str, Any]]:
        """Of one instance, the first process first."""
        self._name(ref)
        if ref.unmanaged_id:
            return [] if previous else self._strangers((ref.unmanaged_id,))
        found = self._mine(f"{naming.INSTANCE}={ref.instance_id}")
        chosen = [entry for entry in found if is_previous(entry) == previous]
        return sorted(chosen, key=lambda entry: (entry["Created"], entry["Names"][0]))

    def _main(self, ref: Ref) -> dict[str, Any] | None:
        """The container of the first process; None where there is none."""
        if ref.unmanaged_id:
            return next(iter(self._containers(ref)), None)
        name = "/" + self._name(ref)
        return next((entry for entry in self._containers(ref) if name in entry["Names"]), None)

    def _any(self, ref: Ref) -> dict[str, Any]:
        """A container with the instance's volume, running or not."""
        if ref.unmanaged_id:
            raise Unsupported(f"The files of {ref} lie where the maker of its container put them. Use its console, or docker cp.")
        found = self._main(ref) or next(iter(self._containers(ref, previous=True)), None)
        if found is None:
            raise Conflict(f"{ref} was never started, so it has no files yet.")
        return found

    # ---- what somebody else made

    def recognise(self, refs: Iterable[Ref]) -> None:
        self._guests = {ref.unmanaged_id: ref for ref in refs if ref.unmanaged_id}

    def _strangers(self, ids: Collection[str], *, everywhere: bool = True) -> list[dict[str, Any]]:
        """Exactly these containers, as far as they are there. Never one that a portal made: that is some instance's already."""
        found = self._client.containers(all=everywhere, filters={"id": list(ids)}) if ids else []
        known = [entry | {"Labels": entry.get("Labels") or {}} for entry in found]
        return [entry for entry in known if entry["Id"] in ids and naming.PLACE not in entry["Labels"]]

    def _may_change(self, ref: Ref) -> None:
        if ref.read_only:
            raise Conflict(f"{ref} is only observed: the portal does nothing to its container. Adopt it first.")

    # ---- notes of the portal's own in the volume

    def _note(self, container: str, name: str, document: object) -> None:
        self._client.put_archive(container, naming.BASE, archives.of_note(name, document))

    def _read_note(self, container: str, name: str) -> dict[str, Any]:
        try:
            stream, _ = self._client.get_archive(container, f"{naming.BASE}/.clawportal/{name}")
        except docker.errors.NotFound:
            return {}
        except docker.errors.APIError as error:
            if "/ns/mnt" in str(error.explanation):  # Podman, of what ends at this very moment
                return {}
            raise
        found = parse_json(archives.first_file(stream, 1_000_000) or b"{}")
        return found if isinstance(found, dict) else {}

    # ---- commands that live for a moment

    def _run(self, container: str, argv: Sequence[str], user: str) -> tuple[int, bytes]:
        made = self._client.exec_create(container, list(argv), user=user)
        output = whole(self._slow.exec_start(made["Id"], stream=True), LONG)
        return int(self._client.exec_inspect(made["Id"])["ExitCode"] or 0), output

    def _hand(
        self, ref: Ref, image: Image | None, argv: Sequence[str], *, reference: str = "", user: str = "0:0"
    ) -> tuple[int, bytes]:
        """A helper that lives for a moment: the same image and volume, no network, nothing else. Exit code and output."""
        config = {
            "Image": image.reference if image else reference, "Entrypoint": list(argv), "Cmd": [], "User": user, "Env": [],
            "Labels": naming.labels(self.place, ref, "hand"), "NetworkDisabled": True, "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": {
                "CapDrop": ["ALL"], "CapAdd": ["DAC_OVERRIDE"] if user == "0:0" else [], "SecurityOpt": ["no-new-privileges"],
                "PidsLimit": 64, "Memory": 256 << 20, "NetworkMode": "none", "ReadonlyRootfs": True,
                "Mounts": [{"Type": "volume", "Source": self._volume(ref), "Target": naming.BASE}],
            },
        }  # fmt: skip
        made = self._client.create_container_from_config(config)
        try:
            self._client.start(made["Id"])
            code = self._slow.wait(made["Id"])["StatusCode"]
            return code, self._client.logs(made["Id"], stdout=True, stderr=False)
        finally:
            self._discard(made["Id"], volumes=True)

    def _discard(self, container: str, *, volumes: bool = False) -> None:
        try:
            self._slow.remove_container(container, force=True, v=volumes)
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
            while self._client.inspect_container(container) and time.monotonic() < end:
                time.sleep(0.1)


def is_previous(entry: Mapping[str, Any]) -> bool:
    """Whether a container is the run before, kept for its log."""
    return any(name.endswith(naming.PREVIOUS) for name in entry["Names"])
