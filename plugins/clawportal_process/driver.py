"""What people may set about the runtime of this machine, and the way to connect to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from clawportal.types import Strict

if TYPE_CHECKING:
    from clawportal.types import Place, Runtime


class ProcessSettings(Strict):
    """Settings of a cluster of kind `process`."""

    timezone: str = Field(
        "UTC",
        title="Time zone",
        description="TZ of every claw, such as Europe/Vienna or Asia/Shanghai.",
        min_length=1,
        max_length=64,
    )
    open_files: int = Field(
        65536, title="Open files", description="Upper limit for each process of a claw.", ge=256, le=1_048_576
    )
    log_file_mb: int = Field(
        10,
        title="Log file size",
        description="In MB. A log is rotated when it gets larger.",
        ge=1,
        le=1000,
        json_schema_extra={"x-advanced": True},
    )
    log_files: int = Field(
        5,
        title="Log files",
        description="How many log files are kept for each claw.",
        ge=1,
        le=50,
        json_schema_extra={"x-advanced": True},
    )
    log_lines_per_second: int = Field(
        2000,
        title="Log lines per second",
        description="What a claw writes faster than this for long is dropped, counted and told in its log.",
        ge=10,
        le=1_000_000,
        json_schema_extra={"x-advanced": True},
    )


class ProcessDriver:
    """Kind `process`."""

    kind = "process"
    title = "This machine"

    def settings_model(self) -> type[BaseModel]:
        return ProcessSettings

    def connect(self, place: Place) -> Runtime:
        from clawportal_process.runtime import ProcessRuntime

        return ProcessRuntime(place, ProcessSettings.model_validate(dict(place.settings)))
