"""What a capability of the portal is made of: a plugin gives its declarations to the hook `register_features`."""

from __future__ import annotations

from clawportal.contracts.doctor import DoctorResult
from clawportal.contracts.extensions import (
    ADMISSION,
    ADMISSION_PREVIEW,
    CHOICE_MARKS,
    MODEL_SERVICES,
    OTHER_HOSTS,
    RESEAL,
    ROLE_USES,
    SIGN_IN_WAYS,
    SIGN_OUT_WAYS,
    InstanceChange,
    ModelService,
    SignInWay,
    Warned,
)
from clawportal.contracts.features import (
    ApiTag,
    Card,
    EventKind,
    Feature,
    InstanceAction,
    Job,
    Metric,
    NavLink,
    PolicyFact,
    Resource,
    Tab,
    TenantTab,
)

__all__ = [
    "ADMISSION",
    "ADMISSION_PREVIEW",
    "CHOICE_MARKS",
    "MODEL_SERVICES",
    "OTHER_HOSTS",
    "RESEAL",
    "ROLE_USES",
    "SIGN_IN_WAYS",
    "SIGN_OUT_WAYS",
    "ApiTag",
    "Card",
    "DoctorResult",
    "EventKind",
    "Feature",
    "InstanceAction",
    "InstanceChange",
    "Job",
    "Metric",
    "ModelService",
    "NavLink",
    "PolicyFact",
    "Resource",
    "SignInWay",
    "Tab",
    "TenantTab",
    "Warned",
]
