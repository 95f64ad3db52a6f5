"""The core's own features, as data. Plugins declare theirs in the same way; nothing else lists them."""

from __future__ import annotations

from collections.abc import Iterable

from clawportal import hookimpl
from clawportal.contracts import core_permissions as core
from clawportal.contracts import core_resources
from clawportal.contracts.extensions import ADMISSION, ADMISSION_PREVIEW, MODEL_SERVICES, SIGN_IN_WAYS
from clawportal.contracts.features import ApiTag, Feature
from clawportal.contracts.permissions import SELF

SYSTEM = Feature(
    name="system",
    title="Portal",
    permissions=(core.PORTAL_READ, core.PORTAL_ADMIN),
    resources=(core_resources.PORTAL,),
    api_tags=(ApiTag("System", "Health, plugins and this document.", 140),),
    api=("clawportal.api.system",),
    pages=("clawportal.web.home", "clawportal.web.about", "clawportal.web.plugins"),
)

AUDIT = Feature(
    name="audit",
    title="Audit",
    permissions=(core.AUDIT_READ,),
    resources=(
        core_resources.AUDIT_ENTRY,
        core_resources.AUDIT_HEAD,
        core_resources.AUDIT_SEGMENT,
        core_resources.AUDIT_CHECKPOINT,
        core_resources.AUDIT,
    ),
    models=("clawportal.models.audit",),
    api_tags=(ApiTag("Audit", "Who did what, and what was refused.", 130),),
    api=("clawportal.api.audit",),
    pages=("clawportal.web.audit",),
)

EVENTS = Feature(
    name="events",
    title="Events",
    permissions=(core.EVENT_READ,),
    resources=(core_resources.EVENT, core_resources.LEASE, core_resources.IDEMPOTENCY_KEY, core_resources.PORTAL_SETTING),
    models=("clawportal.models.events",),
    api_tags=(ApiTag("Events", "Facts that happened.", 20),),
    api=("clawportal.api.events",),
)

IDENTITY = Feature(
    name="identity",
    title="Accounts and signing in",
    requires=("audit", "events"),
    permissions=(SELF, core.USER_MANAGE),
    resources=(core_resources.USER, core_resources.API_TOKEN, core_resources.OTP, core_resources.USER_SESSION,
        core_resources.BACKUP_CODE, core_resources.KNOWN_ADDRESS, core_resources.WRONG_TRIES, core_resources.ACCOUNT),
    models=("clawportal.models.identity", "clawportal.models.sign_in"),
    api_tags=(
        ApiTag("Account", "Signing in, the second factor, sessions, and tokens for programs.", 60),
        ApiTag("Accounts", "All accounts of the portal.", 110),
    ),
    api=("clawportal.api.account", "clawportal.api.sign_in"),
    pages=(
        "clawportal.web.auth", "clawportal.web.second_step", "clawportal.web.profile", "clawportal.web.profile_sign_in",
        "clawportal.web.accounts",
    ),
)  # fmt: skip

TENANCY = Feature(
    name="tenancy",
    title="Organisations, projects and members",
    requires=("identity",),
    permissions=(
        core.TENANT_READ,
        core.TENANT_CREATE,
        core.TENANT_UPDATE,
        core.TENANT_DELETE,
        core.PROJECT_MANAGE,
        core.MEMBER_READ,
        core.MEMBER_MANAGE,
        core.ROLE_MANAGE,
        core.QUOTA_READ,
        core.QUOTA_MANAGE,
        core.QUOTA_PROJECT,
    ),
    resources=(
        core_resources.TENANT,
        core_resources.TENANT_SECRET,
        core_resources.PROJECT,
        core_resources.MEMBERSHIP,
        core_resources.CUSTOM_ROLE,
        core_resources.ROLE_GRANT,
        core_resources.INVITATION,
        core_resources.QUOTA,
        core_resources.SERVICE_ACCOUNT,
    ),
    models=("clawportal.models.tenancy",),
    api_tags=(
        ApiTag("Organisations", "Organisations and their projects, and what they may use.", 70),
        ApiTag("Members", "Who belongs to an organisation, and what each of them may do there.", 90),
        ApiTag("Service accounts", "Accounts of programs: they belong to an organisation, and come with API tokens only.", 100),
    ),
    api=("clawportal.api.tenants", "clawportal.api.members", "clawportal.api.service_accounts"),
    pages=("clawportal.web.tenants", "clawportal.web.members", "clawportal.web.service_accounts"),
)

CLUSTERS = Feature(
    name="clusters",
    title="Clusters",
    requires=("tenancy",),
    permissions=(core.CLUSTER_READ, core.CLUSTER_MANAGE),
    resources=(core_resources.CLUSTER, core_resources.CLUSTER_SECRET, core_resources.CLUSTER_TENANT),
    models=("clawportal.models.clusters",),
    api_tags=(ApiTag("Clusters", "Where claws run, how these places are reached, and whether they answer.", 50),),
    api=("clawportal.api.clusters",),
    pages=("clawportal.web.clusters",),
)

