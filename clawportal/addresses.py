"""Addresses that secrets are sent to: which scheme, host and port they name, and that they carry no credentials themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ssh": 22}
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://[^/\s?#\"']*@")
_LOGIN_ALONE = re.compile(r"(?i)ssh://[A-Za-z0-9._-]+@")


def endpoint(address: str) -> str:
    """`scheme://host:port` in small letters, with the port that the scheme stands for; the text itself where it is no address."""
    try:
        parts = urlsplit(address.strip())
        port = parts.port or _PORTS.get(parts.scheme)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return address.strip()
    if not parts.scheme or not host:
        return address.strip()
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def carries_credentials(address: str) -> bool:
    """Whether a user or password stands before the host. The user of an SSH address is no secret and may be there."""
    return without_credentials(address) != address


def hidden(document: Any) -> Any:
    """A stored document as it may be shown: an earlier version let people write credentials into addresses."""
    if isinstance(document, str):
        return without_credentials(document) if "@" in document else document
    if isinstance(document, Mapping):
        return {name: hidden(value) for name, value in document.items()}
    if isinstance(document, list | tuple):
        return [hidden(value) for value in document]
    return document


def without_credentials(text: str) -> str:
    """A text in which no address says how somebody signs in."""
    return _ADDRESS.sub(lambda found: found[0] if _LOGIN_ALONE.fullmatch(found[0]) else f"{found[1]}://***@", text)
