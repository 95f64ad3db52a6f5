"""The kinds of events that the core records; the features in `clawportal.features` declare them."""

from __future__ import annotations

from dataclasses import replace

from clawportal.contracts.core_permissions import CONFIGS_READ, QUOTA_READ
from clawportal.contracts.features import EventKind, Interest
from clawportal.contracts.permissions import SELF
from clawportal.messages import _m

SYSTEM = (EventKind("portal.clock_jumped", _m("The clock of the portal's machine jumped.")),)
IDENTITY = (
    EventKind("user.created", _m("An account was made.")),
    EventKind("user.opened", _m("An account was opened again.")),
    EventKind("user.closed", _m("An account was closed.")),
    EventKind("user.role_changed", _m("Somebody became or is no longer an administrator or auditor of the portal.")),
    EventKind("user.password_changed", _m("A password was changed.")),
    EventKind("user.sign_in_slowed", _m("Signing in is slowed down after wrong tries.")),
    EventKind("user.unlocked", _m("Somebody may try again at once after wrong tries.")),
    EventKind("token.created", _m("An API token was made.")),
    EventKind("token.revoked", _m("An API token was revoked.")),
    EventKind("otp.enabled", _m("A second factor was set up.")),
    EventKind("otp.disabled", _m("A second factor was switched off.")),
    EventKind("otp.backup_codes", _m("New backup codes were made.")),
    EventKind("otp.reset", _m("An administrator took a second factor away.")),
    EventKind("session.started", _m("Somebody signed in.")),
    EventKind(
        "session.new_place",
        _m("Somebody signed in from where they never did before."),
        read=SELF,
        audited=False,
        interests=(Interest("session.new_place", _m("Somebody signed in to my account from a new place"), default=True),),
    ),
    EventKind("session.ended", _m("A session ended.")),
    EventKind("session.reuse", _m("An old refresh token was used again, so its session was ended.")),
)
TENANCY = (
    EventKind("tenant.created", _m("An organisation was made.")),
    EventKind("tenant.changed", _m("An organisation was changed.")),
    EventKind("tenant.visited", _m("An administrator of the portal looked into an organisation.")),
    EventKind("tenant.delete_requested", _m("An organisation is being deleted.")),
    EventKind("tenant.deleted", _m("An organisation was deleted.")),
    EventKind("project.created", _m("A project was made.")),
    EventKind("project.changed", _m("A project was changed.")),
    EventKind("project.delete_requested", _m("A project is being deleted.")),
    EventKind("project.deleted", _m("A project was deleted.")),
    EventKind("member.added", _m("Somebody became a member of an organisation.")),
    EventKind("member.changed", _m("The role of a member was changed.")),
    EventKind("member.removed", _m("Somebody is no longer a member of an organisation.")),
    EventKind("invitation.created", _m("Somebody was invited.")),
    EventKind("invitation.withdrawn", _m("An invitation was withdrawn.")),
    EventKind("role.created", _m("A role was made.")),
    EventKind("role.changed", _m("A role was changed.")),
    EventKind("role.deleted", _m("A role was deleted.")),
    EventKind("grant.given", _m("A role on one project or instance was given.")),
    EventKind("grant.taken", _m("A role on one project or instance was taken away.")),
    EventKind("quota.changed", _m("A quota was changed.")),
    EventKind(
        "quota.near",
        _m("A quota is nearly used up."),
        read=QUOTA_READ,
        audited=False,
        interests=(Interest("quota.near", _m("The quota is nearly used up"), default=True),),
    ),
    EventKind("service_account.created", _m("A service account was made.")),
    EventKind("service_account.changed", _m("A service account was changed.")),
    EventKind("service_account.enabled", _m("A service account was switched on.")),
    EventKind("service_account.disabled", _m("A service account was switched off.")),
    EventKind("service_account.deleted", _m("A service account was deleted.")),
)
CLUSTERS = (
    EventKind("cluster.created", _m("A cluster was connected.")),
    EventKind("cluster.changed", _m("A cluster was changed.")),
    EventKind("cluster.deleted", _m("A cluster was taken out.")),
    EventKind("cluster.cordoned", _m("A cluster takes no new instances.")),
    EventKind("cluster.uncordoned", _m("A cluster takes new instances again.")),
    EventKind("cluster.paused", _m("Nothing is done in a cluster until it is resumed.")),
    EventKind("cluster.resumed", _m("A cluster is worked in again.")),
    EventKind(
        "cluster.unreachable",
        _m("A cluster does not answer any more."),
        interests=(Interest("cluster.unreachable", _m("A cluster does not answer"), default=True),),
    ),
    EventKind(
        "cluster.recovered",
        _m("A cluster answers again."),
        interests=(Interest("cluster.recovered", _m("A cluster answers again")),),
    ),
    EventKind("cluster.unseparated", _m("Nothing keeps claws apart in a cluster.")),
    EventKind("cluster.separated", _m("Claws are kept apart in a cluster again.")),
    EventKind("cluster.shared_unseparated", _m("A cluster was opened to others though nothing keeps claws apart there.")),
)
CONFIGURATION = (
    EventKind("tenant.layer_changed", _m("The shared configuration of an organisation was changed.")),
    EventKind("config.created", _m("A configuration template was made."), read=CONFIGS_READ),
    EventKind("config.changed", _m("A configuration template was changed, or got a new version."), read=CONFIGS_READ),
    EventKind("config.restored", _m("An earlier version of a configuration template was restored."), read=CONFIGS_READ),
    EventKind("config.deleted", _m("A configuration template was deleted."), read=CONFIGS_READ),
)
_SUCCEEDED = {"state": ("succeeded",)}
OPERATIONS = (
    EventKind("operation.queued", _m("A piece of work waits for its turn.")),
    EventKind(
        "operation.finished",
        _m("A piece of work is over."),
        interests=(
            Interest("operation.failed", _m("Something that I asked for failed"), default=True, least="error", whose="asked_by"),
            Interest(
                "operation.done", _m("Something that I asked for is done"), where={"state": ("succeeded",)}, whose="asked_by"
            ),
        ),
    ),
    EventKind("operation.cancel_requested", _m("Somebody wants a piece of work to be cancelled.")),
)
INSTANCES = (
    EventKind("instance.created", _m("An instance was made.")),
    EventKind("instance.note_changed", _m("The note on an instance was changed."), action=_m("Change the note on {thing}")),
    EventKind("instance.duplicated", _m("An instance was duplicated."), action=_m("Duplicate {thing}")),
    EventKind("instance.stays_stopped", _m("An instance that was stopped for a copy of its files could not be started again.")),
    EventKind("instance.update_requested", _m("A new configuration was asked for.")),
    EventKind("instance.start_requested", _m("A start was asked for.")),
    EventKind("instance.stop_requested", _m("A stop was asked for.")),
    EventKind("instance.restart_requested", _m("A restart was asked for.")),
    EventKind("instance.kill_requested", _m("An end at once was asked for.")),
    EventKind("instance.delete_requested", _m("Deleting an instance was asked for.")),
    EventKind("instance.moved", _m("An instance was moved to another project.")),
    EventKind("instance.imported", _m("What somebody else made is observed from now on.")),
    EventKind("instance.adopted", _m("What somebody else made is managed from now on.")),
    EventKind("instance.forgotten", _m("An instance is no longer looked after; it goes on by itself.")),
    EventKind("instance.ports_changed", _m("An instance was given other ports.")),
)
_FAILED = Interest("instance.failed", _m("A claw failed or ended by itself"), default=True)
_RUNS = {"phase": ("running",)}
RECONCILE = (
    EventKind(
        "instance.phase_changed",
        _m("An instance came into another phase."),
        interests=(
            replace(_FAILED, where={"phase": ("failed",)}),
            Interest("instance.recovered", _m("A claw is well again"), True, where=_RUNS, follows="instance.failed"),
        ),
    ),
    EventKind("instance.exited", _m("A claw ended by itself."), interests=(replace(_FAILED, least="warning"),)),
    EventKind("instance.drifted", _m("A claw is no longer as it was applied.")),
    EventKind("instance.drift_repaired", _m("A claw is again as it was applied.")),
    EventKind(
        "instance.storage_exceeded",
        _m("A claw takes more room than it may."),
        interests=(Interest("instance.storage_exceeded", _m("A claw takes more room than it may"), default=True),),
    ),
)
LIVE = (
    EventKind("instance.chatted", _m("Somebody talked with a claw."), audited=False),  # a conversation changes nothing
    EventKind("instance.console_opened", _m("A console was opened.")),
    EventKind("instance.console_closed", _m("A console was closed.")),
    EventKind("instance.file_downloaded", _m("A file of a claw was downloaded.")),
    EventKind("instance.file_uploaded", _m("A file was uploaded into a claw.")),
)
