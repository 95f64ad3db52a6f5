"""Where tests of models may go from the portal's own network."""

from __future__ import annotations

import ipaddress

from pydantic import BaseModel, Field, field_validator

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class CredentialSettings(BaseModel):
    test_networks: str = Field(
        "",
        description="Networks or addresses that tests of models may reach besides, with commas between, such as 127.0.0.1 for an "
        "Ollama beside the portal. The portal's own machine, its link and the addresses of cloud metadata are closed otherwise, "
        "but for administrators of the portal and for addresses that plugins register.",
    )
    test_private: bool = Field(
        True,
        description="Whether tests of models may reach private networks, such as 10.0.0.0/8. Off where members of organisations "
        "must not learn what is there; test_networks then opens single ones.",
    )

    @field_validator("test_networks")
    @classmethod
    def _networks(cls, text: str) -> str:
        networks(text)
        return text


def networks(text: str) -> tuple[Network, ...]:
    """ValueError with the one that is none."""
    return tuple(_network(part.strip()) for part in text.split(",") if part.strip())


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no address or network; write 192.0.2.7 or 192.0.2.0/24") from error
