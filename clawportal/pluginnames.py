"""Which plugins come with the portal, and how others are found."""

from __future__ import annotations

BUNDLED = (
    "clawportal_process", "clawportal_kubernetes", "clawportal_docker", "clawportal_localfiles", "clawportal_echo",
    "clawportal_files",
    "clawportal_nanobot", "clawportal_openclaw", "clawportal_policies", "clawportal_notifiers",
    "clawportal_providers",
    "clawportal_apps",
    "clawportal_practice",
    "clawportal_sso",
    "clawportal_conversations",
)  # fmt: skip
GROUP = "clawportal"
"""Group of entry points."""
