"""What a place says about itself, and how the portal reaches what runs there."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from clawportal.errors import Unsupported
from clawportal.runtime_helpers import CAPABILITIES
from clawportal.testing.lab import Lab

_SERVER = """
    import http.server, sys, threading
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f'answer of {self.server.server_port}'.encode())
        def log_message(self, *rest): pass
    servers = [http.server.ThreadingHTTPServer((sys.argv[1], int(port)), Handler) for port in sys.argv[2:]]
    for server in servers[1:]: threading.Thread(target=server.serve_forever, daemon=True).start()
    print('ready', flush=True)
    servers[0].serve_forever()
"""


class PlaceBehaviours:
    def test_ports_can_be_reached(self, lab: Lab) -> None:
        """The portal reaches each port of an instance, again and again."""
        ref, ports = lab.ref(), lab.ports("http", "other")
        lab.start(ref, lab.workload(_SERVER, lab.listen_host, *map(str, ports.values()), ports=ports))
        for port in [*ports.values()] * 3:
            assert _ask(lab, *lab.runtime.open_port(ref, port)) == f"answer of {port}".encode()

    def test_a_port_of_nobody_refuses(self, lab: Lab) -> None:
        """A port on which nobody listens refuses, and hangs nobody up."""
        ref, ports = lab.ref(), lab.ports("http")
        lab.start(ref, lab.workload(ports=ports))
        began = time.monotonic()
        with pytest.raises((OSError, http.client.HTTPException)):
            host, port = lab.runtime.open_port(ref, ports["http"])
            _get(host, port, 10)
        assert time.monotonic() - began < 15

    def test_the_same_ports_for_two(self, lab: Lab) -> None:
        """Where ports are not shared, two instances may use the same number."""
        if lab.can("allocated-ports"):
            number = lab.ports("http")["http"]
            assert lab.runtime.port_free(number)
            ref = lab.ref()
            lab.start(ref, lab.workload(_SERVER, lab.listen_host, str(number), ports={"http": number}))
            assert not lab.runtime.port_free(number)
            lab.killed(ref)
            lab.eventually(lambda: lab.runtime.port_free(number), "the port is free again")
            return
        refs = [lab.ref("first"), lab.ref("second")]
        for ref in refs:
            lab.start(ref, lab.workload(_SERVER, lab.listen_host, "18700", ports={"http": 18700}))
        assert len({lab.runtime.open_port(ref, 18700) for ref in refs}) == 2
        for ref in refs:
            assert _ask(lab, *lab.runtime.open_port(ref, 18700)) == b"answer of 18700"

    def test_events_tell_what_happened(self, lab: Lab) -> None:
        """The place tells in words what happened to an instance, oldest first."""
        lab.needs("events")
        ref = lab.ref()
        assert lab.runtime.events(ref) == []
        lab.apply(ref, lab.workload("import sys, time; time.sleep(0.5); sys.exit(9)"))
        lab.ended(ref)

        def told() -> bool:
            return len(lab.runtime.events(ref)) >= 2

        lab.eventually(told, "there are events")
        events = lab.runtime.events(ref)
        assert [one.at for one in events] == sorted(one.at for one in events)
        assert all(one.reason and one.message and one.level in ("info", "warning") and one.count >= 1 for one in events)
        assert all(abs(one.at - datetime.now(UTC)) < timedelta(minutes=10) for one in events)
        other = lab.ref("other")
        assert lab.runtime.events(other) == [], "each instance has its own"

    def test_capacity(self, lab: Lab) -> None:
        """The place tells how much it has, and how much is free."""
        found = lab.runtime.capacity()
        assert found.cpu_cores > 0 and 0 <= found.memory_available <= found.memory_bytes > 0
        assert 0 <= found.disk_available <= found.disk_bytes

    def test_diagnose_finds_all_well(self, lab: Lab) -> None:
        """The connection test names each thing that the portal needs, finds it here, and changes nothing."""
        before = len(lab.runtime.observe())
        found = lab.runtime.diagnose()
        assert found and len({one.name for one in found}) == len(found) and all(one.message for one in found)
        assert [f"{one.name}: {one.message}" for one in found if not one.ok] == []
        assert len(lab.runtime.observe()) == before

    def test_the_version_is_told(self, lab: Lab) -> None:
        """The place names its software with a version."""
        assert any(char.isdigit() for char in lab.runtime.version())

    def test_capabilities_are_known_words(self, lab: Lab) -> None:
        """Capabilities are words of the contract, the same for each connection; exactly one of artifacts and images."""
        assert lab.runtime.capabilities <= CAPABILITIES.keys()
        assert len(lab.runtime.capabilities & {"artifacts", "images"}) == 1
        assert lab.connect().capabilities == lab.runtime.capabilities

    def test_what_is_not_declared_is_refused(self, lab: Lab) -> None:
        """What the place has not declared it refuses as `Unsupported`, or has nothing of."""
        ref = lab.ref()
        lab.start(ref)
        undeclared: dict[str, list[Callable[[], object]]] = {
            "exec": [lambda: lab.runtime.exec(ref, ("true",))],
            "files": [
                lambda: lab.runtime.list_files(ref, "work"),
                lambda: list(lab.runtime.pull(ref, "work")),
                lambda: lab.runtime.push(ref, "work", "", []),
            ],
        }
        for capability, calls in undeclared.items():
            for call in calls if not lab.can(capability) else ():
                with pytest.raises(Unsupported):
                    call()
        if not lab.can("import"):
            assert lab.runtime.unmanaged() == []

    def test_closing_leaves_everything_running(self, lab: Lab) -> None:
        """A portal that closes its connection, also twice, ends nothing."""
        ref = lab.ref()
        other = lab.connect()
        lab.apply(ref, lab.workload(), by=other)
        first = lab.running(ref)
        other.close()
        other.close()
        time.sleep(0.5)
        assert lab.runtime.inspect(ref).incarnation == first.incarnation

    def test_connections_share_nothing(self, lab: Lab) -> None:
        """Of several connections with the same settings, each goes on when the others are closed, in whatever order."""
        ref = lab.ref()
        lab.start(ref)
        several = [lab.connect() for _ in range(3)]
        for one in several:
            assert one.version()
        for number, one in enumerate(several[:-1]):
            one.close()
            with ThreadPoolExecutor(8) as pool:  # more at once than lie ready: new ways are opened
                told = list(pool.map(lambda _, left=several[number + 1]: left.version(), range(8)))
            assert len(set(told)) == 1
        assert ref.instance_id in {seen.ref.instance_id for seen in several[-1].observe()}
        assert lab.connect().version(), "and whoever comes later"
        several[-1].close()


def _get(host: str, port: int, timeout: float) -> bytes:
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def _ask(lab: Lab, host: str, port: int) -> bytes:
    def answer() -> bytes | None:
        try:
            return _get(host, port, lab.terms.patience)
        except OSError:
            return None

    return lab.eventually(answer, f"{host}:{port} answers")
