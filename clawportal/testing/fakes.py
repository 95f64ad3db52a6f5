"""Small real stand-ins for what surrounds an adapter: a layout, a context, and a way to a claw on this machine."""

from __future__ import annotations

import http.client
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clawportal import bounded
from clawportal.contracts.adapters import Adapter, HttpAnswer
from clawportal.contracts.specs import InstanceSpec
from clawportal.contracts.workloads import Context, Layout, Model

MODEL_KEY = "model_api_key"


def default_version(adapter: Adapter) -> str:
    return next(version.version for version in adapter.versions() if version.default)


def make_layout(adapter: Adapter, version: str, base: str = "/srv/claw") -> Layout:
    """Folders that need not exist."""
    artifacts = {artifact.name: f"{base}/artifacts/{artifact.key}" for artifact in adapter.artifacts(version)}
    return Layout(f"{base}/home", f"{base}/state", f"{base}/work", f"{base}/temporary", artifacts)


def make_context(
    adapter: Adapter,
    *,
    version: str = "",
    spec: Mapping[str, Any] | None = None,
    secrets: Iterable[str] = (),
    ports: Mapping[str, int] | None = None,
    layout: Layout | None = None,
    model: Model | None = None,
) -> Context:
    """A context as core makes it: settings validated, ports given, secrets by name only."""
    version = version or default_version(adapter)
    accepted = InstanceSpec.model_validate(dict(spec or {}))
    given = ports or {port.name: 41000 + number for number, port in enumerate(adapter.ports(version))}
    return Context(
        instance_id="i-0123456789",
        name="trial",
        tenant="acme",
        version=version,
        spec=accepted,
        settings=adapter.settings_model(version).model_validate(accepted.settings),
        layout=layout or make_layout(adapter, version),
        ports=given,
        bind_host="0.0.0.0" if accepted.expose else "127.0.0.1",
        model=model or Model("practice", "http://127.0.0.1:18080/v1", "practice"),
        secrets=frozenset({*secrets, *adapter.generated_secrets(version)}),
    )


class LoopbackIO:
    """`AdapterIO` for a claw whose ports are on this machine."""

    def __init__(
        self, ports: Mapping[str, int], secrets: Mapping[str, str], roots: Mapping[str, Path] | None = None, *,
        lines: Callable[[], Iterable[str]] = tuple,
    ) -> None:  # fmt: skip
        self._ports, self._secrets, self._roots = dict(ports), dict(secrets), dict(roots or {})
        self._lines = lines

    def address(self, port: str) -> tuple[str, int]:
        return "127.0.0.1", self._ports[port]

    def secret(self, name: str) -> str:
        return self._secrets.get(name, "")

    def get(self, port: str, path: str, *, headers: Mapping[str, str] | None = None, timeout: float = 2.0) -> HttpAnswer:
        connection = bounded.HTTPConnection(*self.address(port), bounded.Budget(timeout, 1_000_000))
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return HttpAnswer(answer.status, answer.read(1_000_000))
        except http.client.HTTPException as error:
            raise OSError(f"this is no HTTP answer: {error!r}") from error
        finally:
            connection.close()

    def read_file(self, root: str, path: str, limit: int = 1_000_000) -> bytes:
        with (self._roots[root] / path).open("rb") as file:
            return file.read(limit)

    def run(self, argv: Sequence[str], timeout: float) -> tuple[int, bytes]:
        done = subprocess.run(argv, stdout=subprocess.PIPE, timeout=timeout, check=False)
        return done.returncode, done.stdout

    def last_lines(self, count: int = 50) -> tuple[str, ...]:
        return tuple(self._lines())[-count:]


def free_ports(names: Iterable[str]) -> dict[str, int]:
    """A free port of this machine for each name; all are held until all are known, so they differ."""
    held = {name: socket.socket() for name in names}
    try:
        for one in held.values():
            one.bind(("127.0.0.1", 0))
        return {name: int(one.getsockname()[1]) for name, one in held.items()}
    finally:
        for one in held.values():
            one.close()


@contextmanager
def rude_server(answer: bytes) -> Iterator[int]:
    """A server that reads a little, says `answer` whatever it was asked, and hangs up. Gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                with caller:
                    caller.settimeout(2.0)
                    try:
                        caller.recv(65536)
                        caller.sendall(answer)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, name="rude-server", daemon=True)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=5)
