"""What people may set about the runtime of this machine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from clawportal.sdk import _m
from clawportal.sdk.runtimes import Strict
from clawportal_process import identity


class ProcessSettings(Strict):
    """Settings of a cluster of kind `process`."""

    timezone: str = Field(
        "UTC",
        title=_m("Time zone"),
        description=_m("TZ of every claw, such as Europe/Vienna or Asia/Shanghai."),
        min_length=1,
        max_length=64,
    )
    open_files: int = Field(
        65536, title=_m("Open files"), description=_m("Upper limit for each process of a claw."), ge=256, le=1_048_576
    )
    processes: int = Field(
        512,
        title=_m("Processes"),
        description=_m("How many processes and threads one claw may have, where the kernel holds its limits."),
        ge=64,
        le=1_000_000,
        json_schema_extra={"x-advanced": True},
    )
    control_group: str = Field(
        "",
        title=_m("Control group"),
        description=_m(
            "Where groups of claws are made so that the kernel holds their limits: a folder of control groups of version "
            "2 that belongs to the portal. Empty: what systemd delegated, or one of its own where the portal is root. off: none."
        ),
        max_length=500,
        pattern=r"^(off|/sys/fs/cgroup/[^\s]+)?$",
        json_schema_extra={"x-advanced": True},
    )
    log_file_mb: int = Field(
        10,
        title=_m("Log file size"),
        description=_m("In MB. A log is rotated when it gets larger."),
        ge=1,
        le=1000,
        json_schema_extra={"x-advanced": True},
    )
    log_files: int = Field(
        5,
        title=_m("Log files"),
        description=_m("How many log files are kept for each claw."),
        ge=1,
        le=50,
        json_schema_extra={"x-advanced": True},
    )
    log_lines_per_second: int = Field(
        2000,
        title=_m("Log lines per second"),
        description=_m("What a claw writes faster than this for long is dropped, counted and told in its log."),
        ge=10,
        le=1_000_000,
        json_schema_extra={"x-advanced": True},
    )
    separation: Literal["auto", "user+landlock", "namespace+landlock", "landlock+seccomp", "off"] = Field(
        "auto",
        title=_m("Separation of claws"),
        description=_m(
            "The wall between a claw and everything else on this machine. With auto it is the strongest that the machine"
            " allows; with any other value no claw starts behind a weaker one. "
            "Off is for a machine of one person: claws then reach"
            " what the portal's user reaches."
        ),
    )
    users: str = Field(
        "",
        title=_m("Users for claws"),
        description=_m(
            "A range such as 1900000000-1900065535. Where the portal is root, each claw has a user of its own from it."
            " Empty chooses numbers that no account has."
        ),
        max_length=24,
        json_schema_extra={"x-advanced": True},
    )
    readable_folders: str = Field(
        "",
        title=_m("Folders that claws may read"),
        description=_m(
            "Beside the system's own, with colons between them, such as /srv/models:/srv/tools. All claws of this cluster"
            " can read them and run programs from them."
        ),
        max_length=2000,
        json_schema_extra={"x-advanced": True},
    )

    shared_folders: str = Field(
        "",
        title=_m("Folders that claws may write"),
        description=_m(
            "With colons between them. All claws of this cluster can change what is in them, and a bad one can harm the"
            " others through it. Empty is best."
        ),
        max_length=2000,
        json_schema_extra={"x-advanced": True},
    )

    @property
    def readable(self) -> list[str]:
        return [path for path in self.readable_folders.split(":") if path]

    @property
    def shared(self) -> list[str]:
        return [path for path in self.shared_folders.split(":") if path]

    @field_validator("users")
    @classmethod
    def _range(cls, value: str) -> str:
        if value:
            try:
                identity.parse(value)
            except ValueError:
                raise ValueError(_m("Give two numbers above 0 with a dash between them, such as 200000-265535.")) from None
        return value

    @field_validator("readable_folders", "shared_folders")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if any(not path.startswith("/") or path.strip("/") == "" for path in value.split(":") if path):
            raise ValueError(_m("Give whole paths of folders, such as /srv/models; not / itself."))
        return value
