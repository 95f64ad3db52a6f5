"""A port of a pod brought to this machine: a WebSocket through the API server for each connection."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from websocket import WebSocket

_PIECE = 64 * 1024


class Tunnel:
    """A port on the loopback of the portal's machine that leads to a port of one instance, whatever pod it has just now."""

    def __init__(self, connect: Callable[[], WebSocket]) -> None:
        self._connect = connect
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self.closed = False
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, name=f"tunnel {self.address[1]}", daemon=True).start()

    def _accept(self) -> None:
        while not self.closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="tunnel connection", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        try:
            far = self._connect()
        except Exception:  # nobody is there to be told but the client, whose connection ends
            self._open.discard(client)
            client.close()
            return
        writer = threading.Thread(target=self._upload, args=(client, far), name="tunnel upload", daemon=True)
        writer.start()
        try:
            self._download(client, far)
        finally:
            self._open.discard(client)
            for end in (lambda: client.shutdown(socket.SHUT_RDWR), client.close, far.shutdown):
                try:
                    end()
                except OSError:
                    pass  # already closed from the other side

    def _upload(self, client: socket.socket, far: WebSocket) -> None:
        from websocket import ABNF, WebSocketException

        try:
            while data := client.recv(_PIECE):
                far.send(b"\0" + data, ABNF.OPCODE_BINARY)
            time.sleep(0.2)  # the far side cannot be told of half an end; give its last words time to arrive
        except (WebSocketException, OSError):
            pass  # the other direction notices too
        finally:
            inner = far.sock
            if inner is not None:
                try:
                    inner.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # closed from the other side

    def _download(self, client: socket.socket, far: WebSocket) -> None:
        """Channel 0 carries data, 1 an error; each begins with a frame that holds the port's number."""
        from websocket import ABNF, WebSocketException

        begun: set[int] = set()
        while True:
            try:
                opcode, data = far.recv_data()
                if opcode == ABNF.OPCODE_CLOSE:
                    return
                if not data:
                    continue
                channel = data[0]
                if channel not in begun:
                    begun.add(channel)
                    continue
                if channel == 1:
                    return
                client.sendall(data[1:])
            except (WebSocketException, OSError):
                return

    def close(self) -> None:
        self.closed = True
        # shutdown first: close alone does not wake a thread that waits in accept
        for one in (self._listener, *self._open):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # not connected
            one.close()
