"""The core's own features, as data. Plugins declare theirs in the same way; nothing else lists them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from clawportal import hookimpl
from clawportal.contracts import core_events, core_metrics, core_resources
from clawportal.contracts import core_permissions as core
from clawportal.contracts.extensions import EVENT_BUS, FIRST_STEPS, RESEAL
from clawportal.contracts.features import ApiTag, Feature, InstanceFact, Job, NavLink, Tab
from clawportal.contracts.permissions import SELF, Grant
from clawportal.messages import _m

if TYPE_CHECKING:
    from clawportal.contracts.events import Event

_OWN_ACCOUNT = Grant(frozenset({SELF}), source="your own account")

SYSTEM = Feature(
    name="system",
    title=_m("Portal"),
    events=core_events.SYSTEM,
    permissions=(core.PORTAL_READ, core.PORTAL_ADMIN),
    resources=(core_resources.PORTAL,),
    api_tags=(ApiTag(_m("System"), _m("Health, plugins and this document."), 140),),
    api=("clawportal.api.system", "clawportal.api.prometheus"),
    pages=("clawportal.web.home", "clawportal.web.about", "clawportal.web.plugins"),
    jobs=(
        Job("retention", "clawportal.jobs.retention:forget_once", every=3600),
        Job("room", "clawportal.jobs.upkeep:keep_room", every=10, on="each"),  # each process for its own disk
    ),
    nav=(
        NavLink(_m("Home"), "web.home", icon="home", order=10, key="h"),
        NavLink(_m("Plugins"), "web.plugins", icon="puzzle", section="system", order=50, key="p"),
        NavLink(_m("API"), "web.api_docs", icon="api", section="system", order=60, key="a", page="api"),
        NavLink(
            _m("Health of the portal"),
            "web.about",
            icon="heartbeat",
            permission=core.PORTAL_READ,
            section="system",
            order=80,
            key="d",
        ),
    ),
    commands=(
        "clawportal.cli.keys:register",
        "clawportal.cli.database:register",
        "clawportal.cli.backup:register",
        "clawportal.cli.restoring:register",
        "clawportal.cli.plugin_skeleton:register",
    ),
    client_commands=("clawportal.cli.history:register",),
    metrics=(core_metrics.SYSTEM_INFO,),
    doctor=(
        "clawportal.cli.diagnosis:folder",
        "clawportal.cli.diagnosis:disk",
        "clawportal.cli.diagnosis:keys",
        "clawportal.cli.diagnosis:tables",
        "clawportal.cli.diagnosis:backups",
        "clawportal.cli.diagnosis:address",
        "clawportal.cli.diagnosis:proxies",
    ),
    extra={FIRST_STEPS: ("clawportal.services.system.first_steps:steps", "clawportal.services.backup.first_steps:steps")},
)

AUDIT = Feature(
    name="audit",
    title=_m("Audit"),
    permissions=(core.AUDIT_READ,),
    resources=(
        core_resources.AUDIT_ENTRY,
        core_resources.AUDIT_HEAD,
        core_resources.AUDIT_SEGMENT,
        core_resources.AUDIT_CHECKPOINT,
        core_resources.AUDIT,
    ),
    models=("clawportal.models.audit",),
    api_tags=(ApiTag(_m("Audit"), _m("Who did what, and what was refused."), 130),),
    api=("clawportal.api.audit",),
    pages=("clawportal.web.audit",),
    jobs=(Job("segments", "clawportal.services.audit.trail:turn_once", every=3600),),
    forget=("clawportal.services.audit.trail:forget_old_of",),
    on_stop=("clawportal.services.audit.refusals:write_rest",),
    nav=(NavLink(_m("Audit"), "web.audit", icon="shield-lock", permission=core.AUDIT_READ, section="system", order=70),),
    instance_tabs=(
        Tab("changes", _m("Changes"), "web.instance_changes", "shield-lock", core.AUDIT_READ, order=100, can="changes"),
    ),
    commands=("clawportal.cli.audit:register",),
    doctor=("clawportal.cli.diagnosis:audit",),
)

EVENTS = Feature(
    name="events",
    title=_m("Events"),
    permissions=(core.EVENT_READ,),
    resources=(core_resources.EVENT, core_resources.LEASE, core_resources.IDEMPOTENCY_KEY, core_resources.PORTAL_SETTING),
    models=("clawportal.models.events",),
    api_tags=(ApiTag(_m("Events"), _m("Facts that happened."), 20),),
    api=("clawportal.api.events",),
    forget=("clawportal.services.events.event_log:forget_old",),
    instance_tabs=(Tab("events", _m("Events"), "web.instance_events", "history", core.INSTANCE_READ, order=70),),
    sockets=("clawportal.realtime.changes",),
    metrics=(core_metrics.EVENTS_TOTAL,),
    extra={EVENT_BUS: ("clawportal.engine.event_bus:in_process",)},
)

NOTICES = Feature(
    name="notices",
    title=_m("Notices"),
    requires=("events",),
    settings="clawportal.services.notices.routes:NoticeSettings",
    jobs=(Job("carry", "clawportal.services.notices.routes:deliver_once", every=5),),
    doctor=("clawportal.services.notices.routes:doctor",),
    extra={FIRST_STEPS: ("clawportal.services.notices.first_steps:steps",)},
)

IDENTITY = Feature(
    name="identity",
    title=_m("Accounts and signing in"),
    events=core_events.IDENTITY,
    requires=("audit", "events"),
    permissions=(SELF, core.USER_MANAGE),
    resources=(core_resources.USER, core_resources.API_TOKEN, core_resources.OTP, core_resources.USER_SESSION,
        core_resources.BACKUP_CODE, core_resources.KNOWN_ADDRESS, core_resources.WRONG_TRIES, core_resources.ACCOUNT),
    models=("clawportal.models.identity", "clawportal.models.sign_in"),
    api_tags=(
        ApiTag(_m("Account"), _m("Signing in, the second factor, sessions, and tokens for programs."), 60),
        ApiTag(_m("Accounts"), _m("All accounts of the portal."), 110),
    ),
    api=("clawportal.api.account", "clawportal.api.sign_in"),
    pages=(
        "clawportal.web.auth", "clawportal.web.second_step", "clawportal.web.profile", "clawportal.web.profile_sign_in",
        "clawportal.web.accounts",
    ),
    forget=("clawportal.services.identity.sessions:forget_old", "clawportal.services.identity.throttle:forget_old"),
    extra={
        RESEAL: ("clawportal.services.identity.otp:reseal",),
        FIRST_STEPS: ("clawportal.services.identity.first_steps:steps",),
    },
    nav=(
        NavLink(
            _m("Accounts"), "web.accounts", icon="user", permission=core.USER_MANAGE,
            section="system", order=20, only_everywhere=True,
        ),
    ),
    client_commands=("clawportal.cli.tokens:register", "clawportal.cli.sessions:register"),
)  # fmt: skip

TENANCY = Feature(
    name="tenancy",
    title=_m("Organisations, projects and members"),
    events=core_events.TENANCY,
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
        ApiTag(_m("Organisations"), _m("Organisations and their projects, and what they may use."), 70),
        ApiTag(_m("Members"), _m("Who belongs to an organisation, and what each of them may do there."), 90),
        ApiTag(
            _m("Service accounts"),
            _m("Accounts of programs: they belong to an organisation, and come with API tokens only."),
            100,
        ),
    ),
    api=("clawportal.api.tenants", "clawportal.api.members", "clawportal.api.service_accounts"),
    pages=("clawportal.web.tenants", "clawportal.web.members", "clawportal.web.service_accounts"),
    prepare=("clawportal.services.tenancy.tenancy:prepare",),
    jobs=(Job("removals", "clawportal.services.fleet.removals:finish_once", every="resync_seconds"),),
    nav=(NavLink(_m("Organisation"), "web.tenants", icon="building", permission=core.TENANT_READ, section="system", order=10),),
    client_commands=("clawportal.cli.people:register", "clawportal.cli.service_accounts:register"),
    extra={FIRST_STEPS: ("clawportal.services.tenancy.first_steps:steps",)},
)

CLUSTERS = Feature(
    name="clusters",
    title=_m("Clusters"),
    events=core_events.CLUSTERS,
    requires=("tenancy",),
    permissions=(core.CLUSTER_READ, core.CLUSTER_MANAGE),
    resources=(core_resources.CLUSTER, core_resources.CLUSTER_SECRET, core_resources.CLUSTER_TENANT),
    models=("clawportal.models.clusters",),
    api_tags=(ApiTag(_m("Clusters"), _m("Where claws run, how these places are reached, and whether they answer."), 50),),
    api=("clawportal.api.clusters",),
    pages=("clawportal.web.clusters",),
    prepare=("clawportal.services.clusters.clusters:ensure_local",),
    extra={
        RESEAL: ("clawportal.services.clusters.clusters:reseal",),
        FIRST_STEPS: ("clawportal.services.clusters.first_steps:steps",),
    },
    nav=(NavLink(_m("Clusters"), "web.clusters", icon="server", permission=core.CLUSTER_READ, section="system", order=30),),
    client_commands=("clawportal.cli.clusters:register",),
    metrics=(core_metrics.CLUSTERS,),
    doctor=("clawportal.cli.diagnosis:clusters",),
)

CONFIGURATION = Feature(
    name="configuration",
    title=_m("Configuration"),
    events=core_events.CONFIGURATION,
    requires=("clusters",),
    permissions=(core.CATALOG_READ, core.CONFIGS_READ, core.CONFIGS_WRITE),
    resources=(core_resources.LAYER, core_resources.CONFIG_TEMPLATE, core_resources.CONFIG_VERSION),
    models=("clawportal.models.configuration",),
    api_tags=(
        ApiTag(_m("Catalogue"), _m("Kinds of claw, runtimes and projects to choose from."), 40),
        ApiTag(_m("Configuration templates"), _m("Templates of instances, and their versions, which never change."), 45),
    ),
    api=("clawportal.api.catalog", "clawportal.api.layers", "clawportal.api.configs"),
    pages=("clawportal.web.layers", "clawportal.web.configs"),
    nav=(
        NavLink(
            _m("Templates"), "web.configs", icon="file-text", permission=core.CONFIGS_READ, order=25, key="t", page="configs"
        ),
    ),
    client_commands=("clawportal.cli.configs:register",),
    prepare=("clawportal.services.configuration.layers:note_all_destinations",),
    extra={RESEAL: ("clawportal.services.configuration.secrets:reseal", "clawportal.services.configuration.layers:reseal")},
)

OPERATIONS = Feature(
    name="operations",
    title=_m("Operations"),
    events=core_events.OPERATIONS,
    requires=("tenancy",),
    permissions=(core.OPERATION_READ, core.OPERATION_CONTROL),
    resources=(core_resources.OPERATION,),
    models=("clawportal.models.operations",),
    api_tags=(ApiTag(_m("Operations"), _m("Pieces of work with progress."), 30),),
    api=("clawportal.api.operations",),
    pages=("clawportal.web.operations",),
    forget=("clawportal.services.fleet.operations:forget_old",),
    metrics=(core_metrics.OPERATIONS_OPEN,),
    nav=(
        NavLink(
            _m("Operations"),
            "web.operations",
            icon="list-check",
            order=30,
            key="o",
            count="clawportal.web.operations:in_progress",
            count_title=_m("in progress"),
            count_tone="busy",
        ),
    ),
    instance_tabs=(Tab("operations", _m("Operations"), "web.instance_operations", "list-check", core.INSTANCE_READ, order=90),),
)

INSTANCES = Feature(
    name="instances",
    title=_m("Instances"),
    events=core_events.INSTANCES,
    requires=("configuration", "operations"),
    permissions=(
        core.INSTANCE_READ,
        core.INSTANCE_CREATE,
        core.INSTANCE_UPDATE,
        core.INSTANCE_OPERATE,
        core.INSTANCE_KILL,
        core.INSTANCE_DELETE,
        core.INSTANCE_SHARE,
        core.FILTER_SHARE,
    ),
    resources=(
        core_resources.INSTANCE,
        core_resources.INSTANCE_SECRET,
        core_resources.INSTANCE_NOTE,
        core_resources.SAVED_FILTER,
        core_resources.DEFAULT_FILTER,
        core_resources.PORT_ALLOCATION,
        core_resources.SAMPLE_CHUNK,
    ),
    models=("clawportal.models.instances", "clawportal.models.metrics", "clawportal.models.filters"),
    api_tags=(ApiTag(_m("Instances"), _m("Claws under management: what is wanted, and what is."), 10),),
    api=(
        "clawportal.api.instances",
        "clawportal.api.config_instances",
        "clawportal.api.duplicates",
        "clawportal.api.notes",
        "clawportal.api.filters",
        "clawportal.api.unmanaged",
    ),
    pages=(
        "clawportal.web.instances",
        "clawportal.web.spec_form",
        "clawportal.web.duplicates",
        "clawportal.web.config_instances",
        "clawportal.web.notes",
        "clawportal.web.filters",
        "clawportal.web.unmanaged",
    ),
    jobs=(Job("measurements", "clawportal.jobs.upkeep:write_measurements", every=60),),  # so much of them a crash costs
    forget=("clawportal.jobs.removed_instances:forget_old", "clawportal.engine.metric_history:forget_old"),
    nav=(
        NavLink(
            _m("Instances"),
            "web.instances",
            icon="stack-2",
            order=20,
            key="i",
            count="clawportal.web.instances:needing_attention",
            count_title=_m("need attention"),
            count_tone="bad",
        ),
    ),
    instance_tabs=(
        Tab("overview", _m("Overview"), "web.instance", "activity", core.INSTANCE_READ, order=10),
        Tab("config", _m("Configuration"), "web.instance_config", "adjustments", core.INSTANCE_READ, order=80),
        Tab("template", _m("Template"), "web.instance_template", "file-text", core.CONFIGS_READ, order=82),
    ),
    client_commands=(
        "clawportal.cli.unmanaged:register",
        "clawportal.cli.duplicates:register",
        "clawportal.cli.notes:register",
        "clawportal.cli.filters:register",
    ),
    instance_facts=(
        InstanceFact("instances_running", _m("Whether it runs now."), "clawportal.services.fleet.instance_facts:running"),
        InstanceFact(
            "instances_age_days",
            _m("Whole days since it was created."),
            "clawportal.services.fleet.instance_facts:age_days",
            "int",
        ),
    ),
    metrics=(core_metrics.INSTANCES, core_metrics.INSTANCES_HEALTH),
    extra={FIRST_STEPS: ("clawportal.services.fleet.first_steps:steps",)},
)

RECONCILE = Feature(
    name="reconcile",
    title=_m("Bringing instances to what is wanted"),
    events=core_events.RECONCILE,
    requires=("instances",),
)

LIVE = Feature(
    name="live",
    title=_m("Logs, consoles, files and chat"),
    events=core_events.LIVE,
    jobs=(Job("copies", "clawportal.jobs.file_copies:copy_once", every=1, on="each"),),
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
    instance_tabs=(
        Tab("logs", _m("Logs"), "web.instance_logs", "file-text", core.INSTANCE_LOGS, order=20, can="logs", in_menu=True),
        Tab("metrics", _m("Metrics"), "web.instance_metrics", "chart-line", core.INSTANCE_READ, order=30),
        Tab("console", _m("Console"), "web.instance_console", "terminal-2", core.INSTANCE_CONSOLE, order=50, can="console"),
    ),
    client_commands=("clawportal.cli.files:register", "clawportal.cli.terminal:register"),
    sockets=("clawportal.realtime.logs", "clawportal.realtime.metrics", "clawportal.realtime.console"),
)


@hookimpl
def register_features() -> Iterable[Feature]:
    return (
        SYSTEM, AUDIT, EVENTS, NOTICES, IDENTITY, TENANCY, CLUSTERS, CONFIGURATION, OPERATIONS, INSTANCES, RECONCILE, LIVE,
    )  # fmt: skip


@hookimpl
def actor_grants(actor_id: str) -> Iterable[Grant]:
    """Everybody who can sign in can sign out, also who belongs to no tenant."""
    return (_OWN_ACCOUNT,)


@hookimpl
def on_event(portal: Any, event: Event) -> None:
    portal.logs.changed(event.instance_id)
