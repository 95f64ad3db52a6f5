"""Addresses that secrets are sent to: which scheme, host and port they name, and that they carry no credentials themselves."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from clawportal import redact

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ssh": 22}
_BEGINNING = re.compile(r"[^/?#\\]*(?://[^/?#\\]*/?)?")


def endpoint(address: str) -> str:
    """`scheme://host:port` in small letters, with the port that the scheme stands for; the text itself where it names no host.

    Of an address that cannot be read, what stands where the host would: the rest may be what lets one in.
    """
    try:
        parts = urlsplit(address.strip())
        port = parts.port or _PORTS.get(parts.scheme)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return redact.address(_BEGINNING.match(address.strip())[0])  # type: ignore[index]  # it matches every text
    if not parts.scheme or not host:
        return address.strip()
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def carries_credentials(address: str) -> bool:
    """Whether a user or password stands before the host. The user of an SSH address is no secret and may be there."""
    return redact.address(address) != address
