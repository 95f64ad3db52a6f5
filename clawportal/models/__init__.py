"""The tables. Importing this package registers all of them with the metadata."""

from __future__ import annotations

from clawportal.models.clusters import Cluster
from clawportal.models.identity import ApiToken, User
from clawportal.models.instances import Instance, InstanceSecret, PortAllocation
from clawportal.models.ledger import EventRow, IdempotencyKey, Lease, PortalSetting
from clawportal.models.operations import Operation
from clawportal.models.tenancy import Membership, Project, Tenant

__all__ = [
    "ApiToken", "Cluster", "EventRow", "IdempotencyKey", "Instance", "InstanceSecret", "Lease", "Membership", "Operation",
    "PortAllocation", "PortalSetting", "Project", "Tenant", "User",
]  # fmt: skip
