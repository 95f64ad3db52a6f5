"""Secrets at rest: `portal.keyring.seal(text, place)` and `open(sealed, place)`, with a place that names the row.

A feature that keeps some gives a target for `RESEAL`, which moves those where `is_current(sealed)` is false to the newest key. A
secret goes only to the address that it was entered for; `asked_again` is the error for another one.
"""

from __future__ import annotations

from clawportal.keyring import KeyringError
from clawportal.secret_settings import asked_again

__all__ = [
    "KeyringError",
    "asked_again",
]
