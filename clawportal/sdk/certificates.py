"""Certificates and keys as people paste them."""

from __future__ import annotations

from clawportal.certificates import certificates, context, pem, private_key

__all__ = [
    "certificates",
    "context",
    "pem",
    "private_key",
]
