"""WebSockets without Socket.IO, from the side of a client."""

from __future__ import annotations

import simple_websocket


class Line(simple_websocket.Client):  # type: ignore[misc]  # the library has no types
    """Hears what came along with the answer to its greeting, too: the library looks at that only when more comes."""

    def handshake(self) -> None:
        super().handshake()
        self._handle_events()
