"""What the web server loads."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from clawportal.cli import master
master._load_sockets_without_clients()
import engineio.client, requests, socketio, websocket
assert engineio.client.requests is None and engineio.client.websocket is None
assert callable(socketio.Server) and callable(requests.get) and callable(websocket.create_connection)
"""


def test_clients_are_left_out_where_nobody_uses_them_and_come_where_somebody_does() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
