"""A plugin with a kind of claw that has bad manners; loaded by name into the portal that is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from clawportal import hookimpl
from clawportal.contracts.adapters import Adapter
from clawportal.contracts.workloads import Check, Context, File, Workload
from clawportal.testing import hostile
from clawportal_echo import EchoAdapter

_CLAW = (
    Path(hostile.__file__).read_text(encoding="utf-8")
    + '''

import sys


def well(request: bytes) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\\r\\nContent-Length: 16\\r\\nConnection: close\\r\\n\\r\\n" + b'{"status": "ok"}'


def flood() -> None:
    """Long lines, short ones, and one that never ends."""
    while True:
        sys.stdout.write("f" * 300_000 + "\\n" + "short\\n" * 2000)
        sys.stdout.flush()
        threading.Event().wait(0.05)


class Claw(HostileServer):
    def _serve(self, caller: socket.socket) -> None:
        first = caller.recv(12, socket.MSG_PEEK)
        chosen = self.manners if first.startswith(b"POST") or self.manners.startswith("drip") else "well"
        bad, self.manners = self.manners, chosen
        try:
            _MANNERS.setdefault("well", well)
            super()._serve(caller)
        finally:
            self.manners = bad


if __name__ == "__main__":
    bad, port = sys.argv[1], int(sys.argv[2])
    claw = Claw("drip" if bad == "drip" else "many_lines" if bad == "flood" else bad, pause=1.0, most=1 << 40, port=port)
    if bad == "flood":
        flood()
    threading.Event().wait()
'''
)


class Settings(BaseModel):
    manners: Literal["drip", "drip_headers", "giant_line", "many_lines", "flood"] = "drip"


class HostileAdapter(EchoAdapter):
    kind = "hostile"
    title = "Hostile"
    description = "Drips, floods and never ends a line."

    def settings_model(self, version: str) -> type[BaseModel]:
        return Settings

    def plan(self, context: Context) -> Workload:
        settings = context.settings
        assert isinstance(settings, Settings)
        plain = EchoAdapter().plan(replace(context, settings=EchoAdapter().settings_model(context.version)()))
        process = plain.processes[0]
        argv = (*process.argv[:-1], settings.manners, str(context.ports["http"]))
        check = Check((process.argv[0], "-c", "pass"))
        return replace(plain, files=(File("claw.py", _CLAW),), processes=(replace(process, argv=argv),), check=check)


@hookimpl
def register_adapters() -> list[Adapter]:
    return [HostileAdapter()]
