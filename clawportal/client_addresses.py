"""Addresses of callers, as one text each, wherever they are compared, counted or written down."""

from __future__ import annotations

import ipaddress
import re

_BRACKETS = re.compile(r"\[([^\[\]]+)\](?::\d{1,5})?")
_WITH_PORT = re.compile(r"(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}")


def plain(text: str) -> str:
    """The address alone: without port, brackets, quotes and zone; an IPv4 address inside IPv6 as IPv4. Empty when it is none."""
    text = text.strip().strip('"')
    found = _BRACKETS.fullmatch(text) or _WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address((found[1] if found else text).partition("%")[0])
    except ValueError:
        return ""
    return str(getattr(address, "ipv4_mapped", None) or address)


def network_of(text: str) -> str:
    """Whom to count together: one address of IPv4; of IPv6 the network of 2**64 addresses that every household has."""
    known = plain(text)
    if not known:
        return text
    return str(ipaddress.ip_network((known, 64), strict=False)) if ":" in known else known


def forwarded(header: str, hops: int) -> str:
    """Who asked the outermost of `hops` proxies that are believed, by what they wrote into X-Forwarded-For. Empty: not told."""
    told = header.split(",")
    return plain(told[-hops]) if 0 < hops <= len(told) else ""


def bracketed(host: str) -> str:
    """As it stands in a URL or before a port."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def near(text: str) -> bool:
    """Whether it is of this machine or its own network: where a proxy of ours would be."""
    known = plain(text)
    return bool(known) and ipaddress.ip_address(known).is_private
