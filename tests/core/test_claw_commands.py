"""A command that is run in a claw for its output."""

from __future__ import annotations

import pytest

from clawportal.errors import Unavailable
from clawportal.runtime_helpers import output_of


def test_a_command_in_a_claw_says_how_it_ended() -> None:
    class Said:
        """A command that says two words, waits, and ends."""

        exit_code, closed = 3, False

        def __init__(self, *pieces: tuple[str, bytes] | None) -> None:
            self._pieces = list(pieces)

        def receive(self, timeout: float) -> tuple[str, bytes] | None:
            if not self._pieces:
                raise EOFError
            return self._pieces.pop(0)

        def close(self) -> None:
            self.closed = True

    said = Said(("stdout", b"one "), None, ("stderr", b"noise"), ("stdout", b"two"))
    assert output_of(said, 5) == (3, b"one two") and said.closed
    silent = Said(*[None] * 1000)
    with pytest.raises(Unavailable):
        output_of(silent, 0)
    assert silent.closed
