"""Which host name belongs to which port of which claw, and the addresses that follow from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from clawportal.sdk import _m
from clawportal.sdk.errors import Conflict

LOCALHOST = "localhost"
"""Browsers lead every name below it to their own machine, without asking anybody."""
_LABEL = re.compile(r"([a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?)-([0-9a-hjkmnp-tv-z]{26})")


@dataclass(frozen=True)
class App:
    """One port of one claw."""

    instance_id: str
    port: str

    @property
    def label(self) -> str:
        return f"{self.port}-{self.instance_id}"


def app_of(label: str) -> App | None:
    found = _LABEL.fullmatch(label)
    return App(found[2], found[1]) if found else None


def host_alone(host: str) -> str:
    """Without its port, in small letters."""
    return re.sub(r":\d*$", "", host.strip().lower())


class Names:
    """`domain`: as in the settings, perhaps with a port."""

    def __init__(self, domain: str) -> None:
        self._domain, _, self._port = domain.partition(":")

    def takes(self, host: str) -> bool:
        """Whether a host name is none of the portal's. Below a domain of claws, no name is."""
        name, _, rest = host_alone(host).rstrip(".").partition(".")
        if self._domain:
            return rest == self._domain or rest.endswith(f".{self._domain}")
        return rest == LOCALHOST and app_of(name) is not None

    def app_at(self, host: str) -> App | None:
        name, _, rest = host_alone(host).partition(".")  # with a dot at the end there is none: no page has a second name
        return app_of(name) if rest == (self._domain or LOCALHOST) else None

    def named(self, portal_url: str) -> bool:
        """Whether pages have host names for a browser that finds the portal there."""
        return bool(self._domain) or _is_here(urlsplit(portal_url).hostname or "")

    def origin(self, app: App, portal_url: str) -> str:
        """Where a browser finds it that finds the portal at `portal_url`; Conflict where it cannot."""
        parts = urlsplit(portal_url)
        port = self._port or str(parts.port or "")
        if not self.named(portal_url):
            raise Conflict(
                _m(
                    "The pages of claws need host names of their own here. Set CLAWPORTAL_APPS_DOMAIN to a domain such as "
                    "apps.example.com whose names all lead to this portal, or CLAWPORTAL_APPS_PORTS to some free ports."
                )
            )
        return f"{parts.scheme}://{app.label}.{self._domain or LOCALHOST}{f':{port}' if port else ''}"


def _is_here(host: str) -> bool:
    """Whether a browser that uses this name for the portal runs on the portal's machine."""
    if host == LOCALHOST or host.endswith(f".{LOCALHOST}"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
