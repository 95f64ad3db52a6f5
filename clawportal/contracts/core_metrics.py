"""The figures of the core at `/metrics`; the features in `clawportal.features` declare them."""

from __future__ import annotations

from clawportal.contracts.features import Metric

SYSTEM_INFO = Metric(
    "clawportal_system_info", "gauge", "The version that answers, as a label.", "clawportal.services.system.metrics:info"
)
EVENTS_TOTAL = Metric(
    "clawportal_events_total", "counter", "Events recorded since the portal began.",
    "clawportal.services.events.event_log:number_so_far",
)  # fmt: skip
CLUSTERS = Metric("clawportal_clusters", "gauge", "Clusters by health.", "clawportal.services.clusters.figures:by_health")
OPERATIONS_OPEN = Metric(
    "clawportal_operations_open", "gauge", "Operations that wait or run, by state.",
    "clawportal.services.fleet.figures:open_operations",
)  # fmt: skip
INSTANCES = Metric("clawportal_instances", "gauge", "Instances by phase.", "clawportal.services.fleet.figures:instances_by_phase")
INSTANCES_HEALTH = Metric(
    "clawportal_instances_health", "gauge", "Instances by health.", "clawportal.services.fleet.figures:instances_by_health"
)
