"""Whether an address of a network leads to the portal's own machine, or to what tells a machine in a cloud its credentials.

For requests to addresses that people typed: whoever asks such an address from inside is believed more than they are.
"""

from __future__ import annotations

import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
"""Where clouds tell their machines about themselves, beside 169.254.169.254."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_near(address: Address) -> bool:
    """Whether it is this machine, a neighbour on its cable, or no single machine at all. Give it what `plain` made of it."""
    odd = address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast or address.is_reserved
    return odd or address in _METADATA or _is_own(address)


def _is_own(address: Address) -> bool:
    """Whether it is one of this machine's own, where what listens on all addresses is reached like on loopback. Nothing is sent:
    for those the system chooses the same address to come from."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((str(address), 9))
            return ipaddress.ip_address(asking.getsockname()[0]) == address
    except OSError:
        return False


def plain(address: Address) -> Address:
    """The IPv4 address that some forms of IPv6 lead to."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)
