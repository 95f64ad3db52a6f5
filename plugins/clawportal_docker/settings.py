"""What people may set about a Docker or Podman host."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.config import JsonDict

from clawportal.sdk.addresses import endpoint
from clawportal.sdk.runtimes import Strict, parse_quantity

_HOST = r"(?:[^\s/:@\[\]]+|\[[0-9A-Fa-f:.]+\])"
_URL = re.compile(
    rf"^(unix:///\S+|(?:tcp|https?)://{_HOST}:\d+/?|ssh://(?:[A-Za-z0-9._-]+@)?(?!-){_HOST}(?::\d+)?(?:/[^\s:]*)?)$"
)
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")
_ADVANCED: JsonDict = {"x-advanced": True}
_SECRET: JsonDict = {"x-secret": True, "x-widget": "textarea", "x-group": "TLS"}


class DockerSettings(Strict):
    """Settings of a cluster of kind `docker`."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    url: str = Field(
        "unix:///var/run/docker.sock",
        title="Address",
        description="unix:///var/run/docker.sock, tcp://host:2376 with TLS, or ssh://user@host. For Podman: its socket, such as "
        "unix:///run/podman/podman.sock or ssh://user@host:22/run/podman/podman.sock.",
        max_length=300,
        json_schema_extra={"x-group": "Connection"},
    )
    tls_ca: str = Field(
        "", title="CA certificate", description="PEM. With TLS: who signed the server.", json_schema_extra=_SECRET
    )
    tls_cert: str = Field("", title="Client certificate", description="PEM.", json_schema_extra=_SECRET)
    tls_key: str = Field("", title="Client key", description="PEM.", json_schema_extra=_SECRET)
    network: str = Field(
        "tenant",
        title="Network",
        description="tenant: a network for each tenant, which others cannot reach. host: the network of the machine. Or the name "
        "of a network that exists.",
        json_schema_extra={"x-group": "Network"},
    )
    reach: Literal["auto", "address", "published"] = Field(
        "auto",
        title="How the portal reaches claws",
        description="address: by the container's own address, for an engine on this machine. published: by a port that the "
        "engine opens. auto: address with unix://, published otherwise.",
        json_schema_extra={"x-group": "Network"},
    )
    publish_address: str = Field(
        "127.0.0.1",
        title="Published on",
        description="Address of the engine's machine that published ports listen on.",
        max_length=64,
        json_schema_extra={"x-group": "Network", **_ADVANCED},
    )
    prefix: str = Field(
        "claw",
        title="Prefix of names",
        description="Containers, volumes and networks are named with it.",
        pattern=r"^[a-z][a-z0-9-]{0,20}$",
        json_schema_extra=_ADVANCED,
    )
    processes: int = Field(
        512, title="Processes", description="How many one claw may have at once.", ge=16, le=100_000, json_schema_extra=_ADVANCED
    )
    tmp_size: str = Field("256Mi", title="Temporary space", description="Size of /tmp, in memory.", json_schema_extra=_ADVANCED)
    runtime: str = Field(
        "",
        title="Container runtime",
        description="Such as runsc or kata; empty is the engine's own choice.",
        max_length=60,
        json_schema_extra=_ADVANCED,
    )
    log_size: str = Field(
        "10m", title="Log size", description="Of one log file, such as 10m.", pattern=r"^\d+[kmg]$", json_schema_extra=_ADVANCED
    )
    log_files: int = Field(
        3, title="Log files", description="How many are kept for each container.", ge=1, le=50, json_schema_extra=_ADVANCED
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        if not _URL.match(value):
            raise ValueError("must be such as unix:///var/run/docker.sock, tcp://host:2376, tcp://[::1]:2375 or ssh://user@host")
        return value

    @field_validator("network")
    @classmethod
    def _network(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError("must be tenant, host, or the name of a network")
        if value in ("none", "bridge"):
            raise ValueError(f"{value} does not let the portal reach its claws; choose tenant or host")
        return value

    @field_validator("tmp_size")
    @classmethod
    def _size(cls, value: str) -> str:
        if parse_quantity(value) < 1 << 20:
            raise ValueError("must be 1Mi at least")
        return value

    @model_validator(mode="after")
    def _pairs(self) -> DockerSettings:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("a client certificate and its key are needed together")
        return self

    def secrets_go_to(self) -> dict[str, str]:
        return {"tls_key": endpoint(self.url)}

    @property
    def by_address(self) -> bool:
        """Whether claws are reached at their container's own address."""
        return self.reach == "address" or (self.reach == "auto" and self.url.startswith("unix:"))
