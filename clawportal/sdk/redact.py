"""What is secret is not shown: how that is recognised, and what stands in its place."""

from __future__ import annotations

from clawportal.redact import (
    CHANGED,
    MASK,
    SHORTEST,
    ByteMasker,
    Masker,
    address,
    command,
    document,
    forms,
    masked,
    may_name_secret,
    named,
    names_secret,
    text,
)

__all__ = [
    "CHANGED",
    "MASK",
    "SHORTEST",
    "ByteMasker",
    "Masker",
    "address",
    "command",
    "document",
    "forms",
    "masked",
    "may_name_secret",
    "named",
    "names_secret",
    "text",
]
