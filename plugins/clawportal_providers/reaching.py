"""Which addresses the portal asks for somebody who tests a model.

Such a test sends a request out of the portal's own network, to an address that a member of an organisation typed. What listens on
the portal's machine alone, or tells a machine in a cloud its credentials, is not theirs to ask.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from clawportal.sdk.addresses import endpoint, is_near, plain
from clawportal.sdk.fleet import Portal
from clawportal.sdk.permissions import PORTAL_ADMIN, Actor, Scope
from clawportal.sdk.providers import ModelProvider
from clawportal_providers.settings import CredentialSettings, networks

Reach = Callable[[str], bool]


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
        address = plain(ipaddress.ip_address(text))
        if any(address in network for network in opened):
            return True
        return not is_near(address) and (settings.test_private or address.is_global)

    return allowed
