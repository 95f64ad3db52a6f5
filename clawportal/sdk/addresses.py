"""Addresses that secrets are sent to."""

from __future__ import annotations

from clawportal.addresses import carries_credentials, endpoint, hidden, without_credentials

__all__ = [
    "carries_credentials",
    "endpoint",
    "hidden",
    "without_credentials",
]
