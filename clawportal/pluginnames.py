"""Which plugins come with the portal, and how others are found."""

from __future__ import annotations

from pathlib import Path

BUNDLED = (
    "clawportal_process", "clawportal_kubernetes", "clawportal_docker", "clawportal_localfiles", "clawportal_echo",
    "clawportal_files",
    "clawportal_nanobot", "clawportal_openclaw", "clawportal_policies", "clawportal_notifiers",
    "clawportal_providers",
    "clawportal_apps",
    "clawportal_practice",
    "clawportal_sso",
    "clawportal_conversations",
    "clawportal_custom",
    "clawportal_settings",
    "clawportal_checklist",
    "clawportal_charts",
    "clawportal_notifications",
)  # fmt: skip
GROUP = "clawportal"
"""Group of entry points."""


def names(setting: str) -> tuple[str, ...]:
    """The names in `CLAWPORTAL_PLUGINS`; none means the bundled ones and all that are installed."""
    return tuple(name.strip() for name in setting.split(",") if name.strip())


def folders(setting: str) -> tuple[Path, ...]:
    """The folders in `CLAWPORTAL_PLUGIN_PATH`."""
    return tuple(Path(name).expanduser() for name in setting.split(":") if name.strip())
