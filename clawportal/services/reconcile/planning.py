"""What a pass plans: the workload that is wanted, with the ports and secrets it needs, and the claw's own opinion of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clawportal import redact
from clawportal.contracts.adapters import Adapter
from clawportal.contracts.runtimes import Runtime
from clawportal.contracts.workloads import Context, Workload
from clawportal.engine.portal import Portal
from clawportal.errors import GiveUp, Problem
from clawportal.keyring import KeyringError
from clawportal.messages import _m, _n
from clawportal.models import Instance
from clawportal.services.clusters import clusters, ports
from clawportal.services.configuration import layers, secrets
from clawportal.services.fleet import plans

UNREADABLE = _m("Restore keyring.json from a backup or from the portal that rotated the keys, or enter the secrets again.")


@dataclass(frozen=True)
class Planned:
    adapter: Adapter
    context: Context
    workload: Workload
    secrets: Mapping[str, str]
    """Values by name."""


def plan(portal: Portal, row: Instance, runtime: Runtime) -> Planned:
    """GiveUp with the reason where that cannot be done, such as a spec that an upgraded plugin no longer accepts."""
    adapter = plans.adapter_of(portal, row)
    given = ports.ensure(portal, runtime, row.cluster_id, row.id, adapter.ports(row.version))
    secrets.generate_missing(portal, row.id, adapter.generated_secrets(row.version))
    cluster = plans.cluster_of(row)  # kept at hand: the session forgets a row that nobody holds, and would read it again
    try:
        context = plans.context_of(portal, row, adapter, runtime, given)
        workload = plans.workload_of(adapter, context, runtime, clusters.policy_of(cluster))
    except (ValueError, Problem) as error:
        raise GiveUp(
            _n("ConfigInvalid"),
            _m("The configuration cannot be used: %(error)s", error=error),
            _m("Edit the instance and correct it."),
        ) from error
    return Planned(adapter, context, workload, secret_values(portal, row))


def secret_values(portal: Portal, row: Instance) -> dict[str, str]:
    try:
        return layers.secrets_for(portal, row)
    except KeyringError as error:
        raise GiveUp(_n("SecretUnreadable"), _m("A secret cannot be opened: %(error)s.", error=error), UNREADABLE) from error


def check(portal: Portal, row: Instance, runtime: Runtime, planned: Planned) -> None:
    """Ask the claw about a configuration; GiveUp, without secrets in its words, when it refuses."""
    try:
        # the whole of it: a place that makes the tenant's surroundings for a check must not make them poorer
        runtime.check(plans.whole_ref(portal, row), planned.workload, planned.secrets)
    except GiveUp as verdict:
        message, *lines = redact.masked([str(verdict), *verdict.lines], planned.secrets.values())
        raise GiveUp(verdict.reason, message, verdict.remedy, tuple(lines)) from verdict
