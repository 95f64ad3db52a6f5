"""What people may set about a Docker or Podman host."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.config import JsonDict

from clawportal.sdk import _m
from clawportal.sdk.addresses import endpoint
from clawportal.sdk.runtimes import Strict, parse_quantity

_HOST = r"(?:[^\s/:@\[\]]+|\[[0-9A-Fa-f:.]+\])"
_URL = re.compile(
    rf"^(unix:///\S+|(?:tcp|https?)://{_HOST}:\d+/?|ssh://(?:[A-Za-z0-9._-]+@)?(?!-){_HOST}(?::\d+)?(?:/[^\s:]*)?)$"
)
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")
_ADVANCED: JsonDict = {"x-advanced": True}
_SECRET: JsonDict = {"x-secret": True, "x-widget": "textarea", "x-group": _m("TLS")}


class DockerSettings(Strict):
    """Settings of a cluster of kind `docker`."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    url: str = Field(
        "unix:///var/run/docker.sock",
        title=_m("Address"),
        description=_m(
            "unix:///var/run/docker.sock, tcp://host:2376 with TLS, or ssh://user@host. For Podman: its socket, such as "
            "unix:///run/podman/podman.sock or ssh://user@host:22/run/podman/podman.sock."
        ),
        max_length=300,
        json_schema_extra={"x-group": _m("Connection")},
    )
    tls_ca: str = Field(
        "", title=_m("CA certificate"), description=_m("PEM. With TLS: who signed the server."), json_schema_extra=_SECRET
    )
    tls_cert: str = Field("", title=_m("Client certificate"), description=_m("PEM."), json_schema_extra=_SECRET)
    tls_key: str = Field("", title=_m("Client key"), description=_m("PEM."), json_schema_extra=_SECRET)
    network: str = Field(
        "tenant",
        title=_m("Network"),
        description=_m(
            "tenant: a network for each tenant, which others cannot reach. host: the network of the machine. Or the name "
            "of a network that exists."
        ),
        json_schema_extra={"x-group": _m("Network")},
    )
    reach: Literal["auto", "address", "published"] = Field(
        "auto",
        title=_m("How the portal reaches claws"),
        description=_m(
            "address: by the container's own address, for an engine on this machine. published: by a port that the "
            "engine opens. auto: address with unix://, published otherwise."
        ),
        json_schema_extra={"x-group": _m("Network")},
    )
    publish_address: str = Field(
        "127.0.0.1",
        title=_m("Published on"),
        description=_m("Address of the engine's machine that published ports listen on."),
        max_length=64,
        json_schema_extra={"x-group": _m("Network"), **_ADVANCED},
    )
    prefix: str = Field(
        "claw",
        title=_m("Prefix of names"),
        description=_m("Containers, volumes and networks are named with it."),
        pattern=r"^[a-z][a-z0-9-]{0,20}$",
        json_schema_extra=_ADVANCED,
    )
    processes: int = Field(
        512,
        title=_m("Processes"),
        description=_m("How many one claw may have at once."),
        ge=16,
        le=100_000,
        json_schema_extra=_ADVANCED,
    )
    tmp_size: str = Field(
        "256Mi", title=_m("Temporary space"), description=_m("Size of /tmp, in memory."), json_schema_extra=_ADVANCED
    )
    runtime: str = Field(
        "",
        title=_m("Container runtime"),
        description=_m("Such as runsc or kata; empty is the engine's own choice."),
        max_length=60,
        json_schema_extra=_ADVANCED,
    )
    log_size: str = Field(
        "10m",
        title=_m("Log size"),
        description=_m("Of one log file, such as 10m."),
        pattern=r"^\d+[kmg]$",
        json_schema_extra=_ADVANCED,
    )
    log_files: int = Field(
        3,
        title=_m("Log files"),
        description=_m("How many are kept for each container."),
        ge=1,
        le=50,
        json_schema_extra=_ADVANCED,
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        if not _URL.match(value):
            raise ValueError(
                _m("must be such as unix:///var/run/docker.sock, tcp://host:2376, tcp://[::1]:2375 or ssh://user@host")
            )
        return value

    @field_validator("network")
    @classmethod
    def _network(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError(_m("must be tenant, host, or the name of a network"))
        if value in ("none", "bridge"):
            raise ValueError(_m("%(value)s does not let the portal reach its claws; choose tenant or host", value=value))
        return value

    @field_validator("tmp_size")
    @classmethod
    def _size(cls, value: str) -> str:
        if parse_quantity(value) < 1 << 20:
            raise ValueError(_m("must be 1Mi at least"))
        return value

    @model_validator(mode="after")
    def _pairs(self) -> DockerSettings:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError(_m("a client certificate and its key are needed together"))
        return self

    def secrets_go_to(self) -> dict[str, str]:
        return {"tls_key": endpoint(self.url)}

    @property
    def by_address(self) -> bool:
        """Whether claws are reached at their container's own address."""
        return self.reach == "address" or (self.reach == "auto" and self.url.startswith("unix:"))
