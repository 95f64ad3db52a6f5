"""The tables. Importing this package registers all of them with the metadata."""

from __future__ import annotations

from clawportal.models.audit import AuditCheckpoint, AuditEntry, AuditHead, AuditSegment
from clawportal.models.clusters import Cluster, ClusterSecret, ClusterTenant
from clawportal.models.configuration import ConfigTemplate, ConfigVersion
from clawportal.models.events import EventRow, IdempotencyKey, Lease, PortalSetting
from clawportal.models.filters import DefaultFilter, SavedFilter
from clawportal.models.identity import ApiToken, User
from clawportal.models.instances import Instance, InstanceNote, InstanceSecret, PortAllocation
from clawportal.models.metrics import SampleChunk
from clawportal.models.operations import Operation
from clawportal.models.sign_in import BackupCode, KnownAddress, Otp, UserSession, WrongTries
from clawportal.models.tenancy import CustomRole, Invitation, Membership, Project, Quota, RoleGrant, Tenant, TenantSecret

__all__ = [
    "ApiToken", "AuditCheckpoint", "AuditEntry", "AuditHead", "AuditSegment", "BackupCode", "Cluster", "ClusterSecret",
    "ClusterTenant", "ConfigTemplate", "ConfigVersion", "CustomRole", "DefaultFilter",
    "EventRow", "IdempotencyKey", "Instance", "InstanceNote", "InstanceSecret", "Invitation",
    "KnownAddress", "Lease", "Membership", "Operation", "Otp",
    "PortAllocation", "PortalSetting", "Project", "Quota", "RoleGrant", "SampleChunk", "SavedFilter", "Tenant",
    "TenantSecret", "User", "UserSession", "WrongTries",
]  # fmt: skip
