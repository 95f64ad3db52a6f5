"""Addresses that secrets are sent to, and whether one that somebody typed leads to the portal's own machine."""

from __future__ import annotations

from clawportal.addresses import carries_credentials, endpoint
from clawportal.near_addresses import is_near, plain

__all__ = [
    "carries_credentials",
    "endpoint",
    "is_near",
    "plain",
]
