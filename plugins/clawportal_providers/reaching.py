"""Which addresses the portal asks for somebody who tests a model.

Such a test sends a request out of the portal's own network, to an address that a member of an organisation typed. What listens on
the portal's machine alone, or tells a machine in a cloud its credentials, is not theirs to ask.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

from clawportal.sdk.addresses import endpoint
from clawportal.sdk.fleet import Portal
from clawportal.sdk.permissions import PORTAL_ADMIN, Actor, Scope
from clawportal.sdk.providers import ModelProvider
from clawportal_providers.settings import CredentialSettings, networks

Reach = Callable[[str], bool]
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
"""Where clouds tell their machines about themselves, beside 169.254.169.254."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def reach(portal: Portal, actor: Actor, provider: ModelProvider, base_url: str) -> Reach | None:
    """None: wherever it leads. Administrators of the portal are on its machine anyway, and what a plugin registers was named by
    the operator."""
    named = bool(provider.base_url) and endpoint(base_url) == endpoint(provider.base_url)
    if named or actor.allows(PORTAL_ADMIN, Scope()):
        return None
    return within(portal.section(CredentialSettings))


def within(settings: CredentialSettings) -> Reach:
    opened = networks(settings.test_networks)

    def allowed(text: str) -> bool:
        address = _plain(ipaddress.ip_address(text))
        if any(address in network for network in opened):
            return True
        return not _is_near(address) and (settings.test_private or address.is_global)

    return allowed


def _is_near(address: _Address) -> bool:
    odd = address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast or address.is_reserved
    return odd or address in _METADATA or _is_own(address)


def _is_own(address: _Address) -> bool:
    """Whether it is one of this machine's own, where what listens on all addresses is reached like on loopback. Nothing is sent:
    for those the system chooses the same address to come from."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((str(address), 9))
            return ipaddress.ip_address(asking.getsockname()[0]) == address
    except OSError:
        return False


def _plain(address: _Address) -> _Address:
    """The IPv4 address that some forms of IPv6 lead to."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)
