"""What the tables of the core hold, in words and rights. A model names its resource, and its feature declares the same object."""

from __future__ import annotations

from clawportal.contracts.core_permissions import (
    AUDIT_READ,
    CATALOG_READ,
    CLUSTER_READ,
    CONFIGS_READ,
    EVENT_READ,
    INSTANCE_READ,
    OPERATION_READ,
    TENANT_READ,
)
from clawportal.contracts.features import Resource
from clawportal.messages import _m

_ITSELF = "it is the audit itself"

# ---- instances

INSTANCE = Resource(
    "instance", _m("instance"), read=INSTANCE_READ,
    audited=("name", "adapter", "version", "spec", "labels", "desired", "kill_wanted", "keep_data", "managed", "project_id",
             "cluster_id", "config_version_id", "config_variables"),
)  # fmt: skip
INSTANCE_SECRET = Resource("instance_secret", _m("secret"), audited=("sealed",), secret=("sealed",))
INSTANCE_NOTE = Resource(
    "instance_note", _m("note"), key="note", read=INSTANCE_READ, audited=("text",), titles={"text": _m("Note")}
)
SAVED_FILTER = Resource(
    "saved_filter", _m("saved filter"), key="filter", read=INSTANCE_READ, audited=("name", "query", "tenant_id"),
    titles={"query": _m("Filter"), "tenant_id": _m("Shared with")},
)  # fmt: skip
DEFAULT_FILTER = Resource("default_filter", read=INSTANCE_READ, unaudited="how somebody likes to look at a list changes nothing")
PORT_ALLOCATION = Resource("port_allocation", unaudited="background work gives ports out")
SAMPLE_CHUNK = Resource("sample_chunk", unaudited="background work measures")
OPERATION = Resource(
    "operation", _m("operation"), read=OPERATION_READ, unaudited="it follows from a change, and its own changes are progress"
)

# ---- configuration

CONFIG_TEMPLATE = Resource(
    "config_template", _m("configuration template"), key="config", read=CONFIGS_READ,
    audited=("name", "description", "adapter", "adapter_versions", "labels", "latest", "project_id"),
    titles={"adapter_versions": _m("Versions of the claw"), "latest": _m("Newest version")},
)  # fmt: skip
CONFIG_VERSION = Resource("config_version", unaudited="none is ever changed, and making one is an event")

# ---- tenancy

TENANT = Resource("tenant", _m("organisation"), read=TENANT_READ)
TENANT_SECRET = Resource("tenant_secret", _m("secret"), audited=("sealed",))
PROJECT = Resource("project", _m("project"), read=CATALOG_READ)
MEMBERSHIP = Resource("membership", _m("member"), key="member")
CUSTOM_ROLE = Resource("custom_role", _m("role"), key="role")
ROLE_GRANT = Resource("role_grant", _m("shared access"), key="grant")
INVITATION = Resource("invitation", _m("invitation"))
QUOTA = Resource("quota", _m("quota"))

# ---- identity

USER = Resource("user_account", _m("account"), key="user")
API_TOKEN = Resource("api_token", _m("token"), key="token")
OTP = Resource("user_otp", _m("two-step sign-in"), key="otp", audited=("enabled_at",))
USER_SESSION = Resource(
    "user_session", _m("session"), key="session",
    unaudited="beginning and ending one is an event of its own; the rest is its last use",
)  # fmt: skip
BACKUP_CODE = Resource("backup_code", unaudited="using and making codes are events of their own")
KNOWN_ADDRESS = Resource("known_address", unaudited="every sign-in is an entry with its address")
WRONG_TRIES = Resource("wrong_tries", unaudited="every refused sign-in is an entry of its own")

# ---- clusters

CLUSTER = Resource(
    "cluster", _m("cluster"), read=CLUSTER_READ,
    audited=("name", "title", "runtime", "settings", "labels", "all_tenants", "policy", "cordoned", "paused_at", "trusted_by"),
)  # fmt: skip
CLUSTER_SECRET = Resource("cluster_secret", _m("secret"), audited=("sealed",), secret=("sealed",))
CLUSTER_TENANT = Resource("cluster_tenant", unaudited="the fact of the change names the tenants")

# ---- events, audit and what the portal keeps of itself

EVENT = Resource("event", _m("event"), read=EVENT_READ, unaudited="it is the feed itself")
LEASE = Resource("lease", unaudited="processes hold it, not people")
IDEMPOTENCY_KEY = Resource("idempotency_key", unaudited="it only repeats an answer")
PORTAL_SETTING = Resource("portal_setting", _m("setting"), key="setting", audited=("value", "sealed"))
AUDIT_ENTRY = Resource("audit_entry", _m("audit entry"), read=AUDIT_READ, unaudited=_ITSELF)
AUDIT_HEAD = Resource("audit_head", unaudited=_ITSELF)
AUDIT_SEGMENT = Resource("audit_segment", unaudited=_ITSELF)
AUDIT_CHECKPOINT = Resource("audit_checkpoint", unaudited=_ITSELF)

# ---- what has no table of its own, and is told of in events and the audit

SERVICE_ACCOUNT = Resource("", _m("service account"), key="service_account")
ACCOUNT = Resource("", _m("account"), key="account")
AUDIT = Resource("", _m("audit"), key="audit")
FILE = Resource("", _m("file"), key="file")
LAYER = Resource("", _m("shared configuration"), key="layer")
PORTAL = Resource("", _m("portal"), key="portal")