CONFIGURATION = Feature(
    name="configuration",
    title="Configuration",
    requires=("clusters",),
    permissions=(core.CATALOG_READ,),
    resources=(core_resources.LAYER,),
    api_tags=(ApiTag("Catalogue", "Kinds of claw, runtimes and projects to choose from.", 40),),
    api=("clawportal.api.catalog", "clawportal.api.layers"),
    pages=("clawportal.web.layers",),
)

OPERATIONS = Feature(
    name="operations",
    title="Operations",
    requires=("tenancy",),
    permissions=(core.OPERATION_READ, core.OPERATION_CONTROL),
    resources=(core_resources.OPERATION,),
    models=("clawportal.models.operations",),
    api_tags=(ApiTag("Operations", "Pieces of work with progress.", 30),),
    api=("clawportal.api.operations",),
    pages=("clawportal.web.operations",),
)

INSTANCES = Feature(
    name="instances",
    title="Instances",
    requires=("configuration", "operations"),
    permissions=(
        core.INSTANCE_READ,
        core.INSTANCE_CREATE,
        core.INSTANCE_UPDATE,
        core.INSTANCE_OPERATE,
        core.INSTANCE_KILL,
        core.INSTANCE_DELETE,
        core.INSTANCE_SHARE,
    ),
    resources=(
        core_resources.INSTANCE,
        core_resources.INSTANCE_SECRET,
        core_resources.PORT_ALLOCATION,
        core_resources.SAMPLE_CHUNK,
    ),
    models=("clawportal.models.instances", "clawportal.models.metrics"),
    api_tags=(ApiTag("Instances", "Claws under management: what is wanted, and what is.", 10),),
    api=("clawportal.api.instances", "clawportal.api.unmanaged"),
    pages=("clawportal.web.instances", "clawportal.web.spec_form", "clawportal.web.unmanaged"),
)

RECONCILE = Feature(
    name="reconcile",
    title="Bringing instances to what is wanted",
    requires=("instances",),
)

LIVE = Feature(
    name="live",
    title="Logs, consoles, files and chat",
    requires=("reconcile",),
    permissions=(
        core.INSTANCE_LOGS,
        core.INSTANCE_CHAT,
        core.INSTANCE_CONSOLE,
        core.INSTANCE_CONNECT,
        core.INSTANCE_FILES_READ,
        core.INSTANCE_FILES_WRITE,
    ),
    resources=(core_resources.FILE,),
    api=("clawportal.api.logs", "clawportal.api.metrics", "clawportal.api.files", "clawportal.api.chat"),
    pages=("clawportal.web.files",),
)

POLICIES = Feature(
    name="policies",
    title="Policies",
    requires=("instances",),
    permissions=(core.POLICY_READ, core.POLICY_MANAGE),
    resources=(core_resources.POLICY,),
    models=("clawportal.models.policies",),
    migrations="policies",
    api_tags=(ApiTag("Policies", "Rules about what instances may be like and when they may be changed.", 80),),
    api=("clawportal.api.policies",),
    pages=("clawportal.web.policies",),
    extra={
        ADMISSION: ("clawportal.services.policies:admit",),
        ADMISSION_PREVIEW: ("clawportal.services.policies:preview",),
    },
)

SINGLE_SIGN_ON = Feature(
    name="single_sign_on",
    title="Single sign-on",
    requires=("tenancy",),
    resources=(core_resources.OIDC_PROVIDER, core_resources.OIDC_IDENTITY, core_resources.OIDC_GROUP_ROLE),
    models=("clawportal.models.oidc",),
    migrations="single_sign_on",
    api_tags=(ApiTag("Sign-in providers", "OpenID providers that people sign in with, and what their groups give.", 120),),
    api=("clawportal.api.oidc",),
    pages=("clawportal.web.oidc", "clawportal.web.providers"),
    extra={SIGN_IN_WAYS: ("clawportal.services.oidc_providers:sign_in_ways",)},
)

PRACTICE = Feature(
    name="practice",
    title="Practice model",
    requires=("instances",),
    extra={MODEL_SERVICES: ("clawportal.services.practice:model_service",)},
)


@hookimpl
def register_features() -> Iterable[Feature]:
    return (
        SYSTEM, AUDIT, EVENTS, IDENTITY, TENANCY, CLUSTERS, CONFIGURATION, OPERATIONS, INSTANCES, RECONCILE, LIVE,
        POLICIES, SINGLE_SIGN_ON, PRACTICE,
    )  # fmt: skip
