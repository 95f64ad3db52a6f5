"""What people may set about a Kubernetes cluster. Imports no client of it."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic.config import JsonDict
from pydantic_core import InitErrorDetails, PydanticCustomError

from clawportal.sdk import _m
from clawportal.sdk.addresses import endpoint
from clawportal.sdk.runtimes import Strict, parse_quantity

if TYPE_CHECKING:
    from clawportal_kubernetes import kubeconfig as reading

_ADVANCED: JsonDict = {"x-advanced": True}
_LABEL = re.compile(r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
_VALUE = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")
_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")


class KubernetesSettings(Strict):
    """Settings of a cluster of kind `kubernetes`."""

    _access: reading.Access | None = PrivateAttr(None)

    kubeconfig: str = Field(
        "",
        title=_m("Kubeconfig"),
        description=_m(
            "The whole text, with certificates inside (kubectl config view --raw --flatten). Empty: the portal runs in "
            "the cluster and uses its own ServiceAccount."
        ),
        json_schema_extra={"x-secret": True, "x-widget": "textarea", "x-group": _m("Connection")},
    )
    context: str = Field(
        "",
        title=_m("Context"),
        description=_m("Of the kubeconfig. Empty: its current context."),
        max_length=253,
        json_schema_extra={"x-group": _m("Connection")},
    )
    namespace_prefix: str = Field(
        "claw-",
        title=_m("Prefix of namespaces"),
        description=_m("Each tenant gets a namespace of its own; its name begins with this."),
        pattern=r"^[a-z]([-a-z0-9]{0,18}[a-z0-9])?-?$",
        json_schema_extra={"x-group": _m("Namespaces")},
    )
    pod_security: Literal["restricted", "baseline", "privileged"] = Field(
        "restricted",
        title=_m("Pod security"),
        description=_m(
            "The standard that the namespaces of tenants enforce. Claws of this portal need nothing beyond restricted."
        ),
        json_schema_extra={"x-group": _m("Namespaces"), **_ADVANCED},
    )
    network_policies: bool = Field(
        True,
        title=_m("Network policies"),
        description=_m("Deny all traffic into claws but the portal's, and from claws into blocked networks."),
        json_schema_extra={"x-group": _m("Network")},
    )
    blocked_networks: list[str] = Field(
        ["169.254.0.0/16"],
        title=_m("Blocked networks"),
        description=_m("What claws may not reach, such as 169.254.0.0/16 (machine metadata) or 10.0.0.0/8."),
        max_length=50,
        json_schema_extra={"x-group": _m("Network")},
    )
    portal_namespace: str = Field(
        "",
        title=_m("Namespace of the portal"),
        description=_m("From which claws may be reached. Empty: the one the portal runs in, or none."),
        max_length=63,
        json_schema_extra={"x-group": _m("Network"), **_ADVANCED},
    )
    reach: Literal["auto", "address", "tunnel"] = Field(
        "auto",
        title=_m("How the portal reaches claws"),
        description=_m(
            "address: by the pod's own address. tunnel: through the API server (port-forward). auto: address where the "
            "portal runs in the cluster, tunnel otherwise."
        ),
        json_schema_extra={"x-group": _m("Network")},
    )
    storage_class: str = Field(
        "",
        title=_m("Storage class"),
        description=_m("Of the volumes of claws. Empty: the cluster's default."),
        max_length=253,
        json_schema_extra={"x-group": _m("Storage")},
    )
    volume_size: str = Field(
        "5Gi",
        title=_m("Size of volumes"),
        description=_m("Of the volume that each claw keeps its data in."),
        json_schema_extra={"x-group": _m("Storage")},
    )
    access_mode: Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"] = Field(
        "ReadWriteOnce",
        title=_m("Access mode"),
        description=_m("Of the volumes."),
        json_schema_extra={"x-group": _m("Storage"), **_ADVANCED},
    )
    keep_volumes: bool = Field(
        False,
        title=_m("Keep volumes on delete"),
        description=_m("On: deleting an instance with its data leaves its volume claim to be deleted by hand."),
        json_schema_extra={"x-group": _m("Storage")},
    )
    tmp_size: str = Field(
        "1Gi",
        title=_m("Temporary space"),
        description=_m("Limit of /tmp of each claw."),
        json_schema_extra={"x-group": _m("Storage"), **_ADVANCED},
    )
    cpu_request: str = Field(
        "50m", title=_m("CPU request"), description=_m("Set aside for each claw."), json_schema_extra={"x-group": _m("Resources")}
    )
    memory_request: str = Field(
        "",
        title=_m("Memory request"),
        description=_m("Set aside for each claw, at most its limit. Empty: half of its limit."),
        json_schema_extra={"x-group": _m("Resources")},
    )
    default_memory: str = Field(
        "1Gi",
        title=_m("Default memory limit"),
        description=_m("Of what says nothing itself."),
        json_schema_extra={"x-group": _m("Resources"), **_ADVANCED},
    )
    default_cpu: str = Field(
        "2",
        title=_m("Default CPU limit"),
        description=_m("Of what says nothing itself, in tenants whose CPU is limited."),
        json_schema_extra={"x-group": _m("Resources"), **_ADVANCED},
    )
    node_selector: dict[str, str] = Field(
        {},
        title=_m("Node selector"),
        description=_m("Labels of the nodes that may run claws."),
        json_schema_extra={"x-group": _m("Nodes")},
    )
    tolerations: list[dict[str, Any]] = Field(
        [],
        title=_m("Tolerations"),
        description=_m("As in a pod, such as {key: claws, operator: Exists, effect: NoSchedule}."),
        max_length=30,
        json_schema_extra={"x-group": _m("Nodes"), **_ADVANCED},
    )
    spread_over: str = Field(
        "",
        title=_m("Spread over"),
        description=_m("Label of nodes over which the claws of a tenant are spread, such as topology.kubernetes.io/zone."),
        max_length=317,
        json_schema_extra={"x-group": _m("Nodes"), **_ADVANCED},
    )
    runtime_class: str = Field(
        "",
        title=_m("Runtime class"),
        description=_m("Such as gvisor or kata. Empty: the cluster's own."),
        max_length=253,
        json_schema_extra={"x-group": _m("Nodes"), **_ADVANCED},
    )
    priority_class: str = Field(
        "",
        title=_m("Priority class"),
        description=_m("Of the pods. Empty: none."),
        max_length=253,
        json_schema_extra={"x-group": _m("Nodes"), **_ADVANCED},
    )
    image_pull_secret: str = Field(
        "",
        title=_m("Registry credentials"),
        description=_m("Content of a .dockerconfigjson for private registries."),
        json_schema_extra={"x-secret": True, "x-widget": "textarea", "x-group": _m("Images")},
    )
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field(
        "IfNotPresent",
        title=_m("Pull images"),
        description=_m("When nodes fetch an image."),
        json_schema_extra={"x-group": _m("Images"), **_ADVANCED},
    )
    mount_path: str = Field(
        "/claw",
        title=_m("Folder of claws"),
        description=_m("Where a claw's volume is mounted in its container; {instance} stands for the claw's id."),
        pattern=r"^/[A-Za-z0-9._{}/-]{1,150}$",
        json_schema_extra=_ADVANCED,
    )
    request_timeout: float = Field(
        20.0,
        title=_m("Patience with the API server"),
        description=_m("Seconds that one request may take."),
        ge=1,
        le=300,
        json_schema_extra={"x-group": _m("Connection"), **_ADVANCED},
    )

    @field_validator("volume_size", "tmp_size", "cpu_request", "memory_request", "default_memory", "default_cpu")
    @classmethod
    def _quantity(cls, value: str) -> str:
        if value and parse_quantity(value) <= 0:
            raise ValueError(_m("must be greater than zero"))
        return value

    @field_validator("volume_size", "tmp_size", "cpu_request", "default_memory", "default_cpu")
    @classmethod
    def _needed(cls, value: str) -> str:
        if not value:
            raise ValueError(_m("must not be empty; write for example 500m or 1Gi"))
        return value

    @field_validator("storage_class", "runtime_class", "priority_class", "portal_namespace")
    @classmethod
    def _name(cls, value: str) -> str:
        if value and not _NAME.match(value):
            raise ValueError(_m("must be a name of Kubernetes: small letters, digits, dots and dashes"))
        return value

    @field_validator("blocked_networks")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for text in value:
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                raise ValueError(_m("%(text)s is not a network; write for example 10.0.0.0/8", text=repr(text))) from error
        return value

    @field_validator("node_selector")
    @classmethod
    def _selector(cls, value: dict[str, str]) -> dict[str, str]:
        for key, wanted in value.items():
            if not _LABEL.match(key) or not _VALUE.match(wanted):
                raise ValueError(_m("%(key)s=%(wanted)s is not a label of Kubernetes", key=key, wanted=wanted))
        return value

    @field_validator("spread_over")
    @classmethod
    def _topology(cls, value: str) -> str:
        if value and not _LABEL.match(value):
            raise ValueError(_m("must be the name of a label of nodes, such as topology.kubernetes.io/zone"))
        return value

    @field_validator("image_pull_secret")
    @classmethod
    def _docker_config(cls, value: str) -> str:
        if value:
            try:
                found = json.loads(value)
            except ValueError as error:
                raise ValueError(_m("must be JSON, as `docker login` writes it to ~/.docker/config.json")) from error
            if not isinstance(found, dict) or not isinstance(found.get("auths"), dict):
                raise ValueError(_m('must hold "auths", as `docker login` writes it to ~/.docker/config.json'))
        return value

    @model_validator(mode="after")
    def _context_needs_kubeconfig(self) -> KubernetesSettings:
        if self.context and not self.kubeconfig and "kubeconfig" in self.model_fields_set:
            raise ValueError(_m("a context needs a kubeconfig"))
        return self

    def secrets_go_to(self) -> dict[str, str]:
        """A kubeconfig names its own server; what is put into the cluster is for that one."""
        return {"image_pull_secret": _server(self.kubeconfig, self.context)}

    @model_validator(mode="after")
    def _kubeconfig_can_be_used(self) -> KubernetesSettings:
        if not self.kubeconfig.strip():
            return self
        from clawportal_kubernetes import kubeconfig as reading  # late: a driver is looked at by every command

        name = "kubeconfig"
        try:
            document = reading.read(self.kubeconfig)
            name = "context"
            context = reading.context_of(document, self.context)
            name = "kubeconfig"
            self._access = reading.access(document, context)
        except ValueError as error:
            found = InitErrorDetails(
                type=PydanticCustomError("value_error", "{words}", {"words": str(error)}), loc=(name,), input=""
            )
            raise ValidationError.from_exception_data("settings", [found]) from error
        return self

    @property
    def access(self) -> reading.Access | None:
        """What the kubeconfig says. None where the portal's own ServiceAccount is used."""
        return self._access


def _server(kubeconfig: str, context: str) -> str:
    """The address of the API server; for what is no kubeconfig, which connecting tells, the text itself tells them apart."""
    import yaml  # late: a driver is looked at by every command

    if not kubeconfig:
        return "the cluster that the portal runs in"
    try:
        found = yaml.safe_load(kubeconfig)
        name = context or found["current-context"]
        cluster = next(item["context"]["cluster"] for item in found["contexts"] if item["name"] == name)
        return endpoint(next(item["cluster"]["server"] for item in found["clusters"] if item["name"] == cluster))
    except (yaml.YAMLError, LookupError, TypeError, AttributeError, StopIteration):
        return f"a kubeconfig ({hashlib.sha256(kubeconfig.encode()).hexdigest()[:12]})"
