"""Addresses that secrets are sent to."""

from __future__ import annotations

from clawportal.addresses import carries_credentials, endpoint

__all__ = [
    "carries_credentials",
    "endpoint",
]
