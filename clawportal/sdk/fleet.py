"""Organisations, clusters and instances, and what holds for an instance.

`reach(portal, instance)` is the way to a running claw: the address of a port by its name, and values of its secrets.

What an instance runs with comes from its spec and from the layer of its organisation: `effective(layer_of(tenant_id), ...)`.
`live_instances(tenant_id)` are those on which the layer lies. `model_as_saved` is what the form of an instance means before it is
saved.
"""

from __future__ import annotations

from clawportal.contracts.features import InstanceFact
from clawportal.contracts.layers import NOTHING, Layer
from clawportal.engine.portal import Portal
from clawportal.lifecycle import TRANSITIONAL, Desired, Phase
from clawportal.models import Cluster, Instance, Project, Tenant
from clawportal.secret_settings import secret_fields
from clawportal.services.clusters.clusters import everything as clusters
from clawportal.services.configuration.catalog import default_version
from clawportal.services.configuration.layers import effective
from clawportal.services.configuration.layers import of as layer_of
from clawportal.services.fleet.instance_facts import declared as instance_facts
from clawportal.services.fleet.instance_facts import read as read_instance_facts
from clawportal.services.fleet.instances import find as instance
from clawportal.services.fleet.layer_changes import live as live_instances
from clawportal.services.fleet.model_trials import ModelTrial
from clawportal.services.fleet.model_trials import as_saved as model_as_saved
from clawportal.services.fleet.plans import adapter_of, reach
from clawportal.services.fleet.plans import whole_context as context_of
from clawportal.services.fleet.replans import plan_anew
from clawportal.services.tenancy.tenants import get as tenant
from clawportal.services.tenancy.tenants import listing as tenants
from clawportal.services.tenancy.tenants import projects_of

__all__ = [
    "NOTHING",
    "TRANSITIONAL",
    "Cluster",
    "Desired",
    "Instance",
    "InstanceFact",
    "Layer",
    "ModelTrial",
    "Phase",
    "Portal",
    "Project",
    "Tenant",
    "adapter_of",
    "clusters",
    "context_of",
    "default_version",
    "effective",
    "instance",
    "instance_facts",
    "layer_of",
    "live_instances",
    "model_as_saved",
    "plan_anew",
    "projects_of",
    "reach",
    "read_instance_facts",
    "secret_fields",
    "tenant",
    "tenants",
]
