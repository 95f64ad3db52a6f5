"""One engine: its settings, and the connections to it."""

from __future__ import annotations

import os
import shutil
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import docker

from clawportal.sdk import _m, certificates
from clawportal.sdk.errors import Invalid, Unavailable
from clawportal_docker.client import Client
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
    """`client` is for what is answered at once, `slow` for calls that the engine only answers when they are done."""

    def __init__(self, place: Place, settings: DockerSettings) -> None:
        self.settings = settings
        self.place = place.cluster_id
        self.data = Path(place.data_dir)
        self._tls = self._trust()
        self.forward = Forward(settings.url) if settings.url.startswith("ssh://") else None
        try:
            self.client = self.connect(TIMEOUT)
            self.slow = self.connect(LONG)
        except BaseException:
            self._end_forward()
            raise
        self.pool = ThreadPoolExecutor(8, thread_name_prefix="docker")

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
                return Invalid.field(name, _m("It %(error)s.", error=error))
        return Invalid.field("tls_key", _m("It does not belong to the client certificate."))

    def connect(self, timeout: float) -> docker.APIClient:
        where = self.forward.address() if self.forward else self.settings.url
        try:
            return Client(where, version=API, timeout=int(timeout), context=self._tls, num_pools=16, max_pool_size=64)
        except BROKEN as error:
            raise Unavailable(
                _m("The container engine cannot be reached at %(url)s: %(error)s", url=self.settings.url, error=error)
            ) from error

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
        for client in (self.client, self.slow):
            with suppress(*BROKEN):
                client.close()
        self._end_forward()

    def _end_forward(self) -> None:
        if self.forward is not None:
            self.forward.close()

    @cached_property
    def podman(self) -> bool:
        """Whether this is Podman, which tells some things in another way."""
        return is_podman(self.client.version())

    def host(self) -> str:
        """The address of its machine, for ports that it publishes."""
        url = self.settings.url
        if "://" not in url or url.startswith("unix:"):
            return "127.0.0.1"
        return urlsplit(url).hostname or "127.0.0.1"
