"""What a capability of the portal is made of: a plugin gives its declarations to the hook `register_features`."""

from __future__ import annotations

from clawportal.contracts.features import (
    ApiTag,
    Card,
    EventKind,
    Feature,
    Job,
    Metric,
    NavLink,
    PolicyFact,
    Resource,
    Tab,
)

__all__ = [
    "ApiTag",
    "Card",
    "EventKind",
    "Feature",
    "Job",
    "Metric",
    "NavLink",
    "PolicyFact",
    "Resource",
    "Tab",
]
