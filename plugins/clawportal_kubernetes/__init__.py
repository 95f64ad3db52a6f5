"""Kubernetes: claws as StatefulSets, tenants as namespaces.

Everything that belongs to the portal carries its labels; nothing else is ever touched. The client of Kubernetes is imported
when the first cluster of this kind is connected, not before.
"""

from __future__ import annotations

from clawportal.sdk import _m, hookimpl
from clawportal.sdk.runtimes import RuntimeDriver
from clawportal_kubernetes.driver import KubernetesDriver

SUMMARY = _m("Kubernetes: claws as StatefulSets, tenants as namespaces.")


@hookimpl
def register_runtimes() -> list[RuntimeDriver]:
    return [KubernetesDriver()]
